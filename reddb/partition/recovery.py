"""How far the opening of a partition has come: written by the thread that opens it, read by whoever is asked.

Who waits for it may give it up: the thread then ends at its next step, and nothing of the partition has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from reddb import errors

T = TypeVar("T")


@dataclass(slots=True)
class Recovery:
    """Bytes of the log that were replayed, of those that there are (with what is reserved behind them)."""

    is_given_up: Callable[[], bool] = lambda: False
    bytes_total: int = 0
    bytes_done: int = 0

    @property
    def percent(self) -> int:
        return min(100 * self.bytes_done // max(self.bytes_total, 1), 99)

    def replayed(self, size: int) -> None:
        """A record of so many bytes was read. Raises UNAVAILABLE once it is given up."""
        self.bytes_done += size
        self._go_on()

    def each(self, steps: Iterable[T]) -> Iterator[T]:
        """The steps, one by one. Raises UNAVAILABLE once it is given up."""
        for step in steps:
            self._go_on()
            yield step

    def _go_on(self) -> None:
        if self.is_given_up():
            raise errors.UNAVAILABLE.error("the opening of the partition was given up")
