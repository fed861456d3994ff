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
  * A frame that lies whole in what was received is not copied.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from reddb import errors, limits

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


class FrameReader:
    """Cuts a stream of bytes into frames. `body_bytes_max` may be raised as the peer becomes known."""

    def __init__(self, body_bytes_max: int) -> None:
        self.body_bytes_max = body_bytes_max
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now, one by one, so that a frame may raise the limit for the next.

        Raises PROTOCOL for a header that cannot be, behind the frames before it; then it must not be fed again.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < limits.FRAME_HEADER_BYTES + self._body_length(self._rest):
                return
            data, self._rest = bytes(self._rest), bytearray()
        view, start = memoryview(data), 0
        while len(data) - start >= limits.FRAME_HEADER_BYTES:
            length, kind, flags, stream, correlation = _HEADER.unpack_from(data, start)
            self._check(length, flags, stream)
            end = start + limits.FRAME_HEADER_BYTES + length
            if end > len(data):
                break
            body = view[start + limits.FRAME_HEADER_BYTES : end]
            start = end
            yield Frame(kind, flags == _MORE, correlation, body)
        self._rest += view[start:]

    def _body_length(self, data: bytearray) -> int:
        """The announced length of the first frame, or 0 while its header is incomplete."""
        if len(data) < limits.FRAME_HEADER_BYTES:
            return 0
        length, _, flags, stream, _ = _HEADER.unpack_from(data)
        self._check(length, flags, stream)
        return int(length)

    def _check(self, length: int, flags: int, stream: int) -> None:
        if length > self.body_bytes_max:
            raise errors.PROTOCOL.error(f"a frame of {length} bytes exceeds the limit of {self.body_bytes_max}")
        if flags & ~_MORE or stream:
            raise errors.PROTOCOL.error(f"unknown frame flags {flags:#x} or stream {stream}")
