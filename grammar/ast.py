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

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

# Handed on by name: to everyone else, a node is `ast.` and its name.
from reddb.grammar.expressions import COMPARISONS as COMPARISONS
from reddb.grammar.expressions import DISTANCES as DISTANCES
from reddb.grammar.expressions import NOWHERE as NOWHERE
from reddb.grammar.expressions import VECTOR_DTYPE as VECTOR_DTYPE
from reddb.grammar.expressions import And as And
from reddb.grammar.expressions import Between as Between
from reddb.grammar.expressions import Column as Column
from reddb.grammar.expressions import Comparison as Comparison
from reddb.grammar.expressions import Distance as Distance
from reddb.grammar.expressions import Expression as Expression
from reddb.grammar.expressions import Identifier as Identifier
from reddb.grammar.expressions import InList as InList
from reddb.grammar.expressions import IsNull as IsNull
from reddb.grammar.expressions import Like as Like
from reddb.grammar.expressions import ListLiteral as ListLiteral
from reddb.grammar.expressions import Literal as Literal
from reddb.grammar.expressions import Member as Member
from reddb.grammar.expressions import Node as Node
from reddb.grammar.expressions import Not as Not
from reddb.grammar.expressions import Or as Or
from reddb.grammar.expressions import Overlap as Overlap
from reddb.grammar.expressions import Parameter as Parameter
from reddb.grammar.expressions import Predicate as Predicate
from reddb.grammar.expressions import Span as Span
from reddb.grammar.expressions import Value as Value
from reddb.grammar.expressions import VectorLiteral as VectorLiteral


@dataclass(frozen=True, slots=True)
class Option(Node):
    """`name = value` of a WITH; a bare word is a string."""

    name: Identifier
    value: Literal | Parameter


def _are_distinct(parts: Iterable[Option | FieldDefinition]) -> bool:
    names = [part.name for part in parts]
    return len(set(names)) == len(names)


# --- collections -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldDefinition(Node):
    """`type` is any name in upper case, `TEXT`, with the brackets of an array, `TEXT[]`; no default is None."""

    name: Identifier
    type: Identifier
    not_null: bool = False
    default: Value | None = None

    def __post_init__(self) -> None:
        assert self.type.text == self.type.text.upper()


@dataclass(frozen=True, slots=True)
class CreateCollection(Node):
    """`kind` holds its dots; `dim` is a `Literal` of an int."""

    name: Identifier
    kind: Identifier
    dim: Literal
    metric: Identifier | None = None
    fields: tuple[FieldDefinition, ...] = ()
    options: tuple[Option, ...] = ()
    if_not_exists: bool = False

    def __post_init__(self) -> None:
        assert isinstance(self.dim.value, int)
        assert self.dim.value >= 0
        assert _are_distinct(self.fields)
        assert _are_distinct(self.options)


@dataclass(frozen=True, slots=True)
class DropCollection(Node):
    name: Identifier
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class TruncateCollection(Node):
    name: Identifier
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class Seal(Node):
    pass


@dataclass(frozen=True, slots=True)
class Compact(Node):
    pass


@dataclass(frozen=True, slots=True)
class Checkpoint(Node):
    pass


@dataclass(frozen=True, slots=True)
class Rebuild(Node):
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        assert _are_distinct(self.options)


@dataclass(frozen=True, slots=True)
class SetOptions(Node):
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        assert self.options
        assert _are_distinct(self.options)


@dataclass(frozen=True, slots=True)
class AddField(Node):
    field: FieldDefinition


@dataclass(frozen=True, slots=True)
class DropField(Node):
    name: Identifier


Action: TypeAlias = Seal | Compact | Checkpoint | Rebuild | SetOptions | AddField | DropField


@dataclass(frozen=True, slots=True)
class AlterCollection(Node):
    name: Identifier
    action: Action


@dataclass(frozen=True, slots=True)
class CreateIndex(Node):
    collection: Identifier
    field: Column
    name: Identifier | None = None
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True)
class DropIndex(Node):
    collection: Identifier
    field: Column
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class ShowCollections(Node):
    pass


@dataclass(frozen=True, slots=True)
class ShowCollection(Node):
    name: Identifier


@dataclass(frozen=True, slots=True)
class ShowSegments(Node):
    name: Identifier


@dataclass(frozen=True, slots=True)
class ShowIndexes(Node):
    name: Identifier


@dataclass(frozen=True, slots=True)
class ShowStats(Node):
    name: Identifier


@dataclass(frozen=True, slots=True)
class ShowSettings(Node):
    pass


# --- rows --------------------------------------------------------------------------------------------------


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
class Assignment(Node):
    column: Identifier
    value: Value


@dataclass(frozen=True, slots=True)
class Update(Node):
    collection: Identifier
    assignments: tuple[Assignment, ...]
    where: Expression | None = None

    def __post_init__(self) -> None:
        assert self.assignments
        assert len({assignment.column for assignment in self.assignments}) == len(self.assignments)


@dataclass(frozen=True, slots=True)
class Delete(Node):
    collection: Identifier
    where: Expression | None = None


# --- reads -------------------------------------------------------------------------------------------------


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
    """`VECTOR SEARCH … SIMILAR TO …` and `SEARCH SIMILAR … COLLECTION …`: two spellings of one node.

    `limit` is as in `Select`; `threshold` and `min_score` are a `Literal` of a number or a `Parameter`.
    """

    collection: Identifier
    target: VectorLiteral | Parameter | StoredRow
    where: Expression | None = None
    metric: Identifier | None = None
    threshold: Literal | Parameter | None = None
    min_score: Literal | Parameter | None = None
    limit: Literal | Parameter | None = None
    include_vectors: bool = False
    include_metadata: bool = False
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        for bound in (self.threshold, self.min_score):
            assert not isinstance(bound, Literal) or bound.is_number
        assert _are_distinct(self.options)


Definition: TypeAlias = (
    CreateCollection | DropCollection | TruncateCollection | AlterCollection | CreateIndex | DropIndex
)
Show: TypeAlias = ShowCollections | ShowCollection | ShowSegments | ShowIndexes | ShowStats | ShowSettings
Command: TypeAlias = Definition | Show | Insert | Update | Delete | Select | VectorSearch


@dataclass(frozen=True, slots=True)
class Explain(Node):
    statement: Command
    analyze: bool = False


Statement: TypeAlias = Command | Explain
