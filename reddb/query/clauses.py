"""The parts of a SELECT as they are written: conjuncts of a WHERE, names of columns, what ORDER BY and GROUP BY mean.

An alias or a position in ORDER BY or GROUP BY stands for the item of the SELECT. In ORDER BY an alias wins over a
column of its name, in GROUP BY a declared field wins over an alias, as in PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reddb import errors
from reddb.grammar import ast
from reddb.query.binding import Binding

ID = ast.Column(("id",))
DISTANCE = ast.Column(("distance",))
SCORE = ast.Column(("score",))
AGGREGATES = ("count", "sum", "min", "max", "avg")
_NAME_CHARS = 60


def conjuncts(where: ast.Expression | None) -> list[ast.Expression]:
    """What must all be true."""
    if where is None:
        return []
    if isinstance(where, ast.And):
        return [item for operand in where.operands for item in conjuncts(operand)]
    return [where]


@dataclass(frozen=True, slots=True)
class Outline:
    """What there is to know of a SELECT before its parameters and its collection are.

    `aggregates` are those of the items, of HAVING and of ORDER BY; `distances` the columns `distance` and `score`.
    """

    aggregates: tuple[ast.Call, ...]
    misplaced: tuple[ast.Call, ...]  # aggregates of the WHERE
    distances: tuple[ast.Column, ...]
    is_grouped: bool  # rows become groups (PER GROUP gives rows)
    has_ids: bool  # the id is among the items, so that no two rows of a collection are alike


def outline(statement: ast.Select) -> Outline:
    calls = tuple(aggregates(statement.items, statement.having, statement.order))
    parts = (statement.items, statement.where, statement.order, statement.group_by, statement.having)
    distances = tuple(node for node in ast.walk(parts) if isinstance(node, ast.Column) and node in (DISTANCE, SCORE))
    is_per_group = statement.limit is not None and statement.limit.per_group is not None
    is_grouped = not is_per_group and bool(statement.group_by or calls or statement.having is not None)
    by_id = any(isinstance(item.expression, ast.Star) or item.expression == ID for item in statement.items)
    return Outline(calls, tuple(aggregates(statement.where)), distances, is_grouped, by_id)


def is_aggregate(node: ast.Node) -> bool:
    return isinstance(node, ast.Call) and node.name in AGGREGATES


def aggregates(*clauses: object) -> list[ast.Call]:
    """Every call of an aggregate, each once."""
    calls = (node for node in ast.walk(clauses) if isinstance(node, ast.Call) and is_aggregate(node))
    return list(dict.fromkeys(calls))


def refuse_aggregates(binding: Binding, clause: object, where: str, hint: str) -> None:
    for call in aggregates(clause):
        binding.refuse(errors.INVALID_VALUE, f"{call.name} is an aggregate, which cannot stand in {where}", call, hint)


def named(binding: Binding, item: ast.SelectItem) -> str:
    """What the column of an item is called: by its alias, its column or function, else as it is written."""
    if item.alias is not None:
        return item.alias.text
    node = item.expression
    while isinstance(node, ast.Cast):
        node = node.operand
    match node:
        case ast.Column():
            return ".".join(node.path)
        case ast.Call():
            return node.name
        case _:
            written = binding.values.written(item.expression) or "column"
            return written if len(written) <= _NAME_CHARS else written[: _NAME_CHARS - 1] + "…"


def ordered_by(binding: Binding, statement: ast.Select) -> list[ast.OrderBy]:
    """The ORDER BY with aliases and positions replaced by what they stand for."""
    aliases = {item.alias.text: item.expression for item in statement.items if item.alias is not None}
    return [
        ast.OrderBy(
            _meant(binding, order.expression, statement.items, aliases, "ORDER BY"),
            order.descending,
            order.nulls_first,
            span=order.span,
        )
        for order in statement.order
    ]


def grouped_by(binding: Binding, statement: ast.Select, declared: Sequence[str]) -> list[ast.Expression]:
    """The GROUP BY with aliases and positions replaced by what they stand for."""
    aliases = {
        item.alias.text: item.expression
        for item in statement.items
        if item.alias is not None and item.alias.text not in declared
    }
    return [_meant(binding, key, statement.items, aliases, "GROUP BY") for key in statement.group_by]


def _meant(
    binding: Binding,
    node: ast.Expression,
    items: Sequence[ast.SelectItem],
    aliases: dict[str, ast.Star | ast.Expression],
    clause: str,
) -> ast.Expression:
    meant: ast.Star | ast.Expression = node
    if isinstance(node, ast.Column) and len(node.path) == 1:
        meant = aliases.get(node.path[0], node)
    elif isinstance(node, ast.Literal) and type(node.value) is int:
        if not 1 <= node.value <= len(items):
            message = f"{clause} {node.value} is no column of this SELECT, which has {len(items)}"
            binding.refuse(errors.INVALID_VALUE, message, node)
        meant = items[node.value - 1].expression
    elif isinstance(node, ast.Literal | ast.Parameter):
        binding.refuse(errors.INVALID_VALUE, f"{clause} names columns, aliases or positions, and this is a value", node)
    if isinstance(meant, ast.Star):
        binding.refuse(errors.INVALID_VALUE, f"{clause} * is no single column", node)
    return meant
