"""The memory that cores share: what a snapshot and its table show, in this process and in others, alive or killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import msgpack
import numpy as np
import pytest

from reddb import errors, limits
from reddb.storage.memory import SLOT_ROWS, PartitionMemory, SegmentEntry, Snapshot
from reddb.storage.ranges import TombstoneRanges
from tests.storage.memories import SHAPE, Growing, visible
from tests.storage.publishing_writer import expected

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0


@pytest.fixture
def rows() -> Iterator[Growing]:
    made = Growing()
    yield made
    made.close()


@pytest.fixture
def memory() -> Iterator[PartitionMemory]:
    made = PartitionMemory.create(SHAPE)
    yield made
    made.close()


@contextmanager
def program(name: str, memory: PartitionMemory) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the memory; killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.storage.{name}", str(memory.descriptor)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[memory.descriptor],
        cwd=ROOT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_nothing_is_there_at_first(memory):
    assert memory.snapshot() == Snapshot(0, 0, 0, 0, 0)
    assert memory.table() == (Snapshot(0, 0, 0, 0, 0), [])


def test_rows_appear_when_they_are_published(rows):
    rows.append([1, 2])
    assert rows.memory.snapshot() == Snapshot(0, 0, 0, 0, 0)
    rows.publish(1)
    assert rows.memory.snapshot() == Snapshot(1, 2, 2, 1, 1)
    rows.append([3])
    assert visible(rows.memory, rows.memory.snapshot()) == [1, 2]
    rows.publish(2)
    assert visible(rows.memory, rows.memory.snapshot()) == [1, 2, 3]


def test_a_replaced_row_stays_at_the_old_snapshot_and_is_gone_at_the_new(rows):
    rows.append(["a", "b"])
    rows.publish(1)
    old = rows.memory.snapshot()
    rows.mark_dead([0], lsn=2)
    rows.append(["a"])
    assert rows.memory.snapshot() == old
    assert visible(rows.memory, old) == ["a", "b"]
    rows.publish(2)
    new = rows.memory.snapshot()
    assert new == Snapshot(2, 2, 3, 1, 1)
    assert visible(rows.memory, old) == ["a", "b"]
    assert visible(rows.memory, new) == ["b", "a"]


def test_each_snapshot_shows_the_rows_that_lived_then(rows):
    """A row a publication, every third deletes the row before it: all old snapshots stay right."""
    seen = []
    alive: list[int] = []
    for lsn in range(1, 40):
        if lsn % 3 == 0:
            rows.mark_dead([lsn - 2], lsn)
            alive = alive[:-1]
        rows.append([lsn])
        alive = [*alive, lsn]
        rows.publish(lsn)
        seen.append((rows.memory.snapshot(), alive))
    for snapshot, ids in seen:
        assert visible(rows.memory, snapshot) == ids
        assert snapshot.live_rows == len(ids)


def test_rows_of_one_publication_may_replace_one_another(rows):
    (first,) = rows.append(["a"])
    rows.mark_dead([first], lsn=2)
    rows.append(["a"])
    rows.publish(2)
    assert rows.memory.snapshot() == Snapshot(2, 1, 2, 1, 1)
    assert visible(rows.memory, rows.memory.snapshot()) == ["a"]
    assert rows.tombstones.live(np.arange(2), 2).tolist() == [False, True]


def test_a_row_dies_once(rows):
    """What is dead already is not counted again, and keeps its LSN."""
    rows.append([1, 2, 3])
    assert rows.tombstones.count == 0
    assert rows.tombstones.mark(np.array([0, 2]), 5) == 2
    assert rows.tombstones.mark(np.array([0, 1]), 6) == 1
    assert rows.tombstones.mark(np.array([], np.int64), 7) == 0
    assert rows.tombstones.count == 3
    assert rows.tombstones.lsn[:3].tolist() == [5, 6, 5]
    assert [rows.tombstones.live(slice(0, 3), lsn).tolist() for lsn in (4, 5, 6)] == [
        [True] * 3,
        [False, True, False],
        [False] * 3,
    ]


def test_lsns_beyond_32_bits_are_kept(rows):
    rows.append([1])
    rows.mark_dead([0], 2**63)
    rows.publish(2**63 - 1)
    assert visible(rows.memory, rows.memory.snapshot()) == [1]
    rows.publish(2**63)
    assert visible(rows.memory, rows.memory.snapshot()) == []


def test_a_table_holds_entries_as_they_were_given(memory):
    large = SegmentEntry(2**40, 2**24, 2**26 - 512, -1, 7)
    entries = [SegmentEntry(1, 0, 0, 0, 0), large, SegmentEntry(3, 5, 6, 63, 0)]
    memory.write_table(1, entries)
    assert memory.table()[1] == []  # nothing has named it
    memory.publish(Snapshot(1, 2, 3, 1, 3))
    assert memory.table() == (Snapshot(1, 2, 3, 1, 3), entries)
    memory.write_table(2, [])
    assert memory.table()[1] == entries
    memory.publish(Snapshot(1, 0, 0, 2, 0))
    assert memory.table()[1] == []


def test_a_table_has_room_for_as_many_segments_as_there_may_be(memory):
    entries = [SegmentEntry(number, number, number, -1, number) for number in range(limits.SEGMENTS_MAX)]
    for generation in (1, 2):
        memory.write_table(generation, entries)
        memory.publish(Snapshot(1, 0, 0, generation, len(entries)))
        assert memory.table()[1] == entries


def test_a_second_mapping_sees_what_is_published(rows):
    second = PartitionMemory(rows.memory.descriptor, SHAPE, writable=False)
    rows.append(["a", 1], [{"n": 1}, None])
    assert second.snapshot() == Snapshot(0, 0, 0, 0, 0)
    rows.publish(5)
    assert second.snapshot() == Snapshot(5, 2, 2, 1, 1)
    assert visible(second, second.snapshot()) == ["a", 1]
    columns = second.slot_columns(rows.slot)
    assert columns.vectors[:2].tolist() == [[0, 0], [1, -1]]
    with pytest.raises(ValueError, match="read-only"):
        columns.vectors[0] = 1


def test_another_process_sees_what_is_published(rows):
    with program("growing_reader", rows.memory) as process:

        def seen() -> dict[str, Any]:
            process.stdin.write("\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        assert seen() == {"snapshot": [0] * 5, "ids": [], "vectors": [], "payloads": []}
        rows.append(["a", 7], [{"n": 1}, None])
        assert seen()["snapshot"] == [0] * 5
        rows.publish(3)
        shown = {"ids": ["a", 7], "vectors": [[0, 0], [1, -1]], "payloads": [msgpack.packb({"n": 1}).hex(), ""]}
        assert seen() == {"snapshot": [3, 2, 2, 1, 1], **shown}
        rows.mark_dead([0], 4)
        rows.append(["a"])
        assert seen() == {"snapshot": [3, 2, 2, 1, 1], **shown}
        rows.publish(4)
        shown = {"ids": [7, "a"], "vectors": [[1, -1], [2, -2]], "payloads": ["", ""]}
        assert seen() == {"snapshot": [4, 2, 3, 1, 1], **shown}
        process.stdin.close()
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("publications", [0, 1, 2])
@pytest.mark.parametrize("written", range(6))
def test_a_writer_that_stops_half_way_leaves_the_old_snapshot_whole(memory, publications, written):
    """The words of the other slot may hold anything before the counter moves: by the layout, not by the class."""
    for generation in range(1, publications + 1):
        snapshot, entries = expected(generation)
        memory.write_table(generation, entries)
        memory.publish(snapshot)
    before = memory.table()
    other = 8 * (16 + 8 * ((publications + 1) % 2))
    os.pwrite(memory.descriptor, b"\xee" * 8 * written, other)
    table_bytes = limits.SEGMENTS_MAX * 5 * 8
    os.pwrite(memory.descriptor, b"\xee" * 400, 4096 + table_bytes * ((publications + 1) % 2))
    assert memory.table() == before == expected(publications)
    snapshot, entries = expected(publications + 1)
    memory.write_table(publications + 1, entries)
    memory.publish(snapshot)
    assert memory.table() == expected(publications + 1)


def test_a_reader_beside_a_writer_sees_whole_generations(memory):
    """Another process publishes as fast as it can: no snapshot and no table is ever a mixture of two."""
    with program("publishing_writer", memory):
        generations: list[int] = []
        deadline = monotonic() + DEADLINE_S
        while len(set(generations)) < 500:
            assert monotonic() < deadline
            snapshot = memory.snapshot()
            assert snapshot == expected(snapshot.generation)[0]
            snapshot, entries = memory.table()
            assert (snapshot, entries) == expected(snapshot.generation)
            generations.append(snapshot.generation)
    assert generations == sorted(generations)


def test_a_killed_writer_leaves_a_whole_generation_and_another_goes_on(memory):
    reached = 0
    for round_ in range(8):
        with program("publishing_writer", memory) as process:
            deadline = monotonic() + DEADLINE_S
            while memory.snapshot().generation < reached + 50 + round_:
                assert monotonic() < deadline
            process.kill()
            process.wait(timeout=30)
        snapshot, entries = memory.table()
        assert (snapshot, entries) == expected(snapshot.generation)
        assert memory.table() == (snapshot, entries)  # and nothing moves any more
        reached = snapshot.generation
    assert reached > 400


def test_a_mapping_of_something_else_is_refused():
    descriptor = os.memfd_create("other")
    os.ftruncate(descriptor, 2**38)
    with pytest.raises(errors.RedDBError, match="unknown layout") as caught:
        PartitionMemory(descriptor, SHAPE, writable=False)
    assert caught.value.code is errors.UNSUPPORTED_FORMAT
    os.close(descriptor)


def taken(memory: PartitionMemory) -> int:
    """Bytes that a page of memory stands behind."""
    return os.fstat(memory.descriptor).st_blocks * 512


def test_reserving_takes_memory_and_being_there_does_not(memory):
    """The address space is huge, so memory must come with the rows."""
    assert os.fstat(memory.descriptor).st_size > 64 * limits.SEGMENT_PAYLOAD_BYTES
    assert taken(memory) < limits.MIB
    memory.reserve_rows(0, 0, 4096)
    after = taken(memory)
    assert 4096 * (4 * SHAPE.dim + SHAPE.code_bytes) < after < 2 * limits.MIB
    memory.reserve_rows(0, 0, 4096)
    assert taken(memory) == after


def test_what_is_released_is_given_back_and_zero(memory):
    before = taken(memory)
    memory.reserve_rows(3, 0, SLOT_ROWS)
    memory.reserve_bytes("payloads", 3, 0, limits.MIB)
    memory.reserve_bytes("id_texts", 3, 0, limits.MIB)
    columns, neighbour = memory.slot_columns(3), memory.slot_columns(4)
    memory.reserve_rows(4, 0, 1)
    columns.vectors[:] = 5
    columns.payloads[: limits.MIB] = 5
    neighbour.vectors[0] = 9
    memory.release_slot(3)
    assert taken(memory) - before < limits.MIB // 4
    assert not columns.vectors.any()
    assert not columns.payloads[: limits.MIB].any()
    assert neighbour.vectors[0].tolist() == [9, 9]


def test_ranges_of_tombstones_do_not_overlap_and_are_used_again(memory):
    ranges = TombstoneRanges(memory)
    first, second, third = (ranges.take(rows) for rows in (511, 512, 1))  # 1, 2 and 1 pages with their counts
    assert (first, second, third) == (0, 512, 1536)
    memory.reserve_tombstones(second, 0, 513)
    memory.tombstones(second, 512).mark(np.arange(512), 9)
    ranges.give_back(second, 512)
    again = ranges.take(1023)
    assert again == second
    assert memory.tombstones(again, 1023).count == 0
    assert not memory.tombstones(again, 1023).lsn.any()
    for start, rows in ((first, 511), (third, 1), (again, 1023)):
        ranges.give_back(start, rows)
    assert ranges.take(2000) == 0  # the neighbours are one again


def test_tombstones_end(memory):
    ranges = TombstoneRanges(memory)
    ranges.take(limits.PARTITION_ROWS_MAX - 600)
    with pytest.raises(errors.RedDBError, match="room for 67108864 rows") as caught:
        ranges.take(600)
    assert caught.value.code is errors.LIMIT_EXCEEDED
    ranges.take(511)
