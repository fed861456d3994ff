"""A file to batches of rows for a collection, each row with the place it came from.

csv has no types: a declared field says what a cell is, an id that looks like an integer is one, and the cell of any
other column is what JSON makes of it, or else text. An empty cell without quotes is NULL. The column `payload` is a
JSON map of further keys, in arrow and parquet as well; a vector may be a list or its text. Of a file by pandas its
index is left out.

Invariant: a row that cannot be read is refused by its place, and none is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from reddb import limits
from reddb.client.transfer.arrow_read import arrow_rows
from reddb.client.transfer.collection import PAGE_ROWS, Described
from reddb.client.transfer.csv_text import Cell, CsvError, csv_records
from reddb.client.transfer.files import BROKEN_GZIP, text_of
from reddb.client.transfer.formats import FileFormat, Form
from reddb.client.transfer.json_text import NotJson, parse_json
from reddb.client.transfer.problem import TransferError
from reddb.client.transfer.values import check_plain, is_pandas_index, of_cell, of_value, shown, whole
from reddb.client.transfer.write import LOOKS_LIKE_A_NUMBER, PAYLOAD
from reddb.fields import EXPIRES_AT, FieldType
from reddb.types import Payload, RowId, Vectors

_ID_CHARS_MAX = 20  # of 64 bits, with a sign
RawRow: TypeAlias = tuple[str, dict[str, Any], float]  # the place, the values by their columns, the share read so far


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows are read: `file`, or lines of text that are at hand. `size` is in bytes, None where it is unknown."""

    name: str
    file: BinaryIO | None = None
    lines: Iterable[str] = ()
    size: int | None = None

    def share(self) -> float:
        """How much has been read, of 1; 0 where it is unknown."""
        return 0.0 if self.file is None or not self.size else min(1.0, self.file.tell() / self.size)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows with the places they came from, as a person finds them; `share` of the file is read then."""

    places: list[str]
    ids: list[RowId]
    vectors: Vectors
    payloads: list[Payload]
    share: float


def read_batches(
    source: Source, form: FileFormat, described: Described, tell: Callable[[str], None]
) -> Iterator[Batch]:
    """The rows, at most PAGE_ROWS at a time; `tell` gets what is worth a word. Raises TransferError and OSError."""
    rows = _text_rows(source, form, described, tell) if form.is_text else _arrow_rows(source, form, described, tell)
    while page := list(islice(rows, PAGE_ROWS)):
        yield _batch(described, page)


def _batch(described: Described, rows: list[RawRow]) -> Batch:
    vectors = np.empty((len(rows), described.dim), np.float32)
    ids, payloads = [], []
    for number, (place, row, _) in enumerate(rows):
        for name in ("id", "vector"):
            if row.get(name) is None:
                raise TransferError(f"{place}: the row has no {name}")
        ids.append(_value(whole, row.pop("id"), f"{place}: id"))
        vectors[number] = _vector(row.pop("vector"), described.dim, place)
        for name, kind in (*described.fields.items(), (EXPIRES_AT.name, EXPIRES_AT.type)):
            if row.get(name) is not None:
                row[name] = _value(partial(of_value, kind), row[name], f"{place}: {name}")
        payloads.append(row)
    return Batch([place for place, _, _ in rows], ids, vectors, payloads, rows[-1][2])


def _value(read: Callable[[Any], Any], value: Any, where: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise TransferError(f"{where}: {error}") from error


def _vector(value: Any, dim: int, place: str) -> Vectors:
    wanted = f"{place}: vector must be a list of {dim} numbers"
    if isinstance(value, str):
        value = _value(parse_json, value, f"{place}: vector")
    if isinstance(value, list) and not {type(number) for number in value} <= {int, float}:
        raise TransferError(wanted)
    array = np.asarray(value)
    if array.shape != (dim,):
        raise TransferError(f"{wanted}, not {len(array)}" if array.ndim == 1 else wanted)
    if array.dtype.kind not in "fiu":
        raise TransferError(wanted)
    with np.errstate(over="ignore"):  # an infinity is refused by the database, with its place
        return array.astype(np.float32)


# --- texts -------------------------------------------------------------------------------------------------


def _text_rows(
    source: Source, form: FileFormat, described: Described, tell: Callable[[str], None]
) -> Iterator[RawRow]:
    opened = nullcontext(source.lines) if source.file is None else text_of(source.file, form)
    try:
        with opened as lines:
            if form.form is Form.CSV:
                rows = _csv_rows(source, lines, form.delimiter, described, tell)
            else:
                rows = _ndjson_rows(source, lines, described)
            for place, row in rows:
                yield place, row, source.share()
    except UnicodeDecodeError as error:
        raise TransferError(f"{source.name} is not UTF-8: {error}") from error
    except BROKEN_GZIP as error:
        raise TransferError(f"{source.name} is no whole gzip file: {error}") from error


def _ndjson_rows(source: Source, lines: Iterable[str], described: Described) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        place = f"{source.name}:{number}"
        row = _value(parse_json, line, place)
        if not isinstance(row, dict):
            raise TransferError(f"{place}: a line is one JSON object")
        named = {described.column(key): value for key, value in row.items()}
        if len(named) < len(row):
            raise TransferError(f"{place}: two of its keys are one name: {', '.join(row)}")
        yield place, named


def _csv_rows(
    source: Source, lines: Iterable[str], delimiter: str, described: Described, tell: Callable[[str], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    records = csv_records(lines, delimiter)
    try:
        _, named = next(records, (1, []))
        header = [name and described.column(name) for name in named]
        if not {"id", "vector"} <= set(header) or len(set(header)) < len(header):
            first = f"{source.name}:1: the first line names the columns, each once, id and vector among them"
            raise TransferError(first, f"cells are separated by {delimiter!r}" if len(header) == 1 else None)
        index = [name for name in header if is_pandas_index(name) and name not in described.fields]
        if index:
            tell(f"{index[0] or 'the column without a name'}, pandas' index, was left out")
        for line, cells in records:
            place = f"{source.name}:{line}"
            if len(cells) != len(header):
                raise TransferError(f"{place}: {len(cells)} cells, and the first line names {len(header)}")
            columns = {name or "": cell for name, cell in zip(header, cells, strict=True) if name not in index}
            yield place, _csv_row(columns, described, place)
    except CsvError as error:
        raise TransferError(f"{source.name}:{error.line}: {error}") from error


def _csv_row(cells: dict[str, Cell], described: Described, place: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, cell in cells.items():
        where = f"{place}: {name}"
        if cell is None:
            if name in described.defaults:  # else the DEFAULT would come in for a NULL
                row[name] = None
        elif name == "id":
            row[name] = _value(_csv_id, cell, where)
        elif name in described.fields:
            row[name] = _value(_reader(described.fields[name]), cell, where)
        elif name != PAYLOAD:
            row[name] = cell if name == "vector" else _value(_guessed, cell, where)
    if (others := cells.get(PAYLOAD)) is not None and PAYLOAD not in described.fields:
        _join(row, others, described, place)
    return row


def _csv_id(cell: str) -> RowId:
    if not LOOKS_LIKE_A_NUMBER.fullmatch(cell):
        return cell
    if len(cell) > _ID_CHARS_MAX or not limits.ID_INT_MIN <= int(cell) <= limits.ID_INT_MAX:
        raise ValueError(f"{shown(cell)} does not fit in 64 bits")
    return int(cell)


def _reader(kind: FieldType) -> Callable[[str], Any]:
    """How a cell of such a field is read."""
    if kind in (FieldType.JSON, FieldType.TEXTS, FieldType.INTS):
        return parse_json
    return partial(of_cell, kind)


def _guessed(cell: str) -> Any:
    try:
        return parse_json(cell)
    except NotJson:
        return cell


def _join(row: dict[str, Any], text: str, described: Described, place: str) -> None:
    """Put further keys, a JSON map, into the row."""
    others = _value(parse_json, text, f"{place}: {PAYLOAD}")
    if not isinstance(others, dict):
        raise TransferError(f"{place}: {PAYLOAD} must be a JSON map")
    for given, value in others.items():
        key = described.column(given)
        if row.get(key) is not None:
            raise TransferError(f"{place}: {key!r} is a column and stands in {PAYLOAD} as well")
        row[key] = value


# --- arrow and parquet -------------------------------------------------------------------------------------


def _arrow_rows(
    source: Source, form: FileFormat, described: Described, tell: Callable[[str], None]
) -> Iterator[RawRow]:
    if source.file is None:
        raise TransferError(f"{form.form} is binary and cannot stand among statements", "copy from a file")
    for number, row, share in arrow_rows(source.name, source.file, form.form, described, tell):
        place = f"{source.name}, row {number}"
        for name, value in row.items():
            if isinstance(value, str) and described.fields.get(name) is FieldType.JSON:
                row[name] = _value(parse_json, value, f"{place}: {name}")
            elif name != "vector":
                _value(check_plain, value, f"{place}: {name}")
        if isinstance(row.get(PAYLOAD), str) and PAYLOAD not in described.fields:
            _join(row, row.pop(PAYLOAD), described, place)
        yield place, row, share
