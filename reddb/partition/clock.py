"""The time of day, for rows that expire and for the log's records.

Invariant: a `SteadyClock` never goes back, so a row that has expired does not come back while the process lives, even
where the system's clock is set back.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def system_time_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


class SteadyClock:
    """Stands still where the clock behind it steps back, until that has caught up.

    Rejected: the start of the process plus a monotonic clock, which would not follow corrections of the system's clock
    either, and would run away from the clocks of clients and other processes.
    """

    def __init__(self, source: Callable[[], int] = system_time_us) -> None:
        from threading import Lock

        self._source = source
        self._latest = 0
        self._lock = Lock()  # the log asks in a thread of its own

    def __call__(self) -> int:
        """Microseconds since 1970."""
        with self._lock:
            self._latest = max(self._latest, self._source())
            return self._latest
