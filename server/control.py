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

A message with a `barrier` number is answered by `acknowledged`. A sequenced-packet socket keeps the messages apart, so
there is no framing; each fits a packet by its nature.

Invariant: descriptors that were sent are closed on this side unless the sender keeps them; received ones belong to
the receiver.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgpack

from reddb.server import tasks

_PACKET_BYTES_MAX = 64 * 1024
_DESCRIPTORS_MAX = 1

ControlMessage: TypeAlias = dict[str, Any]


def control_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a new channel."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class ControlChannel:
    """One end, driven by the running loop."""

    def __init__(
        self,
        end: socket.socket,
        received: Callable[[ControlMessage, int | None], None],
        closed: Callable[[], None],
    ) -> None:
        """`received` gets each message with its descriptor; `closed` is called once, when the other end is gone."""
        self._socket = end
        self._received = received
        self._closed = closed
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self._loop = asyncio.get_running_loop()
        end.setblocking(False)
        tasks.when_readable("control channel", end.fileno(), self._read, self._failed)

    def send(self, message: ControlMessage, descriptor: int | None = None, *, keep: bool = False) -> None:
        """Send in order; never waits. The descriptor is closed once it is sent, unless `keep`."""
        descriptors: list[int] = []
        if descriptor is not None:
            descriptors = [os.dup(descriptor) if keep else descriptor]
        packet = msgpack.packb(message)
        assert len(packet) <= _PACKET_BYTES_MAX
        self._waiting.append((packet, descriptors))
        if len(self._waiting) == 1:
            self._write()

    def close(self) -> None:
        """Stop listening and release everything unsent."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for _, descriptors in self._waiting:
            _close_all(descriptors)
        self._waiting.clear()

    def _failed(self, error: Exception) -> None:
        self.close()
        self._closed()

    def _write(self) -> None:
        while self._waiting:
            packet, descriptors = self._waiting[0]
            try:
                socket.send_fds(self._socket, [packet], descriptors)
            except BlockingIOError:
                tasks.when_writable("control channel", self._socket.fileno(), self._write, self._failed)
                return
            except OSError:
                # The other end is gone: the reader is told so, and acts once.
                break
            _close_all(descriptors)
            self._waiting.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(
                self._socket, _PACKET_BYTES_MAX, _DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            packet, descriptors = b"", []
        if not packet:
            self.close()
            self._closed()
            return
        self._received(msgpack.unpackb(packet), descriptors[0] if descriptors else None)


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
