"""Values of a statement that need no row: literals, parameters, and expressions that are computed when it is bound."""

from __future__ import annotations

from typing import Any

import numpy as np

from reddb.fields import Field, FieldType
from reddb.grammar import ast
from reddb.query.binding import Binding
from reddb.query.expressions import Scope, bind_expression, to_plain
from reddb.query.json_values import is_json, json_value
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
    if is_json(node):
        assert isinstance(node, ast.Cast)
        return _as_json(binding, plain_constant(binding, node.operand), node.operand)
    if isinstance(node, ast.Literal | ast.VectorLiteral | ast.ListLiteral | ast.Parameter):
        return binding.values.plain(node)
    return _computed(binding, node)


def value_of(binding: Binding, node: ast.Expression, field: Field | None) -> Any:
    """The same as a value of this field, None for a free key: a text is JSON where the field is."""
    value = plain_constant(binding, node)
    if field is None or field.type is not FieldType.JSON or is_json(node):
        return value
    return _as_json(binding, value, node)


def _as_json(binding: Binding, value: Any, node: ast.Expression) -> Any:
    return json_value(binding.values, value, node) if isinstance(value, str) else value


def _computed(binding: Binding, node: ast.Expression) -> Any:
    bound = bind_expression(node, binding.values, _NO_COLUMNS)
    return to_plain(bound.operand.values(_ONE_ROW), 1)[0]
