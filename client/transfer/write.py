"""The rows of a collection as bytes, in every format.

A field that is NULL is an empty cell (a null of arrow). NULL and a missing key are the same but for dict equality and
DEFAULT, and both are kept: what is NULL by name stands in the other keys (`payload`) as null; where the field has a
DEFAULT, a cell without a value is NULL, and the DEFAULT does not come in.

Invariant: what is written is read back by `read` as the same rows, to the last bit, or TransferError names the row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from reddb.client.rows import Row
from reddb.client.transfer.collection import Described
from reddb.client.transfer.csv_text import Cell, csv_line
from reddb.client.transfer.files import compressed
from reddb.client.transfer.formats import FileFormat, Form
from reddb.client.transfer.json_text import DATE, exact_json, plain_json, tagged, vector_numbers
from reddb.client.transfer.problem import TransferError
from reddb.client.transfer.values import fits, shown
from reddb.fields import EXPIRES_AT, FieldType

if TYPE_CHECKING:
    import pyarrow

PAYLOAD = "payload"  # the column of the keys that are not declared
LOOKS_LIKE_A_NUMBER = re.compile(r"0|-?[1-9][0-9]*")  # an id that csv would make an integer


def write_rows(file: BinaryIO, form: FileFormat, described: Described, pages: Iterable[list[Row]]) -> None:
    """Write all rows. Raises TransferError for one that the format cannot hold."""
    if form.form is not Form.NDJSON and PAYLOAD in described.fields:
        raise TransferError(f"a field is called {PAYLOAD}, as the column of the other keys is", "write an .ndjson file")
    if not form.is_text:
        _write_arrow(file, form.form, described, pages)
        return
    lines = _csv_lines(described, pages, form.delimiter) if form.form is Form.CSV else _ndjson_lines(described, pages)
    with compressed(file, form) as out:
        for text in lines:
            out.write(text.encode())


def _ndjson_lines(described: Described, pages: Iterable[list[Row]]) -> Iterator[str]:
    """The lines of a page at a time."""
    for page in pages:
        yield "".join(f"{plain_json(_ndjson_row(row, described))}\n" for row in page)


def _ndjson_row(row: Row, described: Described) -> dict[str, Any]:
    made: dict[str, Any] = {"id": row.id, "vector": vector_numbers(_vector(row))}
    for key, value in row.payload.items():
        _check_name(row, key, described)
        if key == EXPIRES_AT.name or described.fields.get(key) is FieldType.TIMESTAMP:
            if isinstance(value, str):  # would be an instant afterwards
                raise _misfit(row, key, FieldType.TIMESTAMP, value)
            made[key] = value.isoformat() if isinstance(value, datetime) else value
        else:
            made[key] = _in_json(row, key, value, tagged)
    for key in described.defaults:
        made.setdefault(key, None)
    return made


def _csv_lines(described: Described, pages: Iterable[list[Row]], delimiter: str) -> Iterator[str]:
    """The header, and the lines of a page at a time."""
    yield csv_line(["id", "vector", *described.fields, PAYLOAD], delimiter)
    for page in pages:
        lines = []
        for row in page:
            if isinstance(row.id, str) and LOOKS_LIKE_A_NUMBER.fullmatch(row.id):
                raise TransferError(f"the id {row.id!r} is a text, and csv would make it a number", "write .ndjson")
            cells: list[Cell] = [str(row.id), exact_json(vector_numbers(_vector(row)))]
            declared = zip(described.fields.values(), _declared(row, described), strict=True)
            cells += [_csv_cell(kind, value) for kind, value in declared]
            lines.append(csv_line([*cells, _others(row, described)], delimiter))
        yield "".join(lines)


def _csv_cell(kind: FieldType, value: Any) -> Cell:
    if value is None or isinstance(value, str):  # JSON is text already
        return value
    return value.isoformat() if kind is FieldType.TIMESTAMP else exact_json(value)


# --- arrow and parquet -------------------------------------------------------------------------------------


def _write_arrow(file: BinaryIO, form: Form, described: Described, pages: Iterable[list[Row]]) -> None:
    iterator = iter(pages)
    first = next(iterator, [])
    id_type = str if first and isinstance(first[0].id, str) else int
    schema = _schema(described, id_type)
    with arrow_writer(file, form, schema) as write:
        page: list[Row] | None = first
        while page:
            for row in page:
                if type(row.id) is not id_type:
                    raise TransferError(f"the id {row.id!r} is of another type than the first", "write .ndjson")
            write(_record_batch(page, described, schema))
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

    rows = [[row.id, *_declared(row, described), _others(row, described)] for row in page]
    columns = [list(column) for column in zip(*rows, strict=True)]
    vectors = np.concatenate([_vector(row) for row in page])
    arrays = [pyarrow.array(columns[0], schema.field(0).type)]
    arrays.append(pyarrow.FixedSizeListArray.from_arrays(vectors, type=schema.field(1).type))
    arrays += [pyarrow.array(column, schema.field(place).type) for place, column in enumerate(columns[1:], 2)]
    return pyarrow.record_batch(arrays, schema=schema)


@contextmanager
def arrow_writer(file: BinaryIO, form: Form, schema: pyarrow.Schema) -> Iterator[Callable[[pyarrow.RecordBatch], None]]:
    """A function that writes a batch into the file."""
    import pyarrow

    if form is Form.ARROW:
        with pyarrow.ipc.new_file(file, schema) as stream:
            yield stream.write_batch
        return
    import pyarrow.parquet

    with pyarrow.parquet.ParquetWriter(file, schema) as parquet:
        yield parquet.write_batch


# --- of csv and arrow --------------------------------------------------------------------------------------


def _declared(row: Row, described: Described) -> list[Any]:
    """The values of the declared fields, those of JSON as its text. Raises TransferError for one of another type."""
    values = []
    for name, kind in described.fields.items():
        value = row.payload.get(name)
        if value is not None:
            if not fits(kind, value):
                raise _misfit(row, name, kind, value)
            if kind is FieldType.JSON:
                value = _in_json(row, name, value, exact_json)
        values.append(value)
    return values


def _others(row: Row, described: Described) -> str | None:
    """The keys that are in no column: those that are not declared, and what is NULL by name, for which see above."""
    others = {}
    for key, value in row.payload.items():
        if key not in described.fields:
            _check_name(row, key, described)
            others[key] = _in_json(row, key, value, tagged)
        elif value is None and key not in described.defaults:
            others[key] = None
    if others.keys() == {DATE}:
        message = f"id {row.id!r}: {DATE!r} alone would stand for an instant in the column {PAYLOAD}"
        raise TransferError(message, "write .ndjson")
    return plain_json(others) if others else None


def _vector(row: Row) -> NDArray[np.float32]:
    assert row.vector is not None, "the pages come with vectors"
    return row.vector


def _in_json(row: Row, key: str, value: Any, form: Callable[[Any], Any]) -> Any:
    try:
        return form(value)
    except ValueError as error:
        message = f"id {row.id!r}: {key!r} {error}"
        raise TransferError(message, f"UPDATE the row first: set {key!r} to another value or to NULL") from error


def _check_name(row: Row, key: str, described: Described) -> None:
    if (own := described.column(key)) != key:
        message = f"id {row.id!r}: the key {key!r} is older than the field {own!r}, which it would become"
        raise TransferError(message, "UPDATE the row first, or drop the field")


def _misfit(row: Row, key: str, kind: FieldType, value: Any) -> TransferError:
    message = f"id {row.id!r}: {key!r} is declared {kind} and holds {shown(value)}, which is older than the field"
    return TransferError(message, "UPDATE the row first, or drop the field")
