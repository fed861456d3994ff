"""Conditions over columns: each gives its truth for all rows of a source at once, null where it is UNKNOWN.

Invariants:
  * Truths are those of SQL: a comparison with NULL, or of values of families that do not compare, is UNKNOWN.
  * Integers and floats compare exactly, as the numbers that they are. Texts compare by code point.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reddb import errors
from reddb.query import numbers
from reddb.query.operands import (
    ITEMS_OF,
    UNKNOWN,
    Compound,
    Constant,
    Operand,
    Source,
    Truth,
    Values,
    are_comparable,
    atom,
    decoded,
    each,
    is_true,
    truth,
)
from reddb.query.patterns import matches
from reddb.query.sources import ChosenRows
from reddb.storage.payload_columns import ARROW_TYPES, Family

_KERNELS: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_SHOWN_ITEMS = 8  # of a list


class Condition(Compound, ABC):
    """An operand that is a truth."""

    __slots__ = ()

    @abstractmethod
    def truth(self, source: Source) -> Truth: ...

    def values(self, source: Source) -> Values:
        return {Family.BOOL: self.truth(source)}


# --- conditions --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compare(Condition):
    """A constant, if there is one, stands on the right."""

    operator: str
    left: Operand
    right: Operand

    def truth(self, source: Source) -> Truth:
        return compare(self.operator, self.left.values(source), self.right.values(source))

    def __str__(self) -> str:
        return f"{atom(self.left)} {self.operator} {atom(self.right)}"


@dataclass(frozen=True, slots=True)
class Among(Condition):
    """`operand IN (…)`: the OR of a comparison with each constant."""

    operand: Operand
    constants: tuple[Constant, ...]

    def truth(self, source: Source) -> Truth:
        return _among(self.operand.values(source), self.constants)

    def __str__(self) -> str:
        return f"{atom(self.operand)} IN ({_listed(self.constants)})"


@dataclass(frozen=True, slots=True)
class Contains(Condition):
    """`item IN array`: the OR of a comparison with each item of the row's array."""

    item: Operand
    array: Operand

    def truth(self, source: Source) -> Truth:
        wanted = self.item.values(source)

        def equal(items: Values, rows: pa.Array) -> Truth:
            taken = {key: item if isinstance(item, pa.Scalar) else item.take(rows) for key, item in wanted.items()}
            return compare("=", items, taken)

        return _any_item(self.array.values(source), equal)

    def __str__(self) -> str:
        return f"{atom(self.item)} IN {atom(self.array)}"


@dataclass(frozen=True, slots=True)
class Overlaps(Condition):
    """`array && [...]`: the OR of `item IN (…)` for each item of the row's array."""

    array: Operand
    constants: tuple[Constant, ...]

    def truth(self, source: Source) -> Truth:
        return _any_item(self.array.values(source), lambda items, rows: _among(items, self.constants))

    def __str__(self) -> str:
        return f"{atom(self.array)} && [{_listed(self.constants)}]"


@dataclass(frozen=True, slots=True)
class Match(Condition):
    """LIKE or, ignoring case, ILIKE."""

    operand: Operand
    pattern: str
    ignore_case: bool

    def truth(self, source: Source) -> Truth:
        texts = self.operand.values(source).get(Family.TEXT)
        if texts is None:
            return UNKNOWN
        return each(lambda array: matches(array, self.pattern, ignore_case=self.ignore_case), texts)

    def __str__(self) -> str:
        pattern = Constant(Family.TEXT, self.pattern)
        return f"{atom(self.operand)} {'ILIKE' if self.ignore_case else 'LIKE'} {pattern}"


@dataclass(frozen=True, slots=True)
class IsNull(Condition):
    operand: Operand

    def truth(self, source: Source) -> Truth:
        present = map(pc.is_valid, self.operand.values(source).values())
        return pc.invert(reduce(pc.or_, present, pa.scalar(False)))

    def __str__(self) -> str:
        return f"{atom(self.operand)} IS NULL"


@dataclass(frozen=True, slots=True)
class Not(Condition):
    operand: Operand

    def truth(self, source: Source) -> Truth:
        return pc.invert(truth(self.operand, source))

    def __str__(self) -> str:
        return f"NOT {atom(self.operand)}"


@dataclass(frozen=True, slots=True)
class All(Condition):
    """AND."""

    operands: tuple[Operand, ...]

    def truth(self, source: Source) -> Truth:
        return _joined(pc.and_kleene, self.operands, source, decides=False)

    def __str__(self) -> str:
        return " AND ".join(map(_term, self.operands))


@dataclass(frozen=True, slots=True)
class AnyOf(Condition):
    """OR."""

    operands: tuple[Operand, ...]

    def truth(self, source: Source) -> Truth:
        return _joined(pc.or_kleene, self.operands, source, decides=True)

    def __str__(self) -> str:
        return " OR ".join(map(_term, self.operands))


@dataclass(frozen=True, slots=True)
class Decided(Condition):
    """The condition, with `otherwise` where it is UNKNOWN."""

    condition: Operand
    otherwise: bool

    def truth(self, source: Source) -> Truth:
        return pc.coalesce(truth(self.condition, source), pa.scalar(self.otherwise))

    def __str__(self) -> str:
        return str(self.condition)


def _term(operand: Operand) -> str:
    return f"({operand})" if isinstance(operand, All | AnyOf) else str(operand)


def _listed(constants: tuple[Constant, ...]) -> str:
    shown = ", ".join(map(str, constants[:_SHOWN_ITEMS]))
    more = len(constants) - _SHOWN_ITEMS
    return f"{shown}, … {more} more" if more > 0 else shown


# --- over arrays -------------------------------------------------------------------------------------------


def _joined(
    kernel: Callable[[Any, Any], Truth], operands: tuple[Operand, ...], source: Source, *, decides: bool
) -> Truth:
    """The truths of all operands together; an error in a row that another one decides is none: `b <> 0 AND a / b > 1`.

    Rejected: evaluating each operand where those before it decide nothing, which would copy columns for every AND.
    """
    joined: Truth = pa.scalar(not decides)
    failing: list[Operand] = []
    for operand in operands:
        try:
            joined = kernel(joined, truth(operand, source))
        except errors.RedDBError as error:
            if error.code is not errors.INVALID_VALUE:
                raise
            failing.append(operand)
    for operand in failing:
        decided = is_true(pc.equal(joined, decides), source.rows)
        joined = kernel(joined, _truth_in(np.flatnonzero(~decided), operand, source))
    return joined


def _truth_in(rows: NDArray[np.int64], operand: Operand, source: Source) -> Truth:
    """The truth of an operand in these rows (n,), UNKNOWN in all others."""
    truths = truth(operand, ChosenRows(source, rows))
    if isinstance(truths, pa.Scalar):
        return truths
    places = np.full(source.rows, -1)
    places[rows] = np.arange(len(rows))
    return truths.take(pa.array(places, mask=places < 0))


def _first_known(parts: list[Truth]) -> Truth:
    return reduce(pc.coalesce, parts) if parts else UNKNOWN


def compare(operator: str, left: Values, right: Values) -> Truth:
    """The comparison in whichever families a row has."""
    kernel = _KERNELS[operator]
    parts: list[Truth] = []
    for own, mine in left.items():
        for other, theirs in right.items():
            if not are_comparable(own, other):
                continue
            if own != other:
                parts.append(numbers.compared(kernel, mine, theirs))
            elif isinstance(theirs, pa.Scalar):
                parts.append(each(kernel, mine, theirs))
            else:
                parts.append(kernel(decoded(mine), decoded(theirs)))
    return _first_known(parts)


def _among(values: Values, constants: tuple[Constant, ...]) -> Truth:
    """Whether a constant equals the value; UNKNOWN where none does and one of them does not compare with it."""
    parts: list[Truth] = []
    for family, array in values.items():
        wanted = [constant for constant in constants if are_comparable(family, constant.family)]
        found = reduce(pc.or_, _found(family, array, wanted), pa.scalar(False))
        otherwise = pa.scalar(False) if len(wanted) == len(constants) else UNKNOWN
        parts.append(pc.if_else(pc.is_valid(array), pc.if_else(found, pa.scalar(True), otherwise), UNKNOWN))
    return _first_known(parts)


def _found(family: str, array: Any, wanted: list[Constant]) -> Iterator[Truth]:
    """For each family among the constants, where the array has one of them."""
    for other in sorted({constant.family for constant in wanted if constant.family}):
        given: list[Any] = [constant.value for constant in wanted if constant.family == other]
        if other != family:
            given = numbers.held(Family(family), given)
        among = pa.array(given, ARROW_TYPES[Family(family)])
        if family == Family.FLOAT:  # adding 0.0 makes one zero of the two: a set tells values by their bits
            yield pc.is_in(pc.add(array, 0.0), pc.add(among, 0.0))
        else:
            yield each(pc.is_in, array, among)


def _any_item(values: Values, test: Callable[[Values, pa.Array], Truth]) -> Truth:
    """The OR, for each row's array, of a test of its items; of an empty array it is FALSE.

    The test is given the items of all rows end to end, with the row of each, and gives a truth for each.
    """
    parts: list[Truth] = []
    for family in ITEMS_OF.keys() & values.keys():
        lists: Any = values[family]
        offsets = np.asarray(lists.offsets)
        starts, ends = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
        items = lists.values.slice(offsets[0], offsets[-1] - offsets[0])
        truths = test({ITEMS_OF[family]: items}, pa.array(np.repeat(np.arange(len(lists)), ends - starts)))
        if isinstance(truths, pa.Scalar):
            truths = pa.repeat(truths, len(items))

        def some(flags: Any, starts: Any = starts, ends: Any = ends) -> Any:
            before = np.concatenate([[0], np.cumsum(np.asarray(flags))])
            return before[ends] > before[starts]

        true = some(truths.fill_null(False))
        parts.append(pa.array(true, mask=~true & some(truths.is_null()) | np.asarray(lists.is_null())))
    return _first_known(parts)
