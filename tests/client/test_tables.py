"""Tables of text: widths as a terminal counts them, vectors shortened, cells cut only where a width is given."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import click
import numpy as np
import pytest
import wcwidth

from reddb.client.rows import Result
from reddb.client.shell.chart import render_chart
from reddb.client.shell.complaint import Complaint
from reddb.client.tables import Look, fits, render_cell, render_table, render_vertical
from reddb.terminal_text import escaped

ROWS = [(1, "plain", 0.25), (20, "中文 and more", None), (300, "ctrl\x1b[31m\n", -1.5)]


def test_columns_stand_below_each_other():
    lines = render_table(["id", "名", "n"], ROWS).splitlines()
    ends = {wcwidth.wcswidth(line) for line in lines}
    assert ends == {len("300   ctrl [31m       -1.5")} == {26} or len(ends) == 1
    assert lines[3] == " 20   中文 and more   NULL"
    assert lines[4] == "300   ctrl [31m       -1.5"


def test_no_line_ends_in_blanks():
    for text in (render_table(["a", "b"], [("x", ""), ("", "long")]), render_vertical(["a"], [("",)])):
        assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("width", [20, 31, 40, 200])
def test_what_is_too_wide_is_cut_with_a_sign(width: int):
    columns, rows = ["id", "text", "more"], [(1, "x" * 50, "中" * 30)]
    text = render_table(columns, rows, Look(width=width))
    widest = max(map(wcwidth.wcswidth, text.splitlines()))
    assert widest <= max(width, 24)
    assert ("…" in text) == (width < 200)
    assert fits(columns, 30)
    assert not fits(columns, 29)


def test_colours_change_no_text():
    coloured = render_table(["id", "名", "n"], ROWS, Look(colours=True))
    assert click.unstyle(coloured) == render_table(["id", "名", "n"], ROWS)
    assert click.style(" NULL"[1:], dim=True) in coloured


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.array([0.12, -0.03, 5, 1], np.float32), "[0.12, −0.03, 5, … 4]"),
        (np.array([0.12, -0.03], np.float32), "[0.12, -0.03]"),
        (np.array([], np.float32), "[]"),
        (True, "true"),
        (None, "NULL"),
        (0.1 + 0.2, "0.3"),
        (-5, "-5"),
    ],
)
def test_cells(value: object, shown: str):
    assert render_cell(value) == shown


def test_bars_are_as_long_as_the_numbers():
    result = Result(["id", "distance"], [["a", 1.0], ["b", -0.5], ["c", 0.0]], None)
    first, second, third = render_chart(result, "distance", 80).splitlines()
    assert first.count("█") == pytest.approx(2 * second.count("█"), abs=1)
    assert second.rindex("█") < first.index("█"), "what is below zero lies to the left"
    assert third == "c     0"
    assert len(first) <= 80


@pytest.mark.parametrize("values", [[5e-324, 0.0], [1e308, -1e308], [-5e-324], [0.0]])
def test_bars_at_the_ends_of_floats(values: list[float]):
    lines = render_chart(Result(["id", "n"], [["a", value] for value in values], None), "n", 80).splitlines()
    assert [bool(line.count("█")) for line in lines] == [value != 0 for value in values]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
        ("\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001f3f4\U000e0067\U000e0062\U000e007f"),
        ("a\u200db", "a b"),
        ("\u200d", " "),
        ("a\U000e0067", "a "),
        ("\u202egnp.exe", " gnp.exe"),
        ("\x1b[31m\x9b\x07", " [31m  "),
    ],
)
def test_only_what_joins_emoji_is_invisible(text: str, shown: str):
    assert render_cell(text) == shown
    assert escaped(f'["{text}"]\n').isprintable() is False  # the newline stays
    assert json.loads(escaped(f'["{text}"]')) == [text]


def test_nested_values_are_json():
    value = {"a": [None, True, 1.5, "x", datetime(2024, 5, 1, tzinfo=UTC)], "é": {}}
    assert render_cell(value) == '{"a": [null, true, 1.5, "x", "2024-05-01 00:00:00+00:00"], "é": {}}'


def test_what_has_no_bars():
    with pytest.raises(Complaint, match="not finite"):
        render_chart(Result(["n"], [[math.inf]], None), "n", 80)
    result = Result(["id", "title"], [["a", "b"]], None)
    with pytest.raises(Complaint, match="no column distance"):
        render_chart(result, "distance", 80)
    with pytest.raises(Complaint, match="title is not a number in every row"):
        render_chart(result, "title", 80)
    with pytest.raises(Complaint, match="no numbers"):
        render_chart(Result(["distance"], [], None), "distance", 80)
