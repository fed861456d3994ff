"""Read plans and rows to tables: the columns a statement asked for, as plain values.

Invariant: nothing here changes a row.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from reddb.query.predicate import Predicate
from reddb.query.read_plans import (
    CountPlan,
    Examples,
    GetPlan,
    Nearest,
    ScanPlan,
    SearchPlan,
    Selection,
    SelectPlan,
    ViewPlan,
)
from reddb.query.recommend import vector_of
from reddb.query.select import Addresses, Rows, Steps, Trace, project_steps, select_steps
from reddb.query.show import show as show
from reddb.query.show import show_one as show_one
from reddb.query.table import NOTHING, TableOrigin
from reddb.query.table import Table as Table
from reddb.query.widening import nearest_steps
from reddb.types import Collection, Metric, RowId, SearchOptions, Vectors

_BLOCK_IDS = 4096

T = TypeVar("T")


class View(Protocol):
    """What a plan needs of one moment of a collection; rows are addresses, int64 (n,), of this view alone."""

    @property
    def collection(self) -> Collection: ...

    def get(self, ids: Sequence[RowId]) -> NDArray[np.int64]: ...

    def blocks(self, predicate: Predicate | None) -> Iterator[NDArray[np.int64]]: ...

    def count_steps(self, predicate: Predicate | None) -> Generator[None, None, int]: ...

    def vectors(self, addresses: NDArray[np.int64]) -> Vectors: ...

    def row_source(
        self,
        addresses: NDArray[np.int64],
        query: tuple[Metric, Vectors] | None = None,
        distances: NDArray[np.float64] | None = None,
    ) -> Rows:
        """The rows at these addresses; with metric and query (dim,) or their distances (n,) they have a "distance"."""


class Found(Protocol):
    """The rows that a search gave, nearest first."""

    @property
    def view(self) -> View: ...

    @property
    def addresses(self) -> NDArray[np.int64]: ...

    @property
    def distances(self) -> NDArray[np.float64]: ...


# Searches one view: the queries (q, dim), how, and among which rows.
Search: TypeAlias = Callable[[Vectors, SearchOptions, Predicate | None], Generator[None, None, Sequence[Found]]]


def query_vector(plan: SearchPlan, view: View) -> Vectors:
    """The vector to search for, (1, dim). Raises INVALID_ID if a stored row it should come from is not there."""
    return plan.query if isinstance(plan.query, np.ndarray) else vector_of(plan.query, view, plan.collection.metric)


def found_table(plan: SearchPlan, found: Found) -> Table:
    """The result of a search."""
    return finish(found_steps(plan, found))


def found_steps(plan: SearchPlan, found: Found) -> Steps:
    """The same in slices: yields between them."""
    addresses, distances = found.addresses, found.distances
    if isinstance(plan.query, Examples):
        others = ~np.isin(addresses, found.view.get(plan.query.ids))
        addresses, distances = addresses[others][: plan.shown], distances[others][: plan.shown]
    end = len(distances)
    if plan.distance_max is not None:
        end = int(np.searchsorted(distances, plan.distance_max, side="right"))
    addresses, distances = addresses[plan.offset : end], distances[plan.offset : end]

    def rows(part: slice) -> Rows:
        return found.view.row_source(addresses[part], distances=distances[part])

    return (yield from project_steps(plan.projection, len(addresses), rows))


def run_steps(
    plan: GetPlan | ScanPlan | CountPlan | SelectPlan | SearchPlan,
    view: View,
    search: Search,
    trace: Trace | None = None,
) -> Steps:
    """Run a read in slices of a few milliseconds: yields between them and returns the table."""
    match plan:
        case SearchPlan():
            (found,) = yield from search(query_vector(plan, view), plan.options, plan.predicate)
            return (yield from found_steps(plan, found))
        case SelectPlan():
            return (yield from _select_steps(plan, view, search, trace))
        case CountPlan():
            if plan.ids is None:
                count = yield from view.count_steps(plan.predicate)
            else:
                count = int(np.count_nonzero(view.get(plan.ids) >= 0))
            return Table([plan.name], [[count]])
        case ScanPlan():
            selection = Selection(plan.projection, plan.limit, plan.offset)
            return (yield from select_steps(selection, _Stored(view, None, plan.predicate), trace))
        case GetPlan():
            found_at = view.get(plan.ids)
            addresses = found_at[found_at >= 0][plan.offset :][: plan.limit]
    return (yield from project_steps(plan.projection, len(addresses), lambda part: view.row_source(addresses[part])))


def view_steps(plan: ViewPlan, table: Table = NOTHING) -> Steps:
    """Run a selection over the rows of a view; without one over one row."""
    return select_steps(plan.selection, TableOrigin(table))


def finish(steps: Generator[None, None, T]) -> T:
    """What the steps return, in one go."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def _select_steps(plan: SelectPlan, view: View, search: Search, trace: Trace | None) -> Steps:
    if plan.nearest is None:
        return (yield from select_steps(plan.selection, _Stored(view, plan.ids, plan.predicate), trace))
    query, without = _resolved(plan.nearest, view)
    if plan.nearest.options is not None:

        def ask(options: SearchOptions) -> Generator[None, None, tuple[Addresses, NDArray[np.float64]]]:
            (found,) = yield from search(query, options, plan.predicate)
            others = ~np.isin(found.addresses, without)
            return found.addresses[others], found.distances[others]

        of = plan.selection, plan.nearest.options, view.row_source, ask, len(without)
        near = yield from nearest_steps(*of, trace)
        if near is not None:
            return near
    origin = _Stored(view, plan.ids, plan.predicate, (plan.nearest.metric, query[0]), without)
    return (yield from select_steps(plan.selection, origin, trace))


def _resolved(nearest: Nearest, view: View) -> tuple[Vectors, Addresses]:
    """The vector (1, dim), and the addresses of examples, which are no answer."""
    if isinstance(nearest.query, np.ndarray):
        return nearest.query, np.empty(0, np.int64)
    query = vector_of(nearest.query, view, nearest.metric)
    ids = nearest.query.ids if isinstance(nearest.query, Examples) else []
    return query, view.get(ids)


class _Stored:
    """Rows of a view: those with some ids, or all that match; with a query they have a "distance"."""

    def __init__(
        self,
        view: View,
        ids: list[RowId] | None,
        predicate: Predicate | None,
        query: tuple[Metric, Vectors] | None = None,
        without: Addresses | None = None,
    ) -> None:
        self._view = view
        self._ids = ids
        self._predicate = predicate
        self._query = query
        self._without = without

    def blocks(self) -> Iterator[Addresses]:
        for block in self._view.blocks(self._predicate) if self._ids is None else self._with_ids(self._ids):
            yield block[~np.isin(block, self._without)] if self._without is not None and len(self._without) else block

    def rows(self, addresses: Addresses) -> Rows:
        return self._view.row_source(addresses, self._query)

    def _with_ids(self, ids: list[RowId]) -> Iterator[Addresses]:
        for first in range(0, len(ids), _BLOCK_IDS):
            found = self._view.get(ids[first : first + _BLOCK_IDS])
            yield found[found >= 0]


def run(plan: Any, view: View, search: Search | None = None) -> Table:
    """Run a read that is no search, in one go."""
    return finish(run_steps(plan, view, search or _no_search))


def _no_search(*_: Any) -> Generator[None, None, Sequence[Found]]:
    raise AssertionError("this plan searches")
