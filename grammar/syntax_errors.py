"""What lark says about a wrong statement, in words a person uses, with the place and a way out.

A message names what was expected and what was found. The detail of the error holds

    line, column   of the place, both counted from 1
    excerpt        the source line, or 100 characters of it around the place, above a line of carets
    hint           the nearest valid word, or advice for a common slip; not always there

Invariant: what is expected comes from the parser's own state, never from a list kept here.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from lark import Token, Tree, UnexpectedCharacters, UnexpectedToken

from reddb import errors
from reddb.grammar.ast import DISTANCES, Span
from reddb.grammar.language import keywords, reserved_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EXCERPT_CHARS_MAX = 100
_FOUND_CHARS_MAX = 40
_ELLIPSIS = "..."

_END = "the end of the statement"
_WORDS = {
    "NAME": "a name",
    "QUOTED_NAME": "a name",
    "STRING": "a string",
    "UNSIGNED": "a whole number",
    "SIGNED": "a number",
    "FLOAT": "a number",
    "_TRUE": "a value",
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
    "$END": _END,
}
_OPERATOR = frozenset(
    {"EQUAL", "COMPARISON", "DISTANCE", "OVERLAP", "IN_INTEGERS", "SIGN", "STAR", "FACTOR", "CAST_SIGN"}
    | {"_AND", "_BETWEEN", "_CONTAINS", "_ILIKE", "_IN", "_IS", "_LIKE", "_NEAR", "_NOT", "_OR"}
)
# Where the terminal may stand, its phrase says enough, and the others are not told.
_COVERED = {
    "_TRUE": frozenset(
        {"STRING", "UNSIGNED", "SIGNED", "FLOAT", "VECTOR_LITERAL", "LSQB", "NUMBERED", "NAMED", "POSITIONAL"}
        | {"_NULL", "_FALSE", "_CAST", "SIGN"}
    ),
    "COMPARISON": _OPERATOR - {"COMPARISON"},
    "_AND": frozenset({"DISTANCE"}),
    "_IN": frozenset({"IN_INTEGERS"}),
    "SIGNED": frozenset({"UNSIGNED"}),
    "$END": frozenset({"SEMICOLON"}),
}

_OPERATOR_RUN = re.compile(r"(?:[<>=!~#*/|&@^%]++|[+-](?![0-9.]))++")  # the sign of a number is not part of it
_WORD_RUN = re.compile(r"[\w.+-]+")
_OPERATOR_SLIPS = {"==": "=", "=>": ">=", "=<": "<=", "||": "OR", "!": "NOT"}
_NOT_FINITE = re.compile(r"[-+]?(nan|inf|infinity)\b", re.IGNORECASE)
_FINITE_HINT = "a vector holds finite numbers only"
_DISTANCE_HINT = "the distance operators are " + ", ".join(f"{sign} ({name})" for sign, name in DISTANCES.items())
_QUOTE_HINT = "a quote inside a string is written twice: 'it''s'"
_QUOTES_HINT = "a string stands in single quotes; double quotes are for names"
_LIST_HINT = "a vector holds numbers only; the strings of a list stand in single quotes"
_OVERLAP_HINT = "&& looks for a common item: tags && ['a', 'b']; conditions are joined with AND"
_TYPE_HINT = "a field has a name and a type: title TEXT"
_INDEX_HINT = "an index is found by its collection and field: INDEX ON docs (year)"
_SELECT_CLAUSES = ("WHERE", "ORDER BY", "LIMIT", "OFFSET", "WITH")
# What belongs where this keyword is missing.
_MISSING = {
    "KIND": "say what kind of collection it is, then its dimension: KIND vector.turbo DIM 384",
    "SET": "the new values come after SET: UPDATE docs SET year = 2001 WHERE id = 7",
    "DIM": "every collection has a fixed number of dimensions: DIM 384",
    "VALUES": "the rows come after the columns: VALUES (1, [0.1, 0.2])",
}


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


def syntax_error(error: UnexpectedToken | UnexpectedCharacters, text: str, offset: int) -> errors.RedDBError:
    """Make the SYNTAX error for what lark raised; `offset` is where lark's text begins in `text`."""
    if isinstance(error, UnexpectedCharacters):
        assert error.pos_in_stream is not None
        return _bad_characters(text, error.pos_in_stream + offset)
    return _bad_token(error, text, offset)


# --- characters that begin no token ------------------------------------------------------------------------


def _bad_characters(text: str, position: int) -> errors.RedDBError:
    char = text[position]
    span = Span(position, position + 1)
    hint = None
    if char == "'":
        message, hint = "a string is not closed", _QUOTE_HINT
    elif char == '"':
        message = "a quoted name is not closed"
    elif text.startswith("/*", position):
        message, span = "a comment is not closed", Span(position, position + 2)
    elif char in "$:":
        message, hint = f"{char} begins no parameter here", "a parameter is written $1, :name or ?"
    elif not_finite := _NOT_FINITE.match(text, position):
        message, span, hint = f"{not_finite[0]} is no number", Span(*not_finite.span()), _FINITE_HINT
    elif run := _run(_OPERATOR_RUN, text, position):
        return _unknown_operator(text, run)
    elif char.isdecimal() and (run := _run(_WORD_RUN, text, position)):
        message, span = f"{_short(text[run.start : run.end])} is no number", run
        hint = "numbers are written 5, -0.5 or 1e-3"
    elif "QUOTATION MARK" in unicodedata.name(char, ""):
        message, hint = f"a typographic quote, {char}", "strings are written with straight quotes: 'text'"
    else:
        name = char if char.isprintable() else unicodedata.name(char, f"U+{ord(char):04X}")
        message = f"unexpected character {name}"
        if char.isalpha():
            hint = "a name with letters beyond a to z stands in double quotes"
    return located(errors.SYNTAX, message, text, span, hint)


def _unknown_operator(text: str, span: Span) -> errors.RedDBError:
    operator = text[span.start : span.end]
    if operator in _OPERATOR_SLIPS:
        hint = f"did you mean {_OPERATOR_SLIPS[operator]}?"
    else:
        hint = _DISTANCE_HINT
    return located(errors.SYNTAX, f"there is no operator {_short(operator)}", text, span, hint)


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


def _bad_token(error: UnexpectedToken, text: str, offset: int) -> errors.RedDBError:
    found = error.token
    stack = error.interactive_parser.parser_state.value_stack
    if found.type == "$END":
        end = len(text.rstrip())  # of a script as well: all statements but the last one have their `;`
        span = Span(end, end)
    else:
        assert found.start_pos is not None
        assert found.end_pos is not None
        span = Span(found.start_pos + offset, found.end_pos + offset)
    message = f"expected {_one_of(_expected(error.accepts))}, found {_found(found)}"
    operator = _run(_OPERATOR_RUN, text, span.start)
    hint: str | None
    if operator and operator != span and found.type in _OPERATOR:
        return _unknown_operator(text, operator)
    if found.type not in {"$END", "SEMICOLON"}:
        hint = _QUOTE_HINT if text[span.start - 1 : span.start] == "'" else _hint(error, stack)
    elif not stack:
        message, hint = "the statement is empty", None
    elif bracket := _open_bracket(stack):
        hint = f"the {bracket} is not closed"
    else:
        hint = _hint(error, stack)
    return located(errors.SYNTAX, message, text, span, hint)


def _open_bracket(stack: Sequence[object]) -> Token | None:
    """The innermost bracket that is open; the parser's stack holds what is not yet part of a whole."""
    opened: list[Token] = []
    for token in stack:
        if isinstance(token, Token) and token.type in {"LPAR", "LSQB"}:
            opened.append(token)
        elif isinstance(token, Token) and token.type in {"RPAR", "RSQB"}:
            opened.pop()
    return opened[-1] if opened else None


def _hint(error: UnexpectedToken, stack: Sequence[object]) -> str | None:
    found, accepts = error.token, error.accepts
    word = found.upper()
    last = stack[-1] if stack else None
    before = last.type if isinstance(last, Token) else ""
    wants_value = "STRING" in accepts
    if before == "SEMICOLON":
        return "send one statement at a time"
    if word in {"TABLE", "DATABASE"} and "_COLLECTION" in accepts:
        return "rows live in collections: CREATE COLLECTION docs KIND vector.turbo DIM 384"
    if wants_value and _NOT_FINITE.fullmatch(word):
        return _FINITE_HINT
    if found.type in {"NAME", "QUOTED_NAME"} and wants_value:
        return _LIST_HINT if _open_bracket(stack) == "[" else _QUOTES_HINT
    if before == "_IN":
        return "IN takes parentheses: IN (1, 2, 3)"
    if before == "_INDEX":
        return _INDEX_HINT
    if isinstance(last, Tree) and last.data == "name" and "NAME" in accepts:  # only a type follows a name so
        return _TYPE_HINT
    if before == "OVERLAP" or (found.type == "OVERLAP" and "_AND" in accepts):
        return _OVERLAP_HINT
    if found.type == "_VALUES" and "LPAR" in accepts:
        return "name the columns before the rows: INSERT INTO docs (id, vector) VALUES (1, [0.1, 0.2])"
    if "UNSIGNED" in accepts and "SIGNED" not in accepts and found.type in {"SIGNED", "FLOAT", "STRING"}:
        return "this takes a whole number, 0 or more"
    if "DISTANCE" in accepts and found.type in _OPERATOR:
        return _DISTANCE_HINT
    possible = [terminal[1:] for terminal in accepts if terminal.startswith("_")]
    if "NAME" in accepts and word in reserved_words():
        return f'{found} is a reserved word; as a name it stands in double quotes: "{found.lower()}"'
    # difflib takes a second for a word of a megabyte.
    is_word = (found.type == "NAME" or word in keywords()) and len(word) <= _FOUND_CHARS_MAX
    if is_word and (nearest := difflib.get_close_matches(word, sorted(possible), 1)):
        return f"did you mean {nearest[0]}?"
    if len(possible) == 1 and possible[0] in _MISSING:
        return _MISSING[possible[0]]
    is_select = any(isinstance(part, Token) and part.type == "_SELECT" for part in stack)
    if is_select and any(clause.split()[0] == word for clause in _SELECT_CLAUSES):
        return f"each clause stands once, in this order: {', '.join(_SELECT_CLAUSES)}"
    return None


def _expected(accepts: Iterable[str]) -> list[str]:
    """The terminals that may stand here, as few phrases: words for kinds of things, then keywords, then signs."""
    left = set(accepts)
    if "NAME" in left:
        left -= {f"_{word}" for word in keywords() - reserved_words()}
    for terminal, covered in _COVERED.items():
        if terminal in left:
            left -= covered
    if len(left) > 1:
        left.discard("DOT")
    phrases = {_WORDS.get(terminal, terminal[1:]) for terminal in left}
    return sorted(phrases, key=lambda phrase: (phrase == _END, phrase.startswith('"'), phrase.isupper(), phrase))


def _one_of(phrases: list[str]) -> str:
    *most, last = phrases
    return f"{', '.join(most)} or {last}" if most else last


def _found(token: Token) -> str:
    if token.type == "$END":
        return _END
    known = _WORDS.get(token.type, "")
    return known if known.startswith('"') or token.type == "VECTOR_LITERAL" else _short(str(token))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _FOUND_CHARS_MAX else text[: _FOUND_CHARS_MAX - len(_ELLIPSIS)] + _ELLIPSIS
