r"""The text of csv (RFC 4180), in which a cell that is empty is NULL and one that is "" is the empty text, as in psql.

    id,title,note
    1,"say ""a, b"" twice",
    2,"",x

Python's csv module does not tell the two apart. A record may span lines, for what stands in quotes is kept as it is.

Invariant: `records(lines(cells)) == cells`, whatever the texts are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from reddb import limits

Cell: TypeAlias = str | None

_END = "\r\n"
_RECORD_CHARS_MAX = 16 * limits.MIB  # a quote that is not closed must not take the whole file into memory


class CsvError(ValueError):
    """A text that is no csv; `line` is where its record begins."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def csv_line(cells: Sequence[Cell], delimiter: str = ",") -> str:
    """A record with its end."""
    return delimiter.join("" if cell is None else _written(cell, delimiter) for cell in cells) + _END


def csv_records(lines: Iterable[str], delimiter: str = ",") -> Iterator[tuple[int, list[Cell]]]:
    """Each record with the line that it begins at, from 1; lines that are empty are none. Raises CsvError.

    `lines` must hold their ends as they are in the file.
    """
    cell = re.compile(
        rf'(?:"(?P<quoted>[^"]*+(?:""[^"]*+)*+)"|(?P<plain>[^"{re.escape(delimiter)}\r\n]*+))'
        rf"(?P<end>{re.escape(delimiter)}|\r?\n|\r|\Z)"
    )
    first = 1
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        text, last = _whole_record(number, line, numbered)
        if text.strip("\r\n"):
            yield first, list(_cells(text, cell, first))
        first = last + 1


def _whole_record(number: int, line: str, more: Iterator[tuple[int, str]]) -> tuple[str, int]:
    """A record is whole once its quotes are even in number. Its text, and the number of its last line."""
    if line.count('"') % 2 == 0:
        return line, number
    parts, size, last = [line], len(line), number
    for last, part in more:
        parts.append(part)
        size += len(part)
        if part.count('"') % 2:
            return "".join(parts), last
        if size > _RECORD_CHARS_MAX:
            raise CsvError(number, f"a quote is not closed within {_RECORD_CHARS_MAX:,} characters")
    raise CsvError(number, "a quote is not closed until the end of the file")


def _cells(text: str, pattern: re.Pattern[str], line: int) -> Iterator[Cell]:
    position = 0
    while True:
        found = pattern.match(text, position)
        if found is None:
            raise CsvError(line, "a quote in the middle of a cell: a cell that has one stands in quotes, doubled")
        quoted = found["quoted"]
        yield (found["plain"] or None) if quoted is None else quoted.replace('""', '"')
        position = found.end()
        if found["end"] in ("", "\n", "\r", "\r\n"):
            return


def _written(text: str, delimiter: str) -> str:
    if text and not any(char in text for char in (delimiter, '"', "\r", "\n")):
        return text
    return '"' + text.replace('"', '""') + '"'
