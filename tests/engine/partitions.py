"""Partitions for the tests: a collection, its owner and a reader, and the steps of a write in one call."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from reddb.disk import Disk, OsDisk
from reddb.partition import Operation, Partition, turbo_codec
from reddb.reader import PartitionReader, Steps
from reddb.rows import RowBatch, id_column, make_batch
from reddb.settings import resolve
from reddb.types import Collection, Found, Kind, Metric

FOLDER = Path("/partition")  # where a disk in memory keeps it


def collection(*, dim: int, metric: str = "l2", **settings: int) -> Collection:
    return Collection(1, "docs", Kind.TURBO, dim, Metric(metric), resolve(settings, dim))


class Opened:
    """An open partition, as its owner and as a reader see it."""

    def __init__(self, of: Collection, folder: Path = FOLDER, disk: Disk | None = None, salt: int = 7) -> None:
        self.collection = of
        self.partition = Partition.open(disk or OsDisk(), folder, of, 0, lambda: salt)
        self.reader = PartitionReader(of, self.partition.rows, turbo_codec(of))

    def insert(self, ids: Any, vectors: Any, payloads: Any = None) -> int:
        return self.write(Operation.INSERT, make_batch(ids, vectors, payloads))

    def upsert(self, ids: Any, vectors: Any, payloads: Any = None) -> int:
        return self.write(Operation.UPSERT, make_batch(ids, vectors, payloads))

    def delete(self, ids: Any) -> int:
        return self.write(Operation.DELETE, deletion(ids))

    def write(self, operation: Operation, batch: RowBatch) -> int:
        """The rows affected, once they are stored; on an error nothing has happened."""
        prepared = self.partition.prepare(operation, batch)
        group = self.partition.take_group()
        if group is None:
            return 0
        try:
            group.write(self.partition.wal)
        except BaseException:
            self.partition.abort(group)
            raise
        self.partition.complete(group)
        return prepared.result

    def encode(self) -> int:
        """All background encoding there is to do; the number of steps."""
        steps = 0
        while self.partition.encode_step():
            steps += 1
        return steps

    def encoded_rows(self) -> int:
        """Rows with codes in the first segment, as its codec block says."""
        return int(self.partition.rows.codec[0][8:16].view(np.uint64)[0])

    def ids(self, rows: np.ndarray[Any, Any]) -> list[Any]:
        return self.partition.rows.row_ids(rows)

    def with_new_reader(self) -> Opened:
        """The same partition, seen by a reader that has read nothing yet."""
        other = copy(self)
        other.reader = PartitionReader(self.collection, self.partition.rows, turbo_codec(self.collection))
        return other

    def close(self) -> None:
        self.partition.close()


def finish(steps: Steps, between: Callable[[], object] = lambda: None) -> list[Found]:
    """What a search in slices gives; `between` runs after each slice."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            found: list[Found] = stop.value
            return found
        between()


def deletion(ids: Any) -> RowBatch:
    column = id_column(ids)
    return RowBatch(column, np.empty((len(column), 0), np.float32))
