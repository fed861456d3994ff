"""What a SELECT does with its rows, wherever they come from: groups, order, columns, and how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from reddb import errors, limits
from reddb.grammar import ast
from reddb.query.binding import Binding
from reddb.query.clauses import Outline, aggregates, grouped_by, named, outline
from reddb.query.expressions import Bound, Scope, bind_expression
from reddb.query.group_clauses import (
    NEAREST_HINT,
    bind_distinct,
    bind_grouping,
    bind_keys,
    check_distinct,
    check_grouped,
)
from reddb.query.operands import VECTOR, Column, Operand
from reddb.query.ordering import OrderKey
from reddb.query.predicate import Predicate
from reddb.query.read_plans import ALL_KEYS, Grouping, Path, PerGroup, Projection, Selection
from reddb.storage.payload_columns import column_path
from reddb.types import RESERVED_NAMES


@dataclass(frozen=True, slots=True)
class RowScope:
    """The rows of a source: what their names mean, and the columns of `*`, which may be followed by all other keys."""

    names: Scope
    star: tuple[str, ...]
    has_keys: bool = False


def is_distinct(statement: ast.Select, told: Outline, *, has_ids: bool) -> bool:
    """Whether DISTINCT may leave rows out; not where these have ids that are shown."""
    return statement.distinct and (told.is_grouped or not (has_ids and told.has_ids))


def bind_selection(
    binding: Binding,
    statement: ast.Select,
    rows: RowScope,
    order: Sequence[ast.OrderBy],
    condition: Predicate | None,
    limit: int | None,
) -> Selection:
    """Everything but WHERE and where the rows come from. `order` is the ORDER BY with what its aliases stand for."""
    told = binding.values.once(outline, statement)
    offset = bind_offset(binding, statement)
    declared = [field.name for field in rows.names.fields]
    keys = grouped_by(binding, statement, declared)
    per_group = _per_group(binding, statement, keys, rows.names, limit)
    scope, groupings = rows.names, list[Grouping]()
    if per_group is None and told.is_grouped:
        grouped = bind_grouping(binding, statement, keys, order, scope)
        check = [*(item.expression for item in statement.items), *(item.expression for item in order)]
        hints = [NEAREST_HINT] if keys and any(isinstance(item.expression, ast.Distance) for item in order) else []
        for node in check:
            if not isinstance(node, ast.Star):
                check_grouped(binding, node, grouped.scope.known, *hints)
        scope, groupings = grouped.scope, [grouped.grouping]
    if is_distinct(statement, told, has_ids=rows.has_keys):
        grouped = bind_distinct(binding, statement, scope)
        check_distinct(binding, order, grouped.scope.known)
        scope, groupings = grouped.scope, [*groupings, grouped.grouping]
    projection = bind_projection(binding, statement, scope, rows, is_rows=not groupings)
    keys_of_order = _order(binding, statement, order, scope)
    return Selection(projection, limit, offset, condition, tuple(groupings), keys_of_order, per_group)


def bind_offset(binding: Binding, statement: ast.Select) -> int:
    return binding.values.count(statement.offset, 0, limits.K_MAX, "OFFSET")


def _per_group(
    binding: Binding, statement: ast.Select, keys: Sequence[ast.Expression], scope: Scope, limit: int | None
) -> PerGroup | None:
    if statement.limit is None or statement.limit.per_group is None:
        return None
    if not keys:
        hint = "GROUP BY field ORDER BY vector <=> $1 LIMIT n PER GROUP m"
        binding.refuse(errors.INVALID_VALUE, "PER GROUP needs a GROUP BY", statement.limit, hint)
    for clause in (*aggregates(statement.items, statement.order), statement.having):
        if clause is not None:
            message = "PER GROUP gives rows, which have no aggregates"
            binding.refuse(errors.INVALID_VALUE, message, clause, "without PER GROUP each group is one row")
    if statement.distinct:
        binding.refuse(errors.INVALID_VALUE, "PER GROUP gives rows, and takes no DISTINCT", statement.limit)
    rows = binding.values.count(statement.limit.per_group, 0, limits.K_MAX, "PER GROUP")
    return per_group_of(binding, statement.limit, keys, scope, limit or 0, rows)


def per_group_of(
    binding: Binding, place: ast.Node, keys: Sequence[ast.Expression], scope: Scope, groups: int, rows: int
) -> PerGroup:
    """So many rows of each of so many groups. Raises LIMIT_EXCEEDED for too many together."""
    if groups * rows > limits.SCAN_ROWS_MAX:
        message = f"{groups} groups of {rows} rows are more than {limits.SCAN_ROWS_MAX} rows"
        binding.refuse(errors.LIMIT_EXCEEDED, message, place)
    return PerGroup(tuple(key.operand for key in bind_keys(binding, keys, scope)), rows)


def bind_projection(
    binding: Binding, statement: ast.Select, scope: Scope, rows: RowScope, *, is_rows: bool
) -> Projection:
    """The items of a SELECT, in the scope of rows, or of groups."""
    shown: list[tuple[str, Path | Operand]] = []
    for item in statement.items:
        node = item.expression
        if isinstance(node, ast.Star):
            shown += [(name, (name,)) for name in rows.star]
            shown += [ALL_KEYS] if rows.has_keys else []
            continue
        if is_rows and _is_key(node, scope):
            shown.append((named(binding, item), node.path))
            continue
        bound = bind_expression(node, binding.values, scope)
        is_path = is_rows and isinstance(node, ast.Column) and bound.operand == Column(column_path(node.path))
        shown.append((named(binding, item), node.path if is_path and isinstance(node, ast.Column) else bound.operand))
    return Projection(tuple(shown))


def _is_key(node: ast.Expression, scope: Scope) -> TypeGuard[ast.Column]:
    """Whether this is a key of the payload or the id, and nothing else: then there is nothing to bind."""
    if not isinstance(node, ast.Column) or scope.is_closed:
        return False
    return node.path[0] not in RESERVED_NAMES or node.path == ("id",)


def _order(binding: Binding, statement: ast.Select, order: Sequence[ast.OrderBy], scope: Scope) -> tuple[OrderKey, ...]:
    aliases: dict[ast.Expression, Bound] = {}
    for shown in statement.items:
        if shown.alias is not None and not isinstance(shown.expression, ast.Star):
            column = ast.Column((shown.alias.text,))
            if column not in scope.known:
                aliases[column] = bind_expression(shown.expression, binding.values, scope)
    names = replace(scope, known={**aliases, **scope.known})
    keys = []
    for item, given in zip(order, statement.order or order, strict=True):
        # What ORDER BY names itself has its alias's meaning already; within an expression an alias is looked up here.
        bound = bind_expression(
            item.expression, binding.values, scope if item.expression != given.expression else names
        )
        if VECTOR in bound.families:
            hint = "ORDER BY vector <=> $1 gives the nearest rows"
            binding.refuse(errors.INVALID_VALUE, "vectors have no order", item.expression, hint)
        nulls_first = item.descending if item.nulls_first is None else item.nulls_first
        keys.append(OrderKey(bound.operand, item.descending, nulls_first))
    return tuple(keys)
