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


_ITEMS_OF_ARRAY = 16  # that an array of numbers counts for: so much longer it takes than a number


def pack(value: Any) -> bytes:
    """Encode. Raises INVALID_VALUE for what has no place on the wire, naming its type."""
    try:
        return bytes(msgpack.packb(value, default=_pack_other, datetime=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise errors.INVALID_VALUE.error(f"a value cannot be sent: {error}") from error


def unpack(buffer: Buffer, items_max: int | None = None) -> Any:
    """Decode. Raises PROTOCOL for anything but one complete value within the limits.

    With `items_max` it raises LIMIT_EXCEEDED as soon as there are more values than that in all lists and maps.
    """
    if items_max is None or len(buffer) <= items_max:  # each takes a byte at least
        return _unpack(buffer, ext_hook=_unpack_extension, timestamp=3)
    left = items_max

    def count(items: Any) -> Any:
        nonlocal left
        left -= len(items)
        if left < 0:
            raise _too_many(items_max)
        return items

    def count_array(code: int, data: bytes) -> Any:
        nonlocal left
        left -= _ITEMS_OF_ARRAY
        return _unpack_extension(code, data)

    # A list is counted when it is complete, so its length alone must not be beyond what is left.
    bounds = {"max_array_len": items_max, "max_map_len": items_max}
    try:
        return _unpack(buffer, ext_hook=count_array, timestamp=3, list_hook=count, object_hook=count, **bounds)
    except errors.RedDBError as error:
        if any(name in error.message for name in bounds):  # MessagePack names what was exceeded, and no more
            raise _too_many(items_max) from error
        raise


def _unpack(buffer: Buffer, **how: Any) -> Any:
    try:
        return msgpack.unpackb(buffer, **how)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise errors.PROTOCOL.error(f"the body of a message is not valid MessagePack: {reason}") from error


def _too_many(items_max: int) -> errors.RedDBError:
    return errors.LIMIT_EXCEEDED.error(
        f"a request has at most {items_max} values, those in lists and maps counted: PARAMETER_ITEMS_MAX",
        hint="send fewer at a time; many rows go by insert and upsert, many numbers as a numpy array",
    )


def check_instants(buffer: Buffer) -> None:
    """Raises PROTOCOL where a timestamp in what `unpack` reads has nanoseconds, which it would cut."""
    content = bytes(buffer)
    if _TIMESTAMP_64 not in content and _TIMESTAMP_96 not in content:
        return
    pending = [_unpack(content, ext_hook=msgpack.ExtType, timestamp=0)]
    while pending:
        value = pending.pop()
        if isinstance(value, msgpack.Timestamp) and value.nanoseconds % 1000:
            message = "a timestamp among the parameters has nanoseconds"
            raise errors.PROTOCOL.error(message, hint="round it to microseconds, the finest that are kept")
        if isinstance(value, list | dict):
            pending += value.values() if isinstance(value, dict) else value


def decoded_bytes(buffer: Buffer) -> int:
    """About the memory that `unpack` takes for what it makes, at least; looks at a bounded number of values.

    What lies behind these is taken for short texts and containers, of which each byte can become 72.
    """
    body, at, pending, total = memoryview(buffer), 0, 1, 0
    for _ in range(limits.DECODED_NODES_MAX):
        if not pending or at >= len(body):
            return total
        pending -= 1
        size, width, items = _TAGS[body[at]]
        at += 1
        if width:
            size += int.from_bytes(body[at : at + width])
            at += width
        if size * max(items, 1) > len(body) - at:  # more than there is: `unpack` says what is wrong
            return total
        if items:
            pending += items * size
            total += limits.CONTAINER_BYTES + (_PAIR_BYTES if items == 2 else _PLACE_BYTES) * size
        else:
            at += size
            total += _VALUE_BYTES + size
    rest = np.frombuffer(body[at:], np.uint8)
    containers = np.count_nonzero((rest ^ 0x80) < 0x20) + np.count_nonzero((rest >= 0xDC) & (rest <= 0xDF))
    return total + len(rest) * _SHORT_BYTES + int(containers) * limits.CONTAINER_BYTES


def value_bytes(value: Any) -> int:
    """About the memory of a value that was unpacked."""
    total, pending = 0, [value]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
            total += limits.CONTAINER_BYTES + _PLACE_BYTES * len(value)
        elif isinstance(value, dict):
            pending += value.values()
            total += limits.CONTAINER_BYTES + (_PAIR_BYTES + _VALUE_BYTES) * len(value) + sum(map(len, value))
        elif isinstance(value, np.ndarray):
            total += _VALUE_BYTES + value.nbytes
        else:
            total += _VALUE_BYTES + (len(value) if isinstance(value, str | bytes) else 0)
    return total


_VALUE_BYTES = 56  # of a number, and of a text or bytes beside their content
_PLACE_BYTES = 8  # in a list
_PAIR_BYTES = 200  # in a map
_SHORT_BYTES = 20  # for each byte of short texts: 59 for three


def _tag(tag: int) -> tuple[int, int, int]:
    """What the first byte of a value says: its size, the bytes that say more of it, and the values at a place.

    The size of a container counts its places, each of one value or a pair; that of others counts bytes.
    """
    match tag >> 4:
        case 0x8:
            return tag & 0xF, 0, 2
        case 0x9:
            return tag & 0xF, 0, 1
        case 0xA | 0xB:  # a short text
            return tag & 0x1F, 0, 0
    if 0xC4 <= tag <= 0xC6:  # bytes
        return 0, 1 << (tag - 0xC4), 0
    if 0xC7 <= tag <= 0xC9:  # an extension, with a byte for its type
        return 1, 1 << (tag - 0xC7), 0
    if 0xD4 <= tag <= 0xD8:  # one of 1, 2, 4, … bytes
        return 1 + (1 << (tag - 0xD4)), 0, 0
    if 0xD9 <= tag <= 0xDB:  # a text
        return 0, 1 << (tag - 0xD9), 0
    if 0xDC <= tag <= 0xDF:  # lists, then maps
        return 0, 2 << (tag & 1), 1 + (tag >= 0xDE)
    if 0xCA <= tag <= 0xCB:  # floats
        return 4 << (tag & 1), 0, 0
    return (1 << (tag & 3) if 0xCC <= tag <= 0xD3 else 0), 0, 0  # integers; nil, false and true


_TAGS = [_tag(tag) for tag in range(256)]


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
