"""A result as text or bytes: tables for a person, csv, json, ndjson and arrow for programs.

    table      aligned columns, long vectors shortened
    vertical   a value on each line
    csv        a header and lines that end in CR LF (RFC 4180); NULL is an empty cell, the empty text is "", lists and
               maps are JSON
    json       one array of objects
    ndjson     an object on each line
    arrow      an IPC stream

In csv, json and ndjson a vector is a list of numbers that read back as the same float32, a timestamp is ISO 8601, and
nothing is shortened.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from reddb.client.rows import Result
from reddb.client.shell.complaint import Complaint
from reddb.client.tables import PLAIN, Look, fits, render_table, render_vertical
from reddb.client.transfer.csv_text import Cell, csv_line
from reddb.client.transfer.json_text import vector_numbers
from reddb.errors import RedDBError

if TYPE_CHECKING:
    import pyarrow


def render(result: Result, name: str, look: Look = PLAIN) -> str | bytes:
    """The result in the format of this name, whole lines. Raises Complaint for what the format cannot hold."""
    return FORMATS[name](result, look)


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = ",") -> str:
    """The header and the rows."""
    lines = [columns, *([_csv_cell(value) for value in row] for row in rows)]
    return "".join(csv_line(line, delimiter) for line in lines)


def _csv_cell(value: Any) -> Cell:
    if value is None or isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, datetime) else to_json(value)


def to_json(value: Any) -> str:
    """One value in one line. Raises Complaint for an infinity, which JSON has no word for."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_other)
    except (TypeError, ValueError) as error:
        raise Complaint(f"a value cannot be written as JSON: {error}", "arrow holds it") from error


def _other(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return vector_numbers(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _table(result: Result, look: Look) -> str:
    if look.width is not None and not fits(result.columns, look.width):
        return _vertical(result, look)
    return render_table(result.columns, result, look) + "\n"


def _vertical(result: Result, look: Look) -> str:
    return "".join(f"{line}\n" for line in render_vertical(result.columns, result, look).splitlines())


def _csv(result: Result, look: Look) -> str:
    return to_csv(result.columns, result)


def _json(result: Result, look: Look) -> str:
    objects = _objects(result)
    return "[\n " + ",\n ".join(objects) + "\n]\n" if objects else "[]\n"


def _ndjson(result: Result, look: Look) -> str:
    return "".join(f"{line}\n" for line in _objects(result))


def _objects(result: Result) -> list[str]:
    if len(set(result.columns)) < len(result.columns):
        raise Complaint("two columns have one name, which an object cannot hold", "rename one with AS")
    return [to_json(dict(zip(result.columns, row, strict=True))) for row in result]


def to_table(result: Result) -> pyarrow.Table:
    """The result as an Arrow table. Raises Complaint for columns of mixed types."""
    try:
        return result.to_arrow()
    except RedDBError as error:
        message = f"the rows are no Arrow table: {error.message}"
        raise Complaint(message, "ndjson holds columns of mixed types") from error


def _arrow(result: Result, look: Look) -> bytes:
    import pyarrow

    table = to_table(result)
    out = io.BytesIO()
    with pyarrow.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()


FORMATS: dict[str, Callable[[Result, Look], str | bytes]] = {
    "table": _table,
    "vertical": _vertical,
    "csv": _csv,
    "json": _json,
    "ndjson": _ndjson,
    "arrow": _arrow,
}
FOR_A_PERSON = frozenset({"table", "vertical"})
