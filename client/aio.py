"""The asynchronous client: any number of requests under way at once on one connection.

    async with reddb.aio.connect("red://127.0.0.1:5050") as db:
        hits = await db.search("docs", query, k=10)

Where the session had set something (SET, PREPARE, BEGIN), the loss of its connection is told by CONNECTION_LOST, to the
next request if none was under way: nothing goes on with other settings in silence. A task that is cancelled while it
waits for an answer has the server stop the request; a write is not stopped half-way.

Invariant: every method either returns the answer or raises a RedDBError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import Any, Unpack, cast, overload

from numpy.typing import ArrayLike

from reddb import errors
from reddb._version import __version__
from reddb.client import arguments, calls
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
from reddb.client.rows import Hits, Result, Row
from reddb.client.sockets import GREETINGS_MAX
from reddb.client.url import ServerAddress, parse_url
from reddb.types import RowId
from reddb.wire import messages
from reddb.wire.connection import Broken, WireConnection, encode

_PAUSE_S = 0.1  # between two attempts


def connect(url: str, timeout_s: float | None = 30.0) -> AsyncClient:
    """A client to be entered by `async with`, or awaited. Raises INVALID_URL, and INVALID_PARAMETER for `timeout_s`."""
    address = parse_url(url)
    if not isinstance(address, ServerAddress):
        raise errors.INVALID_URL.error("a folder is opened by reddb.connect: it works in this very thread")
    return AsyncClient(address, arguments.timeout(timeout_s))


class AsyncClient:
    """A database behind one connection, which is opened again by the first request after it was lost."""

    def __init__(self, address: ServerAddress, timeout_s: float | None) -> None:
        """Use `connect`."""
        self._address = address
        self._timeout_s = timeout_s
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()
        self._has_set = False  # in the session of this connection

    async def execute(
        self, statement: str, params: Parameters = None, *, timeout_s: Timeout = CLIENT_DEFAULT
    ) -> Result:
        """As `Client.execute`."""
        return calls.result_of(await self._request(calls.query(statement, params), timeout_s))

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

    async def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    async def __aenter__(self) -> AsyncClient:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connected()
        except TimeoutError as error:
            where = f"{self._address.host}:{self._address.port}"
            raise errors.TIMEOUT.error(f"no connection to {where} within {self._timeout_s:g} s") from error
        return self

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
        is_sent = False
        try:
            async with asyncio.timeout(limit_s) as limit:
                while True:
                    try:
                        link = await self._connected()
                        self._has_set = self._has_set or calls.sets_something(message)
                        is_sent = True
                        return await link.request(message)
                    except errors.RedDBError as error:
                        # NOT_READY says that nothing happened; anything else is the caller's to repeat.
                        if error.code is not errors.NOT_READY or limit.expired():
                            self._has_set = self._has_set and error.code is not errors.CONNECTION_LOST
                            raise
                    is_sent = False
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError as error:
            assert limit_s is not None
            raise calls.timed_out(message, statement, limit_s, is_sent) from error

    async def _connected(self) -> _Link:
        async with self._connecting:
            if self._link is None or self._link.is_lost:
                if self._has_set:
                    raise errors.CONNECTION_LOST.error(calls.LOST_SESSION)
                self._link = await self._connect()
            return self._link

    async def _connect(self) -> _Link:
        """Connect and greet, again if a core that is just dying was to take us: nothing was asked of it yet."""
        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._connect_once()
            except errors.RedDBError as error:
                if error.code is not errors.CONNECTION_LOST or attempts == GREETINGS_MAX:
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def _connect_once(self) -> _Link:
        where = f"{self._address.host}:{self._address.port}"
        try:
            _, link = await asyncio.get_running_loop().create_connection(_Link, self._address.host, self._address.port)
        except (OSError, UnicodeError) as error:  # a name that is none is a UnicodeError
            reason = getattr(error, "strerror", None) or error
            raise errors.UNAVAILABLE.error(f"cannot connect to {where}: {reason}") from error
        hello = messages.Hello(messages.MAGIC, [messages.VERSION], f"reddb-python-aio {__version__}")
        try:
            await link.request(hello)
        except BaseException:
            link.close()
            raise
        return link


class AsyncPreparedStatement:
    """As `PreparedStatement`."""

    def __init__(self, client: AsyncClient, statement: str, prepared: messages.Prepared) -> None:
        """Use `AsyncClient.prepare`."""
        self._client = client
        self._statement = statement
        self._prepared = prepared

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


class _Link(asyncio.Protocol):
    """One connection: requests out, answers matched to them by correlation."""

    def __init__(self) -> None:
        self.is_lost = False
        self._wire = WireConnection(expects_hello=False)
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[list[messages.Message]]] = {}
        self._parts: dict[int, list[messages.Message]] = {}
        self._correlation = 0

    async def request(self, message: messages.Message) -> list[messages.Message]:
        """The parts of the answer. Raises what the server raised, or CONNECTION_LOST."""
        assert self._transport is not None
        if self.is_lost:
            raise errors.CONNECTION_LOST.error("the connection was lost")
        self._correlation += 1
        future: asyncio.Future[list[messages.Message]] = asyncio.get_running_loop().create_future()
        self._waiting[self._correlation] = future
        correlation = self._correlation
        self._transport.write(encode(message, correlation))
        try:
            parts = await future
        except asyncio.CancelledError:
            # Its number stays among those that wait, so that the answer is known when it comes.
            if not self.is_lost:
                self._transport.write(encode(messages.Cancel(correlation), 0))
            raise
        if isinstance(parts[0], messages.Failure):
            raise parts[0].to_error()
        return parts

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        for event in self._wire.receive_data(data):
            if isinstance(event, Broken):
                self._end(event.error)
                return
            parts = self._parts.setdefault(event.correlation, [])
            parts.append(event.message)
            if not event.more:
                future = self._waiting.pop(event.correlation, None)
                del self._parts[event.correlation]
                if future is None and isinstance(event.message, messages.Failure):
                    self._end(event.message.to_error())  # said of the connection, not of one request
                elif future is not None and not future.done():
                    future.set_result(parts)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(errors.CONNECTION_LOST.error("the connection was lost before the answer came"))

    def _end(self, error: errors.RedDBError) -> None:
        self.is_lost = True
        self.close()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)
