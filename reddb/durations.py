"""Lengths of time as they are written: `90 min`, `1 h 30 min`, `250ms`; intervals also `-30 min` and `01:30:00`.

    duration    from 0 to `limits.DURATION_US_MAX`: how long a row lives, how long a query may take
    interval    of either sign, what is added to a timestamp

Months and years have no fixed length and are no units.

Invariant: a length is a whole number of microseconds.
"""

from __future__ import annotations

import re
from fractions import Fraction

from reddb import limits
from reddb.wording import shown

DURATION_HINT = "a number and a unit: ms, s, min, h, d or w"
INTERVAL_HINT = "write INTERVAL '2 h', with s, min, h, days or weeks"

_SECOND_US = 1_000_000
_UNITS_US = {
    ("us", "microsecond", "microseconds"): 1,
    ("ms", "millisecond", "milliseconds"): 1_000,
    ("s", "sec", "secs", "second", "seconds"): _SECOND_US,
    ("m", "min", "mins", "minute", "minutes"): 60 * _SECOND_US,
    ("h", "hr", "hrs", "hour", "hours"): 3_600 * _SECOND_US,
    ("d", "day", "days"): 86_400 * _SECOND_US,
    ("w", "week", "weeks"): 7 * 86_400 * _SECOND_US,
}
_US_OF = {name: us for names, us in _UNITS_US.items() for name in names}
_PART = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", re.ASCII)
_CLOCK = re.compile(r"\s*([+-]?)(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d{1,6})?))?\s*", re.ASCII)
_INTERVAL_US_MAX = 2**60  # 36,000 years: beyond it no sum of a timestamp is one


def parse_duration(text: str) -> int:
    """The length in microseconds of one or more numbers with their units. Raises ValueError that says what is wrong."""
    return _bounded(_parts_us(text))


def duration(amount: float, unit: str = "s") -> int:
    """So many units in microseconds. Raises ValueError for an unknown unit or a length beyond the bounds."""
    return _bounded(amount * _unit_us(unit))


def parse_interval(text: str) -> int:
    """The length in microseconds, below 0 where it goes back. Raises ValueError that says what is wrong."""
    clock = _CLOCK.fullmatch(text)
    if clock:
        sign, hours, minutes, seconds = clock.groups()
        us = (int(hours) * 3_600 + int(minutes) * 60) * _SECOND_US + round(float(seconds or 0) * _SECOND_US)
        return -us if sign == "-" else us
    total = _parts_us(text)
    if abs(total) > _INTERVAL_US_MAX:
        raise ValueError(f"the interval {shown(text)} is too long")
    return total


def _parts_us(text: str) -> int:
    """The sum of all numbers with their units."""
    total = 0
    place = 0
    while place < len(text) or not text:
        part = _PART.match(text, place)
        if part is None:
            raise ValueError(f"{shown(text)} is no length of time")
        total += round(Fraction(part[1]) * _unit_us(part[2]))
        place = part.end()
    return total


def _unit_us(unit: str) -> int:
    if unit.lower() not in _US_OF:
        raise ValueError(f"{shown(unit)} is no unit of time")
    return _US_OF[unit.lower()]


def _bounded(us: float) -> int:
    if not 0 <= us <= limits.DURATION_US_MAX:
        raise ValueError(f"a length of time is from 0 to {limits.DURATION_US_MAX // (86_400 * _SECOND_US)} days")
    return round(us)
