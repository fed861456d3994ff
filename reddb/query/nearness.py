"""What a SELECT says of near rows: the distance it orders or filters by, and how far it may reach.

A distance comes from ORDER BY, from a NEAR that must hold, or, where neither is there, from a comparison with a
distance that must hold (`vector <=> $1 < 0.3`). It is what the names `distance` and `score` mean.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite, nextafter

import numpy as np

from reddb import errors
from reddb.grammar import ast
from reddb.index.metrics import METRICS, score_of
from reddb.query.binding import Binding, is_column
from reddb.query.clauses import DISTANCE, SCORE, conjuncts
from reddb.types import Collection, Metric, Vectors

_SIMILARITY = ast.Call("similarity")
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Nearness:
    """`query` (1, dim) is there where the distance is that of the collection's metric; `spellings` all mean it.

    `ranges` are the conditions that only say how far rows may be, at most `distance_max`; `others` the rest.
    """

    query: Vectors | None
    spellings: tuple[ast.Expression, ...]
    order: tuple[ast.OrderBy, ...]
    ranges: tuple[ast.Expression, ...] = ()
    distance_max: float | None = None
    others: tuple[ast.Expression, ...] = field(default=())

    @property
    def leads(self) -> bool:
        """Whether the nearest rows come first, by the collection's own metric."""
        first = self.order[0] if self.order else None
        return self.query is not None and first is not None and not first.descending and self.means(first.expression)

    @property
    def order_but_id(self) -> tuple[ast.OrderBy, ...]:
        """The order without an id at its end: of rows at one distance the lesser id comes first anyway."""
        return self.order[:-1] if len(self.order) > 1 and _is_by_id(self.order[-1]) else self.order

    @property
    def orders_by_distance(self) -> bool:
        return any(self.means(item.expression) for item in self.order)

    @property
    def orders_by_id(self) -> bool:
        return any(is_column(item.expression, "id") for item in self.order)

    def means(self, node: ast.Expression) -> bool:
        return node in self.spellings


def nearness(
    binding: Binding, statement: ast.Select, collection: Collection, order: Sequence[ast.OrderBy], *, orders: bool
) -> Nearness:
    """Read WHERE and ORDER BY; without an ORDER BY the nearest come first where `orders`."""
    conditions = conjuncts(statement.where)
    nears = [item for item in conditions if isinstance(item, ast.Near)]
    others = [item for item in conditions if not isinstance(item, ast.Near)]
    if nears and not orders:
        hint = "WHERE vector <=> $1 < 0.3 compares a distance"
        binding.refuse(
            errors.INVALID_VALUE,
            "groups are of all rows that match, and NEAR leaves none out",
            nears[0],
            hint,
        )
    if len(nears) > 1:
        binding.refuse(errors.INVALID_VALUE, "a SELECT is near to one vector", nears[1])
    if len(order) == 1 and order[0].expression in (SCORE, _SIMILARITY):  # the greatest score is the least distance
        order = [replace(order[0], expression=DISTANCE, descending=not order[0].descending)]
    found = _distance(binding, collection, order, nears, others)
    if found is None:
        return Nearness(None, (), tuple(order), others=tuple(others))
    metric, spellings, target = found
    query = binding.values.vector(target, collection.dim) if metric is collection.metric else None
    if nears or (not order and orders):
        first = order[0].expression if order else DISTANCE
        if nears and first not in spellings:
            hint = "leave NEAR out to order all rows, or order by distance first"
            binding.refuse(errors.INVALID_VALUE, "NEAR gives the nearest rows in their order", order[0], hint)
        order = order or [ast.OrderBy(DISTANCE)]
    near = Nearness(query, spellings, tuple(order))
    if query is None:
        return Nearness(query, spellings, tuple(order), others=tuple(others))
    ranges: list[ast.Expression] = []
    farthest, kept = inf, []
    for item in _halves(others):
        reach = _reach(binding, near, item, collection.metric)
        if reach is None:
            kept.append(item)
        else:
            ranges.append(item)
            farthest = min(farthest, reach)
    return Nearness(query, spellings, tuple(order), tuple(ranges), farthest if farthest < inf else None, tuple(kept))


def _distance(
    binding: Binding,
    collection: Collection,
    order: Sequence[ast.OrderBy],
    nears: Sequence[ast.Near],
    others: Sequence[ast.Expression],
) -> tuple[Metric, tuple[ast.Expression, ...], ast.Value] | None:
    """Metric, spellings and the other side of the statement's distance."""
    if nears:
        (near,) = nears
        if not is_column(near.operand, "vector"):
            binding.refuse(errors.UNKNOWN_COLUMN, "what is NEAR is the column vector", near.operand)
        target = _target(binding, near.target)
        operator = METRICS[collection.metric].operator
        spelled = _spellings(operator, target) if operator else ()
        return collection.metric, (DISTANCE, *spelled), target
    node = next((item.expression for item in order if isinstance(item.expression, ast.Distance)), None)
    own = METRICS[collection.metric].operator
    if node is None:
        ranges = [
            side
            for item in others
            for side in _compared(item)
            if isinstance(side, ast.Distance) and side.operator == own
        ]
        if len(set(ranges)) != 1:
            return None
        node = ranges[0]
    target = side_of(binding, node)
    metric = next(row.metric for row in METRICS.values() if row.operator == node.operator)
    return metric, (DISTANCE, node, *_spellings(node.operator, target)), target


def _is_by_id(order: ast.OrderBy) -> bool:
    return is_column(order.expression, "id") and not order.descending


def side_of(binding: Binding, node: ast.Distance) -> ast.Value:
    """What a distance is to. Raises UNKNOWN_COLUMN unless the other side is the column vector."""
    sides = [node.left, node.right]
    if is_column(sides[1], "vector"):
        sides.reverse()
    if not is_column(sides[0], "vector"):
        binding.refuse(errors.UNKNOWN_COLUMN, "one side of a distance is the column vector", node)
    return _target(binding, sides[1])


def farthest(metric: Metric, score: float) -> float:
    """The largest distance whose score is this or more; minus infinity where there is none."""
    near, far = -sys.float_info.max, sys.float_info.max
    if score_of(metric, np.array([far]))[0] >= score:
        return inf
    if metric is not Metric.IP:
        near = 0.0
    if score_of(metric, np.array([near]))[0] < score:
        return -inf
    # By halves: of distances that differ in their last bits only, several have one score.
    while near < (middle := near / 2 + far / 2) < far:
        near, far = (middle, far) if score_of(metric, np.array([middle]))[0] >= score else (near, middle)
    return near


def _target(binding: Binding, node: ast.Expression) -> ast.Value:
    if isinstance(node, ast.Cast) and node.type.text == "VECTOR":
        node = node.operand
    is_text = isinstance(node, ast.Literal) and isinstance(node.value, str)
    if not isinstance(node, ast.VectorLiteral | ast.Parameter) and not is_text:
        binding.refuse(errors.INVALID_VALUE, "the other side of a distance is a vector or a parameter", node)
    assert isinstance(node, ast.VectorLiteral | ast.Parameter | ast.Literal)
    return node


def _spellings(operator: str, target: ast.Expression) -> tuple[ast.Expression, ...]:
    vector = ast.Column(("vector",))
    return ast.Distance(operator, vector, target), ast.Distance(operator, target, vector)


def _halves(conditions: Sequence[ast.Expression]) -> list[ast.Expression]:
    """The same with each BETWEEN as its two comparisons."""
    halves: list[ast.Expression] = []
    for item in conditions:
        if isinstance(item, ast.Between) and not item.negated:
            halves.append(ast.Comparison(">=", item.operand, item.low, span=item.span))
            halves.append(ast.Comparison("<=", item.operand, item.high, span=item.span))
        else:
            halves.append(item)
    return halves


def _compared(condition: ast.Expression) -> list[ast.Expression]:
    """The sides of a comparison that says how far rows may be."""
    match condition:
        case ast.Comparison(operator="<" | "<=", left=left):
            return [left]
        case ast.Comparison(operator=">" | ">=", right=right):
            return [right]
        case ast.Between(operand=operand, negated=False):
            return [operand]
    return []


def _reach(binding: Binding, near: Nearness, condition: ast.Expression, metric: Metric) -> float | None:
    """The largest distance that a condition lets through, infinity where it lets all; None for another condition."""
    if not isinstance(condition, ast.Comparison) or condition.operator not in _MIRRORED:
        return None
    operator, left, right = condition.operator, condition.left, condition.right
    if near.means(right) or right == SCORE:
        operator, left, right = _MIRRORED[operator], right, left
    if not (near.means(left) or left == SCORE) or not isinstance(right, ast.Literal | ast.Parameter):
        return None
    value = binding.values.value(right)
    if type(value) not in (int, float) or not isfinite(value):
        return None
    if left == SCORE:
        return farthest(metric, float(value)) if operator == ">=" else None
    match operator:
        case "<=":
            return float(value)
        case "<":
            return nextafter(float(value), -inf)
        case ">=" if value <= 0 and metric is not Metric.IP:  # no distance is below 0
            return inf
    return None
