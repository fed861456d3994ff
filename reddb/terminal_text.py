"""Text of strangers at a terminal: nothing in it is obeyed, so it moves no cursor, changes no title, hides no line."""

from __future__ import annotations

import json
import unicodedata
from typing import TextIO

_JOINERS = "\u200c\u200d"  # of the parts of an emoji, of letters
_FLAG = "\N{WAVING BLACK FLAG}"  # the letters of its land follow it as invisible tags
_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # categories of characters that a terminal may act on


def shown_at(stream: TextIO, text: str) -> str:
    """The text as it is for a file or a pipe, escaped for a terminal."""
    return escaped(text) if stream.isatty() else text


def plain(text: str) -> str:
    """The text on one line: control characters are blanks, and what joins the parts of an emoji stays."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or _joins(text, place) else " " for place, char in enumerate(text))


def escaped(text: str) -> str:
    """Lines with \\u001b in place of each character that a terminal would obey, so that JSON stays JSON."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    text = text.replace("\r\n", "\n")
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in _OBEYED or _joins(text, place) else _escape(char)
        for place, char in enumerate(text)
    )


def _escape(char: str) -> str:
    return json.dumps(char)[1:-1] if ord(char) != 0x7F else "\\u007f"


def _joins(text: str, place: int) -> bool:
    """Whether the character at this place holds others together, as in the emoji of a family."""
    char, before, after = text[place], text[place - 1 : place], text[place + 1 : place + 2]
    if char in _JOINERS:
        return all(not beside.isascii() and beside.isprintable() for beside in (before, after))
    return _is_tag(char) and (before == _FLAG or _is_tag(before))


def _is_tag(char: str) -> bool:
    return "\U000e0020" <= char <= "\U000e007f"
