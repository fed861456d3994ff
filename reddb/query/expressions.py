"""Any expression of the language, bound to its values and to what its names mean.

    bind_expression(node, values, scope) -> Bound      .operand gives {family: array} for all rows of a source
    to_plain(bound.operand.values(source), rows)       the same as Python's values

Invariant: binding looks at no row; what it refuses it refuses at the place in the statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from reddb import errors
from reddb.grammar import ast
from reddb.query.arithmetic import bind_arithmetic, bind_negative, refuse_interval
from reddb.query.bound import BOOL, Binder, Bound, Scope
from reddb.query.casts import bind_cast
from reddb.query.conditions import bind_condition, bind_truth
from reddb.query.functions import bind_call
from reddb.query.json_values import GivenJson
from reddb.query.operands import Constant, Operand, columns, to_plain
from reddb.query.values import Values
from reddb.query.vectors import GivenVector, bind_distance, bind_score
from reddb.types import Vectors

__all__ = ["Bound", "Scope", "bind_condition_of", "bind_expression", "to_plain"]


def bind_expression(node: ast.Expression, values: Values, scope: Scope) -> Bound:
    """Bind an expression.

    Raises, each pointing at the place: INVALID_VALUE for values and types that do not go together, INVALID_PARAMETER
    for a value that is not given, UNKNOWN_COLUMN for a name that the scope does not have, NOT_SUPPORTED for a pattern
    that is no constant.
    """
    return _Binder(values, scope).bind(node)


def bind_condition_of(node: ast.Expression, values: Values, scope: Scope) -> Operand:
    """The same for an expression that must be a truth: a WHERE, a HAVING."""
    return bind_truth(_Binder(values, scope), node)


class _Binder(Binder):
    def bind(self, node: ast.Expression) -> Bound:
        if self.scope.known and not isinstance(node, ast.Value) and node in self.scope.known:
            return self.scope.known[node]
        bound = self._bind(node)
        if isinstance(bound.operand, Constant | GivenVector | GivenJson) or any(columns(bound.operand)):
            return bound
        return self._folded(bound)

    def _bind(self, node: ast.Expression) -> Bound:
        match node:
            case ast.Column(path=("score",)):
                return bind_score(self, node) or self.column(node)
            case ast.Column():
                return self.column(node)
            case ast.Literal() | ast.VectorLiteral() | ast.ListLiteral() | ast.Parameter():
                return self.constant(self.values.value(node), node)
            case ast.Arithmetic():
                return bind_arithmetic(self, node)
            case ast.Negative():
                return bind_negative(self, node)
            case ast.Interval():
                refuse_interval(self, node)
            case ast.Call():
                return bind_call(self, node)
            case ast.Cast():
                return bind_cast(self, node)
            case ast.Distance():
                return bind_distance(self, node)
            case _:
                return Bound(bind_condition(self, node), node, BOOL, "BOOL")

    def _folded(self, bound: Bound) -> Bound:
        """The constant that an expression without columns is; what its evaluation refuses is refused at its place."""
        try:
            values = bound.operand.values(_OneRow())
        except errors.RedDBError as error:
            self.refuse(error.code, error.message, bound.node, error.detail.get("hint"))
        (value,) = to_plain(values, 1)
        return replace(bound, operand=self.constant(value, bound.node).operand)


class _OneRow:
    """A row without columns."""

    rows = 1

    def families(self, path: str) -> Mapping[str, pa.Array]:
        raise AssertionError(path)

    def vectors(self) -> Vectors:
        raise AssertionError
