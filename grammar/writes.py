"""Nodes of the statements that write rows, and of transactions: `ast.py` hands them on.

A node is a frozen dataclass with a `span`; the invariants are those of `ast.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from reddb.grammar.expressions import Default, Expression, Identifier, Literal, Node, Parameter
from reddb.grammar.reads import SelectItem


@dataclass(frozen=True, slots=True)
class Assignment(Node):
    column: Identifier
    value: Expression | Default


def _are_distinct(assignments: tuple[Assignment, ...]) -> bool:
    return len({assignment.column for assignment in assignments}) == len(assignments)


@dataclass(frozen=True, slots=True)
class Ttl(Node):
    """`WITH TTL 1 h`: how long the rows live. Without a `unit`, a number is seconds and a text says its own."""

    amount: Literal | Parameter
    unit: Identifier | None = None

    def __post_init__(self) -> None:
        if isinstance(self.amount, Literal) and self.amount.is_number:
            assert math.copysign(1, self.amount.value) > 0  # type: ignore[arg-type]
        else:
            assert self.unit is None
            assert isinstance(self.amount, Parameter) or isinstance(self.amount.value, str)


@dataclass(frozen=True, slots=True)
class ExpiresAt(Node):
    """`WITH EXPIRES AT …`: until when the rows live."""

    instant: Expression


@dataclass(frozen=True, slots=True)
class OnConflict(Node):
    """What happens to a row whose id exists: `DO NOTHING`, or `DO UPDATE`.

    Without `assignments` an update replaces the row; in them `excluded.name` is what was to be inserted.
    """

    update: bool
    assignments: tuple[Assignment, ...] = ()

    def __post_init__(self) -> None:
        assert self.update or not self.assignments
        assert _are_distinct(self.assignments)


@dataclass(frozen=True, slots=True)
class Insert(Node):
    """INSERT or UPSERT; every row has one value for each column. `alias` is what the collection is called in it."""

    collection: Identifier
    columns: tuple[Identifier, ...]
    rows: tuple[tuple[Expression | Default, ...], ...]
    upsert: bool = False
    expiry: Ttl | ExpiresAt | None = None
    on_conflict: OnConflict | None = None
    returning: tuple[SelectItem, ...] = ()
    alias: Identifier | None = None

    def __post_init__(self) -> None:
        assert self.columns
        assert len(set(self.columns)) == len(self.columns)
        assert self.rows
        assert all(len(row) == len(self.columns) for row in self.rows)
        assert self.on_conflict is None or not self.upsert


@dataclass(frozen=True, slots=True)
class Update(Node):
    collection: Identifier
    assignments: tuple[Assignment, ...]
    where: Expression | None = None
    returning: tuple[SelectItem, ...] = ()
    alias: Identifier | None = None

    def __post_init__(self) -> None:
        assert self.assignments
        assert _are_distinct(self.assignments)


@dataclass(frozen=True, slots=True)
class Delete(Node):
    collection: Identifier
    where: Expression | None = None
    returning: tuple[SelectItem, ...] = ()
    alias: Identifier | None = None


@dataclass(frozen=True, slots=True)
class Begin(Node):
    pass


@dataclass(frozen=True, slots=True)
class Commit(Node):
    pass


@dataclass(frozen=True, slots=True)
class Rollback(Node):
    pass


Write: TypeAlias = Insert | Update | Delete
Transaction: TypeAlias = Begin | Commit | Rollback
