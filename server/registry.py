"""The sessions of one core and their queries under way: who asked what since when, and how to stop it.

A search that is done within the turn it came in is never seen here; what goes on beyond it is registered. Ids are
`number * CORES_MAX + core`, so that an id says which core to ask (`KILL id`).

Invariant: a query that was registered is ended exactly once, by its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any, TypeAlias

from reddb import errors, limits
from reddb.server import tasks
from reddb.session import SessionState, Statements, timed_out
from reddb.wire.messages import Delete, Get, Insert, Message, Query, Search, Upsert

Halt: TypeAlias = Callable[[errors.RedDBError], object]


@dataclass(slots=True, eq=False)
class Running:
    """One query. `halt` has it answered by an error; None while it writes, which is not stopped half-way."""

    id: int
    session: int
    message: Message
    began: float  # by perf_counter: the loop's own clock counts milliseconds
    halt: Halt | None
    stopped_by: errors.RedDBError | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def state(self) -> str:
        return "writing" if self.halt is None else "running" if self.stopped_by is None else "stopping"

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


@dataclass(slots=True, eq=False)
class Connected:
    """One session; `in_flight` counts its requests under way."""

    id: int
    since: datetime
    state: SessionState
    in_flight: int = 0


class Registry:
    """What runs on one core."""

    def __init__(self, core: int, statements: Statements) -> None:
        self._core = core
        self._statements = statements
        self._sessions: dict[int, Connected] = {}
        self._queries: dict[int, Running] = {}
        self._last = 0

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    @property
    def queries(self) -> int:
        return len(self._queries)

    def new_session(self) -> Connected:
        """A session that is to be connected."""
        return Connected(self._next_id(), datetime.now(UTC), SessionState(self._statements))

    def connect(self, session: Connected) -> None:
        """It is there, until `disconnect`."""
        self._sessions[session.id] = session

    def disconnect(self, session: Connected) -> None:
        """It is gone."""
        del self._sessions[session.id]
        session.state.close()

    def begin(self, session: Connected, message: Message, halt: Halt | None) -> Running:
        """Register a query; after the session's statement_timeout it is stopped."""
        query_id = self._next_id()
        running = Running(query_id, session.id, message, perf_counter(), halt)
        self._queries[query_id] = running
        timeout_ms = session.state.statement_timeout_ms
        if timeout_ms:
            running.timer = tasks.later("timeout", timeout_ms / 1000, running.stop, timed_out(timeout_ms))
        return running

    def end(self, running: Running) -> None:
        """It was answered."""
        del self._queries[running.id]
        if running.timer is not None:
            running.timer.cancel()

    def stop(self, query_id: int, error: errors.RedDBError) -> bool:
        """Stop a query; False if there is none with this id. Raises CANNOT_CANCEL for one that writes."""
        running = self._queries.get(query_id)
        if running is None:
            return False
        if not running.stop(error):
            text = f"query {query_id} writes or changes something: it goes on, and ends whole or not at all"
            raise errors.CANNOT_CANCEL.error(text)
        return True

    def session_rows(self) -> Iterator[list[Any]]:
        """The rows of SHOW SESSIONS for this core."""
        for session in self._sessions.values():
            name = session.state.values.get("application_name", "")
            state = "active" if session.in_flight else "idle"
            yield [session.id, self._core, session.state.client, name, session.since, state, session.in_flight]

    def query_rows(self) -> Iterator[list[Any]]:
        """The rows of SHOW QUERIES for this core."""
        now, clock = datetime.now(UTC), perf_counter()
        for query in self._queries.values():
            elapsed = timedelta(seconds=clock - query.began)
            elapsed_ms = elapsed / timedelta(milliseconds=1)
            told = [now - elapsed, elapsed_ms, query.state, described(query.message)]
            yield [query.id, query.session, self._core, *told]

    def _next_id(self) -> int:
        self._last += 1
        return self._last * limits.CORES_MAX + self._core


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
