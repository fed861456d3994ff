"""Lengths of time as they are written: `90 min`, `1 h 30 min`, `250ms`.

Months and years have no fixed length and are no units.

Invariant: a length is a whole number of microseconds, from 0 to `limits.DURATION_US_MAX`.
"""

from __future__ import annotations

import re

from reddb import limits

DURATION_HINT = "a number and a unit: ms, s, min, h, d or w"

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
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", re.ASCII)


def parse_duration(text: str) -> int:
    """The length in microseconds of one or more numbers with their units. Raises ValueError that says what is wrong."""
    total = place = 0
    while place < len(text) or not text:
        part = _PART.match(text, place)
        if part is None:
            raise ValueError(f"{text!r} is no length of time")
        total = duration(float(part[1]), part[2], total)
        place = part.end()
    return total


def duration(amount: float, unit: str = "s", more_us: int = 0) -> int:
    """So many units, and `more_us`, in microseconds. Raises ValueError for an unknown unit or one beyond the bounds."""
    if unit.lower() not in _US_OF:
        raise ValueError(f"{unit!r} is no unit of time")
    exact = amount * _US_OF[unit.lower()]
    if not 0 <= exact + more_us <= limits.DURATION_US_MAX:
        raise ValueError(f"a length of time is from 0 to {limits.DURATION_US_MAX // (86_400 * _SECOND_US)} days")
    return round(exact) + more_us
