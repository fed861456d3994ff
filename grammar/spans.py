"""The parts of a text that a person tells apart by colour, by the grammar's own terminals.

Invariant: whatever the text is, finished or not, the spans come in order, do not overlap, and nothing is raised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache

from reddb.grammar.language import keywords, language


class SpanKind(StrEnum):
    """What a span of the text is."""

    KEYWORD = "keyword"
    NAME = "name"
    STRING = "string"
    NUMBER = "number"
    PARAMETER = "parameter"
    COMMENT = "comment"


# In the order in which they are tried. A vector is one span: thousands of numbers would be thousands of spans.
_TERMINALS: dict[str, SpanKind | None] = {
    "COMMENT": SpanKind.COMMENT,
    "STRING": SpanKind.STRING,
    "QUOTED_NAME": SpanKind.NAME,
    "VECTOR_LITERAL": SpanKind.NUMBER,
    "FLOAT": SpanKind.NUMBER,
    "UNSIGNED": SpanKind.NUMBER,
    "CAST_SIGN": None,  # else its second half would begin a parameter
    "NUMBERED": SpanKind.PARAMETER,
    "NAMED": SpanKind.PARAMETER,
    "POSITIONAL": SpanKind.PARAMETER,
    "NAME": SpanKind.NAME,
}
_UNFINISHED = {"OPEN_COMMENT": SpanKind.COMMENT, "OPEN_STRING": SpanKind.STRING, "OPEN_NAME": SpanKind.NAME}
_KINDS = _TERMINALS | _UNFINISHED


def lexical_spans(text: str) -> Iterator[tuple[int, int, SpanKind]]:
    """Start, end and kind of each part; what lies between them has no kind. What is not closed reaches to the end."""
    words = keywords()
    for found in _pattern().finditer(text):
        name = found.lastgroup
        assert name is not None
        kind = _KINDS[name]
        if name == "NAME" and found[0].upper() in words:
            kind = SpanKind.KEYWORD
        if kind is not None:
            yield found.start(), found.end(), kind


@cache
def _pattern() -> re.Pattern[str]:
    of = {terminal.name: terminal.pattern.to_regexp() for terminal in language().terminals}
    unfinished = [r"(?P<OPEN_COMMENT>/\*(?s:.*))", r"(?P<OPEN_STRING>'(?s:.*))", r'(?P<OPEN_NAME>"(?s:.*))']
    return re.compile("|".join([*(f"(?P<{name}>{of[name]})" for name in _TERMINALS), *unfinished]))
