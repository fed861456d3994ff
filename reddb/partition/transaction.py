"""A transaction at its COMMIT: its statements are run in order over the newest rows, and come to one operation.

Each statement sees what those before it did. What is left is one record of the log: ids that end, and rows as they are
at the end.

Invariant: a statement that cannot be done refuses the whole transaction; nothing of it is prepared then.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reddb import errors
from reddb.checks import check_batch, check_distinct, check_ids
from reddb.partition.changes import Change, Changed, Newest, Preparing
from reddb.partition.effects import Effect, changed_rows, conflict_effect
from reddb.partition.operations import OPERATIONS, Operation, ids_batch
from reddb.partition.view import View
from reddb.partition.writer import Partition
from reddb.query.execute import finish
from reddb.query.write_plans import ChangePlan, RowsPlan, TransactionPlan, WritePlan
from reddb.rows import RowBatch, joined
from reddb.types import Collection, RowId


def prepare_transaction(partition: Partition, view: View, plan: TransactionPlan) -> Change:
    """`transaction_steps` in one go."""
    return finish(transaction_steps(partition, view, plan))


def transaction_steps(partition: Partition, view: View, plan: TransactionPlan) -> Preparing:
    """Prepare the transaction: yields between its statements. Raises what its first wrong one raises, naming it.

    Nothing may come on its way meanwhile.
    """
    assert partition.is_quiet
    rows = _Rows(Newest(view))
    count = 0
    for number, step in enumerate(plan.steps, 1):
        try:
            effect = _effect(step, partition.collection, rows)
        except errors.RedDBError as error:
            message = f"statement {number} of the transaction: {error.message}; nothing of it was stored"
            raise errors.RedDBError(error.code, message, {**error.detail, "statement": number}) from error
        rows.take(effect)
        yield
        count += len(effect.batch)
    deleted, written = rows.deleted(), rows.written(partition.collection)
    prepared = [partition.prepare_transaction(deleted, written, count)] if deleted or len(written) else []
    return Change(prepared, Changed(count))


def _effect(step: RowsPlan, collection: Collection, rows: _Rows) -> Effect:
    if isinstance(step, ChangePlan):
        assert step.ids is not None
        return _change(step, collection, rows, step.ids)
    if OPERATIONS[step.kind] is Operation.DELETE:
        check_ids(step.batch.ids)
        return _delete(rows, step.batch.id_list())
    return _write(step, collection, rows)


def _change(step: ChangePlan, collection: Collection, rows: _Rows, ids: list[RowId]) -> Effect:
    if step.deletes:
        return _delete(rows, ids)
    found = np.flatnonzero(rows.exist(ids))
    effect = changed_rows(step, collection, rows.rows([ids[place] for place in found.tolist()]), found)
    return Effect(effect.operation, check_batch(collection, effect.batch, is_new=False), found)


def _delete(rows: _Rows, ids: list[RowId]) -> Effect:
    distinct = list(dict.fromkeys(ids))
    found = np.flatnonzero(rows.exist(distinct))
    return Effect(Operation.DELETE, ids_batch([distinct[place] for place in found.tolist()]), found)


def _write(step: WritePlan, collection: Collection, rows: _Rows) -> Effect:
    batch = check_batch(collection, step.batch)
    ids = batch.id_list()
    check_distinct(ids)
    if step.on_conflict is not None:
        effect = conflict_effect(step.on_conflict, collection, batch, rows)
        return Effect(effect.operation, check_batch(collection, effect.batch, is_new=False), effect.positions)
    if OPERATIONS[step.kind] is Operation.INSERT and (there := rows.exist(ids)).any():
        row = int(np.argmax(there))
        raise errors.DUPLICATE_ID.error(f"row {row}: id {ids[row]!r} exists already in {collection.name!r}", row=row)
    return Effect(OPERATIONS[step.kind], batch, np.arange(len(batch)))


class _Rows:
    """The stored rows with what the transaction has done to them so far."""

    def __init__(self, stored: Newest) -> None:
        self._stored = stored
        self._batches: list[RowBatch] = []
        # The batch and the row in it that an id's row is now, None if it was deleted; in the order of the last writes.
        self._now: dict[RowId, tuple[int, int] | None] = {}

    def exist(self, ids: Sequence[RowId]) -> NDArray[np.bool_]:
        there = self._stored.exist(ids)
        for place, row_id in enumerate(ids):
            if row_id in self._now:
                there[place] = self._now[row_id] is not None
        return there

    def rows(self, ids: Sequence[RowId]) -> RowBatch:
        """The rows of ids that have one."""
        untouched = [row_id for row_id in ids if row_id not in self._now]
        touched = [row_id for row_id in ids if row_id in self._now]
        whole = joined([self._stored.rows(untouched), *self._written(touched)])
        place = {row_id: number for number, row_id in enumerate(untouched + touched)}
        return whole.take(np.array([place[row_id] for row_id in ids], np.int64))

    def take(self, effect: Effect) -> None:
        """The effect has happened."""
        for row_id in effect.batch.id_list():
            self._now.pop(row_id, None)
        if effect.operation is Operation.DELETE:
            self._now.update(dict.fromkeys(effect.batch.id_list()))
            return
        number = len(self._batches)
        self._batches.append(effect.batch)
        self._now.update({row_id: (number, row) for row, row_id in enumerate(effect.batch.id_list())})

    def deleted(self) -> list[RowId]:
        """Ids whose stored rows are gone."""
        gone = [row_id for row_id, place in self._now.items() if place is None]
        return [row_id for row_id, there in zip(gone, self._stored.exist(gone), strict=True) if there]

    def written(self, collection: Collection) -> RowBatch:
        """Rows as they are now, of all that were written."""
        ids = [row_id for row_id, place in self._now.items() if place is not None]
        empty = RowBatch(np.empty(0, np.int64), np.empty((0, collection.dim), np.float32))
        return joined([empty, *self._written(ids)])

    def _written(self, ids: Sequence[RowId]) -> list[RowBatch]:
        """The rows of ids that were written here, in their order, cut where the batch changes."""
        parts: list[tuple[int, list[int]]] = []
        for row_id in ids:
            place = self._now[row_id]
            assert place is not None
            number, row = place
            if not parts or parts[-1][0] != number:
                parts.append((number, []))
            parts[-1][1].append(row)
        return [self._batches[number].take(np.array(rows)) for number, rows in parts]
