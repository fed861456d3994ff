"""Growing rows in shared memory: what a snapshot shows, in this process and in another, and where they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from reddb import errors, limits
from reddb.rows import make_batch
from reddb.storage.growing import GrowingRows, GrowingShape, GrowingWriter, Snapshot

SHAPE = GrowingShape(dim=2, code_bytes=16, codec_bytes=64)


@pytest.fixture
def rows():
    made = GrowingRows.create(SHAPE)
    yield made
    made.close()


@pytest.fixture
def writer(rows: GrowingRows) -> GrowingWriter:
    return GrowingWriter(rows)


def append(writer: GrowingWriter, ids: list[Any], payloads: list[Any] | None = None) -> list[int]:
    """Rows whose vectors hold their row numbers."""
    numbers = np.arange(writer.count, writer.count + len(ids), dtype=np.float32)
    batch = make_batch(ids, np.stack([numbers, -numbers], axis=1), payloads)
    writer.reserve(len(ids), batch.id_text_bytes(), len(batch.payloads.content) if batch.payloads else 0)
    return writer.append(batch, np.ones(len(ids))).tolist()


def visible(rows: GrowingRows, snapshot: Snapshot) -> list[Any]:
    numbers = np.arange(snapshot.rows)
    return rows.row_ids(numbers[rows.live(numbers, snapshot)])


def test_nothing_is_there_at_first(rows):
    assert rows.snapshot() == Snapshot(0, 0, 0)


def test_rows_appear_when_they_are_published(rows, writer):
    append(writer, [1, 2])
    assert rows.snapshot() == Snapshot(0, 0, 0)
    writer.publish(1)
    assert rows.snapshot() == Snapshot(1, 2, 2)
    append(writer, [3])
    assert visible(rows, rows.snapshot()) == [1, 2]
    writer.publish(2)
    assert visible(rows, rows.snapshot()) == [1, 2, 3]


def test_a_replaced_row_stays_at_the_old_snapshot_and_is_gone_at_the_new(rows, writer):
    append(writer, ["a", "b"])
    writer.publish(1)
    old = rows.snapshot()
    writer.mark_dead([0], lsn=2)
    append(writer, ["a"])
    assert rows.snapshot() == old
    assert visible(rows, old) == ["a", "b"]
    writer.publish(2)
    new = rows.snapshot()
    assert new == Snapshot(2, 3, 2)
    assert visible(rows, old) == ["a", "b"]
    assert visible(rows, new) == ["b", "a"]


def test_each_snapshot_shows_the_rows_that_lived_then(rows, writer):
    """A row a publication, every third deletes the row before it: all old snapshots stay right."""
    expected = []
    alive: list[int] = []
    for lsn in range(1, 40):
        if lsn % 3 == 0:
            writer.mark_dead([lsn - 2], lsn)
            alive = alive[:-1]
        append(writer, [lsn])
        alive = [*alive, lsn]
        writer.publish(lsn)
        expected.append((rows.snapshot(), alive))
    for snapshot, ids in expected:
        assert visible(rows, snapshot) == ids
        assert snapshot.live_rows == len(ids)


def test_rows_of_one_publication_may_replace_one_another(rows, writer):
    (first,) = append(writer, ["a"])
    writer.mark_dead([first], lsn=2)
    append(writer, ["a"])
    writer.publish(2)
    assert rows.snapshot() == Snapshot(2, 2, 1)
    assert visible(rows, rows.snapshot()) == ["a"]
    assert rows.live(np.arange(2), rows.snapshot()).tolist() == [False, True]


def test_a_deletion_without_rows_is_published(rows, writer):
    append(writer, [1])
    writer.publish(1)
    writer.mark_dead([], lsn=2)
    writer.mark_dead([0], lsn=2)
    writer.publish(2)
    assert rows.snapshot() == Snapshot(2, 1, 0)


def test_lsns_beyond_32_bits_are_kept(rows, writer):
    append(writer, [1])
    writer.mark_dead([0], 2**63)
    writer.publish(2**63 - 1)
    before = rows.snapshot()
    assert visible(rows, before) == [1]
    writer.publish(2**63)
    assert visible(rows, rows.snapshot()) == []


IDS = [0, -1, limits.ID_INT_MIN, limits.ID_INT_MAX, "a", "é" * 127 + "x", "0", "😀", 0xFFFF]
PAYLOADS = [None, {"a": 1}, {}, {"text": "x" * 60_000}, None, {"é": [1, None]}, {"b": 2.5}, None, {"last": True}]


def test_ids_and_payloads_survive(rows, writer):
    for first in (0, 3, 6):  # several batches, some of integers alone, some mixed
        append(writer, IDS[first : first + 3], PAYLOADS[first : first + 3])
    writer.publish(1)
    assert rows.row_ids(np.arange(9)) == IDS
    assert [rows.row_id(row) for row in range(9)] == IDS
    assert rows.row_ids(np.array([8, 0, 5, 5])) == [IDS[8], IDS[0], IDS[5], IDS[5]]
    stored = [rows.payload(row) for row in range(9)]
    assert [msgpack.unpackb(content) if content else None for content in stored] == [item or None for item in PAYLOADS]


def test_integer_ids_stay_an_array(rows, writer):
    append(writer, [1, 2, "x"])
    assert isinstance(rows.id_column(np.array([0, 1])), np.ndarray)
    assert isinstance(rows.id_column(np.array([], np.int64)), np.ndarray)
    assert rows.id_column(np.array([0, 2])) == [1, "x"]


def test_a_second_mapping_sees_what_is_published(rows, writer):
    second = GrowingRows(rows.descriptor, SHAPE, writable=False)
    append(writer, ["a", 1], [{"n": 1}, None])
    assert second.snapshot() == Snapshot(0, 0, 0)
    writer.publish(5)
    assert second.snapshot() == Snapshot(5, 2, 2)
    assert visible(second, second.snapshot()) == ["a", 1]
    assert second.vectors[:2].tolist() == [[0, 0], [1, -1]]
    with pytest.raises(ValueError, match="read-only"):
        second.vectors[0] = 1


def test_another_process_sees_what_is_published(rows, writer):
    program = Path(__file__).with_name("growing_reader.py")
    arguments = [sys.executable, str(program), str(rows.descriptor), str(SHAPE.dim)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[rows.descriptor], text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def seen() -> dict[str, Any]:
            process.stdin.write("\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        assert seen() == {"snapshot": [0, 0, 0], "ids": [], "vectors": [], "payloads": []}
        append(writer, ["a", 7], [{"n": 1}, None])
        assert seen()["snapshot"] == [0, 0, 0]
        writer.publish(3)
        expected = {"ids": ["a", 7], "vectors": [[0, 0], [1, -1]], "payloads": [msgpack.packb({"n": 1}).hex(), ""]}
        assert seen() == {"snapshot": [3, 2, 2], **expected}
        writer.mark_dead([0], 4)
        append(writer, ["a"])
        assert seen() == {"snapshot": [3, 2, 2], **expected}
        writer.publish(4)
        assert seen() == {"snapshot": [4, 3, 2], "ids": [7, "a"], "vectors": [[1, -1], [2, -2]], "payloads": ["", ""]}
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_a_mapping_of_something_else_is_refused():
    descriptor = os.memfd_create("other")
    os.ftruncate(descriptor, 2**38)
    with pytest.raises(errors.RedDBError, match="another layout") as caught:
        GrowingRows(descriptor, SHAPE, writable=False)
    assert caught.value.code is errors.CORRUPT_DATA
    os.close(descriptor)


@pytest.fixture
def few_rows(monkeypatch):
    monkeypatch.setattr(limits, "SEGMENT_ROWS", 4096)
    monkeypatch.setattr(limits, "GROWING_ROWS_MAX", 8192)
    monkeypatch.setattr(limits, "GROWING_ARENA_BYTES", 2 * limits.MIB)


@pytest.mark.usefixtures("few_rows")
def test_rows_beyond_the_limit_are_refused_and_nothing_has_changed():
    rows = GrowingRows.create(SHAPE)
    writer = GrowingWriter(rows)
    append(writer, list(range(8000)))
    writer.publish(1)
    with pytest.raises(errors.RedDBError, match="at most 8192") as caught:
        writer.reserve(193, 0, 0)
    assert caught.value.code is errors.LIMIT_EXCEEDED
    append(writer, list(range(8000, 8192)))
    writer.publish(2)
    assert visible(rows, rows.snapshot()) == list(range(8192))
    assert rows.vectors[8191].tolist() == [8191, -8191]
    rows.close()


@pytest.mark.usefixtures("few_rows")
def test_payloads_beyond_the_limit_are_refused():
    rows = GrowingRows.create(SHAPE)
    writer = GrowingWriter(rows)
    for _ in range(2):
        with pytest.raises(errors.RedDBError, match="payloads of a partition take at most 2097152 bytes") as caught:
            writer.reserve(1, 0, 2 * limits.MIB + 1)
        assert caught.value.code is errors.LIMIT_EXCEEDED
    writer.reserve(1, 0, 2 * limits.MIB)
    append(writer, [1], [{"a": "x" * 1000}])
    assert msgpack.unpackb(rows.payload(0)) == {"a": "x" * 1000}
    rows.close()


def test_reserving_takes_memory_and_being_there_does_not(rows, writer):
    """The address space is huge, so memory must come with the rows."""
    before = os.fstat(rows.descriptor)
    assert before.st_size > limits.GROWING_ARENA_BYTES
    assert before.st_blocks * 512 < limits.MIB
    writer.reserve(4096, 0, 0)
    after = os.fstat(rows.descriptor).st_blocks * 512
    assert 4096 * 4 * SHAPE.dim < after < 16 * limits.MIB
    writer.reserve(4096, 0, 0)
    assert os.fstat(rows.descriptor).st_blocks * 512 == after
