"""Plans and rows to results: the columns a statement asked for, as plain values.

Invariant: nothing here changes a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reddb import errors
from reddb.fields import unpack_payload
from reddb.index.metrics import METRICS
from reddb.query.plan import CountPlan, GetPlan, Projection, ScanPlan, SearchPlan
from reddb.query.predicate import Predicate
from reddb.settings import SETTINGS
from reddb.types import Collection, Payload, RowId, Vectors


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of plain values; a vector is a float32 array."""

    columns: list[str]
    rows: list[list[Any]]


class View(Protocol):
    """What a plan needs of one moment of a partition; rows are addresses, int64 (n,), of this view alone."""

    def get(self, ids: Sequence[RowId]) -> NDArray[np.int64]: ...

    def scan(self, count: int, offset: int, predicate: Predicate | None) -> NDArray[np.int64]: ...

    def count(self, predicate: Predicate | None) -> int: ...

    def row_ids(self, addresses: NDArray[np.int64]) -> list[RowId]: ...

    def vectors(self, addresses: NDArray[np.int64]) -> Vectors: ...

    def payloads(self, addresses: NDArray[np.int64]) -> list[bytes]: ...


class Found(Protocol):
    """The rows that a search gave, nearest first."""

    @property
    def view(self) -> View: ...

    @property
    def addresses(self) -> NDArray[np.int64]: ...

    @property
    def distances(self) -> NDArray[np.float64]: ...


def query_vector(plan: SearchPlan, view: View) -> Vectors:
    """The vector to search for, (1, dim). Raises INVALID_ID if the stored row it should come from is not there."""
    if isinstance(plan.query, np.ndarray):
        return plan.query
    found = view.get([plan.query])
    if found[0] < 0:
        raise errors.INVALID_ID.error(f"there is no row with id {plan.query!r} in {plan.collection.name!r}")
    return view.vectors(found)


def found_table(plan: SearchPlan, found: Found) -> Table:
    """The result of a search."""
    end = len(found.distances)
    if plan.distance_max is not None:
        end = int(np.searchsorted(found.distances, plan.distance_max, side="right"))
    rows = slice(plan.offset, end)
    return _project(plan.projection, found.view, found.addresses[rows], found.distances[rows])


def run(plan: GetPlan | ScanPlan | CountPlan, view: View) -> Table:
    """Run a read that is no search."""
    if isinstance(plan, CountPlan):
        if plan.ids is not None:
            return Table([plan.name], [[int(np.count_nonzero(view.get(plan.ids) >= 0))]])
        return Table([plan.name], [[view.count(plan.predicate)]])
    if isinstance(plan, ScanPlan):
        return _project(plan.projection, view, view.scan(plan.limit, plan.offset, plan.predicate))
    found = view.get(plan.ids)
    return _project(plan.projection, view, found[found >= 0][plan.offset :][: plan.limit])


def show(collections: Iterable[tuple[Collection, int | None]]) -> Table:
    """SHOW COLLECTIONS: each with its live rows, None while it is recovering."""
    return Table(
        ["name", "kind", "dim", "metric", "rows"],
        [[item.name, str(item.kind), item.dim, str(item.metric), rows] for item, rows in collections],
    )


def show_one(collection: Collection, figures: dict[str, Any]) -> Table:
    """SHOW COLLECTION: one property a row; `figures` are those that change."""
    metric = METRICS[collection.metric]
    properties = {
        "name": collection.name,
        "kind": str(collection.kind),
        "dim": collection.dim,
        "metric": str(collection.metric),
        "distance": metric.formula,
        "score": metric.score,
        "range": metric.range,
        "zero vector": metric.zero_vector,
        **figures,
        **{f"field {field.name}": _field(field.type, field.not_null, field.default) for field in collection.fields},
        **{name: collection.settings[name] for name in SETTINGS},
    }
    return Table(["property", "value"], [[name, value] for name, value in properties.items()])


def _field(type_name: str, not_null: bool, default: Any) -> str:
    return str(type_name) + (" NOT NULL" if not_null else "") + ("" if default is None else f" DEFAULT {default!r}")


def _project(
    projection: Projection, view: View, addresses: NDArray[np.int64], distances: NDArray[np.float64] | None = None
) -> Table:
    columns: dict[tuple[str, ...], list[Any]] = {("id",): view.row_ids(addresses)}
    if distances is not None:
        columns["distance",] = distances.tolist()
    if projection.needs("vector"):
        columns["vector",] = list(view.vectors(addresses))
    wanted = list(projection.columns)
    if projection.all_payload or any(path not in columns for _, path in wanted):
        payloads = [unpack_payload(content) for content in view.payloads(addresses)]
        if projection.all_payload:
            # The keys in the order they first appear, for payloads have no declared order.
            wanted += [(key, (key,)) for key in dict.fromkeys(key for payload in payloads for key in payload)]
        for _, path in wanted:
            if path not in columns:
                columns[path] = [_at(payload, path) for payload in payloads]
    table = [columns[path] for _, path in wanted]
    return Table([name for name, _ in wanted], [list(row) for row in zip(*table, strict=True)])


def _at(payload: Payload, path: tuple[str, ...]) -> Any:
    """The value of a path; None where a step of it is missing or no map."""
    value: Any = payload
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
