"""Bytes flipped in every kind of file, files cut, missing, swapped: an error that names it, or right answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = 16  # of each file that are flipped; `make flips` takes all
CHECKED = {
    *("MANIFEST", "vectors.fn", "ids", "payloads", "columns.arrow", "live.n"),
    *("index.n", "codes.n.tv", "graph.n.ckpt", "lists.n.ivf", "fields.n", "growing.tv"),
}
KINDS = {*CHECKED, "VERSION", "LOCK", "catalog.sqlite", "n.wal"}
HEADER = ["way", "file", "bytes", "tried", "detected", "harmless", "unseen", "wrong", "died"]


@pytest.fixture(scope="module")
def swept():
    """What the sweep printed, and its table by the way of damage and the kind of file."""
    command = [sys.executable, "-m", "tests.crash.flips", str(PLACES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    head, *lines = [line.split() for line in done.stdout.splitlines()]
    assert head == HEADER
    rows = [line for line in lines if line[0] in ("flip", "cut", "missing", "swap")]
    table = {(way, kind): dict(zip(HEADER[2:], map(int, counts), strict=True)) for way, kind, *counts in rows}
    return done.stdout, table


def test_no_damage_gives_a_wrong_answer_or_ends_the_process(swept):
    printed, table = swept
    assert not any(counts["unseen"] + counts["wrong"] + counts["died"] for counts in table.values()), printed


def test_every_kind_of_file_was_damaged(swept):
    _, table = swept
    for kind in KINDS:
        places = 10 if kind == "LOCK" else PLACES  # which may be shorter: the name of who has the folder open
        assert table["flip", kind]["tried"] >= 2 * places, kind
        assert table["cut", kind]["tried"] >= places, kind
        assert table["missing", kind]["tried"] >= 1, kind
    for kind in CHECKED:
        assert table["swap", kind]["tried"] >= 1, kind
