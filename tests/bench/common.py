"""What the benchmarks share: real vectors, a real server, exact answers, processor time of a process.

Data: with REDDB_DATASETS=<folder> the sets that lie there, else the sample that the package bundles.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import reddb
from reddb.client.demo.sample import load

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Dataset:
    """`truth` is int (queries, 100 at most): rows of `base`, nearest first, by an exact search in float64."""

    name: str
    metric: str
    base: Array
    queries: Array
    truth: NDArray[np.int64]


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, and its process."""

    url: str
    pid: int

    def core_pids(self) -> dict[int, int]:
        """The processes of the cores, by core."""
        found = {}
        for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"reddb.server.core" in words:  # an ended one, not yet waited for, has no words
                found[json.loads(words[-2])["core"]] = int(pid)
        return found


def datasets() -> list[Dataset]:
    """Every set at hand."""
    folder = os.environ.get("REDDB_DATASETS")
    if not folder:
        print("REDDB_DATASETS is not set: using the bundled sample of 5,000 x 384 only", file=sys.stderr)
        sample = load()
        queries = np.stack([vector for _, vector in sample.queries])
        truth = np.argsort(cosine_distances(sample.vectors, queries), axis=1, kind="stable")[:, :100]
        return [Dataset("sample-384", "cosine", sample.vectors, queries, truth)]
    sentences, photos = Path(folder) / "sentences-384", Path(folder) / "photos-128"
    base = _read(sentences / "base.npy")
    found = [
        Dataset(f"sentences-384{label}", "cosine", base, _read(sentences / f"queries{suffix}.npy"), truth)
        for label, suffix in (("", ""), (" out-of-domain", "_ood"))
        for truth in [np.load(sentences / f"gt100{suffix}.npy").astype(np.int64)]
    ]
    with np.load(photos / "base.npz") as archive:
        pixels = archive["base"].astype(np.float32)
    truth = np.load(photos / "gt100.npy").astype(np.int64)
    return [*found, Dataset("photos-128", "l2", pixels, _read(photos / "queries.npy"), truth)]


def cosine_distances(base: Array, queries: Array) -> NDArray[np.float64]:
    """(queries, rows), in float64."""
    wide, asked = base.astype(np.float64), queries.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(asked, axis=1)[:, None]
    return 1.0 - (asked @ wide.T) / lengths


@contextmanager
def server(cores: int, folder: Path | None = None) -> Iterator[Server]:
    """A server on a free port of this machine, stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="reddb-bench-") as temporary:
        command = [sys.executable, "-m", "reddb.server.main", "serve", "--port", "0", "--cores", str(cores)]
        command += ["--data", str(folder or temporary)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                assert process.stdout is not None
                ready = process.stdout.readline()
                address = ready.split("address ")[1].split(",")[0]
                yield Server(f"red://{address}", process.pid)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()


def insert_all(database: reddb.Client, collection: str, base: Array) -> None:
    """Insert every row; its number is its id."""
    for first in range(0, len(base), 5000):
        part = base[first : first + 5000]
        database.insert(collection, np.arange(first, first + len(part)), part)


def wait_coded(database: reddb.Client, collection: str) -> None:
    """Return when every row that can be found by its code is."""
    while True:
        shown = dict(database.execute(f"SHOW COLLECTION {collection}"))
        if shown["coded rows"] >= shown["rows"] - shown["rows"] % 32:
            return


def processor_seconds(pid: int) -> float:
    """Time the process has spent on a processor, in user and kernel, all threads."""
    return sum(
        int(Path(task, "schedstat").read_text().split()[0]) / 1e9 for task in Path(f"/proc/{pid}/task").iterdir()
    )


def _read(path: Path) -> Array:
    return np.load(path).astype(np.float32)
