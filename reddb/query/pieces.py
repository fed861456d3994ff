"""How many rows an expression is evaluated over at once: as many as take a few milliseconds, and bounded memory.

What it takes is estimated before it is done, from what the rows hold. A unit is about half a nanosecond:

    every operand          _ROW for each row
    a column               its bytes
    a text that is made    its bytes (concat, upper, coalesce, …)
    LIKE                   the bytes of the texts × the characters of the pattern
    CAST                   _VALUE for each row, for it goes value by value

Rows whose work is more than `limits.PIECE_WORK_MAX` are cut until it is not, or until one row is left. What an operand
takes by itself, however few the rows are, is not saved by cutting: many operands may take that much. What one row alone
would take beyond `limits.ROW_WORK_MAX` is refused.

Invariant: how rows are cut decides when something is done, never what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from time import perf_counter
from typing import Any, TypeVar

import pyarrow as pa

from reddb import errors, limits
from reddb.query.casts import Cast
from reddb.query.evaluate import Condition, Match
from reddb.query.functions import Applied
from reddb.query.operands import VECTOR, Column, Constant, Source
from reddb.storage.payload_columns import Family

_ROW = 8
_VALUE = 1_000
_OPERAND = 40_000  # that an operand takes by itself
_CASED = 3  # bytes that a letter may have more in another case
_LETTER_CASES = ("lower", "upper")

_ROWS_LEAST = 256
_ROWS_FOR_OPERAND = 32  # that take as long as the operand by itself
_FAST_S, _SLOW_S = 0.001, 0.004

S = TypeVar("S", bound=Source)


class Pace:
    """How many rows at a time took a few milliseconds so far: for what the estimate does not know."""

    def __init__(self, operands: object) -> None:
        # Fewer would save no time, for each operand costs something by itself.
        self._least = max(_ROWS_LEAST, _ROWS_FOR_OPERAND * _count(operands))
        self.rows = 2 * self._least
        self._began = 0.0

    def begins(self) -> None:
        self._began = perf_counter()

    def ended(self) -> None:
        """What began is done."""
        took = perf_counter() - self._began
        if took < _FAST_S:
            self.rows *= 2
        elif took > _SLOW_S:
            self.rows = max(self._least, self.rows // 2)


def pieces(
    operands: object, rows: int, source_of: Callable[[slice], S], pace: Pace | int | None = None
) -> Iterator[tuple[slice, S]]:
    """Cut so many rows into pieces for evaluating the operands, which may stand in tuples and dataclasses.

    Gives each piece as a range of rows with its source, at a pace or so many at most. Raises QUERY_TOO_COSTLY.
    """
    start, work_max = 0, max(limits.PIECE_WORK_MAX, _OPERAND * _count(operands))
    while start < rows:
        size = rows - start
        if isinstance(pace, Pace):
            pace.begins()
            size = min(size, pace.rows)
        elif pace is not None:
            size = min(size, pace)
        source = source_of(slice(start, start + size))
        while (work := _work(operands, source)[1]) > work_max and size > 1:
            size = max(1, min(size // 2, size * work_max // work))
            source = source_of(slice(start, start + size))
        if work > limits.ROW_WORK_MAX:
            _refuse(work)
        yield slice(start, start + size), source
        start += size


def _refuse(work: int) -> None:
    message = f"one row would take {work} steps of work on texts; ROW_WORK_MAX is {limits.ROW_WORK_MAX}"
    hint = "use fewer or shorter patterns, or texts that are shorter"
    raise errors.QUERY_TOO_COSTLY.error(message, hint=hint)


def _count(node: object) -> int:
    """How many operands there are."""
    if isinstance(node, tuple):
        return sum(map(_count, node))
    if not is_dataclass(node) or isinstance(node, Constant | Column):
        return 0
    return 1 + sum(_count(getattr(node, field.name)) for field in fields(node))


def _work(node: object, source: Source) -> tuple[int, int]:
    """Bytes of the texts that a node gives for all rows, and what it takes, with all below it."""
    if isinstance(node, Constant):
        return len(node.value) * source.rows if isinstance(node.value, str) else 0, 0
    if isinstance(node, Column):
        return _of_column(node, source)
    if isinstance(node, tuple):
        parts = [_work(item, source) for item in node]
    elif is_dataclass(node):
        parts = [_work(getattr(node, field.name), source) for field in fields(node)]
    else:
        return 0, 0
    given, work = sum(part[0] for part in parts), sum(part[1] for part in parts)
    made = given
    if isinstance(node, Match):
        work += given * len(node.pattern)
    if isinstance(node, Condition):
        made = 0
    elif isinstance(node, Cast):
        made = 0
        work += _VALUE * source.rows
    elif isinstance(node, Applied):
        made = _CASED * given if node.name in _LETTER_CASES else 0
    return made, work + (0 if isinstance(node, tuple) else made + _ROW * source.rows)


def _of_column(node: Column, source: Source) -> tuple[int, int]:
    if node.path == VECTOR:
        return 0, _ROW * source.rows
    families = source.families(node.path)
    texts = _bytes_of(families[Family.TEXT]) if Family.TEXT in families else 0
    return texts, texts + _ROW * source.rows


def _bytes_of(texts: Any) -> int:
    if isinstance(texts, pa.DictionaryArray):  # as many as the rows would have if they shared all alike
        return int(texts.dictionary.nbytes * len(texts) / max(len(texts.dictionary), 1))
    return int(texts.nbytes)
