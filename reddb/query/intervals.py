"""Lengths of time as they are written: `2 h`, `1 day 12 hours`, `-30 min`, `1.5 hours`, `01:30:00`.

Months and years have no fixed length and are refused.
"""

from __future__ import annotations

import re

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
_US_MAX = 2**60  # 36,000 years: beyond it no sum of a timestamp is one

INTERVAL_HINT = "write INTERVAL '2 h', with s, min, h, days or weeks"


def parse_interval(text: str) -> int:
    """Microseconds. Raises ValueError that says what is wrong."""
    clock = _CLOCK.fullmatch(text)
    if clock:
        sign, hours, minutes, seconds = clock.groups()
        us = (int(hours) * 3_600 + int(minutes) * 60) * _SECOND_US + round(float(seconds or 0) * _SECOND_US)
        return -us if sign == "-" else us
    total = place = 0
    while place < len(text) or not text:
        part = _PART.match(text, place)
        if part is None:
            raise ValueError(f"{text!r} is no interval")
        number, unit = part.groups()
        if unit.lower() not in _US_OF:
            raise ValueError(f"{unit!r} is no unit of an interval")
        total += round(float(number) * _US_OF[unit.lower()])
        place = part.end()
        if abs(total) > _US_MAX:
            raise ValueError(f"the interval {text!r} is too long")
    return total
