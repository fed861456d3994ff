"""`LIMIT n PER GROUP m`: the groups whose best row comes first, and of each its best rows.

Two passes over the rows: in the first only the best row of each group is kept, and of these the first n, for a group
that falls behind n others can only come back with a better row. In the second the groups are known.

Invariants:
  * Groups stand in the order of their best rows, and equal rows in the order they came.
  * Rows whose key is NULL are one group.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reddb.query.families import Arrays, concatenate, dense, identities, take
from reddb.query.grouping import GroupRows, group_values, key_name
from reddb.query.operands import Operand, Source
from reddb.query.ordering import KeyedRows, OrderKey, key_values, order_of
from reddb.query.read_plans import PerGroup

_PRUNE_ROWS = 8192


class FirstGroups:
    """The first `count` groups."""

    def __init__(self, keys: Sequence[Operand], order: Sequence[OrderKey], count: int) -> None:
        self._keys = keys
        self._order = order
        self._count = count
        self._kept = KeyedRows(len(order) + len(keys))

    def add(self, addresses: NDArray[np.int64], source: Source) -> None:
        self._kept.add(addresses, [*key_values(self._order, source), *group_values(self._keys, source)])
        if len(self._kept) > 2 * self._count + _PRUNE_ROWS:
            self._prune()

    def after(self, offset: int) -> GroupRows:
        """The groups, in their order, without the first `offset`; the columns are the keys."""
        self._prune()
        rows = np.arange(offset, max(len(self._kept), offset))
        keys = {key_name(place): value for place, value in enumerate(self._group_values())}
        return GroupRows(len(self._kept), keys).taken(rows)

    def _group_values(self) -> list[Arrays]:
        return self._kept.values[len(self._order) :]

    def _prune(self) -> None:
        kept = self._kept
        kept.join()
        order = order_of(self._order, kept.values[: len(self._order)], len(kept))
        group = dense([identities(value, len(kept)) for value in self._group_values()], len(kept))[order]
        best = np.sort(np.unique(group, return_index=True)[1])
        kept.keep(order[best[: self._count]])


class RowsOfGroups:
    """The first rows of each of some groups, in the order of these."""

    def __init__(self, groups: GroupRows, per_group: PerGroup, order: Sequence[OrderKey]) -> None:
        self._groups = list(groups.columns.values())
        self._count = groups.rows
        self._keys = per_group.keys
        self._rows = per_group.rows
        self._order = order
        self._kept = KeyedRows(len(order))
        self._group: NDArray[np.int64] = np.empty(0, np.int64)

    def add(self, addresses: NDArray[np.int64], source: Source) -> None:
        places = self._places(source)
        mine = np.flatnonzero(places >= 0)
        if not len(mine):
            return
        self._kept.add(addresses[mine], [take(value, mine) for value in key_values(self._order, source)])
        self._group = np.concatenate([self._group, places[mine]])
        if len(self._kept) > 2 * self._count * self._rows + _PRUNE_ROWS:
            self._prune()

    def rows(self) -> NDArray[np.int64]:
        """Their addresses, group by group."""
        self._prune()
        return self._kept.rows

    def _places(self, source: Source) -> NDArray[np.int64]:
        """The place of each row's group, -1 for another group."""
        counts = [self._count, source.rows]
        total = sum(counts)
        both = zip(self._groups, group_values(self._keys, source), strict=True)
        group = dense([identities(concatenate(pair, counts), total) for pair in both], total)
        places: NDArray[np.int64] = np.full(total, -1, np.int64)
        places[group[: self._count]] = np.arange(self._count)
        return places[group[self._count :]]

    def _prune(self) -> None:
        kept = self._kept
        kept.join()
        order = order_of(self._order, kept.values, len(kept))
        order = order[np.argsort(self._group[order], kind="stable")]
        group = self._group[order]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        within = np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))
        order = order[within < self._rows]
        kept.keep(order)
        self._group = self._group[order]
