"""Writes that must read first: UPDATE, DELETE by predicate, ON CONFLICT, RETURNING, in one step of the owner.

Nothing may be on its way while the rows are read, or a change would be made to a row that is about to be another.

Invariant: what is prepared here goes into one group, so no reader sees a part of it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.checks import check_batch
from reddb.partition.effects import Effect, changed_rows, conflict_effect
from reddb.partition.operations import OPERATIONS, Prepared
from reddb.partition.placement import Share, of_batch, partition_of
from reddb.partition.view import Addresses, View
from reddb.partition.writer import Partition
from reddb.query.execute import finish
from reddb.query.returning import Returning
from reddb.query.write_plans import ChangePlan, RowsPlan, WritePlan
from reddb.rows import RowBatch, joined
from reddb.types import Collection, RowId

_ROWS_IN_STEP = 256  # that are changed before others get their turn: 5 ms or so
_ROWS_AT_ONCE = 8192  # of one WAL record: an update carries the vectors again


@dataclass(frozen=True, slots=True)
class Changed:
    """What a write did: how many rows it concerned and, if they were asked for, the rows that it wrote or deleted.

    `positions` say which ids or rows of the statement they are, ascending; of a change by predicate they say nothing.
    """

    count: int
    rows: RowBatch | None = None
    positions: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Change:
    """Operations that were prepared, and what can be told once they are stored."""

    prepared: list[Prepared]
    changed: Changed

    @classmethod
    def of(cls, prepared: list[Prepared]) -> Change:
        """Operations of which only the number of rows is told."""
        return cls(prepared, Changed(sum(item.result for item in prepared)))


Preparing: TypeAlias = Generator[None, None, Change]


def prepare_change(partition: Partition, view: View, plan: RowsPlan) -> Change:
    """`change_steps` in one go."""
    return finish(change_steps(partition, view, plan))


def change_steps(partition: Partition, view: View, plan: RowsPlan) -> Preparing:
    """Prepare what the plan says for the rows of this partition, as the newest view has them: yields between slices.

    Nothing may come on its way meanwhile. Raises what `Partition.prepare` raises, with the rows' numbers in the whole
    batch.
    """
    assert partition.is_quiet
    try:
        if isinstance(plan, WritePlan):
            effects = _written(partition, view, plan)
        else:
            effects = yield from _changes(partition, view, plan)
        if plan.returning is not None:
            _check_size(effects, plan.returning)
    except BaseException:
        group = partition.take_group()
        if group is not None:
            partition.abort(group)
        raise
    told = Change.of([item for item, _ in effects])
    if plan.returning is None:
        return told
    rows = joined([_empty(partition.collection, plan.returning), *_wanted(effects, plan.returning)])
    positions = np.concatenate([np.empty(0, np.int64), *(effect.positions for _, effect in effects)])
    return Change(told.prepared, Changed(told.changed.count, rows, positions))


def merged(parts: Sequence[Changed], plan: RowsPlan) -> Changed:
    """What all partitions did, as one: rows in the order of the statement, where it has one."""
    count = sum(part.count for part in parts)
    rows = [part.rows for part in parts if part.rows is not None]
    if not rows:
        return Changed(count)
    whole, positions = joined(rows), np.concatenate([part.positions for part in parts])
    if len(parts) == 1 or (isinstance(plan, ChangePlan) and plan.ids is None):
        return Changed(count, whole, positions)
    order = np.argsort(positions, kind="stable")
    return Changed(count, whole.take(order), positions[order])


def concerned(plan: RowsPlan) -> list[int]:
    """The partitions that a plan may find rows in, ascending."""
    partitions = plan.collection.number("partitions")
    ids = plan.batch.ids if isinstance(plan, WritePlan) else plan.ids
    if ids is None or partitions == 1:
        return list(range(partitions))
    numbers: list[int] = np.unique(partition_of(ids, partitions)).tolist()
    return numbers or [0]


# -------------------------------------------------------------------------------------------------------


def _written(partition: Partition, view: View, plan: WritePlan) -> list[tuple[Prepared, Effect]]:
    partitions = partition.collection.number("partitions")
    batch, positions = plan.batch, np.arange(len(plan.batch))
    if partitions > 1:
        positions = np.flatnonzero(partition_of(batch.ids, partitions) == partition.number)
        batch = batch.take(positions)
    try:
        if plan.on_conflict is None:
            effect = Effect(OPERATIONS[plan.kind], batch, np.arange(len(batch)))
        else:
            batch = check_batch(partition.collection, batch)
            effect = conflict_effect(plan.on_conflict, partition.collection, batch, Newest(view))
        positions = positions[effect.positions]
        prepared = partition.prepare(effect.operation, effect.batch, is_new=plan.on_conflict is None)
    except errors.RedDBError as error:
        raise of_batch(error, Share(partition.number, batch, positions)) from error
    return [(prepared, Effect(effect.operation, effect.batch, positions))]


def _changes(
    partition: Partition, view: View, plan: ChangePlan
) -> Generator[None, None, list[tuple[Prepared, Effect]]]:
    if plan.ids is None:
        found = [np.empty(0, np.int64)]
        for block in view.blocks(plan.predicate):
            found.append(block)
            yield
        addresses = np.concatenate(found)
        positions = np.arange(len(addresses))
    else:
        places = view.get(plan.ids)
        positions = np.flatnonzero(places >= 0)
        addresses = places[positions]
    effects: list[tuple[Prepared, Effect]] = []
    size = limits.BATCH_ROWS_MAX if plan.deletes else _ROWS_AT_ONCE
    for first in range(0, len(addresses), size):
        effect, checked = yield from _effect(partition, view, plan, addresses[first : first + size])
        effect = replace(effect, positions=positions[first : first + size])
        prepared = partition.prepare(effect.operation, effect.batch, is_new=False, sound=checked)
        effects.append((prepared, effect))
        yield
    return effects


def _effect(
    partition: Partition, view: View, plan: ChangePlan, addresses: Addresses
) -> Generator[None, None, tuple[Effect, Collection]]:
    """What a change does to rows that go into one operation, computed and checked some rows at a time."""
    collection = partition.collection
    parts: list[Effect] = []
    for at in range(0, len(addresses), _ROWS_IN_STEP):
        some = addresses[at : at + _ROWS_IN_STEP]
        rows = batch_of(view, some, with_payloads=needs_payloads(plan), with_vectors=needs_vectors(plan))
        effect = changed_rows(plan, collection, rows, np.arange(len(some)))
        if not plan.deletes:
            effect = replace(effect, batch=check_batch(collection, effect.batch, is_new=False))
        parts.append(effect)
        yield
    if len(parts) == 1:
        return parts[0], collection
    before = [part.before for part in parts if part.before is not None]
    batch = joined([part.batch for part in parts])
    return Effect(parts[0].operation, batch, parts[0].positions, joined(before) if before else None), collection


class Newest:
    """The rows of a view, by id."""

    def __init__(self, view: View) -> None:
        self._view = view

    def exist(self, ids: Sequence[RowId]) -> NDArray[np.bool_]:
        """Which of the ids have a row: bool (n,)."""
        there: NDArray[np.bool_] = self._view.get(ids) >= 0
        return there

    def rows(self, ids: Sequence[RowId]) -> RowBatch:
        """The rows of ids that have one."""
        return batch_of(self._view, self._view.get(ids))


def batch_of(view: View, addresses: Addresses, *, with_payloads: bool = True, with_vectors: bool = True) -> RowBatch:
    """The rows at these addresses as a batch; with dim 0 where vectors are not asked for."""
    vectors = view.vectors(addresses) if with_vectors else np.empty((len(addresses), 0), np.float32)
    return RowBatch(view.id_column(addresses), vectors, view.payload_column(addresses) if with_payloads else None)


def needs_vectors(plan: ChangePlan) -> bool:
    return not plan.deletes or (plan.returning is not None and plan.returning.needs_vectors)


def needs_payloads(plan: ChangePlan) -> bool:
    return not plan.deletes or plan.returning is not None


def _wanted(effects: list[tuple[Prepared, Effect]], returning: Returning) -> list[RowBatch]:
    """The rows that are given: as they will be, of a delete as they were."""
    rows = [item.batch if effect.before is None else effect.before for item, effect in effects]
    if returning.needs_vectors:
        return rows
    return [RowBatch(batch.ids, np.empty((len(batch), 0), np.float32), batch.payloads) for batch in rows]


def _empty(collection: Collection, returning: Returning) -> RowBatch:
    return RowBatch(np.empty(0, np.int64), np.empty((0, collection.dim * returning.needs_vectors), np.float32))


def _check_size(effects: list[tuple[Prepared, Effect]], returning: Returning) -> None:
    """Raises LIMIT_EXCEEDED where the rows would not fit into an answer: it must be said before they are stored."""
    size = sum(
        batch.vectors.nbytes + (0 if batch.payloads is None else batch.payloads.content.nbytes)
        for batch in _wanted(effects, returning)
    )
    if size > limits.RETURNING_BYTES_MAX:
        raise errors.LIMIT_EXCEEDED.error(
            f"RETURNING gives rows of at most {limits.RETURNING_BYTES_MAX} bytes, not {size}; nothing was written",
            hint="change fewer rows at a time, or leave the vector out",
        )
