"""The channel between the supervisor and one core: small maps and file descriptors over a Unix socket.

    supervisor to core                                core to supervisor
      connection + fd      serve this client            ready                       send me clients
      peer {core} + fd     your link to that core       closed                      a client went away
      collection {…}       it exists; owner opens it    opened {partition} + fd     its rows are in this memory
                           (what is kept: with memory)
      memory {…} + fd      its rows are in this memory  failed {partition, error}   it cannot be opened
      writable {…}         all cores read your memory
      changed {…}          its settings, fields or      change {request, …}         create, drop, set, index,
                           indexes did                                              fields, truncate, alias
      aliases {…}          what each stands for
      let_go {…}           acknowledge when no search   let_go {request, …}         ask all cores to
                           reads what was before it
                                                        may_build {request}       tell me when it is my turn
                                                        built                     my turn is over
                                                        alive                     I am not hung
      recovering {…}       the same, passed on          recovering {…, percent}   how far I have come with a log
      dropped {…}          it does not exist any more   acknowledged {barrier}      that message is in force here
      answered {request}   what you asked is done       drained                     nothing is under way here
      drain, stop          see `server.supervisor`

A message with a `barrier` number is answered by `acknowledged`.

    frame     u32 length of the body, u32 descriptors that came with its first byte (0 or 1), body: one MessagePack map

What the socket does not take waits in a queue, and whoever must not run ahead waits for an acknowledgement. A lack
that passes (buffers, descriptors in flight) is waited for. Any other failure, a garbled frame too, ends the channel,
and with it the process at its other end: nobody knows what it was not told. Rejected: a socket of packets, whose size
bounds what can be said.

Invariants:
  * Messages arrive in order and whole, each with its descriptor, or the channel ends.
  * A descriptor that is sent is the channel's from then on, a received one the receiver's.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgpack

from reddb import errors, limits
from reddb.server import tasks

_HEADER = struct.Struct("<II")
_READ_BYTES = 256 * limits.KIB
_PASSES = (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)
_AGAIN_S = 0.02

ControlMessage: TypeAlias = dict[str, Any]
Received: TypeAlias = tuple[ControlMessage, int | None]


def control_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a new channel."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def encode(message: ControlMessage, *, has_descriptor: bool = False) -> bytes:
    """The frame of a message. Raises LIMIT_EXCEEDED, which no change that was checked before it was made meets."""
    body: bytes = msgpack.packb(message)
    if len(body) > limits.CONTROL_FRAME_BYTES_MAX:
        raise errors.LIMIT_EXCEEDED.error(
            f"what every core must be told takes {len(body)} bytes; it may take {limits.CONTROL_FRAME_BYTES_MAX}"
        )
    return _HEADER.pack(len(body), has_descriptor) + body


class Assembler:
    """Makes messages of the bytes and descriptors that arrive."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._descriptors: deque[int | None] = deque()

    def receive(self, end: socket.socket) -> Iterator[Received] | None:
        """Read once; what is complete now, None at the end. Raises OSError, or ValueError for what is no message.

        A descriptor that there was no room for in this process is None.
        """
        data, descriptors, flags, _ = socket.recv_fds(end, _READ_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        # The kernel ends a read behind what came with a descriptor, so there is one at most.
        self._descriptors += descriptors or ([None] if flags & socket.MSG_CTRUNC else [])
        self._bytes += data
        return self._complete() if data else None

    def close(self) -> None:
        """Close what nobody took."""
        for descriptor in self._descriptors:
            if descriptor is not None:
                os.close(descriptor)
        self._descriptors.clear()

    def _complete(self) -> Iterator[Received]:
        while len(self._bytes) >= _HEADER.size:
            length, descriptors = _HEADER.unpack_from(self._bytes)
            if length > limits.CONTROL_FRAME_BYTES_MAX or descriptors > 1:
                raise ValueError(f"no frame begins with {bytes(self._bytes[: _HEADER.size])!r}")
            end = _HEADER.size + length
            if len(self._bytes) < end:
                return
            message = msgpack.unpackb(self._bytes[_HEADER.size : end])
            del self._bytes[:end]
            if descriptors and not self._descriptors:
                raise ValueError("the descriptor of a message is missing")
            yield message, self._descriptors.popleft() if descriptors else None


class ControlChannel:
    """One end, driven by the running loop."""

    def __init__(
        self,
        end: socket.socket,
        received: Callable[[ControlMessage, int | None], None],
        ended: Callable[[str | None], None],
    ) -> None:
        """`received` gets each message with its descriptor; `ended` is called once, unless this end is closed.

        It is told why, or None where the other end is gone.
        """
        self._socket = end
        self._received = received
        self._ended = ended
        self._arriving = Assembler()
        self._waiting: deque[tuple[memoryview, int | None]] = deque()
        self._again: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        end.setblocking(False)
        tasks.when_readable("control channel", end.fileno(), self._read, self._failed)

    @property
    def is_open(self) -> bool:
        return self._socket.fileno() >= 0

    def send(self, message: ControlMessage, descriptor: int | None = None) -> None:
        """Send in order; never waits. Raises LIMIT_EXCEEDED."""
        try:
            frame = encode(message, has_descriptor=descriptor is not None)
        except BaseException:
            _close(descriptor)
            raise
        self.send_frame(frame, descriptor)

    def send_frame(self, frame: bytes, descriptor: int | None = None) -> None:
        """The same for what was encoded before, to go to many."""
        if not self.is_open:
            _close(descriptor)
            return
        self._waiting.append((memoryview(frame), descriptor))
        if len(self._waiting) == 1:
            self._write()

    def close(self) -> None:
        """Stop listening and release everything unsent."""
        if not self.is_open:
            return
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._arriving.close()
        for _, descriptor in self._waiting:
            _close(descriptor)
        self._waiting.clear()

    def _end(self, why: str | None) -> None:
        if self.is_open:
            self.close()
            self._ended(why)

    def _failed(self, error: Exception) -> None:
        self._end(repr(error))

    def _write(self) -> None:
        while self._waiting:
            rest, descriptor = self._waiting[0]
            try:
                sent = socket.send_fds(self._socket, [rest], [] if descriptor is None else [descriptor])
            except BlockingIOError:
                tasks.when_writable("control channel", self._socket.fileno(), self._write, self._failed)
                return
            except OSError as error:
                self._loop.remove_writer(self._socket.fileno())
                if error.errno in _PASSES:
                    self._again = tasks.later("control channel", _AGAIN_S, self._write, failed=self._failed)
                else:  # soon: whoever sends is in the midst of something
                    tasks.soon("control channel", self._end, f"cannot send: {error.strerror}")
                return
            _close(descriptor)  # it went with the first byte
            if sent < len(rest):
                self._waiting[0] = (rest[sent:], None)
            else:
                self._waiting.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        try:
            arrived = self._arriving.receive(self._socket)
        except BlockingIOError:
            return
        except ConnectionError:
            arrived = None
        if arrived is None:
            self._end(None)
            return
        for message, descriptor in arrived:
            self._received(message, descriptor)
            if not self.is_open:
                return


class BlockingChannel:
    """One end, of a process that does one thing after another."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._arriving = Assembler()
        self._messages: deque[Received] = deque()

    def receive(self) -> Received | None:
        """The next message with its descriptor, None when the other end is gone."""
        while not self._messages:
            arrived = self._arriving.receive(self._socket)
            if arrived is None:
                return None
            self._messages += arrived
        return self._messages.popleft()

    def send(self, message: ControlMessage) -> None:
        """Returns when it is under way. Raises LIMIT_EXCEEDED or ConnectionError."""
        self._socket.sendall(encode(message))


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
