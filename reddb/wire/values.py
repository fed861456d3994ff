"""Values as MessagePack: plain ones as they are, arrays of numbers as raw little-endian bytes in extensions.

    1    float32, a vector as it is stored
    2    float64
    3    int64

Bodies are decoded by `unpackb` on a complete frame, where no length can exceed the bytes at hand and nesting ends at
1,024; never by a streaming `Unpacker`: five bytes can make that one reserve hundreds of megabytes. MessagePack's own
timestamp (extension -1) is a datetime with a zone.

Invariants:
  * An array comes out with the numbers that went in.
  * A vector is never a list of numbers on the wire.
"""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.types import Buffer

_ARRAYS: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 3: np.dtype("<i8")}
# The extension that holds all numbers of a type, by its kind and size; None for those that are a list.
_CODES: dict[str | None, int | None] = {
    "f2": 1,
    "f4": 1,
    "f8": 2,
    "u8": None,
    **dict.fromkeys(("i1", "i2", "i4", "i8", "u1", "u2", "u4"), 3),
}

# How MessagePack's timestamps of 64 and 96 bits begin; those of 32 bits are whole seconds.
_TIMESTAMP_64, _TIMESTAMP_96 = b"\xd7\xff", b"\xc7\x0c\xff"


def pack(value: Any) -> bytes:
    """Encode. Raises INVALID_VALUE for what has no place on the wire, naming its type."""
    try:
        return bytes(msgpack.packb(value, default=_pack_other, datetime=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise errors.INVALID_VALUE.error(f"a value cannot be sent: {error}") from error


def unpack(buffer: Buffer) -> Any:
    """Decode. Raises PROTOCOL for anything but one complete value within the limits."""
    try:
        return msgpack.unpackb(buffer, ext_hook=_unpack_extension, timestamp=3)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise errors.PROTOCOL.error(f"the body of a message is not valid MessagePack: {reason}") from error


def check_instants(buffer: Buffer) -> None:
    """Raises PROTOCOL where a timestamp in what `unpack` reads has nanoseconds, which it would cut."""
    content = bytes(buffer)
    if _TIMESTAMP_64 not in content and _TIMESTAMP_96 not in content:
        return
    pending = [msgpack.unpackb(content, ext_hook=msgpack.ExtType, timestamp=0)]
    while pending:
        value = pending.pop()
        if isinstance(value, msgpack.Timestamp) and value.nanoseconds % 1000:
            message = "a timestamp among the parameters has nanoseconds"
            raise errors.PROTOCOL.error(message, hint="round it to microseconds, the finest that are kept")
        if isinstance(value, list | dict):
            pending += value.values() if isinstance(value, dict) else value


def _pack_other(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    kind = f"{value.dtype.kind}{value.dtype.itemsize}" if isinstance(value, np.ndarray) and value.ndim == 1 else None
    if kind in _CODES:
        code = _CODES[kind]
        if code is None or len(value) > limits.DIM_MAX:
            return value.tolist()
        return msgpack.ExtType(code, np.ascontiguousarray(value, _ARRAYS[code]).tobytes())
    raise TypeError(f"{type(value).__name__} has no form on the wire")


def _unpack_extension(code: int, data: bytes) -> NDArray[Any]:
    kind = _ARRAYS.get(code)
    if kind is None or len(data) % kind.itemsize or len(data) > kind.itemsize * limits.DIM_MAX:
        raise ValueError(f"unknown extension {code} of {len(data)} bytes")
    array: NDArray[Any] = np.frombuffer(data, kind)
    return array
