"""How far the opening of a partition has come: written by the thread that opens it, read by whoever is asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Recovery:
    """Bytes of the log that were replayed, of those that there are (with what is reserved behind them)."""

    bytes_total: int = 0
    bytes_done: int = 0

    @property
    def percent(self) -> int:
        return min(100 * self.bytes_done // max(self.bytes_total, 1), 99)
