"""What a value of a declared field is in a file, and what it is in a row.

Numbers are written in ASCII, without underscores; a whole number of an INT field may be written as 1.0, as pandas does
where a column has gaps. Nothing is rounded and no digit of an instant is cut off: what does not fit is refused.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import datetime
from decimal import Decimal, DecimalException
from typing import Any

from reddb.fields import FieldType, is_int, parse_timestamp

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BEYOND_MICROSECONDS = re.compile(r"[.,][0-9]{6}[0-9]*[1-9]")
_PANDAS_INDEX = re.compile(r"__index_level_[0-9]+__")
_BOOLEANS = {"true": True, "t": True, "false": False, "f": False}
_SURE_AS_FLOAT = 2.0**53  # beyond it, a float may stand for its neighbour
_SHOWN_CHARS = 60  # of a value in a message


def fits(kind: FieldType, value: Any) -> bool:
    """Whether a stored value is one of its field's type; rows older than a field may hold others."""
    match kind:
        case FieldType.TEXT:
            return isinstance(value, str)
        case FieldType.INT:
            return is_int(value)
        case FieldType.FLOAT:
            return isinstance(value, float)
        case FieldType.BOOL:
            return isinstance(value, bool)
        case FieldType.TIMESTAMP:
            return isinstance(value, datetime)
        case FieldType.TEXTS:
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case FieldType.INTS:
            return isinstance(value, list) and all(map(is_int, value))
        case FieldType.JSON:
            return True


def instant(value: Any) -> datetime:
    """An instant of its ISO text. Raises ValueError where it is none, and for digits beyond microseconds."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is no text of an instant")
    if _BEYOND_MICROSECONDS.search(value):
        raise ValueError(f"{shown(value)} has digits beyond microseconds, which would be lost")
    try:
        return parse_timestamp(value)
    except ValueError as error:
        raise ValueError(f"{shown(value)} is no instant with a time zone, as 2024-05-01T12:00:00Z is") from error


def of_cell(kind: FieldType, cell: str) -> Any:
    """The value of a field that csv writes so; JSON and lists are not here. Raises ValueError."""
    if kind is FieldType.TEXT:
        return cell
    text = cell.strip(" \t")
    if kind is FieldType.TIMESTAMP:
        return instant(text)
    if kind is FieldType.BOOL:
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"{shown(cell)} is neither true nor false")
        return _BOOLEANS[text.lower()]
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{shown(cell)} is no {kind}")
    if kind is FieldType.FLOAT:
        if math.isinf(number := float(text)):
            raise ValueError(f"{shown(cell)} is beyond the largest FLOAT")
        return number
    return _integer(text)


def of_value(kind: FieldType, value: Any) -> Any:
    """The value of a field that a typed file holds: whole floats of INT, texts of instants. Raises ValueError."""
    if kind is FieldType.INT:
        return whole(value)
    if kind is FieldType.INTS and isinstance(value, list):
        return [whole(item) for item in value]
    if kind is FieldType.TIMESTAMP and isinstance(value, str):
        return instant(value)
    return value


def whole(value: Any) -> Any:
    """The integer that a float stands for; anything else as it is. Raises ValueError for a float that is no integer."""
    if not isinstance(value, float):
        return value
    if not value.is_integer():
        raise ValueError(f"{value!r} is no whole number")
    if abs(value) > _SURE_AS_FLOAT:
        raise ValueError(f"{value!r} is a float beyond 2^53, which may stand for another integer")
    return int(value)


def check_plain(value: Any) -> None:
    """Raises ValueError for what no payload holds, such as a date without a time, bytes or a decimal number."""
    if isinstance(value, list):
        for inner in value:
            check_plain(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            check_plain(inner)
    elif isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError(f"{value.isoformat()} is an instant without a time zone")
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"is a {type(value).__name__}, which no row can hold")


def _integer(text: str) -> int:
    """The integer that digits stand for, maybe with a fraction of zeros or an exponent."""
    with suppress(DecimalException):  # an exponent beyond all bounds is no integer either
        number = Decimal(text)
        if number.copy_abs() <= 2**63 and number == (integer := number.to_integral_value()):  # 1e999999 has many digits
            return int(integer)
    raise ValueError(f"{shown(text)} is no INT")


def is_pandas_index(column: str | None) -> bool:
    """Whether pandas wrote the numbers of its rows so, which are no part of them."""
    return column is None or _PANDAS_INDEX.fullmatch(column) is not None


def shown(value: Any) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
