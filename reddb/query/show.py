"""The tables that SHOW makes of collections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reddb.index.metrics import METRICS
from reddb.query.table import Table
from reddb.settings import SETTINGS
from reddb.types import Collection


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
