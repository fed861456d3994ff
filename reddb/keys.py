"""What keys of payloads and fields are called: names meet whatever the case of their ASCII letters.

    userid, userId, "USERID"    one name, in statements, payloads and files alike
    declared fields             no two are one name; a key that is one is stored as the field is declared
    free keys                   stay as they are given; no two of a row's are one name

Rows that earlier builds stored may have keys that differ in case only, and so may maps within a payload. A name then
means the key that is spelled like it, else the first of the others, by their spelling, that has a value.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from reddb import errors

if TYPE_CHECKING:
    from reddb.fields import Fields

FREE_KEYS_HINT = "ALTER COLLECTION … SET (free_keys = true) lets rows have other keys"

_SMALL = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def folded(name: str) -> str:
    """The name as names are compared."""
    return name.translate(_SMALL)


def nearest(given: str, names: list[str]) -> str | None:
    """A hint: the nearest of the names, if one is near."""
    near = get_close_matches(given, names, n=1)
    return f"did you mean {near[0]}?" if near else None


def check_keys(fields: Fields, payload: Mapping[str, Any], row: int, *, free_keys: bool) -> None:
    """Check what the keys of a new row are called.

    Raises INVALID_PAYLOAD naming the row for a key that is no field, unless there are `free_keys`, and for two that
    are one name.
    """
    keys = tuple(payload)
    if len(keys) > 1 and (pair := _alike(keys)):
        message = f"row {row}: the payload keys {pair[0]!r} and {pair[1]!r} are one name, for they differ in case only"
        raise errors.INVALID_PAYLOAD.error(message, row=row)
    for key in () if free_keys or fields.names.issuperset(keys) else keys:
        if fields.get(key) is None:
            message = f"row {row}: the collection has no field {key!r}"
            hint = nearest(key, [item.name for item in fields]) or FREE_KEYS_HINT
            raise errors.INVALID_PAYLOAD.error(message, row=row, hint=hint)


def declared_keys(fields: Fields, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload with its keys called as its fields are declared; the same one where they are."""
    if fields.names.issuperset(payload):
        return payload
    names = {key: field.name for key in payload if (field := fields.get(key)) and field.name not in payload}
    return {names.get(key, key): value for key, value in payload.items()} if names else payload


@lru_cache(64)
def _alike(keys: tuple[str, ...]) -> tuple[str, str] | None:
    """Two of a payload's keys that are one name, if any are."""
    seen: dict[str, str] = {}
    for key in keys:
        if folded(key) in seen:
            return seen[folded(key)], key
        seen[folded(key)] = key
    return None


def value_at(payload: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The value at a path of names; None where a step of it is missing or no map."""
    value: Any = payload
    for name in path:
        value = _value_of(value, name) if isinstance(value, dict) else None
    return value


def spelling_of(payload: Mapping[str, Any], name: str) -> str:
    """The key of a payload that a name means; the name itself where it has none."""
    if name in payload:
        return name
    return next(_others(payload, name), name)


def _value_of(payload: Mapping[str, Any], name: str) -> Any:
    value = payload.get(name)
    if value is not None:
        return value
    return next((payload[key] for key in _others(payload, name) if payload[key] is not None), None)


def _others(payload: Mapping[str, Any], name: str) -> Iterator[str]:
    """Keys that differ from a name in case only, by their spelling."""
    wanted = folded(name)
    return iter(sorted(key for key in payload if key != name and folded(key) == wanted))
