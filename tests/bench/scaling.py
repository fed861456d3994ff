"""Searches per second of one collection in one partition, from 4 client processes, with 1 core and with 2."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import reddb
from tests.bench.common import datasets, server, wait_coded

_CLIENTS = 4
_DEPTH = 4
_SECONDS = 5.0
_BATCH_ROWS = 5000


def run() -> None:
    """Print both rates and their ratio, twice over in turns, so that a drift of the machine shows."""
    data = datasets()[0]
    with tempfile.TemporaryDirectory(prefix="reddb-bench-") as temporary:
        queries = Path(temporary) / "queries.f32"
        queries.write_bytes(data.queries.tobytes())
        rates: dict[int, list[float]] = {1: [], 2: []}
        folder = Path(temporary) / "data"
        for cores in (1, 2, 1, 2):
            with server(cores, folder) as running:
                _load(running.url, data.base)
                rates[cores].append(_measure(running.url, queries, data.base.shape[1]))
    one, two = (float(np.median(rates[cores])) for cores in (1, 2))
    print(
        f"scaling {two / one:.2f}  1 core {one:,.0f} searches/s, 2 cores {two:,.0f}; {len(data.base):,} x "
        f"{data.base.shape[1]}, {_CLIENTS} client processes, {_DEPTH} searches each under way"
    )


def _load(url: str, base: np.ndarray) -> None:
    with reddb.connect(url, timeout_s=120) as database:
        database.execute(f"CREATE COLLECTION IF NOT EXISTS docs KIND vector.turbo DIM {base.shape[1]} METRIC cosine")
        ((count,),) = database.execute("SELECT count(*) FROM docs")
        for first in range(count, len(base), _BATCH_ROWS):
            part = base[first : first + _BATCH_ROWS]
            database.insert("docs", np.arange(first, first + len(part)), part)
        wait_coded(database, "docs")


def _measure(url: str, queries: Path, dim: int) -> float:
    arguments = [url.removeprefix("red://"), "docs", str(queries), str(dim), str(_SECONDS), str(_DEPTH)]
    command = [sys.executable, "-m", "tests.bench.load", *arguments]
    clients = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(_CLIENTS)
    ]
    for client in clients:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
    for client in clients:
        assert client.stdin is not None
        client.stdin.write("go\n")
        client.stdin.flush()
    return sum(int(client.communicate()[0]) for client in clients) / _SECONDS
