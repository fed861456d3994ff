"""RETURNING: the columns that a write gives of the rows that it wrote, or deleted.

Invariant: nothing here changes a row.
"""

from __future__ import annotations

from dataclasses import dataclass

from reddb.grammar import ast
from reddb.query.batch_rows import BatchRows
from reddb.query.binding import Binding
from reddb.query.expressions import Scope
from reddb.query.operands import VECTOR, columns
from reddb.query.read_plans import Projection
from reddb.query.select import project
from reddb.query.selections import RowScope, bind_projection
from reddb.query.table import Table
from reddb.rows import RowBatch
from reddb.types import Collection


@dataclass(frozen=True, slots=True)
class Returning:
    """What is given of each row, as in a SELECT."""

    projection: Projection

    @property
    def needs_vectors(self) -> bool:
        """Whether it shows the rows' vectors, or computes with them."""
        return any(
            value == (VECTOR,) if isinstance(value, tuple) else VECTOR in columns(value)
            for _, value in self.projection.columns
        )


def bind_returning(binding: Binding, items: tuple[ast.SelectItem, ...], collection: Collection) -> Returning | None:
    """None without a RETURNING. Raises an input error at the place."""
    if not items:
        return None
    names = Scope(collection.fields, collection.metric, collection.dim)
    rows = RowScope(names, ("id", VECTOR), has_keys=True)
    return Returning(bind_projection(binding, ast.Select(items), names, rows, is_rows=True))


def returned(returning: Returning, rows: RowBatch) -> Table:
    """The result of a write to these rows."""
    return project(returning.projection, BatchRows(rows))
