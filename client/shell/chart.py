"""Numbers of a result as bars, one a row.

Invariant: the bars begin at zero, so that their lengths compare as the numbers do; that of a negative number lies to
the left of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from reddb.client.rows import Result
from reddb.client.shell.complaint import Complaint
from reddb.client.tables import render_cell

_EIGHTHS = " ▏▎▍▌▋▊▉"
_LABEL_MAX = 24
_GAP = "  "


def render_chart(result: Result, column: str, width: int) -> str:
    """The bars of a column of numbers, in lines of `width` characters, labelled by the first other column."""
    if column not in result.columns:
        raise Complaint(f"the last result has no column {column}", f"its columns are {', '.join(result.columns)}")
    place = result.columns.index(column)
    values = [row[place] for row in result]
    if not values or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise Complaint(f"{column} has no numbers to show" if not values else f"{column} is not a number in every row")
    if not all(map(math.isfinite, values)):
        raise Complaint(f"{column} is not finite in every row, so it has no bars")
    other = next((number for number in range(len(result.columns)) if number != place), place)
    labels = [_cut(render_cell(row[other])) for row in result]
    shown = [render_cell(value) for value in values]
    return "\n".join(_lines(labels, shown, values, width))


def _lines(labels: Sequence[str], shown: Sequence[str], values: Sequence[float], width: int) -> list[str]:
    label_width, value_width = max(map(cell_len, labels)), max(map(len, shown))
    room = max(8, width - label_width - value_width - 2 * len(_GAP) - 1)
    unit = max(map(abs, values)) or 1.0  # of the longest: the span of two huge numbers is no float
    least, most = min(0.0, *values) / unit, max(0.0, *values) / unit

    def chars(value: float) -> float:
        return value / unit / ((most - least) or 1.0) * room

    left = round(chars(-least * unit))  # characters for what is below zero
    lines = []
    for label, text, value in zip(labels, shown, values, strict=True):
        bar = _right(chars(value)) if value >= 0 else ""
        below = "█" * min(left, round(chars(-value))) if value < 0 else ""
        head = f"{set_cell_size(label, label_width)}{_GAP}{text:>{value_width}}{_GAP}"
        lines.append(f"{head}{below.rjust(left)}{bar}".rstrip())
    return lines


def _right(length: float) -> str:
    eighths = round(length * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _cut(label: str) -> str:
    return label if cell_len(label) <= _LABEL_MAX else set_cell_size(label, _LABEL_MAX - 1) + "…"
