"""The language as lark reads it: built once, at first use, from the two grammar files.

Invariants:
  * The keywords, and which of them are reserved, are read from the grammar; there is no second list.
  * Brackets, NOTs and arithmetic nest at most STATEMENT_DEPTH_MAX deep, known before a tree is built, and between two
    of them lie at most four nodes (OR, AND, a predicate, a distance): whoever walks the AST may recurse.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from lark import Lark, Token
from lark.lark import PostLex
from lark.lexer import PatternRE, TerminalDef

from reddb import errors, limits
from reddb.grammar.tables import kept_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a text may be as a whole; rules of statements.lark.
STATEMENT, CONDITION = "start", "condition"

# Names that are a call without parentheses, unless they stand in double quotes.
MOMENTS = frozenset({"current_timestamp", "current_date", "current_time", "localtimestamp", "localtime"})

_NUMBERS = frozenset({"UNSIGNED", "FLOAT"})
_PARAMETERS = frozenset({"NUMBERED", "NAMED", "POSITIONAL"})
_CONSTANTS = frozenset({"_NULL", "_TRUE", "_FALSE"})
_OPERANDS = _NUMBERS | _PARAMETERS | _CONSTANTS | {"SIGNED", "STRING", "NAME", "QUOTED_NAME", "VECTOR_LITERAL"}
_OPERAND_ENDS = _OPERANDS | {"RPAR", "RSQB"}
_ARITHMETIC = frozenset({"SIGN", "STAR", "FACTOR", "CAST_SIGN"})
_REPEATED = re.compile(r"\)(?:[*+]|\{\d+,\d+\})(?![+?])")  # a group of a pattern, repeated but not possessively
_INT_MIN_DIGITS = str(-limits.ID_INT_MIN)


class _Tokens(PostLex):
    """Makes numbers of signs and digits, and bounds how many tokens there are and how deep they nest, as they pass by.

    A count of the brackets in the text would not see `NOT NOT NOT …` and `1 + 1 + 1 + …`, which nest as well.
    """

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return _bounded(_with_signs(stream))


def _with_signs(stream: Iterator[Token]) -> Iterator[Token]:
    """A sign and the number behind it are one token, unless the sign is an operator: `a -5` subtracts."""
    before = ""
    sign: Token | None = None
    for token in stream:
        if sign is not None and token.type in _NUMBERS and not _is_operator(before, token):
            joined = Token.new_borrow_pos("FLOAT" if token.type == "FLOAT" else "SIGNED", sign + token, token)
            joined.start_pos, joined.line, joined.column = sign.start_pos, sign.line, sign.column
            token, sign = joined, None
        if sign is not None:
            yield sign
            before, sign = sign.type, None
        if token.type == "SIGN":
            sign = token
        else:
            yield token
            before = token.type
    if sign is not None:
        yield sign


def _is_operator(before: str, number: Token) -> bool:
    """Whether an operand ends before the sign of a number; a keyword that is also a name may be a column."""
    if before in _OPERAND_ENDS:
        return True
    # The digits of the least integer are no number without their sign.
    return before in names_of_keywords() and number.lstrip("0") != _INT_MIN_DIGITS


def _bounded(stream: Iterator[Token]) -> Iterator[Token]:
    """The same tokens. Raises LIMIT_EXCEEDED."""
    goes_on = _OPERANDS | {"DOT", "DISTANCE", "_CAST"} | names_of_keywords()
    outside: list[tuple[int, int]] = []  # for each open bracket, the NOTs right before it, and the operators
    depth = nots = operators = 0
    for number, token in enumerate(stream):
        if number == limits.STATEMENT_TOKENS_MAX:
            raise errors.LIMIT_EXCEEDED.error(
                f"the statement has more than STATEMENT_TOKENS_MAX words and signs, which is {number}",
                hint="pass a list as one parameter, as in id IN ($1); insert fewer rows at a time",
            )
        kind = token.type
        if kind == "_NOT":
            nots += 1
            depth += 1
        elif kind in {"LPAR", "LSQB"}:
            outside.append((nots, operators))
            nots = operators = 0
            depth += 1
        elif kind in {"RPAR", "RSQB"} and outside:
            depth -= nots + operators + 1
            nots, operators = outside.pop()
            depth -= nots
            nots = 0
        else:
            depth -= nots
            nots = 0
            if kind in _ARITHMETIC:
                operators += 1
                depth += 1
            elif operators and kind not in goes_on:
                depth -= operators
                operators = 0
        if depth > limits.STATEMENT_DEPTH_MAX:
            raise errors.LIMIT_EXCEEDED.error(
                "brackets, NOTs and arithmetic nest deeper than STATEMENT_DEPTH_MAX, which is "
                f"{limits.STATEMENT_DEPTH_MAX} levels"
            )
        yield token


def _make_possessive(terminal: TerminalDef) -> None:
    """Let what is repeated never be tried again with less of it: a vector is scanned in a fifth of the time.

    The grammar files cannot say so where terminals are made of others; it would never match, for none of these
    repetitions can give back what must follow.
    """
    if isinstance(terminal.pattern, PatternRE):
        terminal.pattern.value = _REPEATED.sub(r"\g<0>+", terminal.pattern.value)


@cache
def language() -> Lark:
    """The parser's tables."""
    files = resources.files(__package__)
    # Joined, not imported by lark: its %import would need a second list of all the terminals.
    grammar = "".join(files.joinpath(name).read_text("utf-8") for name in ("terminals.lark", "statements.lark"))
    return kept_tables(grammar, __file__, _make_tables)


def _make_tables(grammar: str) -> Lark:
    return Lark(
        grammar,
        start=[STATEMENT, CONDITION],
        parser="lalr",
        lexer="basic",
        postlex=_Tokens(),
        edit_terminals=_make_possessive,
        propagate_positions=True,
    )


@cache
def keywords() -> frozenset[str]:
    """All keywords, in upper case."""
    return frozenset(terminal.name[1:] for terminal in language().terminals if terminal.name.startswith("_"))


@cache
def statement_words() -> frozenset[str]:
    """The terminals that a statement may begin with."""
    accepts = language().parse_interactive("", start=STATEMENT).accepts()  # type: ignore[no-untyped-call]
    return frozenset(accepts)


@cache
def reserved_words() -> frozenset[str]:
    """The keywords that are a name only in double quotes, in upper case."""
    return frozenset(word for word in keywords() if f"_{word}" not in names_of_keywords())


@cache
def names_of_keywords() -> frozenset[str]:
    """The terminals of all other keywords."""
    names = {rule.expansion[0].name for rule in language().rules if rule.origin.name == "name"}
    return frozenset(names - {"NAME", "QUOTED_NAME"})
