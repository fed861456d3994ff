"""A selection over the nearest rows, where it is not known beforehand how many of them it needs.

An index gives the nearest k. That is enough for `LIMIT n` if the row behind the n-th is farther, for else the other
keys of the ORDER BY decide between rows that were found and rows that were not; and for `LIMIT n PER GROUP m` if the
first n groups have m rows each. If it is not enough, four times as many are asked for, up to what a search may give;
beyond that, only comparing all rows is sure to be right.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb import limits
from reddb.query.families import dense, identities
from reddb.query.grouping import group_values
from reddb.query.read_plans import Selection
from reddb.query.select import Addresses, Rows, Trace, select_steps
from reddb.query.table import Table
from reddb.types import SearchOptions

_FACTOR = 4
_GROUP_FACTOR = 2  # rows asked for at first for each that a full answer has

Distances: TypeAlias = NDArray[np.float64]
Nearest: TypeAlias = Generator[None, None, tuple[Addresses, Distances]]


def nearest_steps(
    selection: Selection,
    options: SearchOptions,
    row_source: Callable[[Addresses, None, Distances], Rows],
    ask: Callable[[SearchOptions], Nearest],
    left_out: int,
    trace: Trace | None = None,
) -> Generator[None, None, Table | None]:
    """The table, or None where no number of nearest rows is sure to hold the answer.

    `ask` gives the addresses and distances of the nearest rows, of which it leaves so many out at most.
    """
    k = _first_k(selection) + left_out
    while k <= limits.K_MAX:
        addresses, distances = yield from ask(options._replace(k=k))
        is_all = len(addresses) < k - left_out
        if not is_all:  # of the rows as far as the last, some may be missing
            sure = int(np.searchsorted(distances, distances[-1], side="left"))
            addresses, distances = addresses[:sure], distances[:sure]
        origin = _Found(addresses, distances, row_source)
        if is_all or _is_enough(selection, origin):
            return (yield from select_steps(selection, origin, trace))
        k *= _FACTOR
    return None


def _first_k(selection: Selection) -> int:
    assert selection.limit is not None
    rows = selection.offset + selection.limit
    if selection.per_group is not None:
        rows *= selection.per_group.rows * _GROUP_FACTOR
    return min(rows + 1, limits.K_MAX)


def _is_enough(selection: Selection, origin: _Found) -> bool:
    assert selection.limit is not None
    wanted = selection.offset + selection.limit
    if selection.per_group is None:
        return len(origin.addresses) >= wanted
    keys = group_values(selection.per_group.keys, origin.rows(origin.addresses))
    group = dense([identities(key, len(origin.addresses)) for key in keys], len(origin.addresses))
    _, first, sizes = np.unique(group, return_index=True, return_counts=True)
    nearest = np.argsort(first)[:wanted]
    return len(nearest) == wanted and bool((sizes[nearest] >= selection.per_group.rows).all())


class _Found:
    """Rows that a search found, nearest first, as where rows come from."""

    def __init__(
        self, addresses: Addresses, distances: Distances, row_source: Callable[[Addresses, None, Distances], Rows]
    ) -> None:
        self.addresses = addresses
        self._distances = distances
        self._row_source = row_source
        self._order = np.argsort(addresses)

    def blocks(self) -> list[Addresses]:
        return [self.addresses]

    def rows(self, addresses: Addresses) -> Rows:
        places = self._order[np.searchsorted(self.addresses, addresses, sorter=self._order)]
        return self._row_source(addresses, None, self._distances[places])
