"""One connection's state, either side, without a socket: `receive_data(bytes) -> events`, `send(message) -> bytes`.

    client                      server
      Hello           ──►
                      ◄──         Welcome
      requests, any number, pipelined
                      ◄──         answers in any order, matched by correlation

Before Hello the server takes one small frame of that kind and nothing else.

Invariants:
  * `receive_data` never raises: a peer that breaks the protocol gives one `Broken` event, and then nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from reddb import errors, limits
from reddb.wire.frames import Frame, FrameReader, HalfFrame, encode_frame
from reddb.wire.messages import MAGIC, VERSION, Hello, Message, decode_message, encode_body


class Received(NamedTuple):
    """A message of the peer. `more`: further parts of the same answer follow."""

    correlation: int
    message: Message
    more: bool


class Broken(NamedTuple):
    """The peer broke the protocol; the error is to be sent, then the connection closed."""

    correlation: int
    error: errors.RedDBError


@dataclass(slots=True)
class Unread(Message):
    """Stands for a request beyond a limit, which was not read: the error is its answer, and the connection goes on."""

    KIND = 0
    error: errors.RedDBError


Event: TypeAlias = Received | Broken


def encode(message: Message, correlation: int, *, more: bool = False) -> bytes:
    """The frame of a message. Raises LIMIT_EXCEEDED if it would be larger than a peer takes."""
    body = encode_body(message)
    if len(body) > limits.FRAME_BYTES_MAX:
        raise errors.LIMIT_EXCEEDED.error(
            f"{type(message).__name__} would be a message of {len(body)} bytes; the limit is {limits.FRAME_BYTES_MAX}",
            hint="ask for or send fewer rows at once",
        )
    return encode_frame(message.KIND, correlation, body, more=more)


class WireConnection:
    """The receiving half of a connection."""

    def __init__(self, *, expects_hello: bool, admit: Callable[[Frame], bool] | None = None) -> None:
        """`expects_hello`: we are the server of a peer that has yet to greet.

        `admit` is asked before a message is read; one for which it says False is thrown away.
        """
        self._expects_hello = expects_hello
        self._admit = admit
        self._is_broken = False
        self._frames = FrameReader(limits.FRAME_BYTES_MAX_BEFORE_HELLO if expects_hello else limits.FRAME_BYTES_MAX)

    @property
    def half(self) -> HalfFrame | None:
        """The frame that is coming in, if a part of one has come."""
        return self._frames.half

    @property
    def held(self) -> int:
        """Bytes that have come of it."""
        return self._frames.held

    def skip(self) -> None:
        """Forget the half frame; what comes of it is thrown away, and the frame behind it is read."""
        self._frames.skip()

    def receive_data(self, data: bytes) -> list[Event]:
        """What the peer said with these bytes and those before."""
        if self._is_broken:
            return []
        events: list[Event] = []
        correlation = 0
        try:
            for frame in self._frames.feed(data):
                correlation = frame.correlation
                if self._admit is None or self._admit(frame):
                    events.append(Received(correlation, self._read(frame), frame.more))
        except errors.RedDBError as error:
            self._is_broken = True
            events.append(Broken(correlation, error))
        return events

    def _read(self, frame: Frame) -> Message:
        if not self._expects_hello:
            try:
                return decode_message(frame.kind, frame.body)
            except errors.RedDBError as error:
                if error.code is not errors.LIMIT_EXCEEDED:
                    raise
                return Unread(error)
        if frame.kind != Hello.KIND:
            raise errors.PROTOCOL.error("a connection begins with Hello")
        message = decode_message(frame.kind, frame.body)
        assert isinstance(message, Hello)
        if message.magic != MAGIC or not any(
            type(version) is int and version == VERSION for version in message.versions
        ):
            raise errors.PROTOCOL.error(f"this server speaks version {VERSION} of the {MAGIC} protocol")
        self._expects_hello = False
        self._frames.body_bytes_max = limits.FRAME_BYTES_MAX
        return message
