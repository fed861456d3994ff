"""RETURNING: the columns that a write gives of the rows that it wrote, or deleted.

Invariant: nothing here changes a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reddb.grammar import ast
from reddb.query.assignments import payloads_of, source_of, value_at
from reddb.query.binding import Binding
from reddb.query.execute import Table
from reddb.query.expressions import Scope, bind_expression
from reddb.query.operands import VECTOR, Column, Operand, columns, to_plain
from reddb.rows import RowBatch
from reddb.types import Collection


@dataclass(frozen=True, slots=True)
class Item:
    """A column of the result: the value at a path as it is, or an operand; `*` is neither."""

    name: str = "*"
    path: tuple[str, ...] = ()
    operand: Operand | None = None


@dataclass(frozen=True, slots=True)
class Returning:
    """What is given of each row, in order."""

    items: tuple[Item, ...]

    @property
    def needs_vectors(self) -> bool:
        return any(
            not item.path and item.operand is None or item.path == (VECTOR,) or VECTOR in columns(item.operand)
            for item in self.items
        )


def bind_returning(binding: Binding, items: tuple[ast.SelectItem, ...], collection: Collection) -> Returning | None:
    """None without a RETURNING. Raises an input error at the place."""
    scope = Scope(collection.fields, collection.metric, collection.dim)
    return Returning(tuple(_item(binding, item, scope) for item in items)) if items else None


def _item(binding: Binding, item: ast.SelectItem, scope: Scope) -> Item:
    node = item.expression
    if isinstance(node, ast.Star):
        return Item()
    bound = bind_expression(node, binding.values, scope)
    if isinstance(node, ast.Column):
        return Item(item.alias.text if item.alias else ".".join(node.path), node.path)
    return Item(item.alias.text if item.alias else binding.values.written(node), (), bound.operand)


def returned(returning: Returning, rows: RowBatch) -> Table:
    """The result of a write to these rows."""
    source, payloads = source_of(rows), payloads_of(rows)
    names: list[str] = []
    values: list[list[Any]] = []

    def add(name: str, column: list[Any]) -> None:
        names.append(name)
        values.append(column)

    for item in returning.items:
        if item.operand is not None:
            add(item.name, to_plain(item.operand.values(source), len(rows)))
        elif item.path == ("id",):
            add(item.name, rows.id_list())
        elif item.path == (VECTOR,):
            add(item.name, list(rows.vectors))
        elif item.path:
            add(item.name, [value_at(payload, item.path) for payload in payloads])
        else:
            add("id", rows.id_list())
            add("vector", list(rows.vectors))
            # The keys in the order they first appear, for payloads have no declared order.
            for key in dict.fromkeys(key for payload in payloads for key in payload):
                add(key, [payload.get(key) for payload in payloads])
    return Table(names, [list(row) for row in zip(*values, strict=True)])
