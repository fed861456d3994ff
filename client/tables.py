"""Rows as an aligned table of text, for the shell and the demo.

Widths are those of a terminal (rich counts a Chinese character as two), no line is wrapped or cut, and none ends in
blanks, so a table can be piped, compared and pasted.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich.box import Box
from rich.console import Console
from rich.table import Table

_WIDTH_MAX = 1_000_000  # rich wants a width; lines are never wrapped
_NUMBERS_SHOWN = 3
_LINES = Box(
    "\n".join(["    ", "    ", " ── ", "    ", "    ", "    ", "    ", "    "])
)  # a line under the header only


def render_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The table as lines, without a newline at the end. Numbers stand at the right, the rest at the left."""
    listed = list(rows)
    table = Table(box=_LINES, pad_edge=False, show_edge=False)
    for place, name in enumerate(columns):
        is_numeric = bool(listed) and all(isinstance(row[place], int | float | None) for row in listed)
        table.add_column(_plain(name), justify="right" if is_numeric else "left", no_wrap=True)
    for row in listed:
        table.add_row(*(render_cell(value) for value in row))
    out = io.StringIO()
    Console(file=out, width=_WIDTH_MAX, highlight=False, markup=False, color_system=None).print(table, soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def render_cell(value: Any) -> str:
    """One value: long vectors shortened, NULL for nothing, control characters as blanks."""
    if isinstance(value, np.ndarray):
        shown = ", ".join(f"{number:.3g}" for number in value[:_NUMBERS_SHOWN])
        return f"[{shown}, … {len(value)}]" if len(value) > _NUMBERS_SHOWN else f"[{shown}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return "NULL"
    return _plain(value if isinstance(value, str) else repr(value))


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
