"""What one core's buffers, caches and queues take, in bytes, each kind in a pool with a bound of its own.

    take ──► what needs the memory ──► give back

Bytes are taken before the memory is. A pool that has no room refuses: with BUSY where others have taken it, which is
worth another try, with TOO_LARGE where it would be too small were it empty. Rows and their indexes are not counted
here: they are no buffers, and SHOW SEGMENTS has them.

The last sixteenth of a pool is for what is small, so what is large never keeps a light client out.

Invariants:
  * A pool's `used` is never above its limit, except by what was there already (`put`), and never below 0.
  * A charge is given back once: when it is released, or when nobody holds it any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from gc import get_referents
from itertools import islice
from sys import getsizeof
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType, TracebackType
from typing import Self

from reddb import errors, limits

SIXTEENTHS = 16


@dataclass(frozen=True, slots=True)
class PoolKind:
    """A kind of memory: its part of what a core's buffers may take, in sixteenths."""

    name: str
    sixteenths: int
    meaning: str


POOLS: dict[str, PoolKind] = {
    kind.name: kind
    for kind in (
        PoolKind("frames", 3, "Messages that clients are sending, from the first byte to the last."),
        PoolKind("requests", 3, "Requests that wait for their answers, as they were read."),
        PoolKind("mailboxes", 3, "Messages to and from other cores that wait for their answers."),
        PoolKind("transactions", 2, "What transactions collect until COMMIT."),
        PoolKind("results", 3, "Results that are being made, and answers that clients have not read."),
        PoolKind("statements", 1, "Prepared statements."),
        PoolKind("filters", 1, "Filters that were evaluated: which rows they match, and their values."),
    )
}
assert sum(kind.sixteenths for kind in POOLS.values()) == SIXTEENTHS
assert limits.FRAME_BYTES_MAX < (limits.CORE_BUFFER_BYTES_MAX - limits.STATEMENT_CACHE_BYTES) * 3 // 16 * 15 // 16


class Pool:
    """The memory of one kind."""

    __slots__ = ("_limit_of_large", "kind", "limit", "peak", "used")

    def __init__(self, kind: PoolKind, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self.used = 0
        self.peak = 0
        self._limit_of_large = limit - limit // SIXTEENTHS

    def take(self, size: int) -> None:
        """Count so many bytes. Raises BUSY or TOO_LARGE, and nothing is counted."""
        used = self.used + size
        if used > self._limit_of_large and not self.has_room(size):
            raise self.refusal(size)
        self.used = used
        if used > self.peak:
            self.peak = used

    def put(self, size: int) -> None:
        """Count bytes that are there already, whatever the bound: it holds for those that ask."""
        self.used += size
        if self.used > self.peak:
            self.peak = self.used

    def give_back(self, size: int) -> None:
        """The bytes are free again."""
        assert 0 <= size <= self.used, f"{size} bytes of {self.kind.name} were not taken"
        self.used -= size

    def has_room(self, size: int) -> bool:
        """Whether `take` would take so much."""
        return self.used + size <= (self.limit if size <= limits.SMALL_FRAME_BYTES else self._limit_of_large)

    def is_too_large(self, size: int) -> bool:
        """Whether so much would not fit were nothing taken."""
        return size > (self.limit if size <= limits.SMALL_FRAME_BYTES else self._limit_of_large)

    def refusal(self, size: int) -> errors.RedDBError:
        """Why so many bytes cannot be had."""
        name = self.kind.name
        if self.is_too_large(size):
            message = f"this needs {size} bytes of memory for {name}; a core has {self._limit_of_large} for one request"
            return errors.TOO_LARGE.error(message, hint="ask for or send less at once", pool=name)
        message = f"of the {self.limit} bytes of memory for {name} {self.used} are taken, and this needs {size}"
        return errors.BUSY.error(message, hint="try again in a moment; SELECT * FROM red.memory shows who", pool=name)


# One for the process, as the cache is (`reddb.byte_cache`); each core is a process.
PARSED = Pool(
    PoolKind("parsed", 0, "Statements that are kept as they were parsed, and what was found out about them."),
    limits.STATEMENT_CACHE_BYTES,
)


class Charge:
    """So many bytes of a pool, for as long as it is held: `with`, `release`, or the end of its last reference."""

    __slots__ = ("_pool", "size")

    def __init__(self, pool: Pool, size: int = 0) -> None:
        """Raises BUSY or TOO_LARGE."""
        self._pool = pool
        self.size = 0
        if size:
            self.resize(size)

    def put(self, size: int) -> None:
        """Hold so many bytes more, which are there already, whatever the bound."""
        self._pool.put(size)
        self.size += size

    def resize(self, size: int) -> None:
        """Hold so many bytes from now on. Raises BUSY or TOO_LARGE, and holds what it held."""
        if size > self.size:
            self._pool.take(size - self.size)
        else:
            self._pool.give_back(self.size - size)
        self.size = size

    def release(self) -> None:
        """Give all back; once more does nothing."""
        if self.size:
            self._pool.give_back(self.size)
            self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def __del__(self) -> None:
        if self.size:
            self.release()


class Accountant:
    """The pools of one core."""

    def __init__(self, limit: int = limits.CORE_BUFFER_BYTES_MAX) -> None:
        """`limit` is what they may take together."""
        self.limit = limit
        shared = limit - PARSED.limit
        self._pools = {name: Pool(kind, shared * kind.sixteenths // SIXTEENTHS) for name, kind in POOLS.items()}
        self._pools[PARSED.kind.name] = PARSED

    def __getitem__(self, name: str) -> Pool:
        return self._pools[name]

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())


_spending: ContextVar[Charge | None] = ContextVar("spending", default=None)


class Spending(Charge):
    """What is spent until the end of its block, and is given back there."""

    __slots__ = ("_token",)

    def __enter__(self) -> Self:
        self._token = _spending.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _spending.reset(self._token)
        self.release()


def spend(size: int) -> None:
    """Count bytes that the request at work is about to take, less than none for what it has let go of.

    Raises BUSY or TOO_LARGE. Where nobody counts, as in an embedded database, nothing happens.
    """
    charge = _spending.get()
    if charge is not None:
        charge.resize(max(0, charge.size + size))


_SHARED = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, CodeType, Enum)
_LOOKED_AT = 64  # things of a long list of values: the others are taken for alike


def held_bytes(thing: object) -> int:
    """About the memory of a tree of plain values, dataclasses and arrays, which no one else holds."""
    total, pending, seen = 0, [thing], set[int]()
    while pending:
        item = pending.pop()
        if isinstance(item, _SHARED) or id(item) in seen:
            continue
        seen.add(id(item))
        total += getsizeof(item)
        if isinstance(item, tuple | list | set | frozenset) and len(item) > _LOOKED_AT:
            total += len(item) * sum(held_bytes(each) for each in islice(item, _LOOKED_AT)) // _LOOKED_AT
        else:
            pending += get_referents(item)
    return total


def core_limit(machine_bytes: int, cores: int) -> int:
    """What the buffers of each of so many cores may take, on a machine or in a container of so many bytes."""
    return max(
        limits.CORE_BUFFER_BYTES_MIN,
        min(limits.CORE_BUFFER_BYTES_MAX, machine_bytes // limits.MACHINE_BUFFER_PART // cores),
    )
