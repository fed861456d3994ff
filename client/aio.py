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
from reddb.client import calls
from reddb.client.calls import Ids, ManyQueries, OneQuery, Parameters, Payloads, SearchWords, UnknownQuery
from reddb.client.rows import Hits, Result, Row
from reddb.client.sockets import GREETINGS_MAX
from reddb.client.url import ServerAddress, parse_url
from reddb.types import RowId
from reddb.wire import messages
from reddb.wire.connection import Broken, WireConnection, encode

_PAUSE_S = 0.1  # between two attempts


def connect(url: str, timeout_s: float = 30.0) -> AsyncClient:
    """A client to be entered by `async with`, or awaited. Raises INVALID_URL."""
    address = parse_url(url)
    if not isinstance(address, ServerAddress):
        raise errors.INVALID_URL.error("a folder is opened by reddb.connect: it works in this very thread")
    return AsyncClient(address, timeout_s)


class AsyncClient:
    """A database behind one connection, which is opened again by the first request after it was lost."""

    def __init__(self, address: ServerAddress, timeout_s: float) -> None:
        """Use `connect`."""
        self._address = address
        self._timeout_s = timeout_s
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()
        self._has_set = False  # in the session of this connection

    async def execute(self, statement: str, params: Parameters = ()) -> Result:
        """As `Client.execute`."""
        return calls.result_of(await self._request(calls.query(statement, params)))

    async def prepare(self, statement: str) -> AsyncPreparedStatement:
        """As `Client.prepare`."""
        return AsyncPreparedStatement(self, statement, await self._prepare(statement))

    async def insert(self, collection: str, ids: Ids, vectors: ArrayLike, payloads: Payloads | None = None) -> int:
        """As `Client.insert`."""
        return await self._count(messages.Insert(collection, calls.rows_bytes(ids, vectors, payloads)))

    async def upsert(self, collection: str, ids: Ids, vectors: ArrayLike, payloads: Payloads | None = None) -> int:
        """As `Client.upsert`."""
        return await self._count(messages.Upsert(collection, calls.rows_bytes(ids, vectors, payloads)))

    async def delete(
        self, collection: str, ids: Ids | RowId | None = None, where: str | None = None, params: Parameters = ()
    ) -> int:
        """As `Client.delete`."""
        if (ids is None) == (where is None):
            raise errors.INVALID_PARAMETER.error("delete takes either ids or where")
        if where is not None:
            result = calls.result_of(await self._request(calls.delete_where(collection, where, params)))
            return result.affected or 0
        assert ids is not None
        return await self._count(calls.delete(collection, ids))

    async def get(self, collection: str, ids: Ids | RowId, with_vectors: bool = False) -> list[Row | None]:
        """As `Client.get`."""
        message, wanted = calls.get(collection, ids, with_vectors)
        (answer,) = await self._request(message)
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
        params: Parameters = (),
        ef: int | None = None,
        exact: bool = False,
        recall: float | None = None,
        with_payloads: bool = True,
        with_vectors: bool = False,
        with_report: bool = False,
    ) -> Any:
        """As `Client.search`."""
        message, is_single = calls.search(
            collection, query, k, where, params, ef, exact, recall, with_payloads, with_vectors, with_report
        )
        (answer,) = await self._request(message)
        found = calls.hits_of(answer)
        return found[0] if is_single else found

    async def ping(self) -> None:
        """As `Client.ping`."""
        await self._request(messages.Ping())

    async def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    async def __aenter__(self) -> AsyncClient:
        await self._connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __await__(self) -> Generator[Any, None, AsyncClient]:
        return self.__aenter__().__await__()

    async def _prepare(self, statement: str) -> messages.Prepared:
        (answer,) = await self._request(messages.Prepare(statement))
        return calls.prepared_of(answer)

    async def _count(self, message: messages.Message) -> int:
        (answer,) = await self._request(message)
        return calls.count_of(answer)

    async def _request(self, message: messages.Message) -> list[messages.Message]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    link = await self._connected()
                    self._has_set = self._has_set or calls.sets_something(message)
                    return await link.request(message)
            except TimeoutError:
                raise errors.TIMEOUT.error(f"no answer within {self._timeout_s:g} s") from None
            except errors.RedDBError as error:
                # NOT_READY says that nothing happened; anything else is the caller's to repeat.
                if error.code is not errors.NOT_READY or loop.time() >= deadline:
                    self._has_set = self._has_set and error.code is not errors.CONNECTION_LOST
                    raise
            await asyncio.sleep(_PAUSE_S)

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
        except OSError as error:
            raise errors.UNAVAILABLE.error(f"cannot connect to {where}: {error.strerror or error}") from error
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
        self._number = prepared.statement
        self.parameters = prepared.parameters

    async def execute(self, params: Parameters = ()) -> Result:
        """As `PreparedStatement.execute`."""
        message = messages.Execute(self._number, calls.plain(params))
        try:
            return calls.result_of(await self._client._request(message))
        except errors.RedDBError as error:
            if error.code is not errors.UNKNOWN_STATEMENT:
                raise
        # The connection was opened anew, or has prepared too many others since.
        await self._client._prepare(self._statement)
        return calls.result_of(await self._client._request(message))


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
