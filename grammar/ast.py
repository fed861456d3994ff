"""What a statement says, as a tree of immutable values.

Every node is a frozen dataclass with a `span`: the characters of the source it was read from, for messages that
point at them. A node made by a program has the span `NOWHERE`.

Invariants:
  * Spans take no part in equality, hashing and repr: `parse(render(node)) == node`.
  * A node that `render` could not write so that `parse` reads it back is refused, by its types or by an assert.
    The limits on names, depth and length are `parse`'s alone.
  * Names are as the engine sees them: an unquoted name is already in lower case.
  * A list of numbers is always a `VectorLiteral`, never a `ListLiteral`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from reddb import limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
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
    """A name that is no value: of a collection, a kind, a metric, an option, an alias, an inserted column."""

    text: str

    def __post_init__(self) -> None:
        assert self.text


# --- expressions -------------------------------------------------------------------------------------------


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
    """Finite numbers, as little-endian float32 bytes: comparing and hashing them is comparing bits."""

    data: bytes

    def __post_init__(self) -> None:
        assert self.data
        assert len(self.data) % VECTOR_DTYPE.itemsize == 0
        assert np.isfinite(self.array).all()

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
class InList(Node):
    operand: Expression
    items: tuple[Value, ...]
    negated: bool = False

    def __post_init__(self) -> None:
        assert self.items


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


Value: TypeAlias = Literal | VectorLiteral | ListLiteral | Parameter
Expression: TypeAlias = Value | Column | Distance | Comparison | InList | Between | Like | IsNull | Not | And | Or


# --- statements --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option(Node):
    """`name = value` of a WITH; a bare word is a string."""

    name: Identifier
    value: Literal | Parameter


def _are_distinct(options: tuple[Option, ...]) -> bool:
    return len({option.name for option in options}) == len(options)


@dataclass(frozen=True, slots=True)
class CreateCollection(Node):
    """`kind` holds its dots; `dim` is a `Literal` of an int."""

    name: Identifier
    kind: Identifier
    dim: Literal
    metric: Identifier | None = None
    options: tuple[Option, ...] = ()
    if_not_exists: bool = False

    def __post_init__(self) -> None:
        assert isinstance(self.dim.value, int)
        assert self.dim.value >= 0
        assert _are_distinct(self.options)


@dataclass(frozen=True, slots=True)
class DropCollection(Node):
    name: Identifier
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class ShowCollections(Node):
    pass


@dataclass(frozen=True, slots=True)
class ShowCollection(Node):
    name: Identifier


@dataclass(frozen=True, slots=True)
class Insert(Node):
    """INSERT or UPSERT; every row has one value for each column."""

    collection: Identifier
    columns: tuple[Identifier, ...]
    rows: tuple[tuple[Value, ...], ...]
    upsert: bool = False

    def __post_init__(self) -> None:
        assert self.columns
        assert len(set(self.columns)) == len(self.columns)
        assert self.rows
        assert all(len(row) == len(self.columns) for row in self.rows)


@dataclass(frozen=True, slots=True)
class Delete(Node):
    collection: Identifier
    where: Expression | None = None


@dataclass(frozen=True, slots=True)
class Star(Node):
    pass


@dataclass(frozen=True, slots=True)
class CountStar(Node):
    pass


@dataclass(frozen=True, slots=True)
class SelectItem(Node):
    expression: Star | CountStar | Column
    alias: Identifier | None = None

    def __post_init__(self) -> None:
        assert self.alias is None or not isinstance(self.expression, Star)


@dataclass(frozen=True, slots=True)
class OrderBy(Node):
    expression: Distance | Column
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Select(Node):
    """`limit` and `offset` are a `Literal` of an int, 0 or more, or a `Parameter`."""

    items: tuple[SelectItem, ...]
    collection: Identifier
    where: Expression | None = None
    order: OrderBy | None = None
    limit: Literal | Parameter | None = None
    offset: Literal | Parameter | None = None
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        assert self.items
        assert _are_distinct(self.options)


@dataclass(frozen=True, slots=True)
class StoredRow(Node):
    """The vector of a row that is stored already: `SIMILAR TO ID 7`."""

    id: Literal | Parameter


@dataclass(frozen=True, slots=True)
class VectorSearch(Node):
    """`VECTOR SEARCH … SIMILAR TO …` and `SEARCH SIMILAR … COLLECTION …`: two spellings of one node."""

    collection: Identifier
    target: VectorLiteral | Parameter | StoredRow
    where: Expression | None = None
    limit: Literal | Parameter | None = None
    include_vectors: bool = False
    include_metadata: bool = False
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        assert _are_distinct(self.options)


Statement: TypeAlias = (
    CreateCollection | DropCollection | ShowCollections | ShowCollection | Insert | Delete | Select | VectorSearch
)
