"""Deletes the rows of one partition that have expired, some at a time, beside everything else.

It sleeps until the next row expires, looks once a second at most, and goes on at once where one sweep was not enough.

Invariant: readers need none of it, for they ask the clock; a sweep that fails is only late.
"""

from __future__ import annotations

import asyncio

import structlog

from reddb import errors, limits
from reddb.expiry import NEVER_US
from reddb.partition.sweep import SWEEP_PAUSE_S, SWEEP_ROWS_MAX, sweep_due_us
from reddb.server import tasks
from reddb.server.committer import Committer

_log = structlog.get_logger()

_SLEEP_MAX_S = 60.0  # the system's clock may be set forward meanwhile


class Sweeper:
    """Runs beside the committer of a partition."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._wake = asyncio.Event()
        self._task = tasks.start("sweeper", self._run())

    def wake(self) -> None:
        """Rows were written, which may expire before all others."""
        self._wake.set()

    async def close(self) -> None:
        """What has not been swept is swept after the next start."""
        await tasks.stop(self._task)

    async def _run(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            try:
                await self._sleep()
                swept = await self._committer.sweep()
                failures = 0
            except Exception as error:
                failures += 1
                swept = 0
                _tell(error)
            if swept < SWEEP_ROWS_MAX:
                pause_s = limits.RESTART_BACKOFF_S[min(failures, len(limits.RESTART_BACKOFF_S) - 1)]
                await asyncio.sleep(max(pause_s, SWEEP_PAUSE_S))

    async def _sleep(self) -> None:
        """Until a row has expired."""
        partition = self._committer.partition
        while (due_us := sweep_due_us(partition)) > (now_us := partition.now_us()):
            left_s = None if due_us == NEVER_US else min((due_us - now_us) / 1e6, _SLEEP_MAX_S)
            try:
                async with asyncio.timeout(left_s):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()
            await asyncio.sleep(SWEEP_PAUSE_S)  # one look for many groups


def _tell(error: Exception) -> None:
    if isinstance(error, errors.RedDBError):
        _log.error("expired rows were not deleted", error=str(error))
    else:
        _log.exception("deleting expired rows failed in an unforeseen way", exc_info=error)
