"""Plans and rows to results: the columns a statement asked for, as plain values.

Invariant: nothing here changes a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgpack
import numpy as np
from numpy.typing import NDArray

from reddb import errors
from reddb.index.metrics import METRICS
from reddb.query.plan import CountPlan, GetPlan, Projection, ScanPlan, SearchPlan
from reddb.storage.growing import GrowingRows
from reddb.types import Collection, Found, RowId, Vectors


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of plain values; a vector is a float32 array."""

    columns: list[str]
    rows: list[list[Any]]


class Reader(Protocol):
    """What a plan needs of a partition."""

    @property
    def collection(self) -> Collection: ...

    @property
    def rows(self) -> GrowingRows: ...

    def get(self, ids: Sequence[RowId]) -> list[int | None]: ...

    def scan(self, count: int, offset: int) -> NDArray[np.int64]: ...

    def count(self) -> int: ...


def query_vector(plan: SearchPlan, reader: Reader) -> Vectors:
    """The vector to search for, (1, dim). Raises INVALID_ID if the stored row it should come from is not there."""
    if isinstance(plan.query, np.ndarray):
        return plan.query
    (row,) = reader.get([plan.query])
    if row is None:
        raise errors.INVALID_ID.error(f"there is no row with id {plan.query!r} in {plan.collection.name!r}")
    return reader.rows.vectors[row : row + 1].copy()


def found_table(plan: SearchPlan, reader: Reader, found: Found) -> Table:
    """The result of a search."""
    rows, distances = found.rows[plan.offset :], found.distances[plan.offset :]
    return _project(plan.projection, reader.rows, rows, distances)


def run(plan: GetPlan | ScanPlan | CountPlan, reader: Reader) -> Table:
    """Run a read that is no search."""
    if isinstance(plan, CountPlan):
        count = reader.count() if plan.ids is None else sum(row is not None for row in reader.get(plan.ids))
        return Table([plan.name], [[count]])
    if isinstance(plan, ScanPlan):
        return _project(plan.projection, reader.rows, reader.scan(plan.limit, plan.offset))
    rows = [row for row in reader.get(plan.ids) if row is not None]
    return _project(plan.projection, reader.rows, np.array(rows[plan.offset :][: plan.limit], np.int64))


def show(collections: Iterable[tuple[Collection, int | None]]) -> Table:
    """SHOW COLLECTIONS: each with its live rows, None while it is recovering."""
    return Table(
        ["name", "kind", "dim", "metric", "rows"],
        [[item.name, str(item.kind), item.dim, str(item.metric), rows] for item, rows in collections],
    )


def show_one(collection: Collection, rows: int | None, coded_rows: int | None) -> Table:
    """SHOW COLLECTION: one property a row."""
    metric = METRICS[collection.metric]
    properties = {
        "name": collection.name,
        "kind": str(collection.kind),
        "dim": collection.dim,
        "metric": str(collection.metric),
        "distance": metric.formula,
        "range": metric.range,
        "zero vector": metric.zero_vector,
        "rows": rows,
        "coded rows": coded_rows,
        **collection.settings,
    }
    return Table(["property", "value"], [[name, value] for name, value in properties.items()])


def _project(
    projection: Projection, stored: GrowingRows, rows: NDArray[np.int64], distances: NDArray[np.float64] | None = None
) -> Table:
    columns: dict[str, list[Any]] = {"id": stored.row_ids(rows)}
    if distances is not None:
        columns["distance"] = distances.tolist()
    if projection.needs("vector"):
        columns["vector"] = list(stored.vectors[rows])
    wanted = list(projection.columns)
    if projection.all_payload or any(shown not in columns for _, shown in wanted):
        payloads = [msgpack.unpackb(content) if content else {} for content in map(stored.payload, rows.tolist())]
        if projection.all_payload:
            # The keys in the order they first appear, for payloads have no declared order.
            wanted += [(key, key) for key in dict.fromkeys(key for payload in payloads for key in payload)]
        for _, shown in wanted:
            if shown not in columns:
                columns[shown] = [payload.get(shown) for payload in payloads]
    table = [columns[shown] for _, shown in wanted]
    return Table([name for name, _ in wanted], [list(row) for row in zip(*table, strict=True)])
