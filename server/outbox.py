"""The answers of one connection that its client has not read.

Large ones are counted before they go to the transport, which keeps what the kernel does not take, and small ones once
the client has fallen behind; then its requests are not read any more, and no answer is begun. What was written already
is told even where there is no room.

Invariants:
  * An answer is sent whole or not at all.
  * While there is little room, a client that reads nothing for `limits.UNREAD_TIMEOUT_S` is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from reddb import limits
from reddb.accountant import Charge, Pool
from reddb.server import tasks
from reddb.wire.connection import encode
from reddb.wire.messages import Failure, Message, Result, Written

_log = structlog.get_logger()


class Outbox:
    """Where a session puts its answers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._charge = Charge(pool)
        self._transport: asyncio.Transport | None = None
        self.writable = asyncio.Event()  # the client reads its answers
        self.writable.set()
        self._unread = 0  # bytes when it was last looked at
        self._watching: asyncio.TimerHandle | None = None

    def connected(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=limits.WRITE_BUFFER_BYTES_MAX)

    def send(self, correlation: int, parts: Sequence[Message]) -> int:
        """Send an answer; returns its bytes. Raises BUSY, TOO_LARGE or LIMIT_EXCEEDED, and nothing is sent."""
        # All parts before the first is sent: one that is too large makes the answer an error, not half an answer.
        frames = [encode(part, correlation, more=number < len(parts)) for number, part in enumerate(parts, 1)]
        if self._transport is None:
            return 0
        size = sum(map(len, frames))
        if size > limits.SMALL_FRAME_BYTES or not self.writable.is_set():
            if size > limits.SMALL_FRAME_BYTES and _may_be_refused(parts[0]):
                self._charge.resize(self._charge.size + size)
            else:
                self._charge.put(size)
        for frame in frames:
            self._transport.write(frame)
        if self.writable.is_set():
            self._charge.release()  # the kernel has all but little
        return size

    def pause(self) -> None:
        """The client has fallen behind."""
        self.writable.clear()
        if self._watching is None and self._transport is not None:
            self._unread = self._transport.get_write_buffer_size()
            self._watching = tasks.later("unread answers", limits.UNREAD_TIMEOUT_S, self._watch)

    def resume(self) -> None:
        """It has read."""
        self.writable.set()
        self._charge.release()
        self._stop_watching()

    def close(self) -> None:
        """The connection has ended."""
        self._transport = None
        self.writable.set()
        self._charge.release()
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def _watch(self) -> None:
        assert self._transport is not None
        before, self._unread = self._unread, self._transport.get_write_buffer_size()
        if self._unread >= before and 2 * self._pool.used > self._pool.limit:
            _log.warning("connection closed", reason="its answers are not read, and others need the memory")
            self._watching = None
            self._transport.abort()
            return
        self._watching = tasks.later("unread answers", limits.UNREAD_TIMEOUT_S, self._watch)


def _may_be_refused(part: Message) -> bool:
    """Whether it is no error, and tells of nothing that was written."""
    return not isinstance(part, Failure | Written) and not (isinstance(part, Result) and part.affected is not None)
