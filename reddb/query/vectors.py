"""Vectors in expressions: the column `vector`, vectors that are given, distances and scores.

    vector <=> $1, vector <-> $1, …    any of the operators, whatever the collection's metric
    distance, score                    what a search found, by the collection's metric

Invariant: every distance is the exact one of `reddb.index.metrics`, which has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from reddb import errors
from reddb.grammar import ast
from reddb.index.metrics import METRICS, exact_distances, score_of
from reddb.query.bound import Binder, Bound
from reddb.query.operands import VECTOR, Column, Operand, Source, Values, atom
from reddb.storage.payload_columns import Family
from reddb.types import Metric, Vectors

_METRIC_OF = {row.operator: row.metric for row in METRICS.values() if row.operator}
_SHOWN_COORDINATES = 4
FLOAT = frozenset[str]({Family.FLOAT})


@dataclass(frozen=True, slots=True)
class GivenVector:
    """A vector that is a value, as the bytes of its float32 coordinates."""

    data: bytes

    @property
    def array(self) -> Vectors:
        """(dim,)"""
        return np.frombuffer(self.data, np.float32)

    def values(self, source: Source) -> Values:
        return {VECTOR: np.broadcast_to(self.array, (source.rows, len(self.array)))}

    def __str__(self) -> str:
        shown = [f"{coordinate:g}" for coordinate in self.array[:_SHOWN_COORDINATES].tolist()]
        return f"[{', '.join(shown)}{', …' if len(self.array) > _SHOWN_COORDINATES else ''}]"


@dataclass(frozen=True, slots=True)
class DistanceTo:
    """The distance of each row's vector to a given one; `sign` -1 turns the negative inner product round."""

    metric: Metric
    operand: Operand
    query: GivenVector
    sign: int = 1

    def values(self, source: Source) -> Values:
        vectors = self.operand.values(source)[VECTOR]
        return {Family.FLOAT: pa.array(self.sign * exact_distances(self.metric, vectors, self.query.array))}

    def __str__(self) -> str:
        operator = METRICS[self.metric].operator
        if operator and self.sign == 1:
            return f"{atom(self.operand)} {operator} {self.query}"
        return f"{'-' if self.sign < 0 else ''}{self.metric}({self.operand}, {self.query})"


@dataclass(frozen=True, slots=True)
class ScoreOf:
    """The score of a distance by a metric."""

    metric: Metric
    distance: Operand

    def values(self, source: Source) -> Values:
        distances = self.distance.values(source)[Family.FLOAT]
        return {Family.FLOAT: pa.array(score_of(self.metric, np.asarray(distances)))}

    def __str__(self) -> str:
        return "score" if self.distance == Column("distance") else f"score({self.distance})"


@dataclass(frozen=True, slots=True)
class Norm:
    """The length of each vector by l2, in float64."""

    operand: Operand

    def values(self, source: Source) -> Values:
        vectors = self.operand.values(source)[VECTOR]
        origin = np.zeros(vectors.shape[1], np.float32)
        return {Family.FLOAT: pa.array(exact_distances(Metric.L2, vectors, origin))}

    def __str__(self) -> str:
        return f"vector_norm({self.operand})"


# --- binding -----------------------------------------------------------------------------------------------


def bind_distance(binder: Binder, node: ast.Distance) -> Bound:
    return bind_metric(binder, node, _METRIC_OF[node.operator], node.left, node.right)


def bind_metric(
    binder: Binder, node: ast.Node, metric: Metric, left: ast.Expression, right: ast.Expression, sign: int = 1
) -> Bound:
    """The distance of two vectors of which one, at least, is given."""
    one, other = bind_vector(binder, left), bind_vector(binder, right)
    if isinstance(one, GivenVector):
        one, other = other, one
    if not isinstance(other, GivenVector):
        binder.refuse(errors.INVALID_VALUE, "one side of a distance is a vector that is given", node, "vector <=> $1")
    if isinstance(one, GivenVector) and len(one.data) != len(other.data):
        message = f"the vectors have {len(one.array)} and {len(other.array)} dimensions"
        binder.refuse(errors.INVALID_DIMENSION, message, node)
    return Bound(DistanceTo(metric, one, other, sign), node, FLOAT, "FLOAT")


def bind_vector(binder: Binder, node: ast.Expression) -> Column | GivenVector:
    """The column `vector`, or a vector that is given. Raises INVALID_VALUE, INVALID_DIMENSION or INVALID_VECTOR."""
    match node:
        case ast.Literal() | ast.VectorLiteral() | ast.ListLiteral() | ast.Parameter():
            return GivenVector(binder.values.vector(node, binder.scope.dim).tobytes())
        case ast.Cast(operand=operand, type=ast.Identifier(text="VECTOR")):
            return bind_vector(binder, operand)
        case ast.Column():
            bound = binder.column(node)
            if bound.operand == Column(VECTOR) and isinstance(bound.operand, Column):
                return bound.operand
            what = f"{bound.operand} is {bound.type}"
        case _:
            what = "this is neither"
    message = f"a distance is between the column vector and a vector that is given, and {what}"
    binder.refuse(errors.INVALID_VALUE, message, node)


def bind_score(binder: Binder, node: ast.Node) -> Bound | None:
    """The score of the search that found the rows; None where none did."""
    if not binder.scope.has_distance or binder.scope.metric is None:
        return None
    return Bound(ScoreOf(binder.scope.metric, Column("distance")), node, FLOAT, "FLOAT")


def bind_distance_by(metric: Metric, sign: int = 1) -> Callable[[Binder, ast.Call], Bound]:
    """The binding of a function of two vectors, the distance by a metric."""

    def bind(binder: Binder, node: ast.Call) -> Bound:
        left, right = node.arguments
        return bind_metric(binder, node, metric, left, right, sign)

    return bind


def bind_own_distance(binder: Binder, node: ast.Call) -> Bound:
    """By the metric of the collection."""
    left, right = node.arguments
    return bind_metric(binder, node, _own_metric(binder, node), left, right)


def bind_similarity(binder: Binder, node: ast.Call) -> Bound:
    """The score of a distance by the collection's metric, or of the search that found the rows."""
    if len(node.arguments) == 1:
        message = "similarity takes 2 arguments or none, not 1"
        binder.refuse(errors.INVALID_VALUE, message, node, "similarity(vector, $1)")
    if node.arguments:
        distance = bind_own_distance(binder, node)
        return Bound(ScoreOf(_own_metric(binder, node), distance.operand), node, FLOAT, "FLOAT")
    score = bind_score(binder, node)
    if score is None:
        binder.refuse(errors.INVALID_VALUE, "no search gave these rows a score", node, "similarity(vector, $1)")
    return score


def bind_dims(binder: Binder, node: ast.Call) -> Bound:
    vector = bind_vector(binder, node.arguments[0])
    return binder.constant(len(vector.array) if isinstance(vector, GivenVector) else binder.scope.dim, node)


def bind_norm(binder: Binder, node: ast.Call) -> Bound:
    return Bound(Norm(bind_vector(binder, node.arguments[0])), node, FLOAT, "FLOAT")


def _own_metric(binder: Binder, node: ast.Call) -> Metric:
    if binder.scope.metric is None:
        binder.refuse(errors.INVALID_VALUE, f"{node.name} needs the metric of a collection", node)
    return binder.scope.metric
