"""What an expression is made of: operands, each of which gives its value for all rows of a source at once.

A value is a map from family to an Arrow array (rows,), or to a scalar where it is the same for every row; a row is
NULL where no family has a value. A family is one of a payload's columns, or VECTOR: a float32 array (rows, dim) of
numpy's. A truth is the `bool` of such a map, null where it is UNKNOWN.

Invariants:
  * A row has a value in at most one family.
  * Operands are immutable and hashable, and equal only where they give the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reddb import errors
from reddb.storage.payload_columns import ARROW_TYPES, Family
from reddb.types import Vectors

Truth: TypeAlias = pa.BooleanArray | pa.BooleanScalar
Values: TypeAlias = Mapping[str, Any]

VECTOR = "vector"  # the family of vectors, and the name of their column
UNKNOWN = pa.scalar(None, pa.bool_())
NUMBERS = frozenset({Family.INT, Family.FLOAT})
SCALARS = NUMBERS | {Family.BOOL, Family.TEXT, Family.TIMESTAMP}
ITEMS_OF = {Family.TEXTS: Family.TEXT, Family.INTS: Family.INT}  # arrays, and what their items are

_SHOWN_CHARS = 100  # of a text


class Source(Protocol):
    """Rows to evaluate.

    `families` gives the arrays (rows,) of a path by their family: of the payload's keys, of "id", and of "distance"
    where a search found the rows. `vectors` are float32 (rows, dim), in place where they can be.
    """

    @property
    def rows(self) -> int: ...

    def families(self, path: str) -> Mapping[str, pa.Array]: ...

    def vectors(self) -> Vectors: ...


class Operand(Protocol):
    """A part of an expression."""

    def values(self, source: Source) -> Values: ...


class Compound:
    """An operand that stands in parentheses within another one's text."""

    __slots__ = ()


def atom(operand: Operand) -> str:
    """The text of an operand within another's."""
    return f"({operand})" if isinstance(operand, Compound) else str(operand)


def truth(operand: Operand, source: Source) -> Truth:
    """Where the operand is TRUE, FALSE or, as null, UNKNOWN."""
    return operand.values(source).get(Family.BOOL, UNKNOWN)


def columns(node: object) -> Iterator[str]:
    """The path of every column below a node."""
    if isinstance(node, Column):
        yield node.path
    elif isinstance(node, tuple):
        for item in node:
            yield from columns(item)
    elif is_dataclass(node) and not isinstance(node, Constant):
        for field in fields(node):
            yield from columns(getattr(node, field.name))


def are_comparable(left: str | None, right: str | None) -> bool:
    """Whether values of these families compare; None is the family of NULL."""
    return (left == right and left in SCALARS) or (left in NUMBERS and right in NUMBERS)


# --- operands ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    path: str

    def values(self, source: Source) -> Values:
        return {VECTOR: source.vectors()} if self.path == VECTOR else source.families(self.path)

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Constant:
    """One value; the family None is NULL. The family takes part in equality, for 1, 1.0 and TRUE are equal."""

    family: Family | None
    value: bool | int | float | str | datetime | None

    def values(self, source: Source) -> Values:
        return {} if self.family is None else {self.family: pa.scalar(self.value, ARROW_TYPES[self.family])}

    def __str__(self) -> str:
        match self.value:
            case None:
                return "NULL"
            case bool():
                return "TRUE" if self.value else "FALSE"
            case datetime():
                return f"'{self.value.isoformat()}'"
            case str():
                text = self.value if len(self.value) <= _SHOWN_CHARS else f"{self.value[:_SHOWN_CHARS]}…"
                return "'" + text.replace("'", "''") + "'"
            case _:
                return repr(self.value)


NULL = Constant(None, None)


# --- over arrays -------------------------------------------------------------------------------------------


def each(kernel: Callable[..., Any], values: Any, *rest: Any) -> Any:
    """What the kernel gives for every value; of a dictionary it works on the distinct ones, if fewer."""
    if isinstance(values, pa.DictionaryArray):
        if len(values.dictionary) > len(values):  # a piece of a column has all of its dictionary
            return kernel(values.dictionary_decode(), *rest)
        return kernel(values.dictionary, *rest).take(values.indices)
    return kernel(values, *rest)


def decoded(values: Any) -> Any:
    """The values without their dictionary."""
    return values.dictionary_decode() if isinstance(values, pa.DictionaryArray) else values


def as_float(values: Any) -> Any:
    return pc.cast(values, pa.float64(), safe=False)


def is_true(truth: Truth, rows: int) -> NDArray[np.bool_]:
    """Where a truth is TRUE, and not UNKNOWN: bool (rows,)."""
    if isinstance(truth, pa.Scalar):
        return np.full(rows, truth.as_py() is True)
    mask: NDArray[np.bool_] = truth.fill_null(False).to_numpy(zero_copy_only=False)
    return mask


def present(values: Values, rows: int) -> NDArray[np.bool_]:
    """Which of the rows have a value, bool (rows,)."""
    found = np.zeros(rows, np.bool_)
    for family, array in values.items():
        found |= True if family == VECTOR else array.is_valid if isinstance(array, pa.Scalar) else array.is_valid()
    return found


def to_plain(values: Values, rows: int) -> list[Any]:
    """The values of all rows as Python's, None for NULL; a vector is a float32 array, a timestamp a datetime in UTC.

    Raises NOT_SUPPORTED for a map or a mixed list, of which columns know only that it is there.
    """
    if VECTOR in values:
        return list(values[VECTOR])
    plain: list[Any] = [None] * rows
    for family, array in values.items():
        here = [array.as_py()] * rows if isinstance(array, pa.Scalar) else array.to_pylist()
        if family == Family.OTHER and any(here):
            message = "a map, or a list of values of several types, cannot be part of an expression"
            raise errors.NOT_SUPPORTED.error(message, hint="select it alone")
        if family == Family.TIMESTAMP:
            here = [item and item.replace(tzinfo=UTC) for item in here]  # Arrow's zone of the same name is another one
        if len(values) == 1:
            return here
        plain = [old if new is None else new for old, new in zip(plain, here, strict=True)]
    return plain
