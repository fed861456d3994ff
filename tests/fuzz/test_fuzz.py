"""The short form of `make fuzz`."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.run import run


def test_whatever_is_given_is_answered_or_refused(tmp_path: Path) -> None:
    (*_, report) = run(tmp_path, 4_000, seed=1)
    assert report.violations == []
    assert report.asked.total() >= 4_000
    assert len(report.asked) == 10, "every entry was asked"
    assert report.answered > 400
    assert len(report.refused) > 12
