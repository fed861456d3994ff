"""The short form of `python -m tests.fuzz.frames`."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.frames import run


def test_whatever_strangers_send_is_answered_or_ends_that_connection(tmp_path: Path) -> None:
    tally = run(tmp_path, 6_000, seed=1)
    assert tally.violations == []
    assert tally.frames >= 6_000
    assert tally.answers > 2_000
    assert len(tally.refused) > 12
