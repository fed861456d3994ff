"""Colours while a statement is typed: the grammar's own terminals, and its own list of keywords."""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.styles import Style

from reddb.grammar import SpanKind, lexical_spans

# Colours of the terminal's own palette, so that they suit a light and a dark one.
STYLE = Style.from_dict(
    {
        SpanKind.KEYWORD: "ansiblue bold",
        SpanKind.STRING: "ansigreen",
        SpanKind.NUMBER: "ansimagenta",
        SpanKind.PARAMETER: "ansicyan",
        SpanKind.COMMENT: "ansibrightblack italic",
        SpanKind.NAME: "",
        "command": "ansicyan bold",
        "prompt": "ansired bold",
        "prompt-more": "ansibrightblack",
        "auto-suggestion": "ansibrightblack",
    }
)


class StatementLexer(Lexer):
    """Styles each line of what is typed; a statement may span several."""

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        text = document.text
        if text.lstrip().startswith("\\"):
            name, blank, rest = text.partition(" ")
            return lambda number: [("class:command", name), ("", blank + rest)] if number == 0 else []
        lines = _styled_lines(text)
        return lambda number: lines[number] if number < len(lines) else []


def _styled_lines(text: str) -> list[StyleAndTextTuples]:
    lines: list[StyleAndTextTuples] = [[]]
    position = 0
    for start, end, kind in [*lexical_spans(text), (len(text), len(text), SpanKind.NAME)]:
        for style, part in (("", text[position:start]), (f"class:{kind}", text[start:end])):
            for number, piece in enumerate(part.split("\n")):
                if number:
                    lines.append([])
                if piece:
                    lines[-1].append((style, piece))
        position = end
    return lines
