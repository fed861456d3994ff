"""Time as an argument: durations come from `monotonic_s`, dates from `wall_s`, never from each other."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the engine asks for the time; a test hands in its own."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; never steps back."""

    def wall_s(self) -> float:
        """Seconds since 1970-01-01 UTC; may step either way."""


class SystemClock:
    """The machine's clocks."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_s(self) -> float:
        return time.time()
