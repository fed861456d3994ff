"""For the tests of backups: what a data folder holds, and writes of which every prefix is known.

A `Course` makes batches of rows with random ids, and now and then a delete of some; `states` says for one partition
what it holds after each of its writes, so that a copy made at any moment can be compared with all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import reddb
from reddb.backup.backup import run_backup
from reddb.backup.restore import run_restore
from reddb.partition.placement import partition_of

DIM = 4
IDS = 3000

Rows = dict[int, int]  # the number of the write that a row came with, by id


class Course:
    """Writes in an order that a seed decides; write `number` gives each of its rows that number."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.writes: list[tuple[bool, list[int]]] = []  # whether rows are written, or deleted; ids

    def write(self, db: reddb.Client, name: str = "docs") -> None:
        """Do the next one."""
        is_upsert = self._random.random() < 0.8
        ids = self._random.sample(range(IDS), self._random.randint(1, 400 if is_upsert else 40))
        number = len(self.writes)
        self.writes.append((is_upsert, ids))
        if is_upsert:
            vectors = np.full((len(ids), DIM), number, np.float32)
            db.upsert(name, ids=ids, vectors=vectors, payloads=[{"n": number}] * len(ids))
        else:
            db.delete(name, ids)

    def states(self, partition: int, partitions: int) -> Iterator[Rows]:
        """What the partition holds after 0, 1, 2, … of the writes."""
        rows: Rows = {}
        yield dict(rows)
        for number, (is_upsert, ids) in enumerate(self.writes):
            places = partition_of(np.array(ids), partitions)
            mine = [row_id for row_id, place in zip(ids, places, strict=True) if place == partition]
            for row_id in mine:
                if is_upsert:
                    rows[row_id] = number
                else:
                    rows.pop(row_id, None)
            yield dict(rows)

    def prefixes(self, found: Rows, partition: int = 0, partitions: int = 1) -> list[int]:
        """After how many writes the partition holds exactly these rows."""
        return [number for number, rows in enumerate(self.states(partition, partitions)) if rows == found]


def create(db: reddb.Client, *, partitions: int = 1, name: str = "docs") -> None:
    settings = f"seal_rows = 1024, partitions = {partitions}"
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM} METRIC l2 FIELDS (n INT, *) WITH ({settings})")


def rows_of(db: reddb.Client, name: str = "docs") -> Rows:
    """All rows, each with the vector that belongs to its number."""
    found = db.execute(f"SELECT id, n, vector FROM {name} LIMIT 10000")
    rows: Rows = {}
    for row_id, number, vector in found:
        assert list(vector) == [number] * DIM
        rows[row_id] = number
    assert len(rows) == len(found)
    return rows


def rows_in(data: Path, name: str = "docs") -> Rows:
    """The same of a folder that nobody has open."""
    with reddb.connect(f"file:{data}") as db:
        return rows_of(db, name)


def of_partition(rows: Rows, partition: int, partitions: int) -> Rows:
    places = partition_of(np.array(list(rows), np.int64), partitions)
    return {row_id: n for (row_id, n), place in zip(rows.items(), places, strict=True) if place == partition}


def backup(data: Path, target: Path, base: Path | None = None) -> list[str]:
    """The lines that it says."""
    lines: list[str] = []
    run_backup(data, target, lines.append, base)
    return lines


def restore(source: Path, data: Path, **where: Any) -> list[str]:
    lines: list[str] = []
    run_restore(source, data, lines.append, **where)
    return lines


def inodes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
