"""Text to what can be run: statements, and meta commands, each with the line it begins at.

A meta command is a line that begins with a backslash where a statement could begin. `exit` and `quit` alone on a line
are one, too. A statement ends with its semicolon; the last one of a text may go without.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from reddb.client.shell.complaint import Complaint
from reddb.grammar import split_statements

# What may stand before a statement.
_LEAD = re.compile(r"(?:[\s;]++|--[^\n]*+|/\*(?s:.*?)\*/)*+")
_LEAVE = re.compile(r"\s*(?:exit|quit)\s*;?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Piece:
    """A statement with its semicolon, or a meta command in one line; `line` counts from 1."""

    text: str
    line: int


def open_script(path: str) -> TextIO:
    """The file to read from. Raises Complaint."""
    try:
        return Path(path).expanduser().open(encoding="utf-8")
    except OSError as error:
        raise Complaint(f"cannot read {path}: {error.strerror}") from error


def is_complete(text: str) -> bool:
    """Whether what was typed can be run, or must go on."""
    if text.lstrip().startswith("\\") or _LEAVE.fullmatch(text):
        return True
    return not split_statements(text)[1]


def pieces(lines: Iterable[str]) -> Iterator[Piece]:
    """The pieces as they are completed, line by line."""
    text = ""  # of a statement that is not complete, with what stands before it
    first = 1  # the line that `text` begins at
    for number, line in enumerate(lines, 1):
        if _end(_LEAD, text, 0) == len(text):
            text, first = "", number
            if line.lstrip().startswith("\\"):
                yield Piece(line.strip(), number)
                continue
            if _LEAVE.fullmatch(line):
                yield Piece("\\q", number)
                continue
        text += line
        if ";" in line:  # else it cannot have been completed, and a long statement is not split at each line
            found, position = _complete(text, first)
            yield from found
            first += text.count("\n", 0, position)
            text = text[position:]
    found, position = _complete(text, first)
    yield from found
    if split_statements(text)[1]:
        position = _end(_LEAD, text, position)
        yield Piece(text[position:].rstrip(), first + text.count("\n", 0, position))


def _complete(text: str, first: int) -> tuple[list[Piece], int]:
    """The statements that are complete, and where the rest begins."""
    found, position = [], 0
    for statement in split_statements(text)[0]:
        position = _end(_LEAD, text, position)
        bare = statement[_end(_LEAD, statement, 0) :]
        found.append(Piece(bare, first + text.count("\n", 0, position)))
        position += len(bare)
    return found, position


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    assert found is not None
    return found.end()
