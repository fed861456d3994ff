"""What is wrong with a payload's bytes: looked for when they cannot be read, or would be read as something else.

    a key twice in one map         the last would win in silence
    an instant with nanoseconds    they would be cut
    beyond the years 1 to 9999, text that is no UTF-8, a key that is no string, an extension: not read at all

Invariant: whoever reads the bytes meets no value that is not in them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack

from reddb import limits
from reddb.plain import NotPlain
from reddb.wording import shown

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_S = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
_LAST_S = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)


class _Pairs(list[tuple[Any, Any]]):
    """The keys and values of a map as they stand in the bytes."""


def fault_of(content: bytes | memoryview) -> NotPlain | None:
    """The first fault of a MessagePack map; None where there is none of these, or the bytes are no map."""
    try:
        found = msgpack.unpackb(
            content,
            timestamp=0,
            strict_map_key=False,
            object_pairs_hook=_Pairs,
            ext_hook=msgpack.ExtType,
            unicode_errors="surrogateescape",
        )
        _look(found, "", 0)
    except NotPlain as fault:
        return fault
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    return None


def _look(value: Any, path: str, depth: int) -> None:
    if depth > limits.PAYLOAD_DEPTH_MAX:
        return  # which is refused as such
    match value:
        case _Pairs():
            _look_at_map(value, path, depth)
        case list():
            for place, item in enumerate(value):
                _look(item, f"{path}[{place}]", depth + 1)
        case str():
            _check_text(value, path, "a text")
        case msgpack.Timestamp():
            _check_instant(value, path)
        case msgpack.ExtType():
            raise NotPlain(path, f"the MessagePack extension {value.code}", "only the timestamp, extension -1, is kept")


def _look_at_map(pairs: _Pairs, path: str, depth: int) -> None:
    seen: set[str] = set()
    for key, item in pairs:
        if not isinstance(key, str):
            raise NotPlain(path, f"a map with the key {shown(key)}", "the keys of maps are strings")
        _check_text(key, path, "a key")
        inner = f"{path}.{key}" if path else key
        if key in seen:
            raise NotPlain(inner, "two values, for the key stands twice in its map", "give each key once")
        seen.add(key)
        _look(item, inner, depth + 1)


def _check_text(text: str, path: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotPlain(path, f"{what} that is no valid UTF-8", "encode texts as UTF-8, without surrogates") from error


def _check_instant(instant: msgpack.Timestamp, path: str) -> None:
    if not _FIRST_S <= instant.seconds <= _LAST_S:
        raise NotPlain(path, "an instant beyond the years 1 to 9999", "an integer, or None")
    if instant.nanoseconds % 1000:
        raise NotPlain(path, "an instant with nanoseconds", "round it to microseconds, the finest that are kept")
