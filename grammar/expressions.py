"""Expressions and values, and what every node of the tree shares: `ast.py` hands all of it on.

A node is a frozen dataclass with a `span`; the invariants are those of `ast.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from reddb import limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
ARITHMETIC = ("+", "-", "*", "/", "%")
DISTANCES = {"<->": "l2", "<=>": "cosine", "<#>": "negative inner product", "<+>": "manhattan"}
VECTOR_DTYPE = np.dtype("<f4")

_PARAMETER_NAME = re.compile(r"(?a:[A-Za-z_]\w*)")


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of the source."""

    start: int
    end: int


NOWHERE = Span(0, 0)


@dataclass(frozen=True, slots=True)
class Node:
    span: Span = field(default=NOWHERE, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Identifier(Node):
    """A name that is no value: of a collection, a kind, a metric, a field, a type, an option, an alias."""

    text: str

    def __post_init__(self) -> None:
        assert self.text


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """NULL, a boolean, a 64-bit integer, a finite float or a string."""

    value: bool | int | float | str | None

    def __post_init__(self) -> None:
        if isinstance(self.value, float):
            assert math.isfinite(self.value)
        elif isinstance(self.value, int):
            assert limits.ID_INT_MIN <= self.value <= limits.ID_INT_MAX

    @property
    def is_number(self) -> bool:
        return isinstance(self.value, int | float) and not isinstance(self.value, bool)


@dataclass(frozen=True, slots=True)
class VectorLiteral(Node):
    """Numbers, as little-endian float32 bytes: comparing and hashing them is comparing bits.

    One beyond float32 is an infinity; no vector has it, but a list that is no vector may: `written_numbers` reads it.
    """

    data: bytes

    def __post_init__(self) -> None:
        assert self.data
        assert len(self.data) % VECTOR_DTYPE.itemsize == 0
        assert not np.isnan(self.array).any()

    @property
    def array(self) -> NDArray[np.float32]:
        """The numbers; read-only, for they are the node's own bytes."""
        return np.frombuffer(self.data, VECTOR_DTYPE)


@dataclass(frozen=True, slots=True)
class ListLiteral(Node):
    items: tuple[Value, ...]

    def __post_init__(self) -> None:
        assert not self.items or not all(isinstance(item, Literal) and item.is_number for item in self.items)


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    """`$1` has the key 1, `:name` the key 'name'; the n-th `?` of a statement has the key n."""

    key: int | str

    def __post_init__(self) -> None:
        if isinstance(self.key, int):
            assert 1 <= self.key <= limits.PARAMETERS_MAX
        else:
            assert _PARAMETER_NAME.fullmatch(self.key)


@dataclass(frozen=True, slots=True)
class Column(Node):
    path: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.path
        assert all(self.path)


@dataclass(frozen=True, slots=True)
class Default(Node):
    """`DEFAULT` in the place of a value that is written: that of its field, NULL where there is none."""


@dataclass(frozen=True, slots=True)
class Interval(Node):
    """`INTERVAL '2 h'`: a length of time, as it was written."""

    text: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`name(arguments)`, an aggregate too: `count(*)` has `star` and no arguments, `count(DISTINCT x)` has one."""

    name: str
    arguments: tuple[Expression, ...] = ()
    distinct: bool = False
    star: bool = False

    def __post_init__(self) -> None:
        assert self.name
        assert not self.star or (not self.arguments and not self.distinct)
        assert not self.distinct or len(self.arguments) == 1


@dataclass(frozen=True, slots=True)
class Cast(Node):
    """`CAST(operand AS type)` or `operand::type`; `type` is as in a `FieldDefinition`."""

    operand: Expression
    type: Identifier

    def __post_init__(self) -> None:
        assert self.type.text == self.type.text.upper()


@dataclass(frozen=True, slots=True)
class Negative(Node):
    """`-operand`; a negative number is a `Literal`."""

    operand: Expression

    def __post_init__(self) -> None:
        assert not isinstance(self.operand, Literal) or not self.operand.is_number


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    operator: str
    left: Expression
    right: Expression

    def __post_init__(self) -> None:
        assert self.operator in ARITHMETIC


@dataclass(frozen=True, slots=True)
class Distance(Node):
    operator: str
    left: Expression
    right: Expression

    def __post_init__(self) -> None:
        assert self.operator in DISTANCES


@dataclass(frozen=True, slots=True)
class Comparison(Node):
    operator: str
    left: Expression
    right: Expression

    def __post_init__(self) -> None:
        assert self.operator in COMPARISONS


@dataclass(frozen=True, slots=True)
class RowComparison(Node):
    """`(a, b) > (1, 2)`: the first pair that differs decides."""

    operator: str
    left: tuple[Expression, ...]
    right: tuple[Expression, ...]

    def __post_init__(self) -> None:
        assert self.operator in COMPARISONS
        assert len(self.left) == len(self.right) >= 2


@dataclass(frozen=True, slots=True)
class Near(Node):
    """`vector NEAR $1`, a condition that asks for the nearest rows."""

    operand: Expression
    target: Expression


@dataclass(frozen=True, slots=True)
class InList(Node):
    operand: Expression
    items: tuple[Expression, ...]
    negated: bool = False

    def __post_init__(self) -> None:
        assert self.items


@dataclass(frozen=True, slots=True)
class Member(Node):
    """`item IN array`, without parentheses: the array is a column, or a parameter that is a list."""

    item: Expression
    array: Column | Parameter
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Overlap(Node):
    """`left && right`: the two arrays have an item in common."""

    left: Expression
    right: VectorLiteral | ListLiteral | Parameter


@dataclass(frozen=True, slots=True)
class Between(Node):
    operand: Expression
    low: Expression
    high: Expression
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Like(Node):
    operand: Expression
    pattern: Expression
    case_insensitive: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class IsNull(Node):
    operand: Expression
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Not(Node):
    operand: Expression


@dataclass(frozen=True, slots=True)
class And(Node):
    operands: tuple[Expression, ...]

    def __post_init__(self) -> None:
        assert len(self.operands) >= 2


@dataclass(frozen=True, slots=True)
class Or(Node):
    operands: tuple[Expression, ...]

    def __post_init__(self) -> None:
        assert len(self.operands) >= 2


def walk(node: object) -> Iterator[Node]:
    """A node, or those of a tuple, and every node below."""
    if isinstance(node, tuple):
        for item in node:
            yield from walk(item)
    elif isinstance(node, Node):
        yield node
        for part in fields(node):
            yield from walk(getattr(node, part.name))


def is_count(node: Literal | Parameter) -> bool:
    """Whether this may say how many: a parameter, or a whole number from 0."""
    return isinstance(node, Parameter) or (type(node.value) is int and node.value >= 0)


def is_row_id(node: Literal | Parameter) -> bool:
    """Whether this may be the id of a row: a parameter, a whole number or a string."""
    return isinstance(node, Parameter) or type(node.value) in (int, str)


Value: TypeAlias = Literal | VectorLiteral | ListLiteral | Parameter
Operation: TypeAlias = Arithmetic | Negative | Call | Cast | Distance | Interval
Predicate: TypeAlias = Comparison | RowComparison | InList | Member | Overlap | Between | Like | IsNull | Near
Expression: TypeAlias = Value | Column | Operation | Predicate | Not | And | Or
