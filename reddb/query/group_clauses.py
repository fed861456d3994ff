"""GROUP BY, HAVING, DISTINCT and aggregates to groupings, and what names mean behind them.

Behind a grouping there are its keys and its aggregates and nothing else: a column that is neither is refused, for of
the several values that it has in a group none is the right one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

from reddb import errors
from reddb.grammar import ast
from reddb.query.binding import Binding
from reddb.query.clauses import aggregates, refuse_aggregates
from reddb.query.expressions import Bound, Scope, bind_condition_of, bind_expression
from reddb.query.grouping import Aggregate, aggregate_name, key_name
from reddb.query.operands import NUMBERS, VECTOR, Column, columns
from reddb.query.predicate import Predicate
from reddb.query.read_plans import Grouping
from reddb.storage.payload_columns import Family

_KEY_HINT = "put it into GROUP BY, or into an aggregate such as max(…)"
NEAREST_HINT = "LIMIT n PER GROUP m gives the nearest rows of each group"


@dataclass(frozen=True, slots=True)
class Grouped:
    """A grouping, and the scope of what comes behind it."""

    grouping: Grouping
    scope: Scope


def bind_keys(binding: Binding, keys: Sequence[ast.Expression], scope: Scope) -> list[Bound]:
    """The keys of groups. Raises INVALID_VALUE for an aggregate or a vector."""
    bound = []
    for key in keys:
        refuse_aggregates(binding, key, "GROUP BY", "HAVING and ORDER BY may use aggregates")
        item = bind_expression(key, binding.values, scope)
        if VECTOR in item.families:
            binding.refuse(errors.INVALID_VALUE, "vectors are not grouped", key, "group by id, or by a field")
        bound.append(item)
    return bound


def bind_grouping(
    binding: Binding,
    statement: ast.Select,
    keys: Sequence[ast.Expression],
    order: Sequence[ast.OrderBy],
    scope: Scope,
) -> Grouped:
    """GROUP BY (none: all rows are one group) with the aggregates of the items, HAVING and ORDER BY."""
    for item in statement.items:
        if isinstance(item.expression, ast.Star):
            binding.refuse(errors.INVALID_VALUE, "* shows rows, and here are groups", item, _KEY_HINT)
    bound_keys = bind_keys(binding, keys, scope)
    known = _meanings(keys, bound_keys, scope)
    made = []
    for place, call in enumerate(aggregates(statement.items, statement.having, tuple(order))):
        aggregate, result = _bind_aggregate(binding, call, scope, aggregate_name(place))
        made.append(aggregate)
        known[call] = result
    behind = Scope(known=known, is_closed=True)
    having = None
    if statement.having is not None:
        check_grouped(binding, statement.having, known)
        condition = bind_condition_of(statement.having, binding.values, behind)
        having = Predicate(condition, frozenset(columns(condition)))
    return Grouped(Grouping(tuple(key.operand for key in bound_keys), tuple(made), having), behind)


def bind_distinct(binding: Binding, statement: ast.Select, scope: Scope) -> Grouped:
    """DISTINCT: a group for each combination of the items."""
    nodes = [item.expression for item in statement.items if not isinstance(item.expression, ast.Star)]
    keys = []
    for node in nodes:
        keys.append(bind_expression(node, binding.values, scope))
        if VECTOR in keys[-1].families:
            binding.refuse(errors.INVALID_VALUE, "DISTINCT does not compare vectors", node, "select id instead")
    grouping = Grouping(tuple(key.operand for key in keys))
    return Grouped(grouping, Scope(known=_meanings(nodes, keys, scope), is_closed=True))


def _meanings(nodes: Sequence[ast.Expression], keys: Sequence[Bound], scope: Scope) -> dict[ast.Expression, Bound]:
    """What the keys of groups are behind the grouping, in every spelling that meant them before it."""
    known: dict[ast.Expression, Bound] = {}
    for place, (node, key) in enumerate(zip(nodes, keys, strict=True)):
        result = Bound(Column(key_name(place)), node, key.families, key.type)
        spellings = [other for other, bound in scope.known.items() if bound.operand == key.operand]
        known.update(dict.fromkeys([node, *spellings], result))
    return known


def check_grouped(
    binding: Binding, node: ast.Expression, known: Mapping[ast.Expression, Bound], hint: str = _KEY_HINT
) -> None:
    """Raises INVALID_VALUE at a column that is neither a key nor within an aggregate."""
    for column in _columns_outside(node, known):
        name = ".".join(column.path)
        message = f"{name} is neither in GROUP BY nor in an aggregate"
        binding.refuse(errors.INVALID_VALUE, message, column, hint)


def check_distinct(binding: Binding, order: Sequence[ast.OrderBy], known: Mapping[ast.Expression, Bound]) -> None:
    """Raises INVALID_VALUE for an ORDER BY that is no column of a SELECT DISTINCT."""
    for item in order:
        for column in _columns_outside(item.expression, known):
            message = f"{'.'.join(column.path)} is not among the columns of this SELECT DISTINCT"
            binding.refuse(errors.INVALID_VALUE, message, column, "select it too, or order by what is selected")


def _columns_outside(node: object, known: Mapping[ast.Expression, Bound]) -> list[ast.Column]:
    if isinstance(node, tuple):
        return [column for item in node for column in _columns_outside(item, known)]
    if not isinstance(node, ast.Node) or node in known:
        return []
    if isinstance(node, ast.Column):
        return [node]
    return [column for item in fields(node) for column in _columns_outside(getattr(node, item.name), known)]


def _bind_aggregate(binding: Binding, call: ast.Call, scope: Scope, column: str) -> tuple[Aggregate, Bound]:
    def result(families: frozenset[str], what: str) -> Bound:
        return Bound(Column(column), call, families, what)

    refuse = partial(_error_at, binding, call)
    if call.star or len(call.arguments) != 1:
        if call.star and call.name == "count":
            return Aggregate("count", None, False, refuse), result(frozenset({Family.INT}), "INT")
        message = f"{call.name} takes one argument"
        binding.refuse(errors.INVALID_VALUE, message, call, f"{call.name}(x), or count(*) for rows")
    (node,) = call.arguments
    refuse_aggregates(binding, node, "another aggregate", "one SELECT aggregates once")
    argument = bind_expression(node, binding.values, scope)
    if VECTOR in argument.families:
        if call.name != "count" or call.distinct:
            hint = "min(vector <=> $1) aggregates distances"
            binding.refuse(errors.INVALID_VALUE, f"{call.name} does not take vectors", node, hint)
        return Aggregate("count", None, False, refuse), result(frozenset({Family.INT}), "INT")
    families, what = argument.families, argument.type
    if call.name == "count":
        families, what = frozenset({Family.INT}), "INT"
    elif call.name in ("sum", "avg"):
        if not families & NUMBERS:
            binding.refuse(errors.INVALID_VALUE, f"{call.name} adds numbers, and this is {argument.type}", node)
        families, what = families & NUMBERS, "a number"
        if call.name == "avg":
            families, what = frozenset({Family.FLOAT}), "FLOAT"
    return Aggregate(call.name, argument.operand, call.distinct, refuse), result(families, what)


def _error_at(binding: Binding, call: ast.Call, code: errors.ErrorCode, message: str) -> errors.RedDBError:
    return binding.values.error(code, message, call)
