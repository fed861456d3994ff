"""The typed fields that a collection declares, and the one place where payloads become bytes and bytes payloads.

    TEXT         a string
    INT          an integer of 64 bits; a boolean is none
    FLOAT        a finite number; an integer becomes a float, if there is one that equals it
    BOOL         true or false
    TIMESTAMP    an instant in UTC with microseconds, given as a datetime or an ISO-8601 text that has a zone
    TEXT[]       a list of strings
    INT[]        a list of integers of 64 bits
    JSON         any value that a payload can hold

Every payload may have the key `expires_at`, a TIMESTAMP that nobody declares: the instant at which the row is gone.

A payload is a MessagePack map; its timestamps are MessagePack's own (extension -1), and no other extension is let in.

Invariants:
  * `unpack_payload(pack_payload(payload, row)) == payload`; empty bytes are the empty payload.
  * NULL and a missing key are the same, but for this: a default stands in for a missing key only.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NoReturn, TypeAlias

import msgpack

from reddb import errors, limits
from reddb.keys import folded
from reddb.payload_faults import fault_of
from reddb.plain import NotPlain, plain
from reddb.wording import shown

Payload: TypeAlias = dict[str, Any]

TIMESTAMP_HINT = "write 2024-05-01T12:00:00Z, or +02:00 in place of Z, with at most 6 digits for parts of a second"

_TIMESTAMP_BYTES_MAX = 12
_INSTANT = re.compile(r"[0-9W-]+[Tt ][0-9:.,]+ ?(?:[Zz]|[+-][0-9:.]+)")
_FINER = re.compile(r"[.,][0-9]{6}0*[1-9]")


class FieldType(StrEnum):
    """What a field may hold; the values are the words of the language."""

    TEXT = "TEXT"
    INT = "INT"
    FLOAT = "FLOAT"
    BOOL = "BOOL"
    TIMESTAMP = "TIMESTAMP"
    TEXTS = "TEXT[]"
    INTS = "INT[]"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field. `default` is normalised (see `check_default`); None stands for no default."""

    name: str
    type: FieldType
    not_null: bool = False
    default: Any = None

    def to_plain(self) -> dict[str, Any]:
        """The same as a map of plain values, for the catalog and the control channel; a timestamp becomes its text."""
        default = self.default.isoformat() if isinstance(self.default, datetime) else self.default
        return {"name": self.name, "type": str(self.type), "not_null": self.not_null, "default": default}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Field:
        return check_default(cls(plain["name"], FieldType(plain["type"]), plain["not_null"], plain["default"]))


EXPIRES_AT = Field("expires_at", FieldType.TIMESTAMP)


@dataclass(frozen=True, slots=True)
class Fields:
    """The declared fields of a collection, in the order of their declaration. `names` are theirs, and `expires_at`."""

    declared: tuple[Field, ...] = ()
    names: frozenset[str] = dataclasses.field(init=False, repr=False, compare=False)
    _by_name: Mapping[str, Field] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        every = {item.name: item for item in (*self.declared, EXPIRES_AT)}
        assert len(every) == len(self.declared) + 1
        object.__setattr__(self, "names", frozenset(every))
        object.__setattr__(self, "_by_name", {**{folded(name): item for name, item in every.items()}, **every})

    def __iter__(self) -> Iterator[Field]:
        return iter(self.declared)

    def __len__(self) -> int:
        return len(self.declared)

    def to_plain(self) -> list[dict[str, Any]]:
        """The same as plain values, for the catalog and the control channel."""
        return [field.to_plain() for field in self.declared]

    @classmethod
    def from_plain(cls, plain: list[dict[str, Any]]) -> Fields:
        return cls(tuple(Field.from_plain(item) for item in plain))

    def get(self, name: str) -> Field | None:
        """The field of this name, in whatever case it is written, or None where there is none."""
        return self._by_name.get(name) or self._by_name.get(folded(name))


NO_FIELDS = Fields()


# --- values ------------------------------------------------------------------------------------------------


def parse_timestamp(value: object) -> datetime:
    """An aware datetime or an ISO-8601 text with a zone, in UTC.

    Raises ValueError for anything else, and for an instant between two microseconds.
    """
    if isinstance(value, str) and (not _INSTANT.fullmatch(value) or _FINER.search(value)):
        raise ValueError("no ISO-8601 text with at most microseconds")
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(instant, datetime) or instant.utcoffset() is None:
        raise ValueError("no datetime with a zone")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:  # 0001-01-01T00:00:00+14:00
        raise ValueError("beyond the years 1 to 9999") from error


def is_int(value: object) -> bool:
    """Whether the value is an integer of 64 bits."""
    return type(value) is int and limits.ID_INT_MIN <= value <= limits.ID_INT_MAX


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError from error
    if not math.isfinite(number) or number != value:
        raise ValueError
    return number


def _only(holds: Callable[[Any], bool]) -> Callable[[Any], Any]:
    """A normaliser that changes nothing and raises ValueError where the value does not hold."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError
        return value

    return check


# For each type what its values are, in words, and what brings a value into its stored form or raises ValueError.
# JSON has nothing of its own to check: what a payload may hold at all is checked for every key alike.
_RULES: dict[FieldType, tuple[str, Callable[[Any], Any]]] = {
    FieldType.TEXT: ("a string", _only(lambda value: type(value) is str)),
    FieldType.INT: ("an integer of 64 bits", _only(is_int)),
    FieldType.FLOAT: ("a finite number that 64 bits hold exactly", _float),
    FieldType.BOOL: ("true or false", _only(lambda value: type(value) is bool)),
    FieldType.TIMESTAMP: ("an instant with a time zone, to the microsecond", parse_timestamp),
    FieldType.TEXTS: (
        "a list of strings",
        _only(lambda value: type(value) is list and all(type(item) is str for item in value)),
    ),
    FieldType.INTS: (
        "a list of integers of 64 bits",
        _only(lambda value: type(value) is list and all(map(is_int, value))),
    ),
    FieldType.JSON: ("any value", _only(lambda value: True)),
}


def check_row(fields: Fields, payload: Payload, row: int) -> Payload:
    """The payload with defaults put in and the values of fields normalised; free keys stay as they are.

    A default is shared with its field, not copied: a payload is packed, never changed. Raises INVALID_PAYLOAD naming
    row and field.
    """
    checked = dict(payload)
    for field in (*fields.declared, EXPIRES_AT):
        value = payload.get(field.name)
        if value is not None:
            try:
                checked[field.name] = _RULES[field.type][1](value)
            except ValueError:
                _refuse(errors.INVALID_PAYLOAD, f"row {row}: the field {field.name!r}", field, value, row=row)
        elif field.name not in payload and field.default is not None:
            checked[field.name] = field.default
        elif field.not_null:
            message = f"row {row}: the field {field.name!r} is {field.type} NOT NULL and has no value"
            raise errors.INVALID_PAYLOAD.error(message, row=row, field=field.name)
    return checked


def check_default(field: Field) -> Field:
    """The field with its default normalised. Raises INVALID_VALUE if the default is no value of the field's type."""
    if field.default is None:
        return field
    try:
        return replace(field, default=_RULES[field.type][1](field.default))
    except ValueError:
        _refuse(errors.INVALID_VALUE, f"the default of {field.name!r}", field, field.default)


def _refuse(code: errors.ErrorCode, what: str, field: Field, value: object, **detail: Any) -> NoReturn:
    if field.type is FieldType.TIMESTAMP:
        detail["hint"] = TIMESTAMP_HINT
    message = f"{what} is {field.type}: {_RULES[field.type][0]}, not {shown(value)}"
    raise code.error(message, field=field.name, **detail)


# --- bytes -------------------------------------------------------------------------------------------------


def pack_payload(payload: Payload, row: int = 0) -> bytes:
    """MessagePack bytes, none for an empty payload.

    What is not plain becomes it (`reddb.plain`). Raises INVALID_PAYLOAD naming row, key and remedy for what cannot.
    """
    try:
        return bytes(msgpack.packb(payload, datetime=True)) if payload else b""
    except (TypeError, ValueError, OverflowError):
        return bytes(msgpack.packb(_plain_payload(payload, row), datetime=True))


def _plain_payload(payload: Payload, row: int) -> Payload:
    try:
        named = {key: shown(key).strip("'") for key in payload}
        return {plain(key, named[key]): plain(value, named[key]) for key, value in payload.items()}
    except NotPlain as error:
        raise refused(error, row) from None


def refused(fault: NotPlain, row: int) -> errors.RedDBError:
    """The error that names row, key and remedy."""
    where = f"the key '{fault.path}'" if fault.path else "the payload"
    message = f"row {row}: {where} holds {fault.what}"
    return errors.INVALID_PAYLOAD.error(message, row=row, field=fault.path, hint=fault.remedy)


def check_unaltered(payload: Payload, content: bytes, row: int) -> None:
    """Raises INVALID_PAYLOAD naming row and key where the payload that was read is not what its bytes say."""
    if content and msgpack.packb(payload, datetime=True) != content:
        fault = fault_of(content)
        if fault is not None:
            raise refused(fault, row)


def unpack_payload(content: bytes | memoryview, row: int = 0) -> Payload:
    """The payload; empty bytes give an empty one. Raises INVALID_PAYLOAD naming the row for all but one map."""
    if not content:
        return {}
    try:
        payload = msgpack.unpackb(
            content, timestamp=3, strict_map_key=False, max_ext_len=_TIMESTAMP_BYTES_MAX, ext_hook=_refuse_extension
        )
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        fault = fault_of(content)
        if fault is not None:
            raise refused(fault, row) from error
        reason = str(error) or type(error).__name__
        raise errors.INVALID_PAYLOAD.error(
            f"row {row}: the payload is no MessagePack map: {reason}", row=row
        ) from error
    if not isinstance(payload, dict):
        raise errors.INVALID_PAYLOAD.error(f"row {row}: a payload is a map, not {type(payload).__name__}", row=row)
    return payload


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError(f"unknown extension {code} of {len(data)} bytes")
