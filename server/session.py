"""One client's connection on its core: bytes to requests, requests to the service, answers to bytes.

Searches take the short way: no task, no future, one call at the end of the turn (`reddb.server.searches`). Everything
that may wait runs in a task of its own, so answers overtake one another.

A request that outlives its turn is registered (`reddb.server.registry`), and can be stopped by Cancel, by KILL from
anywhere, and by the end of its connection; a write, once begun, is not.

Invariants:
  * Every request but Cancel gets exactly one answer, or the connection ends.
  * A client that sends faster than it reads is not read: neither requests nor unsent answers pile up without bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, cast

import structlog

from reddb import errors, limits
from reddb._version import __version__
from reddb.accountant import Spending
from reddb.partition.reader import Reader
from reddb.partition.search import Found, SearchReport
from reddb.query.execute import found_table, query_vector
from reddb.query.plan import Plan, SearchPlan
from reddb.query.write_plans import TransactionPlan
from reddb.requests import (
    CheckedSearch,
    affected,
    collection_named,
    hits,
    notices_of,
    notices_of_plan,
    results,
    rows_steps,
    search_of,
    with_notices,
)
from reddb.server import tasks
from reddb.server.intake import Intake, Reading
from reddb.server.outbox import Outbox
from reddb.server.registry import Halt, Running
from reddb.server.searches import Outcome
from reddb.server.service import Service
from reddb.server.slices import in_slices
from reddb.server.statements import may_be_left, run_statement
from reddb.transactions import Collected, Transaction, Transactions
from reddb.wire.connection import Broken, Unread, encode
from reddb.wire.messages import (
    MESSAGES,
    VERSION,
    Cancel,
    Delete,
    Execute,
    Failure,
    Get,
    Hello,
    Insert,
    Message,
    Ping,
    Pong,
    Prepare,
    Query,
    Result,
    Search,
    Upsert,
    Welcome,
)

_log = structlog.get_logger()

_KINDS = {message: message.__name__.lower() for message in MESSAGES.values()}


class Session(asyncio.Protocol):
    """Serves one connection."""

    def __init__(self, service: Service, closed: Callable[[Session], None]) -> None:
        self._service = service
        self._closed = closed
        self._reading = Reading()
        self._intake = Intake(service.arrivals, service.accountant, self._reading, self._refuse_unread)
        self._outbox = Outbox(service.accountant["results"])
        self._transport: asyncio.Transport | None = None
        self._running: dict[int, Running] = {}
        self._connected = service.registry.new_session()
        self._state = self._connected.state
        self._transactions = Transactions(service.accountant["transactions"])
        self._metrics = service.metrics
        self._is_broken = False
        self._is_stopping = False
        self._idle = asyncio.Event()
        self._hello_deadline: asyncio.TimerHandle | None = None

    # --- the transport's side ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class
        self._reading.connected(self._transport)
        self._service.registry.connect(self._connected)
        self._outbox.connected(self._transport)
        self._hello_deadline = tasks.later("hello", limits.HELLO_TIMEOUT_S, self._hello_too_late, failed=self._lost)

    def data_received(self, data: bytes) -> None:
        self._metrics.bytes_received += len(data)
        for event in self._intake.receive_data(data):
            if isinstance(event, Broken):
                self._break(event.correlation, event.error)
                return
            if self._is_broken:  # by the request before
                return
            if isinstance(event.message, Cancel):
                # What came with it is registered at the end of this turn.
                tasks.soon("cancel", self._cancel, event.message.correlation, failed=self._lost)
                continue
            self._connected.in_flight += 1
            self._metrics.requests[_KINDS.get(type(event.message), "unread")] += 1
            self._handle(event.correlation, event.message)
        if self._connected.in_flight >= limits.REQUESTS_IN_FLIGHT_MAX:
            self._reading.pause("requests")

    def _refuse_unread(self, correlation: int, error: errors.RedDBError) -> None:
        self._connected.in_flight += 1
        self._refuse(correlation, error)

    def pause_writing(self) -> None:
        self._outbox.pause()
        self._reading.pause("answers")

    def resume_writing(self) -> None:
        self._outbox.resume()
        self._reading.resume("answers")

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._reading.connected(None)
        self._outbox.close()
        self._transactions.close()
        if self._hello_deadline is not None:
            self._hello_deadline.cancel()
        self._idle.set()
        for correlation in list(self._running):
            self._cancel(correlation)
        self._intake.close(self._running)
        self._service.registry.disconnect(self._connected)
        self._closed(self)

    async def drain(self) -> None:
        """Take nothing more, finish what was received, close."""
        self._is_stopping = True
        self._outbox.writable.set()
        self._reading.pause("stopping")
        while self._connected.in_flight and self._transport is not None:
            self._idle.clear()
            await self._idle.wait()
        if self._transport is not None:
            self._transport.close()

    # --- requests ------------------------------------------------------------------------------------------

    def _handle(self, correlation: int, message: Message) -> None:
        try:
            if isinstance(message, Unread):
                raise message.error
            if isinstance(message, Search):
                self._search(correlation, message)
            elif isinstance(message, Query | Execute):
                self._query(correlation, message)
            elif isinstance(message, Prepare):
                self._answer(correlation, self._state.prepare(message))
            elif isinstance(message, Hello):
                self._welcome(correlation, message)
            elif isinstance(message, Ping):
                self._answer(correlation, Pong())
            elif isinstance(message, Insert | Upsert | Delete):
                self._write_soon(correlation, message)
            elif isinstance(message, Get):
                self._start(correlation, message, self._get(correlation, message))
            else:
                self._break(correlation, errors.PROTOCOL.error(f"{type(message).__name__} is not for a server"))
        except Exception as error:
            self._fail(correlation, error)

    def _welcome(self, correlation: int, message: Hello) -> None:
        if self._hello_deadline is None:
            self._break(correlation, errors.PROTOCOL.error("Hello was said already"))
            return
        self._hello_deadline.cancel()
        self._hello_deadline = None
        self._state.client = message.client
        self._answer(correlation, Welcome(VERSION, __version__, self._service.core))

    def _search(self, correlation: int, message: Search) -> None:
        collection = collection_named(message.collection, self._service.catalog)
        asked = search_of(message, collection)
        reader = self._service.reader_now(collection)
        if reader is None or not self._outbox.writable.is_set():
            self._start(correlation, message, self._search_later(correlation, message))
        else:
            self._search_now(correlation, message, reader, asked)

    async def _search_later(self, correlation: int, message: Search) -> None:
        collection = collection_named(message.collection, self._service.catalog)
        reader = await self._service.reader(collection)
        self._search_now(correlation, message, reader, search_of(message, collection))

    def _search_now(self, correlation: int, message: Search, reader: Reader, asked: CheckedSearch) -> None:
        queries, options, predicate, premises = asked
        notices = notices_of(premises, reader)
        report = SearchReport() if message.with_report else None
        self._service.searches.add(
            reader,
            queries,
            self._state.options(message, options),
            predicate,
            lambda outcome: self._found(correlation, message, outcome, partial(hits, message, report, notices)),
            lambda halt: self._begin(correlation, message, halt),
            report,
        )

    def _query(self, correlation: int, request: Query | Execute) -> None:
        transaction = self._transactions.current
        try:
            message, bound, premises = self._state.plan(request, self._service.catalog)
            notices = notices_of_plan(bound, premises, self._service.catalog, self._service.reader_now)
            step = None if bound is None else self._transactions.step(bound)
        except Exception as error:
            if transaction is not None:
                transaction.fail(error)
            raise
        if step is None or isinstance(step, Collected):
            self._answer(correlation, *with_notices([affected(None if step is None else step.affected)], notices))
            return
        if isinstance(step, SearchPlan):
            reader = self._service.reader_now(step.collection)
            if reader is not None and self._outbox.writable.is_set():
                self._search_by_statement(correlation, message, step, reader, notices)
                return
        work = self._run_plan(correlation, message, step, transaction, notices)
        self._start(correlation, message, work, stops=may_be_left(step))

    def _search_by_statement(
        self, correlation: int, message: Query, bound: SearchPlan, reader: Reader, notices: list[str]
    ) -> None:
        def answer(found: list[Found]) -> list[Result]:
            return with_notices(results(found_table(bound, found[0])), notices)

        self._service.searches.add(
            reader,
            query_vector(bound, reader.view()),
            bound.options,
            bound.predicate,
            lambda outcome: self._found(correlation, message, outcome, answer),
            lambda halt: self._begin(correlation, message, halt),
        )

    async def _run_plan(
        self,
        correlation: int,
        message: Query,
        bound: Plan | TransactionPlan,
        transaction: Transaction | None,
        notices: list[str],
    ) -> None:
        try:
            if isinstance(bound, SearchPlan):
                reader = await self._service.reader(bound.collection)
                self._search_by_statement(correlation, message, bound, reader, notices)
            else:
                parts = await run_statement(self._service, self._state, message, bound)
                self._answer(correlation, *with_notices(parts, notices))
        except Exception as error:
            if transaction is not None:
                self._transactions.failed(transaction, bound, error)
            raise
        finally:
            if isinstance(bound, TransactionPlan) and transaction and transaction is not self._transactions.current:
                transaction.over()

    def _write_soon(self, correlation: int, message: Insert | Upsert | Delete) -> None:
        if self._transactions.current is None:
            self._start(correlation, message, self._write(correlation, message), stops=False)
        else:
            self._answer(correlation, self._transactions.collect(message, self._service.catalog))

    async def _write(self, correlation: int, message: Insert | Upsert | Delete) -> None:
        self._answer(correlation, await self._service.write(message))

    async def _get(self, correlation: int, message: Get) -> None:
        reader = await self._service.reader(collection_named(message.collection, self._service.catalog))
        await self._answer_in_slices(correlation, rows_steps(message, reader))

    # --- answers -------------------------------------------------------------------------------------------

    def _found(self, correlation: int, message: Message, outcome: Outcome, answer: Callable[..., Any]) -> None:
        """`answer` makes of what was found a message, the parts of a result, or what makes a message in slices."""
        if isinstance(outcome, errors.RedDBError):
            self._refuse(correlation, outcome)
            return
        try:
            with Spending(self._service.accountant["results"]):
                made = answer(outcome)
            if isinstance(made, Generator):
                self._start(correlation, message, self._answer_in_slices(correlation, made))
            else:
                self._answer(correlation, *(made if isinstance(made, list) else [made]))
        except Exception as error:
            self._fail(correlation, error)

    async def _answer_in_slices(self, correlation: int, steps: Generator[None, None, Message]) -> None:
        self._answer(correlation, await in_slices(steps))

    def _answer(self, correlation: int, *parts: Message) -> None:
        self._metrics.bytes_sent += self._outbox.send(correlation, parts)
        self._connected.in_flight -= 1
        self._intake.answered(correlation)
        if self._running and (running := self._running.pop(correlation, None)) is not None:
            self._service.registry.end(running)
        if self._connected.in_flight < limits.REQUESTS_IN_FLIGHT_MAX:
            self._reading.resume("requests")
        if not self._connected.in_flight:
            self._idle.set()

    def _start(
        self, correlation: int, message: Message, work: Coroutine[None, None, None], *, stops: bool = True
    ) -> None:
        """Do the work in a task of its own; only with `stops` may it be left half-way."""

        def cancelled() -> None:
            work.close()  # it may not have begun
            if running.stopped_by is not None:  # else the process ends
                self._fail(correlation, running.stopped_by)

        task = tasks.start("request", self._guard(correlation, work), self._lost, cancelled)
        running = self._begin(correlation, message, (lambda _: task.cancel()) if stops else None)

    def _begin(self, correlation: int, message: Message, halt: Halt | None) -> Running:
        """Register a request that is not answered within this turn, or say how it is stopped from now on."""
        running = self._running.get(correlation)
        if running is None:
            running = self._running[correlation] = self._service.registry.begin(self._connected, message, halt)
        else:
            running.goes_on(halt)
        return running

    def _cancel(self, correlation: int) -> None:
        if (running := self._running.get(correlation)) is not None:
            running.stop(errors.QUERY_CANCELLED.error("the query was stopped by its client"))

    async def _wait_writable(self) -> None:
        """A peer that does not read its answers gets no more of them made."""
        while not self._outbox.writable.is_set():
            await self._outbox.writable.wait()
            if self._is_stopping:
                raise errors.SHUTTING_DOWN.error(
                    "the server is stopping, and the answers before this one were not read"
                )

    async def _guard(self, correlation: int, work: Coroutine[None, None, None]) -> None:
        try:
            await self._wait_writable()
            with Spending(self._service.accountant["results"]):
                await work
        except Exception as error:
            work.close()  # it may not have begun
            self._fail(correlation, error)

    def _fail(self, correlation: int, error: Exception) -> None:
        """Tell the client; a peer that broke the protocol inside a request is closed like one that broke a frame."""
        if not isinstance(error, errors.RedDBError):
            _log.error("a request failed in an unforeseen way", exc_info=error)
            error = errors.unforeseen("the request failed", error)
        if error.code is errors.PROTOCOL:
            self._break(correlation, error)
        else:
            self._refuse(correlation, error)

    def _refuse(self, correlation: int, error: errors.RedDBError) -> None:
        self._metrics.errors[error.name] += 1
        self._answer(correlation, Failure.from_error(error))

    def _break(self, correlation: int, error: errors.RedDBError) -> None:
        self._is_broken = True
        self._metrics.errors[error.name] += 1
        _log.warning("connection closed", reason=error.message)
        if self._transport is not None:
            self._transport.write(encode(Failure.from_error(error), correlation))
            self._transport.close()

    def _lost(self, error: Exception) -> None:
        """A request can be answered no more, not even by an error."""
        if self._transport is not None:
            self._transport.abort()

    def _hello_too_late(self) -> None:
        self._break(0, errors.PROTOCOL.error(f"no Hello within {limits.HELLO_TIMEOUT_S:g} s"))
