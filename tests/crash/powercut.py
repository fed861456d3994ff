"""The power-cut model: the engine on a disk that dies, run after run; the rules are in `tests/crash/powercut_run.py`.

python -m tests.crash.powercut --runs 10000       one figure line at the end; exit code 1 after a violation
python -m tests.crash.powercut --seed 4711        that run alone, with all that happens in it
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

import structlog

from tests.crash.powercut_run import Run

_PROGRESS_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed; `violation` is empty if all was well."""

    seed: int
    crashes: int
    violation: str = ""


def run(seed: int, say: Callable[[str], None] | None = None) -> Outcome:
    """One run. Whatever it raises is a violation: errors of the disk are caught where they may be."""
    one = Run(seed, say)
    try:
        one.go()
    except Exception as error:
        if say is not None:
            say(traceback.format_exc())
        return Outcome(seed, one.crashes, f"{type(error).__name__}: {error}")
    return Outcome(seed, one.crashes)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=1000)
    arguments.add_argument("--first", type=int, default=0, help="the first seed")
    arguments.add_argument("--seed", type=int, help="replay this one")
    given = arguments.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if given.seed is not None:
        return _replay(given.seed)
    crashes = violations = 0
    began = told = time.monotonic()
    for done, seed in enumerate(range(given.first, given.first + given.runs)):
        if time.monotonic() - told > _PROGRESS_S:
            told = time.monotonic()
            _print(f"{done} runs, {crashes} crashes, {done / (told - began):.0f} runs/s", sys.stderr)
        outcome = run(seed)
        crashes += outcome.crashes
        if outcome.violation:
            violations += 1
            _print(f"seed {seed}: {outcome.violation}", sys.stderr)
    _print(f"power-cut runs {given.runs}, crashes {crashes}, violations {violations}", sys.stdout)
    return int(violations > 0)


def _replay(seed: int) -> int:
    outcome = run(seed, lambda line: _print(line, sys.stdout))
    _print(f"power-cut runs 1, crashes {outcome.crashes}, violations {int(bool(outcome.violation))}", sys.stdout)
    return int(bool(outcome.violation))


def _print(line: str, stream: TextIO) -> None:
    stream.write(line + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
