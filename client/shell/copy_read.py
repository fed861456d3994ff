"""A file to batches of rows for a collection, each row with the place it came from.

csv has no types: a declared field says what a cell is, an empty cell is no value, an id that looks like an integer is
one, and the cell of any other column is what JSON makes of it, or else text. The column `payload` is a JSON map of
further keys, in arrow and parquet as well.

Invariant: a row that cannot be read is refused by its place, and none is skipped.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from reddb import limits
from reddb.client.shell.complaint import Complaint
from reddb.client.shell.copy_write import LOOKS_LIKE_A_NUMBER, PAYLOAD, SUFFIXES
from reddb.client.shell.exporting import PAGE_ROWS, Described
from reddb.fields import FieldType
from reddb.types import Payload, RowId, Vectors

if TYPE_CHECKING:
    import pyarrow

_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows with the lines (rows, for arrow and parquet, from 1) they came from; `share` of the file is read then."""

    places: list[int]
    ids: list[RowId]
    vectors: Vectors
    payloads: list[Payload]
    share: float


def read_batches(path: Path, described: Described) -> Iterator[Batch]:
    """The rows, at most PAGE_ROWS at a time. Raises Complaint naming the place, and OSError."""
    size = max(path.stat().st_size, 1)
    if path.suffix in (".arrow", ".parquet"):
        for page, share in _arrow_pages(path, described):
            yield _batch(path, described, page, share)
        return
    readers = {".csv": _csv_rows, ".ndjson": _ndjson_rows, ".jsonl": _ndjson_rows}
    if path.suffix not in readers:
        raise Complaint(f"the format of a file is told by its suffix, not {path.suffix or 'without one'}", SUFFIXES)
    with path.open("rb") as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as text:
        rows = readers[path.suffix](path, text, described)
        try:
            while page := list(islice(rows, PAGE_ROWS)):
                yield _batch(path, described, page, raw.tell() / size)
        except UnicodeDecodeError as error:
            raise Complaint(f"{path} is not UTF-8: {error}") from error


def _batch(path: Path, described: Described, rows: list[tuple[int, dict[str, Any]]], share: float) -> Batch:
    vectors = np.empty((len(rows), described.dim), np.float32)
    ids = []
    for number, (place, row) in enumerate(rows):
        for name in ("id", "vector"):
            if row.get(name) is None:
                raise Complaint(f"{path}:{place}: the row has no {name}")
        ids.append(row.pop("id"))
        vectors[number] = _vector(row.pop("vector"), described.dim, f"{path}:{place}")
    return Batch([place for place, _ in rows], ids, vectors, [row for _, row in rows], share)


def _vector(value: Any, dim: int, where: str) -> Vectors:
    wanted = f"{where}: vector must be a list of {dim} numbers"
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise Complaint(wanted) from error
    if array.shape != (dim,):
        raise Complaint(f"{wanted}, not {len(array)}" if array.ndim == 1 else wanted)
    if array.dtype.kind not in "fiu":
        raise Complaint(wanted)
    with np.errstate(over="ignore"):  # an infinity is refused by the server, with its place
        return array.astype(np.float32)


# --- ndjson ------------------------------------------------------------------------------------------------


def _ndjson_rows(path: Path, text: Iterable[str], described: Described) -> Iterator[tuple[int, dict[str, Any]]]:
    for place, line in enumerate(text, 1):
        if line.isspace():
            continue
        row = _json(line, f"{path}:{place}")
        if not isinstance(row, dict):
            raise Complaint(f"{path}:{place}: a line is one JSON object")
        yield place, row


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Complaint(f"{where}: this is no JSON: {error}") from error


# --- csv ---------------------------------------------------------------------------------------------------


def _csv_rows(path: Path, text: Iterable[str], described: Described) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(limits.STATEMENT_BYTES_MAX)  # the default is less than a vector of 8192 numbers
    reader = csv.reader(text, strict=True)
    place = 1
    try:
        header = next(reader, [])
        if not {"id", "vector"} <= set(header) or len(set(header)) < len(header):
            raise Complaint(f"{path}:1: the first line names the columns, each once, id and vector among them")
        place = reader.line_num + 1
        for cells in reader:
            if cells:
                if len(cells) != len(header):
                    raise Complaint(f"{path}:{place}: {len(cells)} cells, and the first line names {len(header)}")
                yield place, _csv_row(dict(zip(header, cells, strict=True)), described, f"{path}:{place}")
            place = reader.line_num + 1
    except csv.Error as error:
        raise Complaint(f"{path}:{place}: {error}") from error


def _csv_row(cells: dict[str, str], described: Described, where: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, cell in cells.items():
        if not cell:
            continue
        if name == "id":
            row[name] = int(cell) if LOOKS_LIKE_A_NUMBER.fullmatch(cell) else cell
        elif name == "vector":
            row[name] = _json(cell, f"{where}: {name}")
        elif name in described.fields:
            row[name] = _typed(cell, described.fields[name], f"{where}: {name}")
        elif name == PAYLOAD:
            row.update(_others(cell, where))
        else:
            row[name] = _guessed(cell)
    return row


def _typed(cell: str, kind: FieldType, where: str) -> Any:
    if kind in (FieldType.TEXT, FieldType.TIMESTAMP):
        return cell
    if kind is FieldType.BOOL:
        if cell.lower() not in _BOOLEANS:
            raise Complaint(f"{where}: {cell!r} is neither true nor false")
        return _BOOLEANS[cell.lower()]
    if kind in (FieldType.INT, FieldType.FLOAT):
        try:
            return int(cell) if kind is FieldType.INT else float(cell)
        except ValueError as error:
            raise Complaint(f"{where}: {cell!r} is no {kind}") from error
    return _json(cell, where)


def _guessed(cell: str) -> Any:
    try:
        return json.loads(cell, parse_constant=_refuse)
    except ValueError:
        return cell


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is a word of Python, not of JSON")


def _others(text: str, where: str) -> dict[str, Any]:
    others = _json(text, f"{where}: {PAYLOAD}")
    if not isinstance(others, dict):
        raise Complaint(f"{where}: {PAYLOAD} must be a JSON map")
    return others


# --- arrow and parquet -------------------------------------------------------------------------------------


def _arrow_pages(path: Path, described: Described) -> Iterator[tuple[list[tuple[int, dict[str, Any]]], float]]:
    """The rows of a page with their numbers, from 1, and the share of the file that is read with them."""
    import pyarrow

    try:
        total, batches = _arrow_batches(path)
        place = 1
        for batch in batches:
            for first in range(0, batch.num_rows, PAGE_ROWS):
                rows = _arrow_rows(batch.slice(first, PAGE_ROWS))
                page = list(enumerate(rows, place))
                yield [(at, _arrow_row(row, described, f"{path}:{at}")) for at, row in page], place / max(total, 1)
                place += len(rows)
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:  # also values that Python has not, in damage
        raise Complaint(f"{path} cannot be read: {error}") from error


def _arrow_batches(path: Path) -> tuple[int, Iterable[pyarrow.RecordBatch]]:
    """How many rows there are, and the batches; an IPC file or a stream, as `--format arrow` writes it."""
    import pyarrow

    if path.suffix == ".parquet":
        import pyarrow.parquet

        file = pyarrow.parquet.ParquetFile(path)
        return file.metadata.num_rows, file.iter_batches(PAGE_ROWS)
    mapped = pyarrow.memory_map(str(path))
    try:
        table = pyarrow.ipc.open_file(mapped).read_all()
    except pyarrow.ArrowInvalid:
        mapped.seek(0)
        table = pyarrow.ipc.open_stream(mapped).read_all()
    return table.num_rows, table.to_batches()


def _arrow_rows(batch: pyarrow.RecordBatch) -> list[dict[str, Any]]:
    """Rows as maps without their nulls; a vector stays an array, not a list of numbers."""
    others = [name for name in batch.schema.names if name != "vector"]
    rows = [{key: value for key, value in row.items() if value is not None} for row in batch.select(others).to_pylist()]
    if len(others) < len(batch.schema.names):
        for row, vector in zip(rows, batch.column("vector"), strict=True):
            values = getattr(vector, "values", None)  # of a list; None of a null
            row["vector"] = vector.as_py() if values is None else values.to_numpy(zero_copy_only=False)
    return rows


def _arrow_row(row: dict[str, Any], described: Described, where: str) -> dict[str, Any]:
    for name, kind in described.fields.items():
        if kind is FieldType.JSON and isinstance(row.get(name), str):
            row[name] = _json(row[name], f"{where}: {name}")
    if isinstance(row.get(PAYLOAD), str) and PAYLOAD not in described.fields:
        row.update(_others(row.pop(PAYLOAD), where))
    return row
