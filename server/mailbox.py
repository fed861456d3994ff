"""The link between two cores: wire messages over a Unix socket, requests and answers both ways.

Of what clients ask only writes travel here: a core that took a write for a partition it does not own hands the
client's own bytes to the owner and passes the answer back. Where a collection has several partitions, the owner gets
its `Part`, which may be held until a `Decide` (`reddb.server.writes`). Beside them cores ask each other for what they
`Tell` of themselves, and to `Stop` a query (`reddb.server.inspection`).

Invariant: every request ends: with the owner's answer, or with UNAVAILABLE when the link breaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import cast

import structlog

from reddb import errors
from reddb.server import tasks
from reddb.wire.connection import Broken, WireConnection, encode
from reddb.wire.messages import Failure, Message

_log = structlog.get_logger()

_ANSWER = 0x80  # kinds from here on are answers


class PeerLink(asyncio.Protocol):
    """One end of the link to another core."""

    def __init__(
        self,
        core: int,
        serve: Callable[[PeerLink, Message], Coroutine[None, None, Message]],
        lost: Callable[[PeerLink], Coroutine[None, None, None]],
    ) -> None:
        """`serve` answers what the other core asks for; `lost` is called once, when the link is gone."""
        self._core = core
        self._serve = serve
        self._lost = lost
        self._wire = WireConnection(expects_hello=False)
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._next = 0

    async def request(self, message: Message) -> Message:
        """Send a request and return its answer. Raises what the owner raised, or UNAVAILABLE."""
        if self._transport is None or self._transport.is_closing():
            raise errors.UNAVAILABLE.error(
                f"core {self._core}, which owns the rows, is restarting; nothing was written"
            )
        self._next += 1
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[self._next] = future
        self._transport.write(encode(message, self._next))
        answer = await future
        if isinstance(answer, Failure):
            raise answer.to_error()
        return answer

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        for event in self._wire.receive_data(data):
            if isinstance(event, Broken):
                raise event.error  # a core that garbles its mail is a bug: let the loop report it and drop the link
            if event.message.KIND < _ANSWER:
                tasks.start("answer to a core", self._answer(event.correlation, event.message))
                continue
            future = self._waiting.pop(event.correlation, None)
            if future is not None and not future.done():
                future.set_result(event.message)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(
                    errors.UNAVAILABLE.error(f"core {self._core} stopped while it was writing; the outcome is unknown")
                )
        tasks.start("holds of a lost core", self._lost(self))

    async def _answer(self, correlation: int, message: Message) -> None:
        try:
            frame = encode(await self._serve(self, message), correlation)
        except errors.RedDBError as error:
            frame = encode(Failure.from_error(error), correlation)
        except Exception as error:
            _log.exception("a request of another core failed in an unforeseen way")
            frame = encode(Failure.from_error(errors.unforeseen("the owner failed", error)), correlation)
        if self._transport is not None:
            self._transport.write(frame)
