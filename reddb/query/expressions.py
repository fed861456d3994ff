"""Any expression of the language, bound to its values and to what its names mean.

    bind_expression(node, values, scope) -> Bound      .operand gives {family: array} for all rows of a source
    to_plain(bound.operand.values(source), rows)       the same as Python's values

Invariant: binding looks at no row; what it refuses it refuses at the place in the statement.
"""

from __future__ import annotations

from reddb import errors
from reddb.grammar import ast
from reddb.query.bound import BOOL, Binder, Bound, Scope
from reddb.query.conditions import bind_condition, bind_truth
from reddb.query.operands import Operand, to_plain
from reddb.query.values import Values

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
        match node:
            case ast.Column():
                return self.column(node)
            case ast.Literal() | ast.VectorLiteral() | ast.ListLiteral() | ast.Parameter():
                return self.constant(self.values.value(node), node)
            case ast.Distance() | ast.Arithmetic() | ast.Negative() | ast.Call() | ast.Cast() | ast.Interval():
                self.refuse(errors.NOT_SUPPORTED, "this operation is not supported yet", node)
            case _:
                return Bound(bind_condition(self, node), node, BOOL, "BOOL")
