"""The queries under way on one core: who asked what since when, and how to stop it.

A search that is done within the turn it came in is never seen here; what goes on beyond it is registered. Its id
is `number * CORES_MAX + core`, so that an id says which core to ask (`KILL id`).

Invariant: a query that was registered is ended exactly once, by its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from reddb import errors, limits
from reddb.wire.messages import Delete, Get, Insert, Message, Query, Search, Upsert

Halt: TypeAlias = Callable[[errors.RedDBError], object]


@dataclass(slots=True, eq=False)
class Running:
    """One query. `halt` has it answered by an error; None while it writes, which is not stopped half-way."""

    id: int
    session: int
    text: str
    began: float  # by the loop's clock
    halt: Halt | None
    stopped_by: errors.RedDBError | None = None
    timer: asyncio.TimerHandle | None = None

    def stop(self, error: errors.RedDBError) -> bool:
        """Have it answered by this error, unless another came first; False if it writes."""
        if self.halt is None:
            return False
        if self.stopped_by is None:
            self.stopped_by = error
            self.halt(error)
        return True

    def goes_on(self, halt: Halt | None) -> None:
        """It is stopped in this way from now on; one that was to be stopped meanwhile is."""
        self.halt = halt
        if self.stopped_by is not None and halt is not None:
            halt(self.stopped_by)


class Registry:
    """What runs on one core."""

    def __init__(self, core: int) -> None:
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._queries: dict[int, Running] = {}
        self._last = 0

    def begin(self, session: int, message: Message, halt: Halt | None, timeout_ms: int = 0) -> Running:
        """Register a query of this session; after `timeout_ms`, unless that is 0, it is stopped."""
        self._last += 1
        query_id = self._last * limits.CORES_MAX + self._core
        running = Running(query_id, session, described(message), self._loop.time(), halt)
        self._queries[query_id] = running
        if timeout_ms:
            running.timer = self._loop.call_later(timeout_ms / 1000, running.stop, timed_out(timeout_ms))
        return running

    def end(self, running: Running) -> None:
        """It was answered."""
        del self._queries[running.id]
        if running.timer is not None:
            running.timer.cancel()


def timed_out(timeout_ms: int) -> errors.RedDBError:
    return errors.STATEMENT_TIMEOUT.error(
        f"the query took longer than statement_timeout, {timeout_ms} ms", hint="SET statement_timeout = 0 sets no bound"
    )


def described(message: Message) -> str:
    """What a request asks for, in one line of bounded length."""
    match message:
        case Query():
            text = " ".join(message.text[: 4 * limits.STATEMENT_SHOWN_CHARS].split())
        case Search():
            queries = len(message.queries) // (4 * max(message.dim, 1))
            where = "" if message.where is None else f" where {message.where}"
            text = f"search {message.collection}: {queries} queries, k {message.k}{where}"
        case Insert() | Upsert() | Delete():
            text = f"{type(message).__name__.lower()} {message.collection}: {len(message.batch)} bytes"
        case Get():
            text = f"get {message.collection}"
        case _:
            text = type(message).__name__.lower()
    return text if len(text) <= limits.STATEMENT_SHOWN_CHARS else text[: limits.STATEMENT_SHOWN_CHARS - 1] + "…"
