"""What an expression means for one row, in plain Python: it shares nothing with the engine.

None is NULL and UNKNOWN; WRONG is what the engine refuses.
"""

from __future__ import annotations

import operator
import re
from functools import reduce
from typing import Any, NamedTuple

from reddb.grammar import ast

EQUAL, ORDER = {"=": operator.eq, "<>": operator.ne}, {"<": operator.lt, "<=": operator.le}
COMPARE = {**EQUAL, **ORDER, ">": operator.gt, ">=": operator.ge}


WRONG = object()  # where there is no value: a division by zero, a sum beyond 64 bits


class Given(NamedTuple):
    value: Any


class Oracle:
    """The truth of an expression for one row: True, False or None for UNKNOWN."""

    def __init__(self, row_id: int | str, payload: dict[str, Any], parameters: dict[str, Any]) -> None:
        self._row = {**payload, "id": row_id}
        self._parameters = parameters

    def truth(self, node: Any) -> Any:
        match node:
            case ast.And():
                return negate(either([negate(self.truth(operand)) for operand in node.operands]))
            case ast.Or():
                return either([self.truth(operand) for operand in node.operands])
            case ast.Not():
                return negate(self.truth(node.operand))
            case ast.Comparison():
                return self.compare(node.operator, node.left, node.right)
            case ast.Between():
                low = self.compare(">=", node.operand, node.low)
                high = self.compare("<=", node.operand, node.high)
                return self._signed(negate(either([negate(low), negate(high)])), node.negated)
            case ast.InList():
                return self._signed(either([self.compare("=", node.operand, i) for i in node.items]), node.negated)
            case ast.Member(array=ast.Parameter()):
                equal = [self.compare("=", node.item, Given(item)) for item in self.value(node.array)]
                return self._signed(either(equal), node.negated)
            case ast.Member():
                items = self._items(node.array)
                found = None if items is None else either([compare("=", self.value(node.item), i) for i in items])
                return self._signed(found, node.negated)
            case ast.Overlap():
                items = self._items(node.left)
                wanted = self.value(node.right)
                return None if items is None else either([compare("=", a, b) for a in items for b in wanted])
            case ast.Like():
                return self._signed(self._like(node), node.negated)
            case ast.IsNull():
                value = self.value(node.operand)
                return value if value is WRONG else (value is None) is not node.negated
        value = self.value(node)
        return value if isinstance(value, bool) or value is WRONG else None

    def value(self, node: Any) -> Any:
        match node:
            case ast.Literal() | Given():
                return node.value
            case ast.Parameter():
                return self._parameters[node.key]
            case ast.Column():
                return reduce(lambda at, key: at.get(key) if isinstance(at, dict) else None, node.path, self._row)
        return self.truth(node)

    def compare(self, sign: str, left: Any, right: Any) -> Any:
        one, other = self.value(left), self.value(right)
        of_id = ast.Column(("id",)) in (left, right) and not isinstance(left, type(right))
        if of_id and sign in ("=", "<>") and other is not None and compare(sign, one, other) is None:
            return sign == "<>"
        return compare(sign, one, other)

    def _items(self, node: Any) -> list[Any] | None:
        value = self.value(node)
        return value if isinstance(value, list) and is_uniform(value) else None

    def _like(self, node: ast.Like) -> Any:
        value, pattern = self.value(node.operand), self.value(node.pattern)
        if value is WRONG:
            return value
        if not isinstance(value, str) or pattern is None:
            return None
        tokens = re.findall(r"\\.|.", pattern, re.DOTALL)
        parts = [{"%": ".*", "_": "."}.get(token) or re.escape(token[-1]) for token in tokens]
        flags = re.DOTALL | (re.IGNORECASE if node.case_insensitive else 0)
        return re.fullmatch("".join(parts), value, flags) is not None

    @staticmethod
    def _signed(value: Any, negated: bool) -> Any:
        return negate(value) if negated else value


def negate(value: Any) -> Any:
    return value if value is None or value is WRONG else not value


def either(values: list[Any]) -> Any:
    return next((truth for truth in (True, WRONG, None) if any(value is truth for value in values)), False)


def is_uniform(items: list[Any]) -> bool:
    return {type(item) for item in items} in (set(), {str}, {int})


def compare(sign: str, left: Any, right: Any) -> Any:
    if WRONG in (left, right):
        return None if None in (left, right) else WRONG
    kinds = {type(left), type(right)}
    if kinds != {int, float} and (len(kinds) > 1 or kinds & {list, dict, type(None)}):
        return None
    return bool(COMPARE[sign](left, right))
