"""The short form of `make fuzz`."""

from __future__ import annotations

from pathlib import Path

from tests.engine.fuzz import run


def test_mutated_statements_are_answered_or_refused(tmp_path: Path) -> None:
    (*_, report) = run(tmp_path, 3_000, seed=1)
    assert report.violations == []
    assert report.statements == 3_000
    assert report.answered > 300
    assert len(report.refused) > 10
