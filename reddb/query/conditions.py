"""Binding of conditions: comparisons, memberships, patterns, and what joins them.

id    ids of two types are two ids: `id = 'a'` is FALSE, and `id <> 'a'` TRUE, where the id is an integer; neither
      comes before the other, so `id < 'a'` is UNKNOWN there
"""

from __future__ import annotations

import numpy as np

from reddb import errors, limits
from reddb.grammar import ast
from reddb.query import evaluate
from reddb.query.bound import ANY, VECTOR_HINT, Binder, Bound
from reddb.query.operands import ITEMS_OF, NULL, VECTOR, Column, Constant, Operand
from reddb.query.patterns import check_pattern
from reddb.storage.payload_columns import Family

_NEVER = Constant(Family.BOOL, False)

_MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def bind_truth(binder: Binder, node: ast.Expression) -> Operand:
    """Any expression that is a truth. Raises INVALID_VALUE for one that never is."""
    bound = binder.bind(node)
    if Family.BOOL not in bound.families:
        binder.refuse(errors.INVALID_VALUE, f"a condition is true or false, and this is {bound.type}", node)
    return bound.operand


def bind_condition(binder: Binder, node: ast.Predicate | ast.Not | ast.And | ast.Or) -> Operand:
    match node:
        case ast.And():
            return evaluate.All(tuple(bind_truth(binder, operand) for operand in node.operands))
        case ast.Or():
            return evaluate.AnyOf(tuple(bind_truth(binder, operand) for operand in node.operands))
        case ast.Not():
            return evaluate.Not(bind_truth(binder, node.operand))
        case ast.Comparison():
            return _comparison(binder, node.operator, node.left, node.right)
        case ast.Between():
            low = _comparison(binder, ">=", node.operand, node.low)
            high = _comparison(binder, "<=", node.operand, node.high)
            return _negated(evaluate.All((low, high)), node.negated)
        case ast.InList():
            return _negated(_among(binder, node.operand, _listed(binder, node.items)), node.negated)
        case ast.Member():
            return _negated(_member(binder, node), node.negated)
        case ast.Overlap():
            return _overlap(binder, node)
        case ast.Like():
            return _negated(_like(binder, node), node.negated)
        case ast.RowComparison():
            return _row_comparison(binder, node)
        case ast.IsNull():
            bound = binder.bind(node.operand)
            is_null = _NEVER if VECTOR in bound.families else evaluate.IsNull(bound.operand)
            return _negated(is_null, node.negated)
        case ast.Near():
            hint = "ORDER BY … LIMIT finds the nearest rows"
            binder.refuse(errors.NOT_SUPPORTED, "NEAR stands alone or beside an AND, in a WHERE", node, hint)


def _comparison(binder: Binder, operator: str, left_node: ast.Expression, right_node: ast.Expression) -> Operand:
    return _compared(operator, *_pair(binder, left_node, right_node))


def _pair(binder: Binder, left_node: ast.Expression, right_node: ast.Expression) -> tuple[Bound, Bound]:
    """Two sides that compare."""
    left = binder.bind(left_node)
    if VECTOR in left.families:
        binder.refuse(
            errors.INVALID_VALUE, f"{left.operand} is a vector, and vectors do not compare", left_node, VECTOR_HINT
        )
    right = binder.bind(right_node)
    left, right = binder.meet(left, right), binder.meet(right, left)
    binder.check_comparable(left, right)
    binder.note_ids(left, right)
    binder.note_ids(right, left)
    return left, right


def _compared(operator: str, left: Bound, right: Bound) -> Operand:
    if left.is_constant:
        left, right, operator = right, left, _MIRRORED[operator]
    compare = evaluate.Compare(operator, left.operand, right.operand)
    if left.is_id and operator in ("=", "<>") and _is_value(right.operand):
        return evaluate.Decided(compare, operator == "<>")
    return compare


def _row_comparison(binder: Binder, node: ast.RowComparison) -> Operand:
    """`(a, b) > (1, 2)` as `a >= 1 AND (a > 1 OR a = 1 AND b > 2)`, whose first condition an index can answer."""
    if len(node.left) > limits.STATEMENT_DEPTH_MAX:
        message = f"rows to compare have at most {limits.STATEMENT_DEPTH_MAX} values, not {len(node.left)}"
        binder.refuse(errors.LIMIT_EXCEEDED, message, node)
    pairs = [_pair(binder, left, right) for left, right in zip(node.left, node.right, strict=True)]
    if node.operator == "=":
        return evaluate.All(tuple(_compared("=", *pair) for pair in pairs))
    if node.operator == "<>":
        return evaluate.AnyOf(tuple(_compared("<>", *pair) for pair in pairs))
    *firsts, last = pairs
    decided = _compared(node.operator, *last)
    for pair in reversed(firsts):
        differs = _compared(node.operator[0], *pair)
        decided = evaluate.AnyOf((differs, evaluate.All((_compared("=", *pair), decided))))
    return evaluate.All((_compared(f"{node.operator[0]}=", *firsts[0]), decided))


def _among(binder: Binder, node: ast.Expression, items: list[Bound]) -> Operand:
    bound = binder.bind(node)
    items = [binder.meet(item, bound) for item in items]
    for item in items:
        binder.check_comparable(bound, item)
        binder.note_ids(bound, item)
    constants = _constants(items)
    if not items:  # even for NULL: the OR of nothing
        return _NEVER
    parts: list[Operand] = [_compared("=", bound, item) for item in items if not item.is_constant]
    if constants:
        among = evaluate.Among(bound.operand, constants)
        is_decided = bound.is_id and all(map(_is_value, constants))
        parts.insert(0, evaluate.Decided(among, False) if is_decided else among)
    return parts[0] if len(parts) == 1 else evaluate.AnyOf(tuple(parts))


def _member(binder: Binder, node: ast.Member) -> Operand:
    if isinstance(node.array, ast.Parameter):
        items = _array(binder, node.array)
        return NULL if items is None else _among(binder, node.item, items)
    array, element = _array_column(binder, node.array)
    item = binder.bind(node.item)
    binder.check_comparable(element, item)
    return evaluate.Contains(item.operand, array.operand)


def _overlap(binder: Binder, node: ast.Overlap) -> Operand:
    array, element = _array_column(binder, node.left)
    items = _array(binder, node.right)
    if items is None:
        return NULL
    for item in items:
        binder.check_comparable(element, item)
    return evaluate.Overlaps(array.operand, _constants(items))


def _like(binder: Binder, node: ast.Like) -> Operand:
    bound = binder.bind(node.operand)
    if Family.TEXT not in bound.families:
        binder.refuse(errors.INVALID_VALUE, f"LIKE compares texts, and this is {bound.type}", node.operand)
    pattern = binder.bind(node.pattern)
    if not isinstance(pattern.operand, Constant):
        binder.refuse(errors.NOT_SUPPORTED, "a pattern is a string or a parameter", node.pattern)
    value = pattern.operand.value
    if value is None:
        return pattern.operand
    if not isinstance(value, str):
        binder.refuse(errors.INVALID_VALUE, f"a pattern is a string, and this is {pattern.type}", node.pattern)
    binder.note_ids(bound, pattern)
    check_pattern(binder.values, value, node.pattern)
    return evaluate.Match(bound.operand, value, node.case_insensitive)


# --- lists -------------------------------------------------------------------------------------------------


def _array_column(binder: Binder, node: ast.Expression) -> tuple[Bound, Bound]:
    """The column of arrays, and what an item of one is."""
    array = binder.bind(node)
    families = frozenset[str](item for family, item in ITEMS_OF.items() if family in array.families)
    if not isinstance(array.operand, Column) or not families:
        binder.refuse(errors.INVALID_VALUE, f"an array column is expected here, and this is {array.type}", node)
    if array.families == ANY:  # a free key: what does not meet is UNKNOWN, as everywhere
        families = ANY
    return array, Bound(array.operand, node, families, array.type)


def _listed(binder: Binder, nodes: tuple[ast.Expression, ...]) -> list[Bound]:
    """The values of `IN (…)`; a parameter that is a list stands for its items."""
    items: list[Bound] = []
    for node in nodes:
        value = binder.values.value(node) if isinstance(node, ast.Parameter) else None
        if isinstance(value, list | tuple | np.ndarray):
            items += binder.items(value, node)
        else:
            items.append(binder.bind(node))
    return items


def _array(binder: Binder, node: ast.VectorLiteral | ast.ListLiteral | ast.Parameter) -> list[Bound] | None:
    """The items of an array that is a value; None for NULL."""
    if isinstance(node, ast.ListLiteral):
        return [binder.bind(item) for item in node.items]
    value = binder.values.plain(node)
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        binder.refuse(errors.INVALID_VALUE, "a list is expected here", node, "x IN $1 with a list, or x = $1")
    return binder.items(value, node)


def _negated(operand: Operand, negated: bool) -> Operand:
    return evaluate.Not(operand) if negated else operand


def _is_value(operand: Operand) -> bool:
    return isinstance(operand, Constant) and operand.family is not None


def _constants(items: list[Bound]) -> tuple[Constant, ...]:
    return tuple(dict.fromkeys(item.operand for item in items if isinstance(item.operand, Constant)))
