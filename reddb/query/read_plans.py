"""What a statement that reads asks to be done, checked and with its parameters in place.

    SearchPlan    the nearest rows and nothing else: the short way, batched with others of its turn
    GetPlan, ScanPlan, CountPlan    what needs no order: rows by id, the first rows that match, their number
    SelectPlan    everything else over a collection
    ViewPlan      the same over a table of rows that the server makes (`red.sessions`), or over one row of nothing

Invariant: a plan names no column, setting or collection that was not checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from reddb.query.grouping import Aggregate
from reddb.query.operands import Operand
from reddb.query.ordering import OrderKey
from reddb.query.predicate import Predicate
from reddb.types import Collection, Metric, RowId, SearchOptions, Vectors

Path: TypeAlias = tuple[str, ...]

ALL_KEYS: tuple[str, Path] = ("*", ())  # in a projection: where the payloads' keys come, in order of appearance


@dataclass(frozen=True, slots=True)
class Projection:
    """The columns of a result: what each is called, and the path it shows or the expression it is."""

    columns: tuple[tuple[str, Path | Operand], ...]


@dataclass(frozen=True, slots=True)
class Examples:
    """Stored rows to search from: what is like some, and not like others."""

    like: tuple[RowId, ...]
    unlike: tuple[RowId, ...] = ()

    @property
    def ids(self) -> list[RowId]:
        return list(dict.fromkeys((*self.like, *self.unlike)))


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The nearest rows. `query` is float32 (1, dim), or stands for the vectors of stored rows.

    Rows beyond `distance_max` are left out, and so are examples, in whose place as many more are searched for.
    """

    collection: Collection
    query: Vectors | RowId | Examples
    options: SearchOptions
    offset: int
    projection: Projection
    predicate: Predicate | None = None
    distance_max: float | None = None

    @property
    def shown(self) -> int:
        """Rows to show at most, with those that the offset skips."""
        return self.options.k - (len(self.query.ids) if isinstance(self.query, Examples) else 0)


@dataclass(frozen=True, slots=True)
class GetPlan:
    """Rows by id, in the order of the ids; those that do not exist are left out."""

    collection: Collection
    ids: list[RowId]
    limit: int
    offset: int
    projection: Projection


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """Rows that match, in the order they came."""

    collection: Collection
    limit: int
    offset: int
    projection: Projection
    predicate: Predicate | None = None


@dataclass(frozen=True, slots=True)
class CountPlan:
    """The number of rows, of those that match, or of those ids that exist."""

    collection: Collection
    ids: list[RowId] | None
    name: str
    predicate: Predicate | None = None


@dataclass(frozen=True, slots=True)
class Grouping:
    """Rows to one row for each group. What comes after is evaluated over `reddb.query.grouping.GroupRows`."""

    keys: tuple[Operand, ...]
    aggregates: tuple[Aggregate, ...] = ()
    having: Predicate | None = None


@dataclass(frozen=True, slots=True)
class PerGroup:
    """The first rows of each group, the groups in the order of their best row; LIMIT and OFFSET count groups."""

    keys: tuple[Operand, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Selection:
    """What is done with rows, in this order: filtered, grouped (as often as there are groupings), ordered, cut, shown.

    Without a `limit` all rows are given, and more than limits.SCAN_ROWS_MAX are an error.
    """

    projection: Projection
    limit: int | None
    offset: int = 0
    condition: Predicate | None = None
    groupings: tuple[Grouping, ...] = ()
    order: tuple[OrderKey, ...] = ()
    per_group: PerGroup | None = None


@dataclass(frozen=True, slots=True)
class Nearest:
    """What "distance" is the distance to, and by which metric.

    With `options` an index may find the rows; without, all rows that match are compared.
    """

    query: Vectors | RowId | Examples
    metric: Metric
    options: SearchOptions | None = None


@dataclass(frozen=True, slots=True)
class SelectPlan:
    """Rows of a collection: those with these ids, or those that match, or the nearest of these; then a selection."""

    collection: Collection
    selection: Selection
    ids: list[RowId] | None = None
    predicate: Predicate | None = None
    nearest: Nearest | None = None


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """A selection over the rows of a view, as the caller makes them; without a name over one row without columns."""

    view: str | None
    selection: Selection


ReadPlan: TypeAlias = SearchPlan | GetPlan | ScanPlan | CountPlan | SelectPlan
