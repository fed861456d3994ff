"""The views: tables of rows that the server makes of itself, read as `SELECT … FROM red.name`."""

from __future__ import annotations

PREFIX = "red."

# Each view and its columns, in order.
VIEWS: dict[str, tuple[str, ...]] = {"collections": ("name", "kind", "dim", "metric", "rows")}
