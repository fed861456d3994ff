"""The parts of what is written out as one token: rows (`VALUES (1, 'a'), (2, 'b')`, `IN (1, 2)`) and lists.

Invariant: what may stand where, the lexer has seen to; here the parts are only told apart.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING

from lark import Token

from reddb import limits
from reddb.grammar.expressions import Span
from reddb.grammar.language import language

if TYPE_CHECKING:
    from collections.abc import Iterator

# Besides the terminals of the grammar.
STRINGS, CONSTANT = "STRINGS", "CONSTANT"  # a list of strings; NULL, TRUE or FALSE

_INT_DIGITS_MAX = len(str(limits.ID_INT_MAX))
_SIGNED = ("UNSIGNED", "FLOAT")
_UNSIGNED = ("STRING", "NUMBERED", "POSITIONAL", "NAMED")


def written_parts(token: Token) -> Iterator[Token]:
    """Brackets (LPAR, RPAR) and values of the rows behind the token's keyword, each with its place."""
    assert token.start_pos is not None
    yield from _parts(token, _pattern(), token.index("("), token.start_pos)


def written_strings(token: Token) -> Iterator[Token]:
    """The strings of a list of them."""
    assert token.start_pos is not None
    yield from _parts(token, _string(), 0, token.start_pos)


def written_coordinates(text: str, span: Span) -> list[tuple[str, Span]]:
    """Each number of the list that stands at a place of a text, as it is written, and its own place."""
    return [
        (found[0], Span(*found.span()))
        for found in _number().finditer(text, span.start, span.end)
        if found.lastgroup is not None
    ]


def written_numbers(text: str) -> list[int | float]:
    """The numbers of a list as they are written, which a vector of float32 does not hold all of.

    Raises ValueError where one is beyond the range of a 64-bit float.
    """
    return [
        integer_of(found[0]) if found.lastgroup == "UNSIGNED" else float_of(found[0])
        for found in _number().finditer(text)
        if found.lastgroup is not None
    ]


def is_written_vector(text: str) -> bool:
    """Whether a text is a list of one number or more, as a vector is written out."""
    return _vector().fullmatch(text) is not None


def integer_of(text: str) -> int:
    """Digits, maybe with a sign. What does not fit 64 bits comes out as something else that does not.

    int() takes quadratic time for digits without end, or refuses them, zeros too.
    """
    digits = text.lstrip("+-0") or "0"
    size = int(digits) if len(digits) <= _INT_DIGITS_MAX else limits.ID_INT_MAX + 2
    return -size if text.startswith("-") else size


def float_of(text: str) -> float:
    """A decimal number. Raises ValueError where a 64-bit float cannot tell it from infinity, or from 0."""
    number = float(text)
    digits = text.lower().partition("e")[0]
    if math.isinf(number) or (not number and digits.strip("+-0.")):
        raise ValueError
    return number


def _parts(text: str, pattern: re.Pattern[str], begin: int, offset: int) -> Iterator[Token]:
    for found in pattern.finditer(text, begin):
        kind = found.lastgroup
        assert kind is not None
        yield Token(kind, found[0], offset + found.start(), end_pos=offset + found.end())


@cache
def _pattern() -> re.Pattern[str]:
    of = _terminals()
    loosely = {
        "LPAR": r"\(",
        "RPAR": r"\)",
        "VECTOR_LITERAL": r"\[\s*+[-+.0-9][^]]*+\]",
        STRINGS: rf"\[(?:[^]']|{of['STRING']})*+\]",
    }
    signed = _signed(of)
    unsigned = {name: of[name] for name in _UNSIGNED}
    parts = loosely | signed | unsigned | {CONSTANT: r"\w++"}
    return re.compile("|".join(f"(?P<{name}>{regexp})" for name, regexp in parts.items()))


@cache
def _vector() -> re.Pattern[str]:
    return re.compile(_terminals()["VECTOR_LITERAL"])


@cache
def _string() -> re.Pattern[str]:
    return re.compile(f"(?P<STRING>{_terminals()['STRING']})")


@cache
def _number() -> re.Pattern[str]:
    of = _terminals()
    parts = "|".join(f"(?P<{name}>{regexp})" for name, regexp in _signed(of).items())
    return re.compile(f"{of['COMMENT']}|{parts}")


def _signed(of: dict[str, str]) -> dict[str, str]:
    return {name: f"[-+]?{of[name]}" for name in _SIGNED}


def _terminals() -> dict[str, str]:
    return {terminal.name: terminal.pattern.to_regexp() for terminal in language().terminals}
