"""A selection over rows: filtered, grouped, ordered, cut, shown; in slices of a few milliseconds.

Rows are addresses until they are shown: a block of them at a time is evaluated in columns, and of rows that are not
in the answer nothing becomes a Python object.

Invariant: what a selection gives depends on the rows alone, not on how they were cut into blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, NoReturn, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.query.grouping import GroupRows, Groups
from reddb.query.json_values import GivenJson
from reddb.query.operands import Source, to_plain
from reddb.query.ordering import First, key_values, order_of
from reddb.query.per_group import FirstGroups, RowsOfGroups
from reddb.query.pieces import Pace, pieces
from reddb.query.read_plans import ALL_KEYS, Grouping, Projection, Selection
from reddb.query.table import Table

Addresses: TypeAlias = NDArray[np.int64]
Steps: TypeAlias = Generator[None, None, Table]


_SHOWN_ROWS = 1_024  # at once: payloads may be a thousand times wider than columns
_SHOWN_BYTES = 16 * limits.MIB  # until others get their turn; sooner, many answers would be half made at a time


class Rows(Source, Protocol):
    """Rows to evaluate and to show."""

    @property
    def bytes_read(self) -> int:
        """Bytes of the payloads and vectors that were read to show them."""

    def plain(self, path: tuple[str, ...]) -> list[Any]:
        """The values of a column exactly as they were given, (rows,)."""

    def payload_keys(self) -> list[str]:
        """The keys of the payloads, in the order they first appear."""

    def payload_values(self, key: str) -> list[Any]:
        """What the payloads have at this very key, (rows,)."""


class Trace(Protocol):
    """Who measures a selection."""

    def chosen(self, rows: int) -> None:
        """The rows of the answer are known, and are about to be shown."""


class Origin(Protocol):
    """Where rows come from."""

    def blocks(self) -> Iterable[Addresses]:
        """Addresses of all rows, some thousands at a time, in their order; the same each time."""

    def rows(self, addresses: Addresses) -> Rows: ...


def select_steps(selection: Selection, origin: Origin, trace: Trace | None = None) -> Steps:
    """Run a selection: yields between blocks, returns the table. Raises LIMIT_EXCEEDED for too many rows."""
    if selection.groupings and selection.per_group is None:
        groups = yield from _grouped(selection, origin)
        if trace is not None:
            trace.chosen(groups.rows)
        return (yield from project_steps(selection.projection, groups.rows, groups.part))
    chosen = yield from (_first if selection.per_group is None else _groups_first)(selection, origin)
    if trace is not None:
        trace.chosen(len(chosen))
    return (yield from project_steps(selection.projection, len(chosen), lambda part: origin.rows(chosen[part])))


def project_steps(
    projection: Projection, count: int, source_of: Callable[[slice], Rows | GroupRows]
) -> Generator[None, None, Table]:
    """The columns of so many rows, as plain values. Raises TOO_LARGE for more than an answer may have."""
    parts: list[Table] = []
    size, last = 0, 0
    for _, rows in pieces(projection.columns, max(count, 1), source_of, _SHOWN_ROWS):
        if size - last > _SHOWN_BYTES:
            last = size
            yield
        table, bytes_read = _projected(projection, rows)
        parts.append(table)
        size += bytes_read
        if size > limits.ANSWER_BYTES_MAX:
            message = f"the rows of the answer have more than {limits.ANSWER_BYTES_MAX} bytes: ANSWER_BYTES_MAX"
            raise errors.TOO_LARGE.error(message, hint="LIMIT n gives fewer; name the columns that are wanted")
    return parts[0] if len(parts) == 1 else _joined(projection, parts)


def project(projection: Projection, rows: Rows | GroupRows) -> Table:
    """The columns of a result, as plain values."""
    return _projected(projection, rows)[0]


def _projected(projection: Projection, rows: Rows | GroupRows) -> tuple[Table, int]:
    """The same, and the bytes of what was read or made for it."""
    names: list[str] = []
    columns: list[list[Any]] = []
    made = 0
    for name, value in projection.columns:
        if isinstance(value, GivenJson):
            names.append(name)
            columns.append([value.value] * rows.rows)
            made += len(value.text) * rows.rows
            continue
        if not isinstance(value, tuple):
            values = value.values(rows)
            names.append(name)
            columns.append(to_plain(values, rows.rows))
            made += sum(array.nbytes for array in values.values() if not isinstance(array, pa.Scalar))
            continue
        assert not isinstance(rows, GroupRows), "a group has expressions only"
        if (name, value) == ALL_KEYS:
            names += rows.payload_keys()
            columns += map(rows.payload_values, rows.payload_keys())
        else:
            names.append(name)
            columns.append(rows.plain(value))
    made += 0 if isinstance(rows, GroupRows) else rows.bytes_read
    return Table(names, [list(row) for row in zip(*columns, strict=True)]), made


def _joined(projection: Projection, parts: list[Table]) -> Table:
    """The rows of all parts; each has the keys that its own payloads have."""
    if ALL_KEYS not in projection.columns:
        return Table(parts[0].columns, [row for part in parts for row in part.rows])
    before = projection.columns.index(ALL_KEYS)
    behind = len(projection.columns) - before - 1
    keys = list(dict.fromkeys(key for part in parts for key in part.columns[before : len(part.columns) - behind]))
    rows: list[list[Any]] = []
    for part in parts:
        end = len(part.columns) - behind
        mine = part.columns[before:end]
        if mine == keys:
            rows += part.rows
            continue
        places = [before + mine.index(key) if key in mine else None for key in keys]
        for row in part.rows:
            values = [None if place is None else row[place] for place in places]
            rows.append([*row[:before], *values, *row[end:]])
    last = parts[-1].columns
    return Table([*last[:before], *keys, *last[len(last) - behind :]], rows)


# --- rows --------------------------------------------------------------------------------------------------


def _matching(selection: Selection, origin: Origin, *operands: object) -> Iterator[tuple[Addresses, Rows]]:
    """Piece by piece the rows for which the condition is TRUE, a few milliseconds of work each with the operands."""
    condition, pace = selection.condition, Pace((selection.condition, operands))
    for block in origin.blocks():
        for part, rows in pieces((condition, operands), len(block), partial(_part, origin, block), pace):
            addresses = block[part]
            if condition is not None:
                kept = condition.evaluate(rows)
                if not kept.all():
                    addresses = addresses[kept]
                    rows = origin.rows(addresses)
            yield addresses, rows
            pace.ended()
        if not len(block):
            yield block, origin.rows(block)


def _part(origin: Origin, block: Addresses, part: slice) -> Rows:
    return origin.rows(block[part])


def _first(selection: Selection, origin: Origin) -> Generator[None, None, Addresses]:
    """The rows of the answer, in order."""
    wanted = selection.offset + (limits.SCAN_ROWS_MAX if selection.limit is None else selection.limit)
    if not wanted:
        return np.empty(0, np.int64)
    first = First(selection.order, wanted)
    found = 0
    for addresses, rows in _matching(selection, origin, selection.order):
        if len(addresses):
            first.add(addresses, rows)
            found += len(addresses)
        if found >= wanted and not selection.order and selection.limit is not None:
            break
        if found > wanted and selection.limit is None:
            _refuse_all(selection)
        yield
    return first.rows()[selection.offset : wanted]


def _refuse_all(selection: Selection) -> NoReturn:
    past = f" after an OFFSET of {selection.offset}" if selection.offset else ""
    message = f"more than {limits.SCAN_ROWS_MAX} rows match{past}, and a SELECT without LIMIT gives all or none"
    hint = "LIMIT n gives the first; WHERE id > $1 ORDER BY id LIMIT n gives the next ones, page by page"
    raise errors.LIMIT_EXCEEDED.error(message, hint=hint)


# --- groups ------------------------------------------------------------------------------------------------


def _grouped(selection: Selection, origin: Origin) -> Generator[None, None, GroupRows]:
    first, *further = selection.groupings
    groups = Groups(first.keys, first.aggregates)
    for addresses, rows in _matching(selection, origin, first.keys, first.aggregates):
        if len(addresses):
            groups.add(rows)
        yield
    found = _having(first, groups.table())
    for grouping in further:
        yield
        groups = Groups(grouping.keys, grouping.aggregates)
        if found.rows:
            groups.add(found)
        found = _having(grouping, groups.table())
    yield
    last = None if selection.limit is None else selection.offset + selection.limit
    if last is None and found.rows - selection.offset > limits.SCAN_ROWS_MAX:
        _refuse_all(selection)
    order = order_of(selection.order, key_values(selection.order, found), found.rows)
    return found.taken(order[selection.offset : last])


def _having(grouping: Grouping, found: GroupRows) -> GroupRows:
    if grouping.having is None or not found.rows:
        return found
    return found.taken(np.flatnonzero(grouping.having.evaluate(found)))


def _groups_first(selection: Selection, origin: Origin) -> Generator[None, None, Addresses]:
    """The best rows of the first groups, in two passes: only when the groups are known can rows be dropped."""
    assert selection.per_group is not None
    assert selection.limit is not None
    groups = FirstGroups(selection.per_group.keys, selection.order, selection.offset + selection.limit)
    keys = selection.per_group.keys
    for addresses, rows in _matching(selection, origin, keys, selection.order):
        if len(addresses):
            groups.add(addresses, rows)
        yield
    of_groups = RowsOfGroups(groups.after(selection.offset), selection.per_group, selection.order)
    for addresses, rows in _matching(selection, origin, keys, selection.order):
        if len(addresses):
            of_groups.add(addresses, rows)
        yield
    return of_groups.rows()
