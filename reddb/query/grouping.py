"""GROUP BY and aggregates, over rows that come block by block.

Each block is brought down to one row for each of its groups, with what every aggregate needs to go on, and these are
joined with the groups so far whenever as many have come again: so each value is looked at a few times, in arrays.

    count    the number of rows, or of those where the argument is not NULL
    sum      integers exactly, in two halves of 32 bits; where there are floats too, plus these, as float64
    avg      float64
    min, max by the order of `reddb.query.families`
    DISTINCT the argument is one key more, and what remains is aggregated at the end

Invariant: groups keep the order in which their first rows came; NULL is a group of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.accountant import spend
from reddb.query.families import Arrays, arrays, codes, concatenate, dense, identities, take, valid
from reddb.query.operands import Operand, Source
from reddb.storage.payload_columns import Family
from reddb.types import Vectors

_JOIN_ROWS = 16_384  # that wait at least before groups are joined
_LOW = 2**32
_HIGH_EXACT = 2**20  # integers whose upper half is less are float64 exactly

State = dict[str, NDArray[np.int64] | NDArray[np.float64] | Arrays]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`name(operand)`, over all rows where there is none. `refuse` makes an error that points at it."""

    name: str
    operand: Operand | None = None
    distinct: bool = False
    refuse: Callable[[errors.ErrorCode, str], errors.RedDBError] = field(
        compare=False, repr=False, default=lambda code, message: code.error(message)
    )


class Groups:
    """Groups of the rows that were added, with their aggregates."""

    def __init__(self, keys: Sequence[Operand], aggregates: Sequence[Aggregate]) -> None:
        self._keys = keys
        self._plain = _Folded(len(keys), [item for item in aggregates if not item.distinct])
        self._distinct = [(item, _Folded(len(keys) + 1, [])) for item in aggregates if item.distinct]
        self._aggregates = aggregates

    def add(self, source: Source) -> None:
        """Add the rows of a source. Raises INVALID_VALUE for a value that cannot be grouped or aggregated."""
        rows = source.rows
        keys = group_values(self._keys, source)
        self._plain.add(keys, [_argument(item, source) for item in self._plain.aggregates], rows)
        for item, folded in self._distinct:
            argument = _argument(item, source)
            if Family.OTHER in argument:
                _refuse(item, "tells values apart", "maps and mixed lists")
            has = np.flatnonzero(valid(argument, rows))
            folded.add([take(key, has) for key in [*keys, argument]], [], len(has))

    def table(self) -> GroupRows:
        """One row for each group; without keys there is one, whatever came."""
        groups = self._plain.joined(at_least_one=not self._keys)
        columns: dict[str, Arrays] = {key_name(place): key for place, key in enumerate(groups.keys)}
        plain = iter(groups.states)
        distinct = {id(item): folded for item, folded in self._distinct}
        for place, item in enumerate(self._aggregates):
            if item.distinct:
                state = _state_of_distinct(item, groups, distinct[id(item)].joined(at_least_one=False))
            else:
                state = next(plain)
            columns[aggregate_name(place)] = _finished(item, state, groups.count)
        return GroupRows(groups.count, columns)


@dataclass(frozen=True, slots=True)
class GroupRows:
    """The source of what is evaluated over groups: each key and each aggregate is a column."""

    rows: int
    columns: Mapping[str, Arrays]

    def families(self, path: str) -> Arrays:
        return self.columns[path]

    def vectors(self) -> Vectors:
        raise AssertionError("a group has no vector")

    def part(self, rows: slice) -> GroupRows:
        """Groups that follow each other, in place."""
        first, last = rows.start, min(rows.stop, self.rows)
        columns = {
            name: {family: array.slice(first, last - first) for family, array in values.items()}
            for name, values in self.columns.items()
        }
        return GroupRows(last - first, columns)

    def taken(self, rows: NDArray[np.int64]) -> GroupRows:
        return GroupRows(len(rows), {name: take(values, rows) for name, values in self.columns.items()})


def group_values(keys: Sequence[Operand], source: Source) -> list[Arrays]:
    """The values of the keys of groups. Raises INVALID_VALUE for values that have no equality."""
    values = [arrays(key.values(source), source.rows) for key in keys]
    if any(Family.OTHER in value for value in values):
        message = "a map or a mixed list is no key of a group"
        raise errors.INVALID_VALUE.error(message, hint="group by a path inside of it, like a.b")
    return values


def key_name(place: int) -> str:
    """The column of GroupRows that holds a key; no user can write such a name unquoted, nor meet it in a payload."""
    return f"group {place}"


def aggregate_name(place: int) -> str:
    return f"aggregate {place}"


@dataclass(frozen=True, slots=True)
class _Part:
    """So many groups: the values of their keys, and a state for each aggregate."""

    count: int
    keys: list[Arrays]
    states: list[State]

    @property
    def bytes(self) -> int:
        """Memory that they take."""
        return sum(map(_bytes, self.keys)) + sum(map(_bytes, self.states))


def _bytes(values: Mapping[str, Any]) -> int:
    """Of arrays, and of mappings of arrays."""
    return sum(_bytes(value) if isinstance(value, Mapping) else value.nbytes for value in values.values())


class _Folded:
    """Parts that are brought together now and then."""

    def __init__(self, keys: int, aggregates: Sequence[Aggregate]) -> None:
        self.aggregates = aggregates
        self._parts = [_Part(0, [{} for _ in range(keys)], [_begin(item, {}, 0) for item in aggregates])]
        self._waiting = 0
        self._spent = 0

    def add(self, keys: list[Arrays], arguments: list[Arrays], rows: int) -> None:
        states = [_begin(item, argument, rows) for item, argument in zip(self.aggregates, arguments, strict=True)]
        self._parts.append(self._fold([_Part(rows, keys, states)]))
        self._waiting += self._parts[-1].count
        self._spend(self._spent + self._parts[-1].bytes)
        if self._waiting > max(self._parts[0].count, _JOIN_ROWS):
            self._join()

    def joined(self, *, at_least_one: bool) -> _Part:
        self._join()
        (part,) = self._parts
        if part.count or not at_least_one:
            return part
        # The one group of no rows: everything counts nothing and is NULL.
        return _Part(1, [], [_begin(item, {}, 1, present=False) for item in self.aggregates])

    def _join(self) -> None:
        self._parts = [self._fold(self._parts)]
        self._waiting = 0
        self._spend(self._parts[0].bytes)
        if self._parts[0].count > limits.GROUPS_MAX:
            raise errors.LIMIT_EXCEEDED.error(f"there are more than {limits.GROUPS_MAX} groups or distinct values")

    def _spend(self, size: int) -> None:
        spend(size - self._spent)
        self._spent = size

    def _fold(self, parts: list[_Part]) -> _Part:
        counts = [part.count for part in parts]
        total = sum(counts)
        keys = [concatenate([part.keys[place] for part in parts], counts) for place in range(len(parts[0].keys))]
        group = dense([identities(key, total) for key in keys], total)
        # Groups in the order of their first rows.
        _, first, group = np.unique(group, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        group, first = place[group], first[order]
        states = [
            _merge(item, [part.states[number] for part in parts], counts, group, len(first))
            for number, item in enumerate(self.aggregates)
        ]
        return _Part(len(first), [take(key, first) for key in keys], states)


# --- one aggregate -----------------------------------------------------------------------------------------


def _argument(item: Aggregate, source: Source) -> Arrays:
    return {} if item.operand is None else arrays(item.operand.values(source), source.rows)


def _begin(item: Aggregate, argument: Arrays, rows: int, *, present: bool = True) -> State:
    """The state of each row as if it were a group."""
    if item.name == "count":
        counted = np.full(rows, present) if item.operand is None else valid(argument, rows)
        return {"count": counted.astype(np.int64)}
    if item.name in ("min", "max"):
        if Family.OTHER in argument:
            _refuse(item, "compares values", "maps and mixed lists, which have no order")
        return {"best": argument}
    for family in argument:
        if family not in (Family.INT, Family.FLOAT):
            _refuse(item, "adds numbers", f"a {family.upper()}")
    return _begin_sum(argument, rows)


def _begin_sum(argument: Arrays, rows: int) -> State:
    integers: NDArray[np.int64] = np.zeros(rows, np.int64)
    floats: NDArray[np.float64] = np.zeros(rows)
    count: NDArray[np.int64] = np.zeros(rows, np.int64)
    has_float: NDArray[np.int64] = np.zeros(rows, np.int64)
    if Family.INT in argument:
        integers = argument[Family.INT].fill_null(0).to_numpy()
        count = valid({Family.INT: argument[Family.INT]}, rows).astype(np.int64)
    if Family.FLOAT in argument:
        floats = argument[Family.FLOAT].fill_null(0.0).to_numpy()
        has_float = valid({Family.FLOAT: argument[Family.FLOAT]}, rows).astype(np.int64)
    low = integers & (_LOW - 1)
    return {"high": integers >> 32, "low": low, "floats": floats, "count": count + has_float, "has_float": has_float}


def _merge(
    item: Aggregate, states: Sequence[State], counts: Sequence[int], group: NDArray[np.int64], groups: int
) -> State:
    """The state of each group from those of its rows."""
    if item.name in ("min", "max"):
        best: list[Arrays] = [state["best"] for state in states]  # type: ignore[misc]  # a state of min holds arrays
        return {"best": _best(item, concatenate(best, counts), group, groups)}
    merged: State = {}
    for name in states[0]:
        values = np.concatenate([state[name] for state in states])
        total = np.zeros(groups, values.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number in the end is refused
            np.add.at(total, group, values)
        merged[name] = total
    if "low" in merged:  # each half keeps its 32 bits, so no number of rows overflows it
        low: NDArray[np.int64] = merged["low"]  # type: ignore[assignment]
        merged["high"] = merged["high"] + (low >> 32)  # type: ignore[operator]
        merged["low"] = low & (_LOW - 1)
    return merged


def _best(item: Aggregate, values: Arrays, group: NDArray[np.int64], groups: int) -> Arrays:
    """The least or greatest value of each group."""
    code = codes(values, len(group))
    has = np.flatnonzero(code >= 0)
    order = has[np.lexsort((code[has] if item.name == "min" else -code[has], group[has]))]
    _, first = np.unique(group[order], return_index=True)
    rows: NDArray[np.int64] = np.full(groups, -1, np.int64)
    rows[group[order[first]]] = order[first]
    wanted = pa.array(rows, mask=rows < 0)
    return arrays({family: array.take(wanted) for family, array in values.items()}, groups)


def _state_of_distinct(item: Aggregate, groups: _Part, found: _Part) -> State:
    """The state of each group from the distinct values of its argument."""
    counts = [groups.count, found.count]
    total = sum(counts)
    keys = [concatenate([mine, theirs], counts) for mine, theirs in zip(groups.keys, found.keys, strict=False)]
    group = dense([identities(key, total) for key in keys], total)
    place = np.empty(total + 1, np.int64)
    place[group[: groups.count]] = np.arange(groups.count)
    group = place[group[groups.count :]]
    return _merge(item, [_begin(item, found.keys[-1], found.count)], [found.count], group, groups.count)


def _finished(item: Aggregate, state: State, groups: int) -> Arrays:
    if item.name == "count":
        return {Family.INT: pa.array(state["count"])}
    if item.name in ("min", "max"):
        return state["best"]  # type: ignore[return-value]
    total, mean = _total_and_mean(item, state)
    high, low, _, count, has_float = (np.asarray(state[name]) for name in _SUM_STATE)
    if item.name == "avg":
        return arrays({Family.FLOAT: pa.array(mean, mask=count == 0)}, groups)
    is_float = has_float > 0
    whole = (count > 0) & ~is_float
    if (whole & ((high >= 2**31) | (high < -(2**31)))).any():
        raise item.refuse(errors.INVALID_VALUE, "the sum does not fit 64 bits")
    integers = (np.where(whole, high, 0) << 32) | low
    return arrays({Family.INT: pa.array(integers, mask=~whole), Family.FLOAT: pa.array(total, mask=~is_float)}, groups)


def _total_and_mean(item: Aggregate, state: State) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The sum of each group as float64, and that by the number of its values; of no values both are 0."""
    high, low, floats, count, _ = (np.asarray(state[name]) for name in _SUM_STATE)
    total = np.ldexp(high.astype(np.float64), 32) + low + floats
    if not np.isfinite(total).all():
        raise item.refuse(errors.INVALID_VALUE, "the sum is not within the range of a 64-bit float")
    mean = np.divide(total, count, out=np.zeros(len(count)), where=count > 0)
    for group in np.flatnonzero(abs(high) >= _HIGH_EXACT).tolist():  # what the steps above round more than once
        exact = (int(high[group]) << 32) + int(low[group]) + Fraction(floats[group])
        total[group], mean[group] = exact, exact / int(count[group])
    return total, mean


_SUM_STATE = ("high", "low", "floats", "count", "has_float")


def _refuse(item: Aggregate, does: str, what: str) -> NoReturn:
    raise item.refuse(errors.INVALID_VALUE, f"{item.name} {does}, and the rows have {what}")
