"""Searches that arrive in one turn of the loop and ask alike become one faiss call.

A search that would hold the loop for long runs in slices, other requests in between. (A thread would not help: it
would share the one processor of this core, and the index would need a lock against the codes being taken over.)

Invariant: every search that was added gets exactly one call of its `done`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import structlog

from reddb import errors
from reddb.reader import PartitionReader
from reddb.types import Found, SearchOptions, Vectors

_log = structlog.get_logger()

Outcome: TypeAlias = list[Found] | errors.RedDBError

# Products of float32 that take about 2 ms with FastScan's or numpy's kernels; more than this runs in slices.
_LONG_WORK = 20_000_000


class _Wanted(NamedTuple):
    queries: Vectors
    done: Callable[[Outcome], None]


class Searches:
    """Collects the searches of a turn."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wanted: dict[tuple[PartitionReader, SearchOptions], list[_Wanted]] = {}
        self._long: set[asyncio.Task[None]] = set()

    def add(
        self, reader: PartitionReader, queries: Vectors, options: SearchOptions, done: Callable[[Outcome], None]
    ) -> None:
        """Search for (q, dim) at the end of this turn and hand the outcome to `done`."""
        if not self._wanted:
            self._loop.call_soon(self._run)
        self._wanted.setdefault((reader, options), []).append(_Wanted(queries, done))

    def _run(self) -> None:
        groups, self._wanted = self._wanted, {}
        for (reader, options), wanted in groups.items():
            queries = wanted[0].queries if len(wanted) == 1 else np.concatenate([item.queries for item in wanted])
            if reader.work(len(queries), options) > _LONG_WORK:
                task = self._loop.create_task(self._run_in_slices(reader, queries, options, wanted))
                self._long.add(task)
                task.add_done_callback(self._long.discard)
                continue
            try:
                found: Outcome = reader.search(queries, options)
            except Exception as error:
                found = _failed(error)
            _hand_out(wanted, found)

    async def _run_in_slices(
        self, reader: PartitionReader, queries: Vectors, options: SearchOptions, wanted: list[_Wanted]
    ) -> None:
        steps = reader.search_steps(queries, options)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                _hand_out(wanted, stop.value)
                return
            except Exception as error:
                _hand_out(wanted, _failed(error))
                return
            await asyncio.sleep(0)


def _failed(error: Exception) -> errors.RedDBError:
    if isinstance(error, errors.RedDBError):
        return error
    _log.error("a search failed in an unforeseen way", exc_info=error)
    return errors.INTERNAL.error(f"the search failed: {error!r}")


def _hand_out(wanted: list[_Wanted], found: Outcome) -> None:
    first = 0
    for item in wanted:
        count = len(item.queries)
        item.done(found if isinstance(found, errors.RedDBError) else found[first : first + count])
        first += count
