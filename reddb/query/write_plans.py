"""What a statement asks to be written, checked and with its parameters in place.

A plan that must read before it writes is carried out by the owner of the rows. Where that is another core, the
statement travels as it was `Asked` and is bound there again.

Invariant: a statement that is bound again at the same instant, by the same catalog, gives the same plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from reddb.query.assignments import Assignment
from reddb.query.predicate import Predicate
from reddb.query.returning import Returning
from reddb.query.values import Parameters
from reddb.rows import RowBatch
from reddb.types import Collection, RowId


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement as it came, and the instant that is `now()` in it."""

    text: str
    parameters: Parameters
    now: datetime


class WriteKind(StrEnum):
    INSERT = "insert"
    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class OnConflict:
    """What happens to a row whose id exists: nothing, or `assignments` to it, or, without any, it is replaced."""

    update: bool
    assignments: tuple[Assignment, ...] = ()


@dataclass(frozen=True, slots=True)
class WritePlan:
    """Rows to write; a delete's batch has dim 0. With `on_conflict` the ids are distinct, and `kind` is INSERT."""

    collection: Collection
    kind: WriteKind
    batch: RowBatch
    asked: Asked | None = None
    on_conflict: OnConflict | None = None
    returning: Returning | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing need be read for it, and only a number is wanted."""
        return self.on_conflict is None and self.returning is None


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """Stored rows to change where they are: those with these ids, or those that match, or (without both) all.

    Without `assignments` they are deleted. Only the owner can do it: it must read and write in one step.
    """

    collection: Collection
    asked: Asked
    ids: list[RowId] | None
    predicate: Predicate | None
    assignments: tuple[Assignment, ...] = ()
    returning: Returning | None = None

    @property
    def deletes(self) -> bool:
        return not self.assignments


RowsPlan: TypeAlias = WritePlan | ChangePlan


@dataclass(frozen=True, slots=True)
class TransactionPlan:
    """What was collected between BEGIN and COMMIT: done in order, and stored at once; all in one partition."""

    collection: Collection
    partition: int
    steps: tuple[RowsPlan, ...]


class TransactionCommand(StrEnum):
    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
