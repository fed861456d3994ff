"""Text to what can be run: statements, and meta commands, each with the line it begins at.

A meta command is a line that begins with a backslash where a statement could begin. `exit`, `quit` and `help` alone on
a line are one, too. A statement ends with its semicolon; the last one of a text may go without.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from reddb.client.shell.complaint import Complaint
from reddb.grammar import split_statements

# What may stand before a statement.
_LEAD = re.compile(r"(?:[\s;]++|--[^\n]*+|/\*(?s:.*?)\*/)*+")
# Words that are commands where they stand alone on a line.
_WORDS = {"exit": r"\q", "quit": r"\q", "help": r"\?"}
_WORD = re.compile(rf"\s*(?P<word>{'|'.join(_WORDS)})\s*;?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Piece:
    """A statement with its semicolon, or a meta command in one line; `line` counts from 1."""

    text: str
    line: int


class Lines:
    """Lines, and the number of the one that was taken last: a command may take those that follow it."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.number = 0
        self._lines = iter(lines)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        return line


def lines_of(text: str) -> Lines:
    """The lines of a text."""
    return Lines(io.StringIO(text, newline="\n"))


def local_path(text: str) -> Path:
    """The file that a person means, `~` being the own folder. Raises Complaint for what no file can be called."""
    if "\0" in text:
        raise Complaint("no file has a name with a zero byte")
    return Path(os.path.expanduser(text))  # Path.expanduser raises for a user that is not known


def open_script(path: str) -> TextIO:
    """The file to read from, each line with its own end. Raises Complaint."""
    try:
        return local_path(path).open(encoding="utf-8-sig", newline="\n")
    except OSError as error:
        raise Complaint(f"cannot read {path}: {error.strerror}") from error


def is_unicode(text: str) -> bool:
    """Whether it came from UTF-8; other bytes of a terminal or of a command line are halves of characters here."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def is_complete(text: str) -> bool:
    """Whether what was typed can be run, or must go on."""
    if text.lstrip().startswith("\\") or _WORD.fullmatch(text):
        return True
    return not split_statements(text)[1]


def pieces(lines: Lines) -> Iterator[Piece]:
    """The pieces as they are completed, line by line."""
    text = ""  # of a statement that is not complete, with what stands before it
    first = 1  # the line that `text` begins at
    for given in lines:
        number, line = lines.number, given.removesuffix("\n").removesuffix("\r") + "\n" * given.endswith("\n")
        if _end(_LEAD, text, 0) == len(text):
            text, first = "", number
            if line.lstrip().startswith("\\"):
                yield Piece(line.strip(), number)
                continue
            if found := _WORD.fullmatch(line):
                yield Piece(_WORDS[found["word"].lower()], number)
                continue
        text += line
        if ";" in line:  # else it cannot have been completed, and a long statement is not split at each line
            complete, position = _complete(text, first)
            yield from complete
            first += text.count("\n", 0, position)
            text = text[position:]
    complete, position = _complete(text, first)
    yield from complete
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
