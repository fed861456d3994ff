"""Barriers: what was told to all cores is in force once each has acknowledged it, or died."""

from __future__ import annotations

import asyncio


class Barriers:
    """Those that are not passed yet, by number."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, _Barrier] = {}

    def begin(self, cores: set[int]) -> int:
        """A new barrier, which these cores have yet to pass; returns its number."""
        self._last += 1
        self._open[self._last] = _Barrier(cores)
        return self._last

    async def passed(self, number: int) -> None:
        """Return when no core is missing."""
        await self._open[number].is_passed.wait()
        del self._open[number]

    def acknowledged(self, number: int, core: int) -> None:
        if number in self._open:  # else it was taken for dead, and passed over
            self._open[number].leave(core)

    def core_died(self, core: int) -> None:
        """Nobody waits for a dead core."""
        for barrier in self._open.values():
            barrier.leave(core)


class _Barrier:
    def __init__(self, cores: set[int]) -> None:
        self._missing = cores
        self.is_passed = asyncio.Event()
        self._check()

    def leave(self, core: int) -> None:
        self._missing.discard(core)
        self._check()

    def _check(self) -> None:
        if not self._missing:
            self.is_passed.set()
