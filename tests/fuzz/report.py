"""What came of fuzzing: answers, refusals by name, and violations.

Anything but an answer or an error of the catalogue is a violation, and so is INTERNAL, which stands for a bug.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import reddb
from reddb import errors

_SHOWN_CHARS = 300


@dataclass
class Report:
    """What came of it. `slowest_s` is of parsing and binding one statement, in processor time."""

    asked: Counter[str] = field(default_factory=Counter)  # by entry
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: str = ""

    def ask(self, entry: str, given: Any, call: Callable[[], object]) -> str | None:
        """Make a call and note what comes of it; returns the name of a refusal."""
        self.asked[entry] += 1
        try:
            call()
        except reddb.RedDBError as error:
            if errors.CATALOGUE.get(error.name) is not error.code or error.code is errors.INTERNAL:
                self._violated(entry, given, str(error))
            self.refused[error.name] += 1
            return error.name
        except Exception as error:
            self._violated(entry, given, repr(error))
            return None
        self.answered += 1
        return None

    def _violated(self, entry: str, given: Any, what: str) -> None:
        try:
            shown = repr(given)
        except Exception:  # of what is given, not of what is tested
            shown = f"a {type(given).__name__} without words"
        self.violations.append(f"{entry} {shown[:_SHOWN_CHARS]}: {what[:_SHOWN_CHARS]}")

    def lines(self) -> list[str]:
        """For a person; the last one is the summary."""
        shown = self.slowest if len(self.slowest) < 200 else f"{self.slowest[:200]}…"
        return [
            f"refused: {', '.join(f'{name} {number}' for name, number in self.refused.most_common())}",
            f"slowest to read: {1000 * self.slowest_s:.1f} ms, {len(self.slowest)} characters: {shown!r}",
            f"asked: {', '.join(f'{entry} {number}' for entry, number in self.asked.most_common())}",
            f"inputs {self.asked.total()}, answered {self.answered}, refused {self.refused.total()}, "
            f"violations {len(self.violations)}",
        ]
