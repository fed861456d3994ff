"""SET: what the columns of stored rows become, computed for all rows of a batch at once.

In ON CONFLICT … DO UPDATE the name `excluded.x` is what the statement would have inserted.

Invariant: every value is computed from the rows as they were before any of the assignments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from reddb import errors
from reddb.grammar import ast
from reddb.keys import spelling_of
from reddb.query.batch_rows import BatchRows
from reddb.query.binding import Binding
from reddb.query.bound import ANY, FAMILIES_OF, Bound
from reddb.query.constants import value_of
from reddb.query.expressions import Scope, bind_expression
from reddb.query.json_values import is_json
from reddb.query.operands import VECTOR, Column, Operand, to_plain
from reddb.rows import RowBatch, payload_column
from reddb.storage.payload_columns import Family, column_path
from reddb.types import RESERVED_NAMES, Collection, Vectors

_EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value of a payload, or float32 (1, dim)."""

    value: Any


@dataclass(frozen=True, slots=True)
class Copied:
    """Whatever stands at the path, maps and mixed lists too."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Computed:
    operand: Operand


Assigned: TypeAlias = Fixed | Copied | Computed


@dataclass(frozen=True, slots=True)
class Assignment:
    """`name` is "vector" or a key of the payload; NULL removes a key that is not declared."""

    name: str
    value: Assigned


def bind_assignments(
    binding: Binding, assignments: tuple[ast.Assignment, ...], collection: Collection, *, has_excluded: bool = False
) -> tuple[Assignment, ...]:
    """Raises an input error at the place."""
    return tuple(_bind(binding, item, collection, has_excluded=has_excluded) for item in assignments)


def _bind(binding: Binding, assignment: ast.Assignment, collection: Collection, *, has_excluded: bool) -> Assignment:
    name, node = assignment.column.text, assignment.value
    if name in RESERVED_NAMES - {"vector"}:
        binding.refuse(errors.UNKNOWN_COLUMN, f"the column {name} cannot be set", assignment.column)
    field = collection.fields.get(name)
    if isinstance(node, ast.Default):
        if name == "vector":
            binding.refuse(errors.INVALID_VALUE, "vector has no default", node)
        return Assignment(name, Fixed(None if field is None else field.default))
    if isinstance(node, ast.Literal | ast.VectorLiteral | ast.ListLiteral | ast.Parameter) and name == "vector":
        return Assignment(name, Fixed(binding.values.vector(node, collection.dim)))
    if isinstance(node, ast.Literal | ast.VectorLiteral | ast.ListLiteral | ast.Parameter) or is_json(node):
        return Assignment(name, Fixed(value_of(binding, node, field)))
    bound = bind_expression(node, binding.values, _scope(collection, node, has_excluded=has_excluded))
    is_vector = bound.families == {VECTOR}
    if is_vector != (name == "vector"):
        what = "vector is set to a vector" if name == "vector" else "a vector is kept in the column vector alone"
        binding.refuse(errors.INVALID_VALUE, f"{what}; this is {bound.type}", node)
    if isinstance(bound.operand, Column):
        assert isinstance(node, ast.Column)
        return Assignment(name, Copied(node.path))
    return Assignment(name, Computed(bound.operand))


def _scope(collection: Collection, node: ast.Expression, *, has_excluded: bool) -> Scope:
    known: dict[ast.Expression, Bound] = {}
    for column in ast.walk(node) if has_excluded else ():
        if isinstance(column, ast.Column) and column.path[0] == _EXCLUDED and len(column.path) > 1:
            known[column] = _excluded(collection, column)
    return Scope(collection.fields, collection.metric, collection.dim, known=known)


def _excluded(collection: Collection, node: ast.Column) -> Bound:
    path, field = node.path[1:], None
    operand = Column(column_path(node.path))
    if path == ("vector",):
        return Bound(operand, node, frozenset({VECTOR}), "a vector")
    if path == ("id",):
        return Bound(operand, node, frozenset({Family.INT, Family.TEXT}), "an integer or a string")
    if len(path) == 1:
        field = collection.fields.get(path[0])
    if field is None:
        return Bound(operand, node, ANY, "any value")
    return Bound(operand, node, FAMILIES_OF[field.type], str(field.type))


# --- over rows ---------------------------------------------------------------------------------------------


def assigned(
    assignments: tuple[Assignment, ...], collection: Collection, rows: RowBatch, excluded: RowBatch | None = None
) -> RowBatch:
    """The rows (n) with the assignments made; `excluded` are as many. They are not checked yet."""
    source = _Rows(rows, excluded)
    vectors = rows.vectors
    payloads = [dict(payload) for payload in source.stored.payloads]
    declared = {field.name for field in collection.fields}
    for assignment in assignments:
        values = source.values(assignment.value)
        if assignment.name == VECTOR:
            vectors = np.concatenate([np.atleast_2d(vector) for vector in values]) if values else vectors
            continue
        for payload, value in zip(payloads, values, strict=True):
            key = spelling_of(payload, assignment.name)
            if key != assignment.name and key in payload and assignment.name in declared:
                del payload[key]
                key = assignment.name
            payload[key] = value
    # A free key that is NULL is a key that is not there; a declared field keeps its NULL, for defaults.
    kept = [{key: value for key, value in item.items() if value is not None or key in declared} for item in payloads]
    return RowBatch(rows.ids, vectors, payload_column(kept))


class _Rows:
    """Stored rows, and beside them those that are `excluded`, as a source of columns."""

    def __init__(self, rows: RowBatch, excluded: RowBatch | None) -> None:
        self.rows = len(rows)
        self.stored = BatchRows(rows)
        self._excluded = None if excluded is None else BatchRows(excluded)

    def families(self, path: str) -> Mapping[str, Any]:
        if path == VECTOR:
            return {VECTOR: self.vectors()}
        name, _, inner = path.partition(".")
        if self._excluded is None or name != _EXCLUDED:
            return self.stored.families(path)
        return {VECTOR: self._excluded.vectors()} if inner == VECTOR else self._excluded.families(inner)

    def vectors(self) -> Vectors:
        return self.stored.vectors()

    def values(self, value: Assigned) -> list[Any]:
        """The value for each row."""
        match value:
            case Fixed():
                return [value.value] * self.rows
            case Copied((name, *rest)) if self._excluded is not None and name == _EXCLUDED and rest:
                return self._excluded.plain(tuple(rest))
            case Copied():
                return self.stored.plain(value.path)
            case Computed():
                return to_plain(value.operand.values(self), self.rows)
