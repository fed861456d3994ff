"""Nodes of the statements that make, change and remove collections, indexes and aliases: `ast.py` hands them on.

A node is a frozen dataclass with a `span`; the invariants are those of `ast.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from reddb.grammar.expressions import Column, Identifier, Literal, Node, Parameter, Value


@dataclass(frozen=True, slots=True)
class Option(Node):
    """`name = value` of a WITH; a bare word is a string."""

    name: Identifier
    value: Literal | Parameter


def are_distinct(parts: Iterable[Option | FieldDefinition]) -> bool:
    names = [part.name for part in parts]
    return len(set(names)) == len(names)


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
        assert are_distinct(self.fields)
        assert are_distinct(self.options)


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
        assert are_distinct(self.options)


@dataclass(frozen=True, slots=True)
class SetOptions(Node):
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        assert self.options
        assert are_distinct(self.options)


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
class CreateAlias(Node):
    """Another name for a collection; with `or_replace` one that exists is pointed at this collection instead."""

    name: Identifier
    collection: Identifier
    or_replace: bool = False


@dataclass(frozen=True, slots=True)
class AlterAlias(Node):
    """Point an alias that exists at another collection."""

    name: Identifier
    collection: Identifier


@dataclass(frozen=True, slots=True)
class DropAlias(Node):
    name: Identifier
    if_exists: bool = False


Definition: TypeAlias = (
    CreateCollection
    | DropCollection
    | TruncateCollection
    | AlterCollection
    | CreateIndex
    | DropIndex
    | CreateAlias
    | AlterAlias
    | DropAlias
)
