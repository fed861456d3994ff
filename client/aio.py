"""The asynchronous client: any number of requests under way at once on one connection.

    async with reddb.aio.connect("red://127.0.0.1:5050") as db:
        hits = await db.search("docs", query, k=10)
        async with db.transaction() as tx:
            await tx.insert("docs", [8], [vector])

A client has a connection for each event loop that it is used in; sessions and transactions are within one loop. A task
that is cancelled while it waits for an answer has the server stop the request; a write is not stopped half-way.

Invariant: every method either returns the answer or raises a RedDBError.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from types import TracebackType
from typing import Any, NoReturn, Unpack, overload

from numpy.typing import ArrayLike

from reddb import errors
from reddb.client import arguments, calls, forks, links, sessions
from reddb.client.arguments import (
    CLIENT_DEFAULT,
    Ids,
    ManyQueries,
    OneQuery,
    Parameters,
    Payloads,
    SearchWords,
    Timeout,
    UnknownQuery,
)
from reddb.client.links import Link, Place
from reddb.client.rows import Hits, Result, Row
from reddb.client.url import ServerAddress, parse_url
from reddb.types import RowId
from reddb.wire import messages


def connect(url: str, timeout_s: float | None = 30.0) -> AsyncClient:
    """A client to be entered by `async with`, or awaited. Raises INVALID_URL, and INVALID_PARAMETER for `timeout_s`."""
    address = parse_url(url)
    if not isinstance(address, ServerAddress):
        raise errors.INVALID_URL.error("a folder is opened by reddb.connect: it works in this very thread")
    return AsyncClient(address, arguments.timeout(timeout_s))


class AsyncClient:
    """A database behind a connection, which is opened again by the first request after it was lost.

    May be shared between tasks, and used in one event loop after another, or in several: each has a connection.
    """

    def __init__(self, address: ServerAddress, timeout_s: float | None) -> None:
        """Use `connect`."""
        self._address = address
        self._timeout_s = timeout_s
        self._places: dict[asyncio.AbstractEventLoop, Place] = {}

    async def execute(
        self, statement: str, params: Parameters = None, *, timeout_s: Timeout = CLIENT_DEFAULT
    ) -> Result:
        """As `Client.execute`."""
        query = calls.query(statement, params)
        self._refuse(query.text)
        return calls.result_of(await self._request(query, timeout_s))

    async def prepare(self, statement: str, *, timeout_s: Timeout = CLIENT_DEFAULT) -> AsyncPreparedStatement:
        """As `Client.prepare`."""
        (answer,) = await self._request(calls.prepare(statement), timeout_s)
        return AsyncPreparedStatement(self, statement, calls.prepared_of(answer))

    async def insert(
        self,
        collection: str,
        ids: Ids,
        vectors: ArrayLike,
        payloads: Payloads | None = None,
        *,
        timeout_s: Timeout = CLIENT_DEFAULT,
    ) -> int:
        """As `Client.insert`."""
        return calls.count_of(await self._request(calls.insert(collection, ids, vectors, payloads), timeout_s))

    async def upsert(
        self,
        collection: str,
        ids: Ids,
        vectors: ArrayLike,
        payloads: Payloads | None = None,
        *,
        timeout_s: Timeout = CLIENT_DEFAULT,
    ) -> int:
        """As `Client.upsert`."""
        return calls.count_of(await self._request(calls.upsert(collection, ids, vectors, payloads), timeout_s))

    async def delete(
        self,
        collection: str,
        ids: Ids | RowId | None = None,
        where: str | None = None,
        params: Parameters = None,
        *,
        timeout_s: Timeout = CLIENT_DEFAULT,
    ) -> int:
        """As `Client.delete`."""
        return calls.count_of(await self._request(calls.delete(collection, ids, where, params), timeout_s))

    async def get(
        self,
        collection: str,
        ids: Ids | RowId,
        with_vectors: bool = False,
        *,
        timeout_s: Timeout = CLIENT_DEFAULT,
    ) -> list[Row | None]:
        """As `Client.get`."""
        message, wanted = calls.get(collection, ids, with_vectors)
        (answer,) = await self._request(message, timeout_s)
        return calls.rows_of(answer, wanted)

    @overload
    async def search(self, collection: str, query: UnknownQuery, k: int = ..., **words: Unpack[SearchWords]) -> Any: ...

    @overload
    async def search(self, collection: str, query: OneQuery, k: int = ..., **words: Unpack[SearchWords]) -> Hits: ...

    @overload
    async def search(
        self, collection: str, query: ManyQueries, k: int = ..., **words: Unpack[SearchWords]
    ) -> list[Hits]: ...

    @overload
    async def search(self, collection: str, query: ArrayLike, k: int = ..., **words: Unpack[SearchWords]) -> Any: ...

    async def search(
        self,
        collection: str,
        query: ArrayLike,
        k: int = 10,
        where: str | None = None,
        params: Parameters = None,
        ef: int | None = None,
        exact: bool = False,
        recall: float | None = None,
        with_payloads: bool = True,
        with_vectors: bool = False,
        with_report: bool = False,
        *,
        timeout_s: Timeout = CLIENT_DEFAULT,
    ) -> Any:
        """As `Client.search`."""
        message, is_single = calls.search(
            collection, query, k, where, params, ef, exact, recall, with_payloads, with_vectors, with_report
        )
        (answer,) = await self._request(message, timeout_s)
        found = calls.hits_of(answer)
        return found[0] if is_single else found

    async def ping(self, *, timeout_s: Timeout = CLIENT_DEFAULT) -> None:
        """As `Client.ping`."""
        await self._request(messages.Ping(), timeout_s)

    def session(self) -> AsyncSession:
        """As `Client.session`, to be entered by `async with`, or awaited."""
        return AsyncSession(self._address, self._timeout_s)

    def transaction(self) -> AsyncTransaction:
        """As `Client.transaction`, to be entered by `async with`."""
        return AsyncTransaction(self.session(), self._timeout_s)

    async def close(self) -> None:
        """End its connections; a request opens another."""
        places, self._places = self._places, {}
        for loop, place in places.items():
            if place.link is not None and loop is links.running_loop():
                place.link.close()
            elif place.link is not None and not loop.is_closed():
                loop.call_soon_threadsafe(place.link.close)

    async def __aenter__(self) -> AsyncClient:
        await self._enter()
        return self

    async def _enter(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connected()
        except TimeoutError as error:
            where = f"{self._address.host}:{self._address.port}"
            raise errors.TIMEOUT.error(f"no connection to {where} within {self._timeout_s:g} s") from error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __await__(self) -> Generator[Any, None, AsyncClient]:
        return self.__aenter__().__await__()

    async def _request(
        self, message: messages.Message, timeout_s: Timeout, statement: str | None = None
    ) -> list[messages.Message]:
        """The answer; `statement` is the text of a message that has none itself."""
        limit_s = self._timeout_s if timeout_s is CLIENT_DEFAULT else arguments.timeout(timeout_s)
        links.running_loop()
        self._check(message)
        is_sent = False
        losses = 0
        places = self._places
        try:
            async with asyncio.timeout(limit_s) as limit:
                while True:
                    try:
                        link = await self._connected()
                        self._check(message)
                        is_sent = True
                        return await link.request(message)
                    except errors.RedDBError as error:
                        losses += error.code is errors.CONNECTION_LOST
                        is_closed = self._places is not places  # by `close`, meanwhile
                        if not calls.may_repeat(message, error, losses) or is_closed or limit.expired():
                            raise
                    is_sent = False
                    await asyncio.sleep(links.PAUSE_S)
        except TimeoutError as error:
            assert limit_s is not None
            raise calls.timed_out(message, statement, limit_s, is_sent) from error

    async def _connected(self) -> Link:
        place = self._place()
        async with place.connecting:
            if place.link is None or place.link.is_lost:
                place.link = await links.connect(self._address)
            return place.link

    def _place(self) -> Place:
        """That of the loop that runs."""
        for loop in [loop for loop in list(self._places) if loop.is_closed()]:
            self._places.pop(loop, None)
        return self._places.setdefault(links.running_loop(), Place())

    def _refuse(self, statement: str) -> None:
        sessions.refuse_shared(statement)

    def _check(self, message: messages.Message) -> None:
        """Raises what is wrong with a request at this moment; called again when it is sent."""

    def __reduce__(self) -> NoReturn:
        raise sessions.not_sent(f"an {type(self).__name__}")


class AsyncSession(AsyncClient):
    """As `Session`."""

    def __init__(self, address: ServerAddress, timeout_s: float | None) -> None:
        """Use `AsyncClient.session`."""
        super().__init__(address, timeout_s)
        self._begun_in: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()

    def transaction(self) -> AsyncTransaction:
        """As `Session.transaction`."""
        return AsyncTransaction(self, self._timeout_s, ends_session=False)

    async def close(self) -> None:
        self._begun_in = self._begun_in or links.running_loop()
        await super().close()

    async def __aenter__(self) -> AsyncSession:
        await self._enter()
        return self

    def __await__(self) -> Generator[Any, None, AsyncSession]:
        return self.__aenter__().__await__()

    async def _connected(self) -> Link:
        if self._pid != os.getpid():
            raise forks.opened_by_parent("the session")
        place = self._place()
        async with place.connecting:
            if self._begun_in is None:
                place.link = await links.connect(self._address)
                self._begun_in = links.running_loop()
            if place.link is None or place.link.is_lost:  # closed, or of another loop
                raise errors.CONNECTION_LOST.error(sessions.LOST_SESSION)
            return place.link

    def _refuse(self, statement: str) -> None:
        """Every statement has its place in a session."""


class AsyncTransaction(AsyncClient):
    """As `Transaction`. Tasks may share it."""

    def __init__(self, session: AsyncSession, timeout_s: float | None, *, ends_session: bool = True) -> None:
        """Use `AsyncClient.transaction`."""
        super().__init__(session._address, timeout_s)
        self._session = session
        self._ends_session = ends_session
        self._stage = sessions.Stage.NOT_BEGUN
        self._command: messages.Query | None = None  # BEGIN, COMMIT or ROLLBACK of the block itself

    def transaction(self) -> NoReturn:
        raise sessions.nested()

    def session(self) -> NoReturn:
        raise sessions.nested()

    async def close(self) -> None:
        """Roll back what is not committed."""
        if self._stage is sessions.Stage.OPEN:
            await self._end(is_committed=False)

    async def __aenter__(self) -> AsyncTransaction:
        sessions.check_new(self._stage)
        try:
            await self._run("BEGIN")
        except BaseException:
            await self._end_session()
            raise
        self._stage = sessions.Stage.OPEN
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stage is sessions.Stage.OPEN:
            await self._end(is_committed=kind is None)
        elif kind is None:
            raise sessions.closed_within()

    async def _end(self, *, is_committed: bool) -> None:
        self._stage = sessions.Stage.ENDED
        try:
            if is_committed:
                await self._run("COMMIT")
            elif not self._ends_session:
                await self._roll_back()
        finally:
            await self._end_session()

    async def _roll_back(self) -> None:
        try:
            await self._run("ROLLBACK")
        except BaseException as error:
            await self._session.close()  # which rolls back, too
            if not isinstance(error, errors.RedDBError):
                raise

    async def _end_session(self) -> None:
        if self._ends_session:  # and what it had begun
            await self._session.close()

    async def _run(self, word: str) -> None:
        self._command = calls.query(word, ())
        await self._request(self._command, CLIENT_DEFAULT)

    async def _connected(self) -> Link:
        return await self._session._connected()

    def _refuse(self, statement: str) -> None:
        sessions.refuse_in_transaction(statement)

    def _check(self, message: messages.Message) -> None:
        if message is not self._command:
            sessions.check_open(self._stage)


class AsyncPreparedStatement:
    """As `PreparedStatement`."""

    def __init__(self, client: AsyncClient, statement: str, prepared: messages.Prepared) -> None:
        """Use `AsyncClient.prepare`."""
        self._client = client
        self._statement = statement
        self._prepared = prepared

    def __reduce__(self) -> NoReturn:
        raise sessions.not_sent("an AsyncPreparedStatement")

    @property
    def parameters(self) -> list[str]:
        return self._prepared.parameters

    async def execute(self, params: Parameters = None, *, timeout_s: Timeout = CLIENT_DEFAULT) -> Result:
        """As `PreparedStatement.execute`."""
        message = calls.execute(self._prepared, params)
        try:
            return calls.result_of(await self._client._request(message, timeout_s, self._statement))
        except errors.RedDBError as error:
            if error.code is not errors.UNKNOWN_STATEMENT:
                raise
        # The connection was opened anew, or has prepared too many others since.
        await self._client._request(calls.prepare(self._statement), timeout_s)
        return calls.result_of(await self._client._request(message, timeout_s, self._statement))
