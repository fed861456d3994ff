"""A bound WHERE: which rows of a source its expression is TRUE for.

Invariants:
  * A predicate is immutable and hashable; the same text with the same values gives an equal one.
  * A row is chosen only where the expression is TRUE, never where it is UNKNOWN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reddb.fields import Fields
from reddb.grammar import ast
from reddb.query import operands
from reddb.query.expressions import Scope, bind_condition_of
from reddb.query.operands import Operand, Source
from reddb.query.values import Values
from reddb.types import Metric


@dataclass(frozen=True, slots=True)
class Predicate:
    """A bound WHERE, the key of a cache and the evaluator at once."""

    condition: Operand
    columns: frozenset[str]  # the path of every column that `evaluate` asks its source for

    def evaluate(self, source: Source) -> NDArray[np.bool_]:
        """Which rows the expression is TRUE for, bool (source.rows,)."""
        return operands.is_true(operands.truth(self.condition, source), source.rows)

    def describe(self) -> str:
        """The expression with its values, for EXPLAIN; long texts and lists are cut short."""
        return str(self.condition)


def bind_predicate(
    expression: ast.Expression, values: Values, fields: Fields, metric: Metric | None = None, dim: int = 0
) -> Predicate:
    """Bind the expression of a WHERE; with the metric and the dimensions of a collection it may ask for distances.

    Raises what `bind_expression` does, and INVALID_VALUE if it is no truth.
    """
    condition = bind_condition_of(expression, values, Scope(fields, metric, dim))
    return Predicate(condition, frozenset(operands.columns(condition)))
