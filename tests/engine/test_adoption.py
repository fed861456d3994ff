"""What a dead owner left is adopted only if it is what files and log say; otherwise the rows are read from the log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reddb.partition.codec_block import CodecBlock
from reddb.partition.writer import Partition
from reddb.storage.growing import GrowingSegment
from reddb.storage.segment_rows import Columns
from tests.engine.lives import EPOCH, START_US
from tests.engine.partitions import collection
from tests.engine.successors import MortalLife

DIM = 4
SOON = EPOCH + timedelta(microseconds=START_US + 10**12)


def lived(folder: Path) -> MortalLife:
    """A sealed segment, one that waits to be sealed and one that grows; rows of each were replaced and deleted."""
    life = MortalLife(collection(dim=DIM, seal_rows=2048, metric="cosine"), folder)
    numbers = list(range(1900))
    vectors = np.random.default_rng(1).normal(size=(1900, DIM))
    life.insert(numbers[:700], vectors[:700], [{"n": number} for number in numbers[:700]])
    life.seal()
    for first in range(700, 1900, 100):
        ids: list[Any] = [f"é{number}" if number % 3 else number for number in range(first, first + 100)]
        life.insert(
            ids, vectors[first : first + 100], [{"n": 1, "expires_at": SOON} if n % 7 else {} for n in range(100)]
        )
    life.freeze()
    life.upsert([3, 705, "é1000"], vectors[:3])
    life.delete([4, 5, 708, "é1001"])
    life.encode()
    return life


def growing(owner: Partition, place: int) -> tuple[Columns, Any]:
    segment = owner.segments[place]
    assert isinstance(segment.rows, GrowingSegment)
    return owner.memory.slot_columns(segment.rows.slot), segment.tombstones.lsn


def _set(place: int, name: str, row: int, value: int) -> Callable[[Partition], None]:
    def damage(owner: Partition) -> None:
        getattr(growing(owner, place)[0], name)[row] = value

    return damage


def _kill(place: int, row: int) -> Callable[[Partition], None]:
    def damage(owner: Partition) -> None:
        owner.segments[place].tombstones.lsn[row] = owner.lsn

    return damage


def _revive(owner: Partition) -> None:
    deaths = owner.segments[0].tombstones.lsn
    deaths[np.flatnonzero(deaths)[0]] = 0


def _expire(owner: Partition) -> None:
    segment = owner.segments[1]
    assert isinstance(segment.rows, GrowingSegment)
    owner.memory.slot_expiries(segment.rows.slot)[1] += 1


def test_all_that_is_right_is_adopted_and_goes_on(tmp_path):
    life = lived(tmp_path / "p")
    segments = [(segment.id, segment.count) for segment in life.owner.segments]
    slot = life.owner.segments[1].entry.slot
    block = CodecBlock(life.owner.memory.codec[slot], DIM)
    encoded = block.encoded, block.needed, block.generation
    assert block.encoded >= 1024
    for _ in range(2):
        assert life.succeed()
        life.check()
        assert [(segment.id, segment.count) for segment in life.owner.segments] == segments
    assert (block.encoded, block.needed, block.generation) == encoded, "codes that were measured stay"
    life.upsert([1, 706, "new"], np.ones((3, DIM)), [{}, {"n": 2, "expires_at": SOON}, {"n": 3}])
    life.check()
    life.settle()
    assert life.succeed()
    life.compact()
    life.check()
    life.restart()
    life.check()
    life.close()


@pytest.mark.parametrize(
    "damage",
    [
        _set(1, "id", 3, 7),
        _set(1, "id_bytes", 1, 2),
        _set(1, "id_texts", 9, 255),
        _set(1, "vectors", 99, 3),
        _set(2, "vectors", 2, 3),
        _set(1, "inverse_norm", 0, 3),
        _set(1, "payload_start", 1, 3),
        _set(1, "payload_bytes", 7, 3),
        _set(1, "payloads", 2, 0),
        _kill(0, 100),
        _kill(1, 100),
        _revive,
        _expire,
    ],
)
def test_what_differs_is_not(tmp_path, damage):
    life = lived(tmp_path / "p")
    damage(life.owner)
    assert not life.succeed()
    life.check()
    life.close()


def test_a_log_that_ends_before_is_not_what_was_written(tmp_path):
    life = lived(tmp_path / "p")
    snapshot = life.owner.memory.snapshot()
    life.owner.memory.publish(snapshot._replace(lsn=snapshot.lsn + 1))
    assert not life.succeed()
    life.check()
    life.close()
