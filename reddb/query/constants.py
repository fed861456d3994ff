"""Values of a statement that need no row: literals, parameters, and expressions that are computed when it is bound."""

from __future__ import annotations

from typing import Any

import numpy as np

from reddb.grammar import ast
from reddb.query.binding import Binding
from reddb.query.expressions import Scope, bind_expression, to_plain
from reddb.query.sources import RowsAtHand

_NO_COLUMNS = Scope(is_closed=True, hint="there are no columns in a list of values; a text stands in single quotes")
_ONE_ROW = RowsAtHand([0], lambda: [b""], lambda: np.empty((1, 0), np.float32))


def constant(binding: Binding, node: ast.Expression) -> ast.Value:
    """The expression as a literal or a parameter. Raises UNKNOWN_COLUMN at a column, and what computing it raises."""
    if isinstance(node, ast.Literal | ast.VectorLiteral | ast.ListLiteral | ast.Parameter):
        return node
    return ast.Literal(_computed(binding, node), span=node.span)


def plain_constant(binding: Binding, node: ast.Expression) -> Any:
    """The same as a value of a payload."""
    if isinstance(node, ast.Literal | ast.VectorLiteral | ast.ListLiteral | ast.Parameter):
        return binding.values.plain(node)
    return _computed(binding, node)


def _computed(binding: Binding, node: ast.Expression) -> Any:
    bound = bind_expression(node, binding.values, _NO_COLUMNS)
    return to_plain(bound.operand.values(_ONE_ROW), 1)[0]
