r"""Files of `\copy`: rows of every format with bytes, lines and values changed, read by the shell into a collection."""

from __future__ import annotations

import io
import json
import random
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.feather
import pyarrow.parquet

from reddb.client.shell.complaint import Complaint
from reddb.client.shell.copying import copy
from reddb.client.shell.session import Session
from tests.fuzz.material import EXTREMES, any_value
from tests.fuzz.report import Report

_CSV = 'id,vector,title,year,tags,payload\n1,"[1, 2]",one,1999,"[""a""]","{""free"": 1}"\n"b","[3, 4]",,,,\n'
_NDJSON = (
    '{"id": 1, "vector": [1, 2], "title": "one", "year": 1999}\n{"id": "b", "vector": [3, 4], "meta": {"a": [1]}}\n'
)
_TEXTS = [
    "\ufeff",
    "\x00",
    "[" * 3_000,
    '{"a":' * 3_000,
    "9" * 5_000,
    "NaN",
    "1e999",
    '"',
    "\r",
    "\\ud800",
    "1_000",
    "٣",
]


def ask_file(session: Session, folder: Path, rng: random.Random, report: Report) -> None:
    """Have a changed file read."""
    suffix = rng.choice([".csv", ".csv", ".ndjson", ".ndjson", ".jsonl", ".parquet", ".arrow"])
    path = folder / f"rows{suffix}"
    path.write_bytes(_columns(suffix, rng, path) if suffix in (".parquet", ".arrow") else _lines(suffix, rng))
    upsert = rng.choice([" upsert", ""])
    content = path.read_bytes()

    def read() -> None:
        silent = io.StringIO()
        with suppress(Complaint), redirect_stdout(silent), redirect_stderr(silent):
            copy(session, f"docs from {path}{upsert}")

    report.ask("file", (suffix, content[:2_000]), read)


def _lines(suffix: str, rng: random.Random) -> bytes:
    text = _CSV if suffix == ".csv" else _NDJSON
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        at = rng.randrange(len(text) + 1)
        piece = rng.choice([*_TEXTS, *EXTREMES, _json(any_value(rng))])
        text = text[:at] + piece + text[at + rng.choice([0, 0, 1, 3]) :]
    content = bytearray(text.encode("utf-8", "surrogatepass"))
    if rng.random() < 0.3:
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def _columns(suffix: str, rng: random.Random, path: Path) -> bytes:
    """A table some of whose values are any, as far as arrow has a type for them; or one with broken bytes."""
    columns: dict[str, Any] = {"id": [1, 2], "vector": [[1.0, 2.0], [3.0, 4.0]], "title": ["one", None]}
    name = rng.choice(["id", "vector", "title", "year", "payload", "", "é", "expires_at"])
    value = any_value(rng)
    try:
        _write(pyarrow.table({**columns, name: pyarrow.array([value, value])}), suffix, path)
    except Exception:  # arrow has no form for it
        _write(pyarrow.table(columns), suffix, path)
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def _write(table: pyarrow.Table, suffix: str, path: Path) -> None:
    if suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        pyarrow.feather.write_feather(table, path, compression="uncompressed")


def _json(value: Any) -> str:
    try:
        return json.dumps(value)
    except Exception:  # JSON has no form for it
        return "null"
