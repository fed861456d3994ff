"""Scripts of sqllogictest, the format in which SQL systems compare their answers: reading, and comparing.

A script is records with an empty line between them; a line that begins with # is a comment.

    statement ok | error      the SQL stands below
    query TYPES [SORT]        the SQL stands below, then ---- and the values, one a line
    skipif | onlyif SYSTEM    before a record that is not for that system, or for it alone
    halt                      nothing more is read
    hash-threshold N          how its writer kept values; a reader sees it at the values

TYPES has a letter for each column: I an integer (a float is cut, a truth is 1 or 0), R a float with three digits, T a
text. SORT is nosort (the order counts), rowsort (rows are sorted as texts) or valuesort (values are). Instead of many
values stands `N values hashing to MD5`, of the sorted values, each with a line's end.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_HASHED = re.compile(r"(\d+) values hashing to ([0-9a-f]{32})")
_WHOLE = re.compile(r"\s*[+-]?\d+")


@dataclass(frozen=True, slots=True)
class Statement:
    """What changes tables; `ok` where it is to succeed."""

    line: int
    sql: str
    ok: bool
    for_others: bool


@dataclass(frozen=True, slots=True)
class Query:
    """What reads them; `expected` are the lines below the ----."""

    line: int
    sql: str
    types: str
    sort: str
    expected: tuple[str, ...]
    for_others: bool


def records(text: str) -> Iterator[Statement | Query]:
    """The records of a script in their order. `for_others` are those that stand under an `onlyif`.

    Raises ValueError for a record of no known kind.
    """
    line = 1
    for block in re.split(r"(\n(?:[ \t]*\n)+)", text):
        begin = line
        line += block.count("\n")
        lines = [written for written in block.splitlines() if written.strip() and not written.startswith("#")]
        systems = []
        while lines and lines[0].startswith(("skipif", "onlyif")):
            systems.append(lines.pop(0).split()[0])
        if not lines:
            continue
        kind, *words = lines[0].split()
        for_others = "onlyif" in systems
        if kind == "halt":
            if not for_others:
                return
        elif kind == "statement":
            yield Statement(begin, "\n".join(lines[1:]), words[0] == "ok", for_others)
        elif kind == "query":
            end = lines.index("----") if "----" in lines else len(lines)
            sort = words[1] if len(words) > 1 else "nosort"
            yield Query(begin, "\n".join(lines[1:end]), words[0], sort, tuple(lines[end + 1 :]), for_others)
        elif kind != "hash-threshold":
            raise ValueError(f"line {begin}: a record is statement, query, halt or hash-threshold, not {kind}")


def rendered(value: Any, kind: str) -> str:
    """A value as a script of these systems writes it in a column of this type."""
    if value is None:
        return "NULL"
    if kind == "R":
        return f"{float(value) or 0.0:.3f}"  # SQLite has no negative zero
    if kind == "I":
        if isinstance(value, str):
            whole = _WHOLE.match(value)
            return str(int(whole[0])) if whole else "0"
        return str(int(value))
    return "".join(letter if " " <= letter <= "~" else "@" for letter in str(value)) or "(empty)"


def sorted_values(rows: Iterable[Sequence[Any]], types: str, sort: str) -> list[str]:
    """All values of an answer, row by row, in the order that `sort` asks for."""
    texts = [[rendered(value, kind) for value, kind in zip(row, types, strict=True)] for row in rows]
    if sort == "rowsort":
        texts.sort()
    values = [value for row in texts for value in row]
    return sorted(values) if sort == "valuesort" else values


def hashed(values: Sequence[str]) -> str:
    """The line that stands for so many values."""
    digest = hashlib.md5("".join(f"{value}\n" for value in values).encode(), usedforsecurity=False)
    return f"{len(values)} values hashing to {digest.hexdigest()}"


def agree(values: Sequence[str], expected: Sequence[str]) -> bool:
    """Whether these values are those that were written down."""
    if len(expected) == 1 and _HASHED.fullmatch(expected[0]):
        return hashed(values) == expected[0]
    return list(values) == list(expected)
