"""What the power-cut model draws from a seed, and the rows that must be there.

Rules: every row is unlike all before it, so an old one that comes back is seen; limits are so small that a few rows
make many files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from reddb import limits
from reddb.partition import encoder
from reddb.partition.operations import Operation
from reddb.types import Collection, Kind
from tests.engine.partitions import collection

DIM = 2
IDS = [*range(30), "a", "bb", "é" * 20]
# Calls that machines die at, and that fail, more often than chance would have it.
OF_THE_LOG = (
    *("sync folder .*/wal ", "(open|extend|remove) .*wal ", "write .*wal ", "write .*wal "),
    *("sync .*[.]wal ", "sync .*[.]wal ", "cut"),
)
OF_JOBS = (
    *("rename", "sync folder .*/0 after rename", "write .*/live", "(open|write|sync) .*/live"),
    *("(create|open|write|remove) .*/segments/", "sync.* .*/segments/"),
)

Operations = list[tuple[Operation, list[Any], int]]  # with the ids and the length of a payload
Row = tuple[tuple[float, ...], dict[str, Any] | None]
Rows = dict[Any, Row]


class Violation(Exception):
    """The partition did what it must not do."""


@dataclass(frozen=True, slots=True)
class State:
    """All rows in the order they came, after the operation with this LSN."""

    lsn: int = 0
    rows: Rows = field(default_factory=dict)

    def after(self, operation: Operation, rows: Rows, gone: Sequence[Any] = ()) -> State:
        """`gone` are the ids that a transaction deletes."""
        kept = {key: row for key, row in self.rows.items() if key not in rows and key not in gone}
        return State(self.lsn + 1, kept if operation is Operation.DELETE else kept | rows)


def draw_collection(random: Random) -> Collection:
    kind = random.choice([Kind.VECTOR, Kind.VECTOR, Kind.VECTOR, Kind.TURBO])
    made = collection(dim=DIM, kind=kind, index="flat", metric=random.choice(["l2", "cosine"]))
    settings = {"seal_rows": random.choice([4, 16, 64]), "segment_rows_max": random.choice([64, 256])}
    return made.with_settings({**settings, "durability": random.choice(["fsync", "fsync", "flush"])})


def draw_limits(random: Random) -> dict[tuple[Any, str], Any]:
    """By module and name."""
    return {
        (limits, "WAL_SEGMENT_BYTES"): random.choice([400, 800]),
        (limits, "WAL_PREALLOCATE_BYTES"): 256,
        (limits, "MERGE_SEGMENTS_MIN"): random.choice([2, 6]),
        (limits, "DEAD_SHARE_MAX"): random.choice([0.2, 0.95]),
        (encoder, "FIT_ROWS"): 32,
    }


def draw_operation(random: Random, state: State) -> tuple[Operation, list[Any], int]:
    operation = random.choice(list(Operation))
    keys = random.sample(IDS, random.choice([1, 1, 1, 1, 2, 2, 2, 4, 4, 8, len(IDS)]))
    if operation is Operation.INSERT and random.random() < 0.9:  # the others are refused, as a rule
        keys = [key for key in keys if key not in state.rows] or keys
    return operation, keys, random.choice([0, 0, 10, 200, 1200 if len(keys) < 8 else 0])


def differences(allowed: list[State], rows: Rows) -> str:
    """What is wrong with the rows, for each state that they might be."""
    parts = []
    for state in allowed:
        missing = [key for key in state.rows if key not in rows]
        more = [key for key in rows if key not in state.rows]
        other = [key for key in rows if key in state.rows and rows[key] != state.rows[key]]
        parts.append(f"LSN {state.lsn}: missing {missing}, too many {more}, different {other}")
    return "rows are none of these: " + "; ".join(parts)
