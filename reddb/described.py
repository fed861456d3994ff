"""Descriptions that come from files, as JSON or MessagePack: maps that become records, each value of its field's type.

Invariant: whatever the bytes are, what is asked for comes, or NotDescribed, which says what is wrong; nothing else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, get_type_hints

import msgpack

from reddb.wording import shown

T = TypeVar("T")

_INT_MAX = 2**63 - 1
_FLOAT_MAX = sys.float_info.max
_TYPES = {
    int: "a whole number of at most 63 bits, not negative",
    str: "a text",
    float: "a finite number",
    bool: "true or false",
}


class NotDescribed(ValueError):
    """What a file holds is not what it should be."""


def from_json(content: bytes) -> Any:
    """What the text says. Raises NotDescribed, also for a key that stands twice in a map, and for NaN."""
    try:
        return json.loads(content.decode(), object_pairs_hook=_map, parse_constant=_refuse_constant)
    except RecursionError:
        raise NotDescribed("nests too deep") from None
    except NotDescribed:
        raise
    except ValueError as error:
        raise NotDescribed(f"is no JSON: {error}") from error


def from_msgpack(content: bytes | memoryview) -> Any:
    """The same of MessagePack."""
    try:
        return msgpack.unpackb(content, object_pairs_hook=_map)
    except NotDescribed:
        raise
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise NotDescribed(f"is no MessagePack: {error}") from error


def map_of(plain: Any, *keys: str) -> dict[str, Any]:
    """A map with these keys at least. Raises NotDescribed."""
    if not isinstance(plain, dict):
        raise NotDescribed(f"has {shown(plain)} where a map belongs")
    for key in keys:
        if key not in plain:
            raise NotDescribed(f"has a map without {key!r}")
    return plain


def list_of(plain: Any) -> list[Any]:
    """A list. Raises NotDescribed."""
    if not isinstance(plain, list):
        raise NotDescribed(f"has {shown(plain)} where a list belongs")
    return plain


def record_of(kind: type[T], plain: Any, **made: Any) -> T:
    """A dataclass of a map with exactly its fields: those of simple types, and those in `made`. Raises NotDescribed."""
    given = map_of(plain)
    hints = _hints(kind)  # type: ignore[arg-type]  # classes are hashable
    for name in given:
        if name not in hints:
            raise NotDescribed(f"has {shown(name)}, which is no part of {kind.__name__}")
    for name, wanted in hints.items():
        if name in made:
            continue
        if name not in given:
            raise NotDescribed(f"has a {kind.__name__} without {name!r}")
        if not is_of(given[name], wanted):
            raise NotDescribed(f"has {shown(given[name])} as {name!r}, which is {_TYPES[wanted]}")
    return kind(**{**given, **made})


def is_of(value: Any, wanted: type) -> bool:
    """Whether it is exactly of a type, and such as a file may hold."""
    if wanted is int:
        return type(value) is int and 0 <= value <= _INT_MAX
    if wanted is float:
        return type(value) in (int, float) and abs(value) <= _FLOAT_MAX
    return type(value) is wanted and (not isinstance(value, str) or _has_bytes(value))


def _has_bytes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise NotDescribed("has a map in which a key stands twice")
    return made


def _refuse_constant(word: str) -> Any:
    raise NotDescribed(f"has {word}, which is no number")
