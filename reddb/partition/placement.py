"""Which partition of a collection a row belongs to: decided by its id alone, for ever.

    an integer id    the finaliser of SplitMix64 over its 64 bits (Steele, Lea, Flood 2014, "Fast splittable
                     pseudorandom number generators"), modulo the number of partitions
    a string id      CRC-32C of its UTF-8 bytes, through the same finaliser

A hash, because ranges of ids would send every new row of a counting client to one partition. The number of partitions
is fixed when a collection is created: with another one a row would be looked for where it is not.

Invariant: this is part of the file format. The same id gives the same partition in every release.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reddb import errors
from reddb.checks import check_batch, check_count, check_distinct, check_ids
from reddb.checksum import crc32c
from reddb.partition.operations import Operation
from reddb.rows import RowBatch
from reddb.types import Collection, IdColumn


class Share(NamedTuple):
    """The rows of a batch that belong to one partition; `rows` are their numbers in the batch, ascending."""

    partition: int
    batch: RowBatch
    rows: NDArray[np.int64]


def partition_of(ids: IdColumn, partitions: int) -> NDArray[np.int64]:
    """The partition of each id: (n,)."""
    if isinstance(ids, np.ndarray):
        keys = ids.astype(np.int64).view(np.uint64)
    else:
        keys = np.array([crc32c([i.encode()]) if isinstance(i, str) else i & (2**64 - 1) for i in ids], np.uint64)
    mixed = keys + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed % np.uint64(partitions)).astype(np.int64)


def shares(collection: Collection, operation: Operation, batch: RowBatch) -> list[Share]:
    """The batch in parts, by partition. Raises what is wrong with it whatever is stored, naming the row."""
    partitions = collection.number("partitions")
    if partitions == 1:
        return [Share(0, batch, np.arange(len(batch)))]
    if operation is Operation.DELETE:
        check_count(batch)
        check_ids(batch.ids)
    else:
        batch = check_batch(collection, batch)
        check_distinct(batch.id_list())
    places = partition_of(batch.ids, partitions)
    parts = [(place, np.flatnonzero(places == place)) for place in np.unique(places).tolist()]
    return [Share(place, batch if len(parts) == 1 else batch.take(rows), rows) for place, rows in parts]


def of_batch(error: errors.RedDBError, share: Share) -> errors.RedDBError:
    """An error about a row of a share, with the number that the row has in the batch."""
    row = error.detail.get("row")
    if row is None:
        return error
    number = int(share.rows[row])
    message = error.message.replace(f"row {row}:", f"row {number}:", 1)
    return errors.RedDBError(error.code, message, {**error.detail, "row": number})


def stored_in_part(error: errors.RedDBError, stored: Sequence[int]) -> errors.RedDBError:
    """The error of a write that failed in one partition when the disks of these had it."""
    if not stored:
        return error
    message = f"{error.message}; the rows of partition {', '.join(map(str, stored))} were stored all the same"
    return errors.RedDBError(error.code, message, {**error.detail, "hint": "upsert the whole batch again"})
