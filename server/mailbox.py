"""The link between two cores: wire messages over a Unix socket, requests and answers both ways.

Of what clients ask only writes travel here: a core that took a write for a partition it does not own hands the
client's own bytes to the owner and passes the answer back. Where a collection has several partitions, the owner gets
its `Part`, which may be held until a `Decide` (`reddb.server.writes`). Beside them cores ask each other for what they
`Tell` of themselves, and to `Stop` a query (`reddb.server.inspection`).

Messages are counted from before they are encoded until they are answered, on both sides; a core that has no room for
one refuses it with BUSY, unread. What is about a write that is held already, and what cores tell each other, is not.

Invariant: every request ends: with the owner's answer, or with UNAVAILABLE when the link breaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import cast

import structlog

from reddb import errors
from reddb.accountant import Charge, Pool
from reddb.server import tasks
from reddb.wire.connection import Broken, WireConnection, encode
from reddb.wire.frames import Frame
from reddb.wire.messages import (
    Decide,
    Delete,
    Failure,
    Holding,
    Insert,
    Message,
    Part,
    Query,
    Statement,
    Transact,
    Upsert,
    encode_body,
    message_bytes,
)
from reddb.wire.values import decoded_bytes

_log = structlog.get_logger()

_COUNTED = Insert | Upsert | Delete | Query | Part | Statement | Transact
_COUNTED_KINDS = {Insert.KIND, Upsert.KIND, Delete.KIND, Query.KIND, Part.KIND}
_ANSWER = 0x80  # kinds from here on are answers


class PeerLink(asyncio.Protocol):
    """One end of the link to another core."""

    def __init__(
        self,
        core: int,
        serve: Callable[[PeerLink, Message], Coroutine[None, None, Message]],
        lost: Callable[[PeerLink], None],
        pool: Pool,
    ) -> None:
        """`serve` answers what the other core asks for; `lost` is called once, when the link is gone."""
        self._core = core
        self._serve = serve
        self._lost = lost
        self._wire = WireConnection(expects_hello=False, admit=self._admit)
        self._pool = pool
        self._coming = Charge(pool)  # of the message that is coming in
        self._asked: dict[int, Charge] = {}  # by the correlation of what the other core waits for
        self._held: dict[int, Charge] = {}  # by the number of the hold
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._next = 0

    async def request(self, message: Message) -> Message:
        """Send a request and return its answer. Raises what the owner raised, BUSY, TOO_LARGE, or UNAVAILABLE."""
        with self._charge(message):
            return await self._exchange(message)

    async def request_part(self, partition: int, message: Message, *, hold: bool) -> Message:
        """The same for what one partition of several shall do, as its `Part`."""
        with self._charge(message):
            return await self._exchange(Part(partition, hold, message.KIND, encode_body(message)))

    def _charge(self, message: Message) -> Charge:
        return Charge(self._pool, message_bytes(message) if isinstance(message, _COUNTED) else 0)

    async def _exchange(self, message: Message) -> Message:
        if self._transport is None or self._transport.is_closing():
            raise errors.UNAVAILABLE.error(
                f"core {self._core}, which owns the rows, is restarting; nothing was written"
            )
        self._next += 1
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[self._next] = future
        self._transport.write(encode(message, self._next))
        del message  # the frame has its bytes
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
        self._coming.release()  # for the message is counted anew once it is whole
        for event in self._wire.receive_data(data):
            if isinstance(event, Broken):
                raise event.error  # a core that garbles its mail is a bug: let the loop report it and drop the link
            if event.message.KIND < _ANSWER:
                tasks.start("answer to a core", self._answer(event.correlation, event.message))
                continue
            future = self._waiting.pop(event.correlation, None)
            if future is not None and not future.done():
                future.set_result(event.message)
        if self._wire.half is not None:
            self._coming.put(self._wire.half.size)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(
                    errors.UNAVAILABLE.error(f"core {self._core} stopped while it was writing; the outcome is unknown")
                )
        self._lost(self)

    def _admit(self, frame: Frame) -> bool:
        if frame.kind not in _COUNTED_KINDS:
            return True
        try:
            self._asked[frame.correlation] = Charge(self._pool, len(frame.body))
        except errors.RedDBError as error:
            if self._transport is not None:
                self._transport.write(encode(Failure.from_error(error), frame.correlation))
            return False
        return True

    def _answered(self, correlation: int, message: Message, answer: Message) -> None:
        """Give back what the request took; what a hold keeps is kept until its decision."""
        charge = self._asked.pop(correlation, None)
        if isinstance(answer, Holding) and charge is not None:
            self._held[answer.hold] = charge
        elif charge is not None:
            charge.release()
        if isinstance(message, Decide):
            self._held.pop(message.hold).release()

    async def _answer(self, correlation: int, message: Message) -> None:
        answer: Message
        try:
            self._count_parameters(correlation, message)
            answer = await self._serve(self, message)
            frame = encode(answer, correlation)
        except errors.RedDBError as error:
            answer = Failure.from_error(error)
            frame = encode(answer, correlation)
        except Exception as error:
            _log.exception("a request of another core failed in an unforeseen way")
            answer = Failure.from_error(errors.unforeseen("the owner failed", error))
            frame = encode(answer, correlation)
        self._answered(correlation, message, answer)
        if self._transport is not None:
            self._transport.write(frame)

    def _count_parameters(self, correlation: int, message: Message) -> None:
        """A statement's parameters take more than their bytes. Raises BUSY or TOO_LARGE."""
        if isinstance(message, Part) and message.kind == Statement.KIND:
            charge = self._asked[correlation]
            charge.resize(charge.size + decoded_bytes(message.body))
