"""The asynchronous client's way to a server: one connection within one event loop, any number of requests under way.

Invariants:
  * An answer goes to the request of its number, or nowhere.
  * A link ends with its loop, and in a process that was forked: there it is lost, and the parent's goes on.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import AsyncGenerator
from typing import cast

from reddb import errors
from reddb._version import __version__
from reddb.client import forks
from reddb.client.sockets import GREETINGS_MAX
from reddb.client.url import ServerAddress
from reddb.wire import messages
from reddb.wire.connection import Broken, WireConnection, encode

PAUSE_S = 0.1  # between two attempts


class Link(asyncio.Protocol):
    """One connection: requests out, answers matched to them by correlation."""

    def __init__(self) -> None:
        self._is_ended = False
        self._is_foreign = False  # of the parent of this process
        self._wire = WireConnection(expects_hello=False)
        self._transport: asyncio.Transport | None = None
        self._descriptor = -1
        self._hung_up = select.poll()
        self._with_loop: AsyncGenerator[None, None] | None = None
        self._waiting: dict[int, asyncio.Future[list[messages.Message]]] = {}
        self._parts: dict[int, list[messages.Message]] = {}
        self._correlation = 0

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be asked any more, as far as this side can tell without asking."""
        # The loop may not have come to it yet: an answer that is on its way still gets there.
        return self._is_ended or bool(self._hung_up.poll(0))

    async def request(self, message: messages.Message) -> list[messages.Message]:
        """The parts of the answer. Raises what the server raised, or CONNECTION_LOST."""
        assert self._transport is not None
        if self._is_ended:
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
            if not self._is_ended:
                self._transport.write(encode(messages.Cancel(correlation), 0))
            raise
        if isinstance(parts[0], messages.Failure):
            raise parts[0].to_error()
        return parts

    def close(self) -> None:
        if self._transport is not None and not self._is_foreign:
            self._transport.close()

    def forked(self) -> None:
        self._is_ended = self._is_foreign = True
        if self._descriptor >= 0:  # the number stays taken: the loop that was inherited knows the connection by it
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(null, self._descriptor, inheritable=False)
            os.close(null)

    async def end_with_loop(self) -> None:
        """From here on it is closed when its loop is: a loop that is shut down ends the generators that it began."""
        self._with_loop = self._until_the_end()
        await anext(self._with_loop)

    async def _until_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self.close()

    # --- the transport's side ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class
        self._descriptor = transport.get_extra_info("socket").fileno()
        self._hung_up.register(self._descriptor, select.POLLRDHUP)
        forks.tell(self)

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
        self._descriptor = -1
        message = "the connection was lost before the answer came, so that the outcome is unknown"
        self._end(errors.CONNECTION_LOST.error(message))

    def _end(self, error: errors.RedDBError) -> None:
        self._is_ended = True
        self.close()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)


class Place:
    """The connection of one event loop."""

    def __init__(self) -> None:
        self.connecting = asyncio.Lock()
        self.link: Link | None = None


async def connect(address: ServerAddress) -> Link:
    """Connect and greet, again if a core that is just dying was to take us: nothing was asked of it yet.

    Raises UNAVAILABLE or PROTOCOL.
    """
    attempts = 0
    while True:
        attempts += 1
        try:
            return await _connect_once(address)
        except errors.RedDBError as error:
            if error.code is not errors.CONNECTION_LOST or attempts == GREETINGS_MAX:
                raise
        await asyncio.sleep(PAUSE_S)


async def _connect_once(address: ServerAddress) -> Link:
    try:
        _, link = await asyncio.get_running_loop().create_connection(Link, address.host, address.port)
    except (OSError, UnicodeError) as error:  # a name that is none is a UnicodeError
        reason = getattr(error, "strerror", None) or error
        raise errors.UNAVAILABLE.error(f"cannot connect to {address.host}:{address.port}: {reason}") from error
    hello = messages.Hello(messages.MAGIC, [messages.VERSION], f"reddb-python-aio {__version__}")
    try:
        await link.request(hello)
        await link.end_with_loop()
    except BaseException:
        link.close()
        raise
    return link


def running_loop() -> asyncio.AbstractEventLoop:
    """Raises OTHER_PROCESS where none runs that is of this process."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # asyncio knows by the process that its loop is not this one's
        message = "no event loop of this process runs here; one that ran when it was forked belongs to its parent"
        raise errors.OTHER_PROCESS.error(message, hint="asyncio.run(…) in this process") from None
