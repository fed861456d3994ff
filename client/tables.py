"""Rows as text: an aligned table, or one value a line, for the shell and the demo.

Widths are those of a terminal (rich counts a Chinese character as two), no line is wrapped, and none ends in blanks, so
a table can be piped, compared and pasted. Cells are cut, with an ellipsis, only where a width to fit into is given.

rich knows the widths but does not lay the table out: it took 2.5 s for 10,000 rows, of which this takes a tenth.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click
import numpy as np
from rich.cells import cell_len, set_cell_size

from reddb.terminal_text import plain

_GAP = "   "  # between two columns
_NUMBERS_SHOWN = 3
_NARROWEST = 8  # a column that is cut keeps as much
_MINUS = "\N{MINUS SIGN}"  # one character wide, as the hyphen is
_RULE_CHARS = 40  # of the line above a row of the vertical form


@dataclass(frozen=True, slots=True)
class Look:
    """How a table is shown: `width` in characters that its lines fit into, None for any; with or without colours."""

    width: int | None = None
    colours: bool = False

    def head(self, text: str) -> str:
        return click.style(text, bold=True) if self.colours else text

    def dim(self, text: str) -> str:
        return click.style(text, dim=True) if self.colours else text


PLAIN = Look()


def render_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], look: Look = PLAIN) -> str:
    """The table as lines, without a newline at the end. Numbers stand at the right, the rest at the left."""
    listed = list(rows)
    shown, widths = [], []
    for place, name in enumerate(columns):
        values = [row[place] for row in listed]
        cells = [plain(name), *map(render_cell, values)]
        widths.append(max(map(cell_len, cells)))
        is_numeric = bool(values) and all(
            isinstance(value, int | float | None) and not isinstance(value, bool) for value in values
        )
        nothing = [False, *(value is None for value in values)]
        shown.append((cells, is_numeric, nothing))
    if look.width is not None:
        widths = _fitted(widths, look.width)
    lines = []
    for number in range(len(listed) + 1):
        line = _GAP.join(
            _styled(_aligned(cells[number], width, is_numeric), number == 0, nothing[number], look)
            for (cells, is_numeric, nothing), width in zip(shown, widths, strict=True)
        )
        lines.append(line.rstrip())
    lines.insert(1, look.dim("─" * _total(widths)))
    return "\n".join(lines)


def fits(columns: Sequence[str], width: int) -> bool:
    """Whether a table of these columns can be read in lines of `width` characters."""
    return _total([_NARROWEST] * len(columns)) <= width


def render_vertical(columns: Sequence[str], rows: Iterable[Sequence[Any]], look: Look = PLAIN) -> str:
    """Each row as lines of name and value, nothing cut, without a newline at the end."""
    names = [plain(name) for name in columns]
    width = max(map(cell_len, names), default=0)
    lines = []
    for number, row in enumerate(rows, 1):
        lines.append(look.dim(f"── row {number} ".ljust(_RULE_CHARS, "─")))
        for name, value in zip(names, row, strict=True):
            cell = _styled(render_cell(value), False, value is None, look)
            lines.append(f"{look.head(set_cell_size(name, width))}{_GAP}{cell}".rstrip())
    return "\n".join(lines)


def render_cell(value: Any) -> str:
    """One value: long vectors shortened, NULL for nothing, control characters as blanks."""
    if isinstance(value, np.ndarray):
        shown = ", ".join(f"{number:.3g}" for number in value[:_NUMBERS_SHOWN])
        if len(value) <= _NUMBERS_SHOWN:
            return f"[{shown}]"  # with the sign of the keyboard, for it can be pasted into a statement
        return f"[{shown}, … {len(value)}]".replace("-", _MINUS)
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, list | dict):
        return plain(json.dumps(value, ensure_ascii=False, default=_nested))
    return plain(value if isinstance(value, str) else repr(value))


def _nested(value: Any) -> Any:
    """What JSON has no word for, inside a list or a map."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def _fitted(widths: Sequence[int], width: int) -> list[int]:
    """The widths, the widest of them cut to one measure, so that the lines fit; none below the narrowest."""
    most = max(widths, default=0)
    while most > _NARROWEST and _total([min(one, most) for one in widths]) > width:
        most -= 1
    return [min(one, most) for one in widths]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _aligned(cell: str, width: int, is_numeric: bool) -> str:
    length = cell_len(cell)
    if length > width:
        return set_cell_size(cell, width - 1) + "…"
    return " " * (width - length) + cell if is_numeric else cell + " " * (width - length)


def _styled(cell: str, is_head: bool, is_nothing: bool, look: Look) -> str:
    if is_head:
        return look.head(cell)
    return look.dim(cell) if is_nothing else cell
