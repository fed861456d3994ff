"""All rows of a collection, page by page, without holding them together.

A SELECT gives at most SCAN_ROWS_MAX rows, in no order that could be continued. So the ids are divided into ranges, each
halved at the middle of the ids that were found in it until it fits: a row that exists throughout is read once,
whatever is written meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reddb import limits
from reddb.client.rows import Row
from reddb.client.shell.names import FIELD, quoted
from reddb.client.shell.session import Session
from reddb.fields import FieldType
from reddb.types import RowId

PAGE_ROWS = 1000
# Comparisons hold within one kind of id, so there is a range for each.
_RANGES: list[tuple[RowId, RowId | None]] = [(limits.ID_INT_MIN, None), ("", None)]


@dataclass(frozen=True, slots=True)
class Described:
    """What a copy needs to know of a collection; `rows` is how many there were."""

    name: str
    dim: int
    rows: int
    fields: dict[str, FieldType]


def describe(session: Session, name: str) -> Described:
    """Ask for it. Raises UNKNOWN_COLLECTION."""
    properties = {str(row[0]): row[1] for row in session.ask(f"SHOW COLLECTION {quoted(name)}")}
    fields = {
        key.removeprefix(FIELD): FieldType(str(value).split()[0])
        for key, value in properties.items()
        if key.startswith(FIELD)
    }
    return Described(name, properties["dim"], properties["rows"], fields)


def pages(session: Session, described: Described) -> Iterator[list[Row]]:
    """The rows with their vectors, at most PAGE_ROWS at a time."""
    ranges = list(_RANGES)
    while ranges:
        low, high = ranges.pop(0)
        ids = _ids(session, described.name, low, high)
        if len(ids) == limits.SCAN_ROWS_MAX:
            middle = sorted(ids)[len(ids) // 2]  # all of one kind
            ranges[:0] = [(low, middle), (middle, high)]
            continue
        for first in range(0, len(ids), PAGE_ROWS):
            found = session.connection.client.get(described.name, ids[first : first + PAGE_ROWS], with_vectors=True)
            if rows := [row for row in found if row is not None]:  # None was deleted meanwhile
                yield rows


def _ids(session: Session, name: str, low: RowId, high: RowId | None) -> list[RowId]:
    where, params = ("id >= $1", [low]) if high is None else ("id >= $1 AND id < $2", [low, high])
    statement = f"SELECT id FROM {quoted(name)} WHERE {where} LIMIT {limits.SCAN_ROWS_MAX}"
    return [row[0] for row in session.ask(statement, params)]
