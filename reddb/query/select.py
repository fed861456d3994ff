"""A selection over rows: filtered, grouped, ordered, cut, shown; in slices of a few milliseconds.

Rows are addresses until they are shown: a block of them at a time is evaluated in columns, and of rows that are not
in the answer nothing becomes a Python object.

Invariant: what a selection gives depends on the rows alone, not on how they were cut into blocks.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any, NoReturn, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.query.grouping import GroupRows, Groups
from reddb.query.json_values import GivenJson
from reddb.query.operands import Source, to_plain
from reddb.query.ordering import First, key_values, order_of
from reddb.query.per_group import FirstGroups, RowsOfGroups
from reddb.query.predicate import Predicate
from reddb.query.read_plans import ALL_KEYS, Grouping, Projection, Selection
from reddb.query.table import Table

Addresses: TypeAlias = NDArray[np.int64]
Steps: TypeAlias = Generator[None, None, Table]


class Rows(Source, Protocol):
    """Rows to evaluate and to show."""

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
    rows = yield from _chosen(selection, origin)
    if trace is not None:
        trace.chosen(rows.rows)
    return project(selection.projection, rows)


def _chosen(selection: Selection, origin: Origin) -> Generator[None, None, Rows | GroupRows]:
    if selection.per_group is not None:
        return origin.rows((yield from _groups_first(selection, origin)))
    if selection.groupings:
        return (yield from _grouped(selection, origin))
    return origin.rows((yield from _first(selection, origin)))


def project(projection: Projection, rows: Rows | GroupRows) -> Table:
    """The columns of a result, as plain values."""
    names: list[str] = []
    columns: list[list[Any]] = []
    for name, value in projection.columns:
        if isinstance(value, GivenJson):
            names.append(name)
            columns.append([value.value] * rows.rows)
            continue
        if not isinstance(value, tuple):
            names.append(name)
            columns.append(to_plain(value.values(rows), rows.rows))
            continue
        assert not isinstance(rows, GroupRows), "a group has expressions only"
        if (name, value) == ALL_KEYS:
            names += rows.payload_keys()
            columns += map(rows.payload_values, rows.payload_keys())
        else:
            names.append(name)
            columns.append(rows.plain(value))
    return Table(names, [list(row) for row in zip(*columns, strict=True)])


# --- rows --------------------------------------------------------------------------------------------------


def _matching(condition: Predicate | None, origin: Origin) -> Iterator[tuple[Addresses, Rows]]:
    """Block by block the rows for which the condition is TRUE."""
    for block in origin.blocks():
        rows = origin.rows(block)
        if condition is not None and len(block):
            kept = condition.evaluate(rows)
            if not kept.all():
                block = block[kept]
                rows = origin.rows(block)
        yield block, rows


def _first(selection: Selection, origin: Origin) -> Generator[None, None, Addresses]:
    """The rows of the answer, in order."""
    wanted = selection.offset + (limits.SCAN_ROWS_MAX if selection.limit is None else selection.limit)
    if not wanted:
        return np.empty(0, np.int64)
    first = First(selection.order, wanted)
    found = 0
    for addresses, rows in _matching(selection.condition, origin):
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
    for addresses, rows in _matching(selection.condition, origin):
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
    for addresses, rows in _matching(selection.condition, origin):
        if len(addresses):
            groups.add(addresses, rows)
        yield
    of_groups = RowsOfGroups(groups.after(selection.offset), selection.per_group, selection.order)
    for addresses, rows in _matching(selection.condition, origin):
        if len(addresses):
            of_groups.add(addresses, rows)
        yield
    return of_groups.rows()
