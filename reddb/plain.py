"""A user's value as what a payload or a parameter holds: plain, the very same, or refused with its place and a remedy.

Plain are None, bool, int of 64 bits, finite float, str, datetime with a zone, list, and dict with str keys. numpy's
numbers, booleans and texts, tuples, and classes derived from the plain ones become them, exactly.

Invariant: what `plain` gives, MessagePack carries unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from reddb import limits
from reddb.wording import of_type, shown

_DEPTH_MAX = 2 * limits.PAYLOAD_DEPTH_MAX  # enough for whoever checks the depth itself to say so
_PATH_CHARS = 60  # in a message
_SIMPLE = frozenset({type(None), bool, str})
_INSTANT = "give a datetime with a zone: datetime.now(UTC), or value.replace(tzinfo=UTC)"
_REMEDIES = {
    "Decimal": "float(value), or str(value) to keep every digit",
    "Fraction": "float(value)",
    "complex": "a list of two floats",
    "set": "list(value)",
    "frozenset": "list(value)",
    "ndarray": "value.tolist()",
    "Series": "value.tolist()",
    "Index": "value.tolist()",
    "DataFrame": "value.to_dict('records')",
    "Tensor": "value.tolist()",
    "bytes": "value.decode(), or a list of integers",
    "bytearray": "value.decode(), or a list of integers",
    "memoryview": "bytes(value).decode(), or a list of integers",
    "UUID": "str(value)",
    "Timestamp": "value.to_pydatetime(), with a zone",
    "NaTType": "None",
    "NAType": "None",
    "datetime64": f"{_INSTANT} made of value.item()",
    "timedelta": "value.total_seconds()",
    "timedelta64": "an integer of the unit that you choose",
    "time": "value.isoformat()",
    "generator": "list(value)",
}
_PLAIN = "None, bool, int, float, str, datetime, and lists and dicts of them are kept"


class NotPlain(ValueError):
    """A value that cannot be kept: `path` leads to it (`a.b[3]`), `what` says what is there, `remedy` what would do."""

    def __init__(self, path: str, what: str, remedy: str) -> None:
        super().__init__(path, what, remedy)
        self.path = path if len(path) <= _PATH_CHARS else f"{path[:_PATH_CHARS]}…"
        self.what = what
        self.remedy = remedy


def is_plain(value: Any, depth: int = 1) -> bool:
    """Whether `plain` gives this very value, of exact types, with at most PAYLOAD_DEPTH_MAX levels from `depth` on."""
    kind = type(value)
    if depth > limits.PAYLOAD_DEPTH_MAX:
        return False
    if kind is dict:
        return all(type(key) is str and is_plain(item, depth + 1) for key, item in value.items())
    if kind is list:
        return all(is_plain(item, depth + 1) for item in value)
    if kind is float:
        return math.isfinite(value)
    return kind in _SIMPLE or kind is datetime or (kind is int and limits.ID_INT_MIN <= value <= limits.ID_INT_MAX)


def plain(value: Any, path: str, depth: int = 0) -> Any:
    """The plain value; `path` is where it stands. Raises NotPlain."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if isinstance(value, np.generic):
        return _numpy_scalar(value, path)
    if isinstance(value, bool | int | float):
        return _number(value, path)
    if isinstance(value, str):
        return _text(value, path)
    if kind is datetime:
        return _instant(value, path)
    if depth == _DEPTH_MAX:
        raise NotPlain(path, f"more than {limits.PAYLOAD_DEPTH_MAX} levels", "keep what is nested so deep as text")
    if isinstance(value, list | tuple):
        return [plain(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(key, path): plain(item, f"{path}.{key}", depth + 1) for key, item in value.items()}
    raise _unknown(value, path)


def remedy(value: Any) -> str:
    """What to give in place of a value that is not plain."""
    known = _REMEDIES.get(type(value).__name__)
    return known or (_INSTANT if isinstance(value, date) else _PLAIN)


def _number(value: int | float, path: str) -> int | float:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotPlain(path, f"{shown(float(value))}, which is no finite number", "None, or leave the key out")
        return float(value)
    if not limits.ID_INT_MIN <= value <= limits.ID_INT_MAX:
        raise NotPlain(path, f"{shown(value)}, beyond 64 bits", "float(value), or str(value) to keep every digit")
    return int(value)


def _text(value: str, path: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            what = f"a text whose character {error.start + 1} is half a surrogate pair"
            raise NotPlain(path, what, "value.encode('utf-8', 'replace').decode()") from error
    return value if type(value) is str else str.__str__(value)


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise NotPlain(path, f"a map with the key {shown(key)}", "the keys of maps are strings: str(key)")
    return _text(key, path)


def _instant(value: datetime, path: str) -> datetime:
    if value.utcoffset() is None:
        raise NotPlain(path, f"{shown(value)}, which has no zone", _INSTANT)
    try:
        value.astimezone(UTC)
    except OverflowError as error:
        raise NotPlain(path, f"{shown(value)}, which is beyond the years 1 to 9999 in UTC", _INSTANT) from error
    return value


def _numpy_scalar(value: np.generic, path: str) -> Any:
    item = value.item() if value.dtype.kind in "biufU" else None
    if item is None or isinstance(item, np.generic):  # a long double, which Python's float may not hold
        raise _unknown(value, path)
    return plain(item, path)


def _unknown(value: Any, path: str) -> NotPlain:
    return NotPlain(path, f"{of_type(value)}, which has no form here", remedy(value))
