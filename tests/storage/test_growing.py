"""Growing segments: rows are appended to slots of the memory, found by id, and where slots end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import pytest

from reddb import errors, limits
from reddb.rows import RowBatch, make_batch
from reddb.storage.growing import Extent, GrowingSegment
from reddb.storage.memory import SLOT_ROWS
from tests.storage.memories import SHAPE, Growing, extent_of


@pytest.fixture
def rows() -> Iterator[Growing]:
    made = Growing()
    yield made
    made.close()


IDS = [0, -1, limits.ID_INT_MIN, limits.ID_INT_MAX, "a", "é" * 127 + "x", "0", "😀", 0xFFFF]
PAYLOADS = [None, {"a": 1}, {}, {"text": "x" * 60_000}, None, {"é": [1, None]}, {"b": 2.5}, None, {"last": True}]


def test_ids_and_payloads_survive(rows):
    for first in (0, 3, 6):  # several batches, some of integers alone, some mixed
        rows.append(IDS[first : first + 3], PAYLOADS[first : first + 3])
    columns = rows.columns
    assert columns.row_ids(np.arange(9)) == IDS
    assert [columns.row_id(row) for row in range(9)] == IDS
    assert columns.row_ids(np.array([8, 0, 5, 5])) == [IDS[8], IDS[0], IDS[5], IDS[5]]
    assert columns.vectors[:9].tolist() == [[row, -row] for row in range(9)]
    stored = [columns.payload(row) for row in range(9)]
    assert [msgpack.unpackb(content) if content else None for content in stored] == [item or None for item in PAYLOADS]


def test_integer_ids_stay_an_array(rows):
    rows.append([1, 2, "x"])
    assert isinstance(rows.columns.id_column(np.array([0, 1])), np.ndarray)
    assert isinstance(rows.columns.id_column(np.array([], np.int64)), np.ndarray)
    assert rows.columns.id_column(np.array([0, 2])) == [1, "x"]


def test_a_row_is_found_by_its_id(rows):
    rows.append(IDS)
    rows.append(["a", 7])  # a later row of an id takes the place of the earlier one
    segment = GrowingSegment(rows.memory, rows.slot)
    assert segment.find(IDS, 9).tolist() == list(range(9))
    assert segment.find(["a", 7, "7", "nope", "a", 65536], 11).tolist() == [9, 10, -1, -1, 9, -1]
    assert segment.find([], 11).tolist() == []
    assert GrowingSegment(rows.memory, rows.slot).find(["a", 7], 0).tolist() == [-1, -1]


def batch_of(count: int, first: int = 0) -> RowBatch:
    return make_batch(np.arange(first, first + count), np.full((count, 2), first, np.float32))


def put(rows: Growing, batch: RowBatch) -> int:
    """Reserve and append; the slot."""
    slot = rows.writer.reserve(extent_of(batch))
    rows.writer.append(slot, batch, np.ones(len(batch)))
    return slot


def test_a_batch_lies_whole_in_one_slot(rows):
    """One row more than there is room for goes to the next slot, and the rest stays empty."""
    assert [put(rows, batch_of(count)) for count in (65_000, 536, 1, 65_535, 1)] == [0, 0, 1, 1, 2]
    assert rows.memory.slot_columns(0).vectors.shape == (SLOT_ROWS, 2)


def test_a_slot_ends_at_the_rows_of_the_setting():
    rows = Growing(seal_rows=100)
    # Bounded is where a batch may begin, so that a large one need not be split.
    assert [put(rows, batch_of(count)) for count in (99, 50, 1, 100, 200, 3)] == [0, 0, 1, 1, 2, 3]
    rows.close()


def test_payloads_end_a_slot(rows):
    half = limits.SEGMENT_PAYLOAD_BYTES // 2
    assert [rows.writer.reserve(Extent(1, 0, size)) for size in (half, half, 1, half)] == [0, 0, 1, 1]


def test_payloads_that_fit_no_slot_are_refused(rows):
    for _ in range(2):
        with pytest.raises(errors.RedDBError, match="payloads of a batch take at most 268435456 bytes") as caught:
            rows.writer.reserve(Extent(1, 0, limits.SEGMENT_PAYLOAD_BYTES + 1))
        assert caught.value.code is errors.LIMIT_EXCEEDED
    rows.append([1], [{"a": "x" * 1000}])
    assert rows.slot == 0
    assert msgpack.unpackb(rows.columns.payload(0)) == {"a": "x" * 1000}


def test_ids_of_full_length_fit_a_full_slot(rows):
    ids = [f"{number:0255d}" for number in range(SLOT_ROWS)]
    assert put(rows, make_batch(ids, np.zeros((SLOT_ROWS, 2)))) == 0
    columns = rows.memory.slot_columns(0)
    assert [columns.row_id(row) for row in (0, 40_000, SLOT_ROWS - 1)] == [ids[0], ids[40_000], ids[-1]]


def test_what_is_reserved_is_kept_for_its_batch(rows):
    """Batches are reserved ahead of their writing, and appended in the same order."""
    batches = [batch_of(40_000), batch_of(25_000, 40_000), batch_of(600, 65_000), batch_of(10, 70_000)]
    slots = [rows.writer.reserve(extent_of(batch)) for batch in batches]
    assert slots == [0, 0, 1, 1]
    places = [rows.writer.append(slot, item, np.ones(len(item))) for slot, item in zip(slots, batches, strict=True)]
    assert places == [(0, 40_000), (40_000, 65_000), (0, 600), (600, 610)]


def test_what_was_reserved_and_does_not_come_is_taken_back(rows):
    """The room of the open slot, and the slots that would have come: more often than there are slots."""
    put(rows, batch_of(10))
    for _ in range(3):
        assert rows.writer.reserve(Extent(SLOT_ROWS - 10, 0, 0)) == 0
        rows.writer.take_back()
    for _ in range(3 * limits.GROWING_SEGMENTS_MAX):
        beyond = rows.writer.reserve(Extent(SLOT_ROWS, 0, 0))
        assert beyond != 0
        rows.writer.take_back()
        with pytest.raises(KeyError):
            rows.writer.tombstones_at(beyond)
    assert rows.writer.append(rows.writer.reserve(Extent(3, 0, 0)), batch_of(3), np.ones(3)) == (0, 3)


def test_after_a_freeze_rows_go_to_a_new_slot(rows):
    assert put(rows, batch_of(10)) == 0
    rows.writer.freeze()
    assert put(rows, batch_of(10)) == 1
    assert put(rows, batch_of(10)) == 1
    assert rows.writer.tombstones_at(0) != rows.writer.tombstones_at(1)


def test_slots_that_are_free_are_used_again_and_empty(rows):
    payload: list[Any] = [{"a": "x" * 100}]
    for number in range(3 * limits.GROWING_SEGMENTS_MAX):
        batch = make_batch([f"row {number}"], [[number, number]], payload)
        slot = put(rows, batch)
        columns = rows.memory.slot_columns(slot)
        assert columns.row_id(0) == f"row {number}"
        assert columns.vectors[:2].tolist() == [[number, number], [0, 0]]
        assert columns.payload(0) == batch.payloads.split()[0]
        assert GrowingSegment(rows.memory, slot).find([f"row {number}", f"row {number - 1}"], 1).tolist() == [0, -1]
        rows.writer.freeze()
        rows.ranges.give_back(rows.writer.tombstones_at(slot), SLOT_ROWS)
        rows.writer.free(slot)


def test_slots_end_and_a_free_one_is_enough(rows):
    for _ in range(limits.GROWING_SEGMENTS_MAX):
        last = put(rows, batch_of(1))
        rows.writer.freeze()
    for _ in range(2):
        with pytest.raises(errors.RedDBError, match="64 segments wait to be sealed") as caught:
            rows.writer.reserve(Extent(1, 0, 0))
        assert caught.value.code is errors.TOO_MANY_ROWS
    rows.writer.free(last)
    assert put(rows, batch_of(1)) == last


def test_memory_comes_with_the_rows(rows):
    """A small collection stays small: as much again is taken as there is."""

    def taken() -> int:
        return os.fstat(rows.memory.descriptor).st_blocks * 512

    empty = taken()
    put(rows, batch_of(1))
    assert taken() - empty < limits.MIB // 4
    put(rows, batch_of(20_000))
    assert 20_000 * (4 * SHAPE.dim + SHAPE.code_bytes + 30) < taken() < 3 * limits.MIB
