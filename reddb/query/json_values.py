"""JSON as a text in a statement: `'{"k": 1}'` for a field of that type, or `CAST('…' AS JSON)`.

A text that a statement gives to a JSON field, written out or as a parameter, is JSON. In a payload, which can hold maps
and lists themselves, a text is a text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from reddb import errors
from reddb.fields import is_int
from reddb.grammar import ast, float_of, integer_of
from reddb.query.operands import Source, Values
from reddb.query.values import Values as StatementValues


def json_value(values: StatementValues, text: str, node: ast.Node) -> Any:
    """What a text says. Raises INVALID_VALUE at its place, saying what is wrong at which character."""
    try:
        return _read(text)
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
        return _read(self.text)

    def values(self, source: Source) -> Values:
        message = "a map, or a list of values of several types, cannot be part of an expression"
        raise errors.NOT_SUPPORTED.error(message, hint="select it alone")

    def __str__(self) -> str:
        return "'" + self.text.replace("'", "''") + "'::JSON"


def _read(text: str) -> Any:
    """Raises ValueError, and RecursionError, for what is no JSON or cannot be kept: nothing of it is lost."""
    return json.loads(
        text, parse_int=_integer, parse_float=_float, parse_constant=_refuse_constant, object_pairs_hook=_map
    )


def _integer(digits: str) -> int:
    number = integer_of(digits)
    if not is_int(number):
        raise ValueError("an integer has 64 bits at most")
    return number


def _float(written: str) -> float:
    try:
        return float_of(written)
    except ValueError:
        raise ValueError(f"{written} is beyond the range of a 64-bit float") from None


def _map(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in a map")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no finite number")
