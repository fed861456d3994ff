"""When a row expires: the instant `expires_at` of its payload, as numbers for whole columns of rows.

    microseconds since 1970, uint64; 0 for a row that never expires

Whatever lies before 1970 is 1: it is long past, as 1 is. A row is gone from the very microsecond that its instant
names: at `now_us` it has expired if `expires_at <= now_us`.

The instant stands in the payload as any other TIMESTAMP, so batches, the log and files know nothing of it.

Invariant: 0 - 1 wraps to the largest number, so one comparison covers "never" and "later".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from reddb.fields import EXPIRES_AT, unpack_payload
from reddb.rows import PayloadColumn

NEVER_US = 2**63 - 1  # later than any instant, for what is compared with a clock

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_KEY = re.compile(re.escape(EXPIRES_AT.name.encode()))


def may_expire(payloads: PayloadColumn | None) -> bool:
    """Whether any row may have an instant: the key's bytes occur somewhere, be it in a text.

    One search through the bytes, 0.3 ms a MiB: rows that never expire cost no more than this.
    """
    return payloads is not None and _KEY.search(payloads.content) is not None


def expiries_us(payloads: PayloadColumn) -> NDArray[np.uint64]:
    """The instant of each row, uint64 (n,)."""
    instants = np.zeros(len(payloads.lengths), np.uint64)
    for row, content in enumerate(payloads.split()):
        if _KEY.search(content):
            instant = unpack_payload(content).get(EXPIRES_AT.name)
            if isinstance(instant, datetime):
                instants[row] = max((instant - _EPOCH) // _MICROSECOND, 1)
    return instants


def unexpired(instants: NDArray[np.uint64], now_us: int) -> NDArray[np.bool_]:
    """Which of the instants are still to come: bool (n,)."""
    coming: NDArray[np.bool_] = instants - np.uint64(1) >= np.uint64(now_us)
    return coming
