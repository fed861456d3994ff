"""What lark says about a wrong statement, in words a person uses, with the place and a way out.

A message names what was expected and what was found. The detail of the error holds

    line, column   of the place, both counted from 1
    excerpt        the source line, or 100 characters of it around the place, above a line of carets
    hint           the nearest valid word, or advice for a common slip; not always there

Invariant: what is expected comes from the parser's own state, never from a list kept here. The hints are hints.py's.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from lark import Token, UnexpectedCharacters, UnexpectedToken

from reddb import errors
from reddb.grammar import absent
from reddb.grammar.ast import Span
from reddb.grammar.hints import CONDITION, FINITE, NOT_FINITE, Place, hint
from reddb.grammar.language import names_of_keywords, statement_words

EXCERPT_CHARS_MAX = 100
_FOUND_CHARS_MAX = 40
_ELLIPSIS = "..."

_WORDS = {
    "NAME": "a name",
    "QUOTED_NAME": "a name",
    "STRING": "a string",
    "UNSIGNED": "a whole number",
    "SIGNED": "a number",
    "FLOAT": "a number",
    "_TRUE": "a value",
    "_SELECT": "a statement",
    "VECTOR_LITERAL": "a vector",
    "NUMBERED": "a parameter",
    "NAMED": "a parameter",
    "POSITIONAL": "a parameter",
    "COMPARISON": "an operator",
    "DISTANCE": "a distance operator",
    "OVERLAP": '"&&"',
    "EQUAL": '"="',
    "STAR": '"*"',
    "SIGN": "an operator",
    "FACTOR": "an operator",
    "CAST_SIGN": '"::"',
    "COMMA": '","',
    "DOT": '"."',
    "LPAR": '"("',
    "RPAR": '")"',
    "LSQB": '"["',
    "RSQB": '"]"',
    "SEMICOLON": '";"',
}
_OPERATOR = frozenset(
    {"EQUAL", "COMPARISON", "DISTANCE", "OVERLAP", "IN_WRITTEN", "SIGN", "STAR", "FACTOR", "CAST_SIGN"}
    | {"_AND", "_BETWEEN", "_CONTAINS", "_ILIKE", "_IN", "_IS", "_LIKE", "_NEAR", "_NOT", "_OR"}
)
_ARITHMETIC = frozenset({"DISTANCE", "SIGN", "STAR", "FACTOR", "CAST_SIGN"})
_NUMBERS = frozenset({"UNSIGNED", "SIGNED", "FLOAT", "SIGN"})
_PARAMETERS = frozenset({"NUMBERED", "NAMED", "POSITIONAL"})
# Where the terminal may stand, its phrase says enough, and the others are not told.
_COVERED = {
    "_TRUE": _NUMBERS
    | _PARAMETERS
    | {"STRING", "VECTOR_LITERAL", "LSQB", "_NULL", "_FALSE", "_CAST", "_ON", "_DEFAULT"},
    "COMPARISON": _OPERATOR - {"COMPARISON"},
    "_AND": _ARITHMETIC,
    "FACTOR": _ARITHMETIC - {"FACTOR"},
    "VECTOR_LITERAL": frozenset({"LSQB", "_ARRAY"}),
    "_IN": frozenset({"IN_WRITTEN"}),
    "_VALUES": frozenset({"VALUES_WRITTEN"}),
    "SIGNED": _NUMBERS - {"SIGNED"},
    "FLOAT": _NUMBERS - {"FLOAT"},
    "_FROM": frozenset({"_WHERE", "_GROUP", "_HAVING", "_ORDER", "_LIMIT", "_OFFSET", "_WITH"}),
    "_WHERE": frozenset({"_AS"}),
    "_SET": frozenset({"_AS"}),
    "_VECTOR": frozenset({"_AS"}),
    "$END": frozenset({"SEMICOLON"}),
}

_OPERATOR_RUN = re.compile(r"(?:[<>=!~#*/|&@^%]++|[+-](?![0-9.]))++")  # the sign of a number is not part of it
_TIME = re.compile(r"[0-9.]++(ms|s|m|h|d|w|secs?|mins?|hours?|days?|weeks?)", re.IGNORECASE)
_NAME_RUN = re.compile(r"(?a:[A-Za-z_]\w*)")
_WORD_RUN = re.compile(r"[\w.+-]+")
_QUOTE_HINT = "a quote inside a string is written twice: 'it''s'"
_UNIT_HINT = "a unit stands apart from its number: WITH TTL 2 h; an interval is a string: INTERVAL '2 h'"


def excerpt(text: str, start: int, end: int) -> dict[str, Any]:
    """Point at characters `start` to `end` of a source: its `line`, `column` and `excerpt`. Raises nothing."""
    start = min(start, len(text))
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", start)
    line = text[line_start : len(text) if line_end < 0 else line_end]
    column = start - line_start
    carets = max(1, min(end, line_start + len(line)) - start)
    left, right = 0, len(line) + 1  # the end of the statement is a place, too
    if len(line) > EXCERPT_CHARS_MAX:
        left = max(0, min(column - EXCERPT_CHARS_MAX // 2, len(line) + 1 - EXCERPT_CHARS_MAX))
        right = left + EXCERPT_CHARS_MAX
    shown = "".join(char if char.isprintable() else " " for char in line[left:right])
    if left > 0:
        shown = _ELLIPSIS + shown[len(_ELLIPSIS) :]
    if right < len(line):
        shown = shown[: -len(_ELLIPSIS)] + _ELLIPSIS
    pointer = " " * (column - left) + "^" * min(carets, right - column)
    return {
        "line": text.count("\n", 0, start) + 1,
        "column": column + 1,
        "excerpt": f"{shown.rstrip()}\n{pointer}",
    }


def located(code: errors.ErrorCode, message: str, text: str, span: Span, hint: str | None = None) -> errors.RedDBError:
    """Make an error that points at a span of the source."""
    detail = excerpt(text, span.start, span.end)
    if hint is not None:
        detail["hint"] = hint
    return code.error(message, **detail)


def syntax_error(
    error: UnexpectedToken | UnexpectedCharacters, text: str, offset: int, *, is_condition: bool
) -> errors.RedDBError:
    """Make the SYNTAX error for what lark raised; `offset` is where lark's text begins in `text`.

    With `is_condition` the text should have been a condition that stands alone, else a statement.
    """
    if isinstance(error, UnexpectedCharacters):
        assert error.pos_in_stream is not None
        return _bad_characters(text, error.pos_in_stream + offset)
    return _bad_token(error, text, offset, is_condition)


# --- characters that begin no token ------------------------------------------------------------------------


def _bad_characters(text: str, position: int) -> errors.RedDBError:
    char = text[position]
    span = Span(position, position + 1)
    advice = None
    if char == "'":
        message, advice = "a string is not closed", _QUOTE_HINT
    elif char == '"':
        message = "a quoted name is not closed"
    elif text.startswith("/*", position):
        message, span = "a comment is not closed", Span(position, position + 2)
    elif char in "$:":
        named = _NAME_RUN.match(text, position + 1)
        message = f"{char} begins no parameter here"
        advice = f"a named parameter is written :{named[0]}" if named else "a parameter is written $1, :name or ?"
    elif not_finite := NOT_FINITE.match(text, position):
        message, span, advice = f"{not_finite[0]} is no number", Span(*not_finite.span()), FINITE
    elif run := _run(_OPERATOR_RUN, text, position):
        return _unknown_operator(text, run)
    elif char.isdecimal() and (run := _run(_WORD_RUN, text, position)):
        message, span = f"{_short(text[run.start : run.end])} is no number", run
        is_time = _TIME.fullmatch(text, run.start, run.end)
        advice = _UNIT_HINT if is_time else "numbers are written 5, -0.5 or 1e-3"
    elif char == "`":
        message, advice = "unexpected character `", 'a name stands in double quotes: "year"'
    elif "QUOTATION MARK" in unicodedata.name(char, ""):
        message, advice = f"a typographic quote, {char}", "strings are written with straight quotes: 'text'"
    else:
        name = char if char.isprintable() else unicodedata.name(char, f"U+{ord(char):04X}")
        message = f"unexpected character {name}"
        if char.isalpha():
            advice = "a name with letters beyond a to z stands in double quotes"
    return located(errors.SYNTAX, message, text, span, advice)


def _unknown_operator(text: str, span: Span) -> errors.RedDBError:
    operator = text[span.start : span.end]
    if "/*" in operator:
        start = span.start + operator.index("/*")
        return located(errors.SYNTAX, "a comment is not closed", text, Span(start, start + 2))
    advice = absent.OPERATORS.get(operator, absent.DISTANCE)
    return located(errors.SYNTAX, f"there is no operator {_short(operator)}", text, span, advice)


def _run(pattern: re.Pattern[str], text: str, position: int) -> Span | None:
    """The longest run of a pattern's characters around a position."""
    if not pattern.match(text, position):
        return None
    start = position
    while start > 0 and pattern.match(text[start - 1]):
        start -= 1
    found = pattern.match(text, start)
    assert found is not None
    return Span(start, found.end())


# --- tokens out of place -----------------------------------------------------------------------------------


def _bad_token(error: UnexpectedToken, text: str, offset: int, is_condition: bool) -> errors.RedDBError:
    found = _keyword_alone(error.token)
    place = Place(found, error.accepts, error.interactive_parser.parser_state.value_stack, is_condition)
    if found.type == "$END":
        end = len(text.rstrip())  # of a script as well: all statements but the last one have their `;`
        span = Span(end, end)
    else:
        assert found.start_pos is not None
        assert found.end_pos is not None
        span = Span(found.start_pos + offset, found.end_pos + offset)
    operator = _run(_OPERATOR_RUN, text, span.start)
    if operator and operator != span and found.type in _OPERATOR:
        return _unknown_operator(text, operator)
    if found.type == "SIGN" and "STRING" in place.accepts and (number := NOT_FINITE.match(text, span.start)):
        return located(errors.SYNTAX, f"{number[0]} is no number", text, Span(*number.span()), FINITE)
    message = f"expected {_one_of(_expected(place))}, found {_found(place)}"
    advice: str | None
    if found.type not in {"$END", "SEMICOLON"} or place.is_over:
        advice = _QUOTE_HINT if text[span.start - 1 : span.start] == "'" else hint(place)
    elif not place.stack:
        message, advice = ("the condition is empty", CONDITION) if is_condition else ("the statement is empty", None)
    elif bracket := place.open_bracket():
        advice = f"the {bracket} is not closed"
    else:
        advice = hint(place)
    return located(errors.SYNTAX, message, text, span, advice)


def _keyword_alone(token: Token) -> Token:
    """Of a keyword and the rows behind it, which are one token, the keyword: the rows are not what is wrong."""
    if not token.type.endswith("_WRITTEN"):
        return token
    word = token.type.removesuffix("_WRITTEN")
    assert token.start_pos is not None
    return Token(f"_{word}", token[: len(word)], token.start_pos, end_pos=token.start_pos + len(word))


def _expected(place: Place) -> list[str]:
    """What may stand here, as few phrases: words for kinds of things, then keywords, then signs."""
    left = set(place.accepts)
    if "_SELECT" in left:
        left -= statement_words() - {"_SELECT"}
    if left >= names_of_keywords():
        left -= names_of_keywords()
    for terminal, covered in _COVERED.items():
        if terminal in left:
            left -= covered
    if "DOT" in left and len(left) > 1:  # a name has just ended, which another part or a bracket might follow
        left -= {"DOT", "LPAR"}
    nearest = f"_{place.nearest()}"
    if nearest in left - _OPERATOR:  # a clause is meant, so it is clauses that are told
        left = {terminal for terminal in left - _OPERATOR if terminal.startswith("_") or terminal == "$END"}
    words = _WORDS | {"$END": _end(place)}
    phrases = {words.get(terminal, terminal[1:]) for terminal in left}
    if "COMPARISON" in left and "_IN" not in place.accepts:  # of rows in parentheses
        phrases = {"a comparison"}
    return sorted(phrases, key=lambda phrase: (phrase == _end(place), phrase.startswith('"'), phrase.isupper(), phrase))


def _one_of(phrases: list[str]) -> str:
    *most, last = phrases
    return f"{', '.join(most)} or {last}" if most else last


def _end(place: Place) -> str:
    return "the end of the condition" if place.is_condition else "the end of the statement"


def _found(place: Place) -> str:
    token = place.found
    if token.type == "$END":
        return _end(place)
    known = _WORDS.get(token.type, "")
    return known if known.startswith('"') or token.type == "VECTOR_LITERAL" else _short(str(token))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _FOUND_CHARS_MAX else text[: _FOUND_CHARS_MAX - len(_ELLIPSIS)] + _ELLIPSIS
