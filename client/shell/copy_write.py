"""Rows to a file, in the format that its suffix names.

    .csv                 id, vector, the declared fields, and `payload`: a JSON map of the other keys
    .ndjson, .jsonl      an object a line: id, vector, and the keys of the payload
    .arrow, .parquet     the columns of csv, typed; fields of type JSON are JSON text in all three

Invariant: what is written for a collection is read back by `copy_read` as the same rows, or refused. (A timestamp in a
free key comes back as its text.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reddb.client.rows import Result, Row
from reddb.client.shell.complaint import Complaint
from reddb.client.shell.exporting import Described
from reddb.client.shell.formats import csv_cell, csv_lines, render, to_json
from reddb.fields import FieldType

if TYPE_CHECKING:
    import pyarrow

PAYLOAD = "payload"  # the column of the keys that are not declared
LOOKS_LIKE_A_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)")
SUFFIXES = ".csv, .ndjson, .jsonl, .arrow and .parquet"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` when all went well, and is gone otherwise."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_result(path: Path, suffix: str, result: Result) -> None:
    """The columns of a statement as they are."""
    form = _form(suffix)
    if form in ("csv", "ndjson"):
        text = render(result, form)
        assert isinstance(text, str)
        path.write_text(text, "utf-8", newline="")
        return
    import pyarrow

    try:
        table = result.to_arrow()
        with _arrow_file(path, form, table.schema) as write:
            for batch in table.to_batches():
                write(batch)
    except pyarrow.ArrowException as error:
        raise Complaint(f"the rows are no Arrow table: {error}", ".ndjson holds columns of mixed types") from error


def write_pages(path: Path, suffix: str, described: Described, pages: Iterable[list[Row]]) -> None:
    """The rows of a collection."""
    form = _form(suffix)
    if form != "ndjson" and PAYLOAD in described.fields:
        raise Complaint(f"a field is called {PAYLOAD}, as the column of the other keys is", "write an .ndjson file")
    if form == "ndjson":
        _write_ndjson(path, pages)
    elif form == "csv":
        _write_csv(path, described, pages)
    else:
        _write_arrow(path, form, described, pages)


def _form(suffix: str) -> str:
    form = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".arrow": "arrow", ".parquet": "parquet"}.get(
        suffix
    )
    if form is None:
        raise Complaint(f"the format of a file is told by its suffix, and {suffix or 'none'} is unknown", SUFFIXES)
    return form


def _write_ndjson(path: Path, pages: Iterable[list[Row]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for page in pages:
            file.writelines(to_json({"id": row.id, "vector": row.vector, **row.payload}) + "\n" for row in page)


def _write_csv(path: Path, described: Described, pages: Iterable[list[Row]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(csv_lines([["id", "vector", *described.fields, PAYLOAD]]))
        for page in pages:
            for row in page:
                if isinstance(row.id, str) and LOOKS_LIKE_A_NUMBER.fullmatch(row.id):
                    raise Complaint(f"the id {row.id!r} is a text, and csv would make it a number", "write .ndjson")
            file.write(csv_lines([csv_cell(value) for value in _columns(row, described)] for row in page))


def _columns(row: Row, described: Described) -> list[Any]:
    """The values of a row for csv and arrow."""
    declared = [_declared(row.payload.get(name), kind) for name, kind in described.fields.items()]
    others = {key: value for key, value in row.payload.items() if key not in described.fields}
    return [row.id, row.vector, *declared, to_json(others) if others else None]


def _declared(value: Any, kind: FieldType) -> Any:
    return to_json(value) if kind is FieldType.JSON and value is not None else value


# --- arrow and parquet -------------------------------------------------------------------------------------


def _write_arrow(path: Path, form: str, described: Described, pages: Iterable[list[Row]]) -> None:
    import pyarrow

    iterator = iter(pages)
    first = next(iterator, [])
    schema = _schema(described, str if first and isinstance(first[0].id, str) else int)
    with _arrow_file(path, form, schema) as write:
        page: list[Row] | None = first
        while page:
            try:
                write(_record_batch(page, described, schema))
            except (pyarrow.ArrowException, TypeError) as error:
                raise Complaint(f"a row does not fit the columns: {error}", "ids of both kinds need .ndjson") from error
            page = next(iterator, None)


def _schema(described: Described, id_type: type) -> pyarrow.Schema:
    import pyarrow

    types = {
        FieldType.TEXT: pyarrow.string(),
        FieldType.INT: pyarrow.int64(),
        FieldType.FLOAT: pyarrow.float64(),
        FieldType.BOOL: pyarrow.bool_(),
        FieldType.TIMESTAMP: pyarrow.timestamp("us", tz="UTC"),
        FieldType.TEXTS: pyarrow.list_(pyarrow.string()),
        FieldType.INTS: pyarrow.list_(pyarrow.int64()),
        FieldType.JSON: pyarrow.string(),
    }
    fields = [("id", pyarrow.int64() if id_type is int else pyarrow.string())]
    fields.append(("vector", pyarrow.list_(pyarrow.float32(), described.dim)))
    fields += [(name, types[kind]) for name, kind in described.fields.items()]
    return pyarrow.schema([*fields, (PAYLOAD, pyarrow.string())])


def _record_batch(page: list[Row], described: Described, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    import pyarrow

    columns = [list(column) for column in zip(*(_columns(row, described) for row in page), strict=True)]
    vectors = pyarrow.FixedSizeListArray.from_arrays(np.concatenate(columns[1]), type=schema.field("vector").type)
    arrays = [
        vectors if place == 1 else pyarrow.array(column, schema.field(place).type)
        for place, column in enumerate(columns)
    ]
    return pyarrow.record_batch(arrays, schema=schema)


@contextmanager
def _arrow_file(path: Path, form: str, schema: pyarrow.Schema) -> Iterator[Callable[[pyarrow.RecordBatch], None]]:
    """A function that writes a batch."""
    import pyarrow

    if form == "arrow":
        with pyarrow.ipc.new_file(str(path), schema) as file:
            yield file.write_batch
        return
    import pyarrow.parquet

    with pyarrow.parquet.ParquetWriter(str(path), schema) as file:
        yield file.write_batch
