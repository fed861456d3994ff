"""From text to statements.

A statement's text is checked in this order: its length, its tokens and their nesting, its grammar, and what a
grammar cannot say (transform.py). A script is a row of statements, each ended by `;`.

Invariants:
  * Whatever the text is, a `RedDBError` is raised or a statement comes out, in time linear in the text; the limits of
    its size bound that time.
  * Spans and errors point into the text that was given, for a script into the whole script.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lark import UnexpectedCharacters, UnexpectedToken
from lark.exceptions import VisitError

from reddb import errors, limits
from reddb.grammar.language import CONDITION, STATEMENT, language
from reddb.grammar.syntax_errors import syntax_error
from reddb.grammar.transform import AstBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reddb.grammar import ast

# The parts that matter for finding a statement's end. What is not closed reaches to the end of the text.
_PART = re.compile(
    r"""
      (?P<end> ; )
    | (?P<comment> --[^\n]*+ | /\*(?s:.*?)\*/ )
    | '(?:[^']++|(?:'')++)*+'?
    | "(?:[^"]++|(?:"")++)*+"?
    | /\*(?s:.*)
    | (?P<words> (?:[^;'"/-]++ | -(?!-) | /(?!\*))++ )
    """,
    re.VERBOSE,
)


def parse(text: str) -> ast.Statement:
    """Read exactly one statement; one `;` may end it.

    Raises SYNTAX, with `line`, `column`, `excerpt` and maybe `hint`, where the text does not follow the grammar,
    INVALID_VALUE and INVALID_VECTOR for numbers out of range, and LIMIT_EXCEEDED.
    """
    statement: ast.Statement = _parse(text, 0, len(text))
    return statement


def parse_condition(text: str) -> ast.Expression:
    """Read the condition of a WHERE that stands alone. Raises what `parse` raises."""
    condition: ast.Expression = _parse(text, 0, len(text), CONDITION)
    return condition


def parse_script(text: str) -> tuple[ast.Statement, ...]:
    """Read all statements of a script; the last one may lack its `;`, and empty ones are skipped.

    Raises what `parse` raises, for the first statement that is wrong. The limits are those of each statement.
    """
    return tuple(_parse(text, start, end) for start, end, _ in _statements(text))


def split_statements(text: str) -> tuple[list[str], str]:
    """Split at each `;` that stands in no string, quoted name or comment. Raises nothing.

    Returns the statements that are complete, each with its `;`, and the rest, which may be continued. Blanks
    around them are cut off; where nothing but blanks and comments is left, that is no statement and no rest.
    """
    complete = []
    rest = ""
    for start, end, is_complete in _statements(text):
        piece = text[start:end].strip()
        if is_complete:
            complete.append(piece)
        else:
            rest = piece
    return complete, rest


def _statements(text: str) -> Iterator[tuple[int, int, bool]]:
    """Start, end and whether a `;` ends it, of each statement that is not empty."""
    start = 0
    is_empty = True
    for part in _PART.finditer(text):
        if part["end"]:
            if not is_empty:
                yield start, part.end(), True
            start = part.end()
            is_empty = True
        elif not part["comment"]:
            is_empty = is_empty and part[0].isspace()
    if not is_empty:
        yield start, len(text), False


def _parse(text: str, start: int, end: int, rule: str = STATEMENT) -> Any:
    source = text if end - start == len(text) else text[start:end]
    _check_length(source)
    try:
        tree = language().parse(source, start=rule)
    except (UnexpectedToken, UnexpectedCharacters) as error:
        raise syntax_error(error, text, start, is_condition=rule == CONDITION) from None
    try:
        return AstBuilder(text, start).transform(tree)
    except VisitError as error:
        raise error.orig_exc from None


def _check_length(source: str) -> None:
    try:
        size = len(source) if source.isascii() else len(source.encode())
    except UnicodeEncodeError as error:
        raise errors.SYNTAX.error(f"character {error.start + 1} of the statement is half a surrogate pair") from None
    if size > limits.STATEMENT_BYTES_MAX:
        message = f"the statement has {size} bytes; STATEMENT_BYTES_MAX is {limits.STATEMENT_BYTES_MAX}"
        raise errors.LIMIT_EXCEEDED.error(message)
