"""What one statement does to the rows that it finds: an operation on a batch, and nothing else.

Invariant: nothing here is stored or prepared; the same rows give the same effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reddb.partition.operations import Operation, ids_batch
from reddb.query.assignments import assigned
from reddb.query.write_plans import ChangePlan, OnConflict
from reddb.rows import RowBatch, joined
from reddb.types import Collection, RowId


class Stored(Protocol):
    """The newest rows, by id."""

    def exist(self, ids: Sequence[RowId]) -> NDArray[np.bool_]:
        """Which of the ids have a row: bool (n,)."""

    def rows(self, ids: Sequence[RowId]) -> RowBatch:
        """The rows of ids that have one."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What is to be done; `positions` (n,) are the numbers that the rows have in the statement.

    `before` are the rows that a delete takes away, where the statement may want to give them.
    """

    operation: Operation
    batch: RowBatch
    positions: NDArray[np.int64]
    before: RowBatch | None = None


def conflict_effect(clause: OnConflict, collection: Collection, batch: RowBatch, stored: Stored) -> Effect:
    """Of INSERT … ON CONFLICT; the batch was checked, and its ids are distinct."""
    every = np.arange(len(batch))
    if clause.update and not clause.assignments:
        return Effect(Operation.UPSERT, batch, every)
    there = stored.exist(batch.id_list())
    new, old = np.flatnonzero(~there), np.flatnonzero(there)
    if not clause.update:
        return Effect(Operation.INSERT, batch.take(new), new)
    if not len(old):
        return Effect(Operation.INSERT, batch, every)
    excluded = batch.take(old)
    changed = assigned(clause.assignments, collection, stored.rows(excluded.id_list()), excluded)
    rows = joined([batch.take(new), changed])
    return Effect(Operation.UPSERT, rows.take(np.argsort(np.concatenate([new, old]))), every)


def changed_rows(plan: ChangePlan, collection: Collection, rows: RowBatch, positions: NDArray[np.int64]) -> Effect:
    """Of UPDATE and DELETE, for rows that were found."""
    if plan.deletes:
        return Effect(Operation.DELETE, ids_batch(rows.id_list()), positions, rows)
    return Effect(Operation.UPSERT, assigned(plan.assignments, collection, rows), positions)
