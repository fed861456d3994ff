"""Frames: a fixed header and a body, the unit of everything that crosses a socket.

    offset  type  content
    0       u32   bytes of the body
    4       u8    kind of the message (`reddb.wire.messages`)
    5       u8    flags: bit 0 = more frames of this answer follow; all others 0
    6       u16   stream, 0
    8       u64   correlation: chosen by the one who asks, repeated in the answer
    16      body

All integers are little-endian. Answers may come in any order.

Invariants:
  * The length is checked before the buffer grows: a peer can make us hold no more than its limit.
  * A frame that lies whole in what was received is not copied; of others each byte is, once.
  * Memory grows with what has arrived, never with what a header announces.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from reddb import errors, limits
from reddb.types import Buffer

_HEADER = struct.Struct("<IBBHQ")
_MORE = 1

assert _HEADER.size == limits.FRAME_HEADER_BYTES


class Frame(NamedTuple):
    """One frame; `body` is a view of what was received."""

    kind: int
    more: bool
    correlation: int
    body: memoryview


def encode_frame(kind: int, correlation: int, body: bytes, *, more: bool = False) -> bytes:
    """Header and body as one piece of bytes."""
    return _HEADER.pack(len(body), kind, _MORE if more else 0, 0, correlation) + body


class HalfFrame(NamedTuple):
    """A frame of which a part has come; `size` is its length with its header. A new object for each."""

    correlation: int
    size: int


class FrameReader:
    """Cuts a stream of bytes into frames. `body_bytes_max` may be raised as the peer becomes known."""

    def __init__(self, body_bytes_max: int) -> None:
        self.body_bytes_max = body_bytes_max
        self.half: HalfFrame | None = None  # the frame that is coming in, once its header has
        self._rest = bytearray()
        self._missing = 0  # bytes of `half` that are still to come
        self._skipped = 0  # bytes that are still to come of a frame that nobody wants

    @property
    def held(self) -> int:
        """Bytes that wait for the others of their frame."""
        return len(self._rest)

    def skip(self) -> None:
        """Forget the half frame; what comes of it is thrown away."""
        assert self.half is not None
        self._skipped = self._missing
        self.half, self._missing, self._rest = None, 0, bytearray()

    def feed(self, data: Buffer) -> Iterator[Frame]:
        """The frames that are complete now, one by one, so that a frame may raise the limit for the next.

        Raises PROTOCOL for a header that cannot be, behind the frames before it; then it must not be fed again.
        """
        if self._skipped:
            skipped = min(self._skipped, len(data))
            self._skipped -= skipped
            data = memoryview(data)[skipped:]
        if self._rest:
            self._rest += data
            self._missing -= len(data)
            if self.half is not None and self._missing > 0:
                return
            data, self._rest = self._rest, bytearray()
            self.half, self._missing = None, 0
        view, start = memoryview(data), 0
        while len(data) - start >= limits.FRAME_HEADER_BYTES:
            length, kind, flags, stream, correlation = _HEADER.unpack_from(data, start)
            self._check(length, flags, stream)
            end = start + limits.FRAME_HEADER_BYTES + length
            if end > len(data):
                self.half = HalfFrame(correlation, end - start)
                self._missing = end - len(data)
                break
            body = view[start + limits.FRAME_HEADER_BYTES : end]
            start = end
            yield Frame(kind, flags == _MORE, correlation, body)
        self._rest += view[start:]

    def _check(self, length: int, flags: int, stream: int) -> None:
        if length > self.body_bytes_max:
            raise errors.PROTOCOL.error(f"a frame of {length} bytes exceeds the limit of {self.body_bytes_max}")
        if flags & ~_MORE or stream:
            raise errors.PROTOCOL.error(f"unknown frame flags {flags:#x} or stream {stream}")
