"""When a call must have ended."""

from __future__ import annotations

import time
from math import inf


class Deadline:
    """So many seconds from now, or never."""

    def __init__(self, seconds: float | None) -> None:
        self._end = inf if seconds is None else time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def left_s(self) -> float | None:
        """As the time-out of a socket: above 0, None for no limit."""
        return None if self._end == inf else max(self._end - time.monotonic(), 1e-6)
