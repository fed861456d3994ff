"""JSON as a text in a statement: `'{"k": 1}'` for a field of that type, or `CAST('…' AS JSON)`.

A text that a statement gives to a JSON field, written out or as a parameter, is JSON. In a payload, which can hold maps
and lists themselves, a text is a text.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from reddb import errors
from reddb.grammar import ast
from reddb.query.operands import Source, Values
from reddb.query.values import Values as StatementValues


def json_value(values: StatementValues, text: str, node: ast.Node) -> Any:
    """What a text says. Raises INVALID_VALUE at its place, saying what is wrong at which character."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_float)
    except RecursionError:
        message = "it nests too deep"
    except json.JSONDecodeError as error:
        message = f"{error.msg} at character {error.pos + 1}"
    except ValueError as error:
        message = str(error)
    hint = """a map is written '{"k": 1}', a text '"x"'"""
    raise values.error(errors.INVALID_VALUE, f"the text is no JSON: {message}", node, hint)


def is_json(node: object) -> bool:
    """Whether this is a cast to JSON."""
    return isinstance(node, ast.Cast) and node.type.text == "JSON"


@dataclass(frozen=True, slots=True)
class GivenJson:
    """A map or a list that a statement gives: it can be stored and shown, and is part of no expression."""

    text: str

    @property
    def value(self) -> Any:
        return json.loads(self.text)

    def values(self, source: Source) -> Values:
        message = "a map, or a list of values of several types, cannot be part of an expression"
        raise errors.NOT_SUPPORTED.error(message, hint="select it alone")

    def __str__(self) -> str:
        return "'" + self.text.replace("'", "''") + "'::JSON"


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse_constant(text)
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no finite number")
