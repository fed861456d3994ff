"""What a copy must know of a collection, and all its rows, page by page, without holding them together.

A SELECT gives at most SCAN_ROWS_MAX rows, in no order that could be continued. So the ids are divided into ranges, each
halved at the middle of the ids that were found in it until it fits: a row that exists throughout is read once,
whatever is written meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from reddb import limits
from reddb.client.blocking import Client
from reddb.client.rows import Row
from reddb.fields import EXPIRES_AT, FieldType
from reddb.keys import folded
from reddb.types import RowId

PAGE_ROWS = 1000
FIELD = "field "  # how SHOW COLLECTION begins the line of a field
_LOWEST: dict[type, RowId] = {int: limits.ID_INT_MIN, str: ""}
_DECLARED = re.compile(r"(?P<type>\S+)(?: NOT NULL)?(?P<default> DEFAULT .*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Described:
    """`rows` is how many there were; `defaults` are the fields that have one.

    `names` are all that have a name of their own, by that name in one case.
    """

    name: str
    dim: int
    rows: int
    fields: dict[str, FieldType]
    defaults: frozenset[str]
    names: dict[str, str]

    def column(self, name: str) -> str:
        """What a column or a key of a file is called here: names meet whatever their case."""
        return self.names.get(folded(name), name)


def quoted(name: str) -> str:
    """A name as the language writes it whatever its characters are."""
    return '"' + name.replace('"', '""') + '"'


def describe(client: Client, name: str) -> Described:
    """Ask for it. Raises UNKNOWN_COLLECTION."""
    properties = {str(row[0]): row[1] for row in client.execute(f"SHOW COLLECTION {quoted(name)}")}
    fields, defaults = {}, set()
    for key, value in properties.items():
        if key.startswith(FIELD):
            found = _DECLARED.fullmatch(str(value))
            assert found is not None
            field = key.removeprefix(FIELD)
            fields[field] = FieldType(found["type"])
            if found["default"]:
                defaults.add(field)
    names = {folded(own): own for own in ("id", "vector", EXPIRES_AT.name, *fields)}
    return Described(name, properties["dim"], properties["rows"], fields, frozenset(defaults), names)


def pages(client: Client, described: Described) -> Iterator[list[Row]]:
    """The rows with their vectors, at most PAGE_ROWS at a time."""
    # Comparisons hold within one kind of id, so there is a range for each: the least id is a number where any is.
    ((least, greatest),) = client.execute(f"SELECT min(id), max(id) FROM {quoted(described.name)}")
    kinds = dict.fromkeys(type(row_id) for row_id in (least, greatest) if row_id is not None)
    ranges: list[tuple[RowId, RowId | None]] = [(_LOWEST[kind], None) for kind in kinds]
    while ranges:
        low, high = ranges.pop(0)
        ids = _ids(client, described.name, low, high)
        if len(ids) == limits.SCAN_ROWS_MAX:
            middle = sorted(ids)[len(ids) // 2]  # all of one kind
            ranges[:0] = [(low, middle), (middle, high)]
            continue
        for first in range(0, len(ids), PAGE_ROWS):
            found = client.get(described.name, ids[first : first + PAGE_ROWS], with_vectors=True)
            if rows := [row for row in found if row is not None]:  # None was deleted meanwhile
                yield rows


def _ids(client: Client, name: str, low: RowId, high: RowId | None) -> list[RowId]:
    where, params = ("id >= $1", [low]) if high is None else ("id >= $1 AND id < $2", [low, high])
    statement = f"SELECT id FROM {quoted(name)} WHERE {where} LIMIT {limits.SCAN_ROWS_MAX}"
    return [row[0] for row in client.execute(statement, params)]
