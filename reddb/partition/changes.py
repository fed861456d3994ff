"""UPDATE and DELETE by predicate: read the rows and write them anew, in one step of the owner.

Nothing may be on its way while the rows are read, or a change would be made to a row that is about to be another.

Invariant: what is prepared here goes into one group, so no reader sees a part of it.
"""

from __future__ import annotations

import numpy as np

from reddb import limits
from reddb.fields import unpack_payload
from reddb.partition.operations import Operation, Prepared
from reddb.partition.view import Addresses, View
from reddb.partition.writer import Partition
from reddb.query.plan import ChangePlan
from reddb.rows import RowBatch, payload_column
from reddb.types import Payload

_ROWS_AT_ONCE = 8192  # of one WAL record: an update carries the vectors again


def prepare_change(partition: Partition, view: View, plan: ChangePlan) -> list[Prepared]:
    """Prepare what the plan says, for the rows of the newest view. Raises what `Partition.prepare` raises."""
    assert partition.is_quiet
    addresses = view.scan(view.live_rows, 0, plan.predicate) if plan.ids is None else view.get(plan.ids)
    addresses = addresses[addresses >= 0]
    prepared: list[Prepared] = []
    size = limits.BATCH_ROWS_MAX if plan.deletes else _ROWS_AT_ONCE
    try:
        for first in range(0, len(addresses), size):
            some = addresses[first : first + size]
            if plan.deletes:
                batch = RowBatch(view.id_column(some), np.empty((len(some), 0), np.float32))
                prepared.append(partition.prepare(Operation.DELETE, batch))
            else:
                prepared.append(partition.prepare(Operation.UPSERT, _changed(view, some, plan)))
    except BaseException:
        group = partition.take_group()
        if group is not None:
            partition.abort(group)
        raise
    return prepared


def _changed(view: View, addresses: Addresses, plan: ChangePlan) -> RowBatch:
    """The rows as they shall be."""
    vectors = view.vectors(addresses)
    if plan.vector is not None:
        vectors[:] = plan.vector
    declared = {field.name for field in view.collection.fields}
    payloads: list[Payload] = []
    for content in view.payloads(addresses):
        payload = {**unpack_payload(content), **plan.values}
        # A free key that is NULL is a key that is not there; a declared field keeps its NULL, for defaults.
        payloads.append({name: value for name, value in payload.items() if value is not None or name in declared})
    return RowBatch(view.id_column(addresses), vectors, payload_column(payloads))
