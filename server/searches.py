"""Searches that arrive in one turn of the loop and ask alike become one faiss call.

A search that would hold the loop for long goes on in slices, other requests in between. (A thread would not help: it
would share the one processor of this core, and the index would need a lock against the codes being taken over.)

Invariant: every search that was added gets exactly one call of its `done`, stopped ones too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from time import perf_counter
from typing import NamedTuple, TypeAlias

import numpy as np
import structlog

from reddb import errors
from reddb.metrics import Metrics
from reddb.partition.reader import Reader
from reddb.partition.search import Found, SearchReport, Steps
from reddb.query.predicate import Predicate
from reddb.server import tasks
from reddb.server.registry import Halt
from reddb.types import SearchOptions, Vectors

_log = structlog.get_logger()

Outcome: TypeAlias = list[Found] | errors.RedDBError

_TURN_S = 0.002  # what one search may take of a turn before others get theirs


class _Alike(NamedTuple):
    reader: Reader
    options: SearchOptions
    predicate: Predicate | None
    report: SearchReport | None


class _Wanted(NamedTuple):
    queries: Vectors
    done: Callable[[Outcome], None]
    goes_on: Callable[[Halt], object]


class Searches:
    """Collects the searches of a turn."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._wanted: dict[_Alike, list[_Wanted]] = {}

    def add(
        self,
        reader: Reader,
        queries: Vectors,
        options: SearchOptions,
        predicate: Predicate | None,
        done: Callable[[Outcome], None],
        goes_on: Callable[[Halt], object],
        report: SearchReport | None = None,
    ) -> None:
        """Search for (q, dim) at the end of this turn and hand the outcome to `done`, when `report` is filled.

        If there is more to do than fits a turn, `goes_on` is called, once, with what stops the search.
        """
        if not self._wanted:
            tasks.soon("searches", self._run)
        # A report is one search's own, so a search that wants one is like no other.
        alike = _Alike(reader, options, predicate, report)
        self._wanted.setdefault(alike, []).append(_Wanted(queries, done, goes_on))

    def _run(self) -> None:
        groups, self._wanted = self._wanted, {}
        for (reader, options, predicate, report), wanted in groups.items():
            began = perf_counter()  # the loop's own clock counts milliseconds
            queries = wanted[0].queries if len(wanted) == 1 else np.concatenate([item.queries for item in wanted])
            try:
                steps = reader.search_steps(queries, options, predicate, report)
                found = self._advance(steps)
            except Exception as error:
                _hand_out(wanted, _failed(error))
                continue
            if found is not None:
                self._count(wanted, began)
                _hand_out(wanted, found)
                continue
            tasks.start("search", self._go_on(_Long(steps, wanted), began))

    def _advance(self, steps: Steps) -> list[Found] | None:
        """Search for one turn; None if there is more to do."""
        end = self._loop.time() + _TURN_S
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                found: list[Found] = stop.value
                return found
            if self._loop.time() > end:
                return None

    async def _go_on(self, search: _Long, began: float) -> None:
        try:
            found = None
            while found is None:
                await asyncio.sleep(0)
                if search.is_over:
                    return
                found = self._advance(search.steps)
        except Exception as error:
            search.hand_out(_failed(error))
            return
        self._count(search.waiting(), began)
        search.hand_out(found)

    def _count(self, answered: Sequence[_Wanted], began: float) -> None:
        self._metrics.searches += sum(len(item.queries) for item in answered)
        self._metrics.search_seconds.observe(perf_counter() - began, len(answered))


class _Long:
    """A search that goes on after its turn, for those who still wait for it."""

    def __init__(self, steps: Steps, wanted: list[_Wanted]) -> None:
        self.steps = steps
        self._wanted = wanted
        self._stopped: set[int] = set()
        for number, item in enumerate(wanted):
            item.goes_on(partial(self._stop, number))

    @property
    def is_over(self) -> bool:
        return len(self._stopped) == len(self._wanted)

    def waiting(self) -> list[_Wanted]:
        return [item for number, item in enumerate(self._wanted) if number not in self._stopped]

    def hand_out(self, found: Outcome) -> None:
        _hand_out(self._wanted, found, self._stopped)

    def _stop(self, number: int, error: errors.RedDBError) -> None:
        self._stopped.add(number)
        self._wanted[number].done(error)
        if self.is_over:
            self.steps.close()  # what it holds of the segments is let go of at once


def _failed(error: Exception) -> errors.RedDBError:
    if isinstance(error, errors.RedDBError):
        return error
    _log.error("a search failed in an unforeseen way", exc_info=error)
    return errors.unforeseen("the search failed", error)


def _hand_out(wanted: list[_Wanted], found: Outcome, stopped: Collection[int] = ()) -> None:
    first = 0
    for number, item in enumerate(wanted):
        count = len(item.queries)
        if number not in stopped:
            item.done(found if isinstance(found, errors.RedDBError) else found[first : first + count])
        first += count
