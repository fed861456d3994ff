"""A cache with a bound in bytes, the least recently used thrown away first, and the one that keeps parsed statements.

Threads of one process share the latter, so it is locked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from reddb import limits
from reddb.accountant import PARSED, Pool


class ByteCache:
    """Values by their keys, of so many bytes each."""

    def __init__(self, pool: Pool) -> None:
        from threading import Lock

        self._pool = pool
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> Any:
        """The value, None where it is not kept."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            self._kept.move_to_end(key)
            return kept[0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value, unless it alone is too large."""
        with self._lock:
            if key in self._kept or self._pool.is_too_large(size):
                return
            while not self._pool.has_room(size):
                _, (_, old) = self._kept.popitem(last=False)
                self._pool.give_back(old)
            self._pool.take(size)
            self._kept[key] = value, size


STATEMENTS = ByteCache(PARSED)


def tree_bytes(text: str) -> int:
    """About the most that the syntax tree of a text takes, and what is found out about it as much again."""
    return limits.REQUEST_BYTES + limits.TREE_BYTES_PER_CHAR * len(text)
