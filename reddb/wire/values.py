"""Values as MessagePack: plain ones as they are, vectors as raw float32 bytes in extension 1.

Bodies are decoded by `unpackb` on a complete frame, where no length can exceed the bytes at hand and nesting ends at
1,024; never by a streaming `Unpacker`: five bytes can make that one reserve hundreds of megabytes. MessagePack's own
timestamp (extension -1) is a datetime with a zone.

Invariant: a vector is never a list of numbers on the wire.
"""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.types import Buffer

_VECTOR = 1


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
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise errors.PROTOCOL.error(f"the body of a message is not valid MessagePack: {reason}") from error


def _pack_other(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiu":
        return msgpack.ExtType(_VECTOR, np.ascontiguousarray(value, "<f4").tobytes())
    raise TypeError(f"{type(value).__name__} has no form on the wire")


def _unpack_extension(code: int, data: bytes) -> NDArray[np.float32]:
    if code != _VECTOR or len(data) % 4 or len(data) > 4 * limits.DIM_MAX:
        raise ValueError(f"unknown extension {code} of {len(data)} bytes")
    return np.frombuffer(data, "<f4")
