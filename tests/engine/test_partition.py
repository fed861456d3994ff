"""One partition: what is checked, stored, seen and recovered, and what is left of a write that failed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

import msgpack
import numpy as np
import pytest

from reddb import errors, limits
from reddb.disk import OsDisk
from reddb.partition.operations import Operation
from reddb.partition.writer import Partition
from reddb.rows import RowBatch, make_batch
from reddb.storage.memory import SLOT_ROWS
from reddb.types import SearchOptions
from tests.engine.partitions import FOLDER, Opened, collection, deletion, finish, ids_of
from tests.storage.disks import MemoryDisk

DOCS = collection(dim=2)
AT = {"a": [1.0, 0.0], "b": [2.0, 0.0], "c": [3.0, 0.0], 4: [4.0, 0.0]}


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def opened(disk: MemoryDisk):
    made = Opened(DOCS, disk=disk)
    made.insert(list(AT), list(AT.values()), [{"n": 0}, None, {"n": 2}, None])
    yield made
    made.close()


def contents(opened: Opened) -> dict[object, tuple[list[float], object]]:
    """Every live row by id: vector and payload."""
    view = opened.reader.view()
    rows = view.scan(limits.SCAN_ROWS_MAX)
    plain = [msgpack.unpackb(content) if content else None for content in view.payloads(rows)]
    found = dict(zip(view.row_ids(rows), zip(view.vectors(rows).tolist(), plain, strict=True), strict=True))
    assert len(found) == len(rows) == opened.reader.count()
    return found


def reopened(opened: Opened, disk: MemoryDisk) -> Opened:
    opened.close()
    again = Opened(DOCS, disk=disk)
    opened.close = again.close  # type: ignore[method-assign]
    return again


def nearest_ids(opened: Opened, x: float, k: int = 10) -> list[object]:
    (found,) = opened.reader.search(np.array([[x, 0]], np.float32), SearchOptions(k))
    return ids_of(found)


EXPECTED = {"a": ([1, 0], {"n": 0}), "b": ([2, 0], None), "c": ([3, 0], {"n": 2}), 4: ([4, 0], None)}


def test_inserted_rows_are_there_and_after_reopening_too(opened, disk):
    assert contents(opened) == EXPECTED
    assert nearest_ids(opened, 0) == ["a", "b", "c", 4]
    again = reopened(opened, disk)
    assert contents(again) == EXPECTED
    assert nearest_ids(again, 5) == [4, "c", "b", "a"]
    assert again.partition.wal.torn_tail is None


def test_a_write_counts_its_rows(opened):
    assert opened.insert([10, 11], np.zeros((2, 2))) == 2
    assert opened.upsert([10, 12], np.zeros((2, 2))) == 2
    assert opened.delete([10, 99, 10, "a"]) == 2
    assert opened.delete([10]) == 0
    assert opened.insert([], np.zeros((0, 2))) == 0
    assert opened.reader.count() == 5


def test_an_upsert_replaces_rows_at_once(opened, disk):
    before = opened.reader.view()
    opened.upsert(["b", "new"], [[0.5, 0.0], [9.0, 0.0]], [{"v": 2}, None])
    assert nearest_ids(opened, 0) == ["b", "a", "c", 4, "new"]
    expected = {**EXPECTED, "b": ([0.5, 0], {"v": 2}), "new": ([9, 0], None)}
    assert contents(opened) == expected
    rows = before.scan(100)
    assert before.row_ids(rows) == ["a", "b", "c", 4]
    assert before.vectors(rows).tolist() == list(AT.values())
    assert contents(reopened(opened, disk)) == expected


def test_a_search_under_way_keeps_its_snapshot(opened):
    """Its slices run between writes; what it gives is as of its beginning."""
    steps = opened.reader.search_steps(np.array([[0, 0]] * 3, np.float32), SearchOptions(2, exact=True))
    next(steps)
    opened.upsert(["a"], [[0.0, 0.0]])
    opened.delete(["b"])
    opened.insert(["nearer"], [[0.1, 0.0]])
    assert [ids_of(item) for item in finish(steps)] == [["a", "b"]] * 3
    assert nearest_ids(opened, 0, k=2) == ["a", "nearer"]


def rows_by_id(opened: Opened, ids: list[object]) -> list[list[float] | None]:
    """The vector of each id, None where there is no row."""
    view = opened.reader.view()
    addresses = view.get(ids)
    vectors = iter(view.vectors(addresses[addresses >= 0]).tolist())
    return [next(vectors) if address >= 0 else None for address in addresses.tolist()]


def test_get_finds_the_living(opened):
    assert rows_by_id(opened, ["b", "missing", 4, "b"]) == [[2, 0], None, [4, 0], [2, 0]]
    opened.upsert(["b"], [[7.0, 0.0]])
    opened.delete([4])
    assert rows_by_id(opened, ["b", 4, "4"]) == [[7, 0], None, None]
    opened.insert([4], [[8.0, 0.0]])
    assert rows_by_id(opened, [4]) == [[8, 0]]
    assert rows_by_id(opened, []) == []


def test_an_integer_and_its_text_are_two_ids(opened):
    opened.insert(["4"], [[5.0, 0.0]])
    assert opened.delete(["4"]) == 1
    assert rows_by_id(opened, [4, "4"]) == [[4, 0], None]


def test_scan_pages_through_the_living(opened):
    opened.delete(["b"])
    opened.insert(list(range(100, 110)), np.ones((10, 2)))
    alive = ["a", "c", 4, *range(100, 110)]
    for offset, count in [(0, 0), (0, 1), (1, 2), (2, 100), (13, 5), (500, 5)]:
        view = opened.reader.view()
        assert view.row_ids(view.scan(count, offset)) == alive[offset : offset + count]


@pytest.mark.parametrize(
    ("operation", "batch", "code", "message"),
    [
        (
            Operation.INSERT,
            make_batch([7, "c"], np.zeros((2, 2))),
            errors.DUPLICATE_ID,
            "row 1: id 'c' exists already in 'docs'",
        ),
        (
            Operation.INSERT,
            make_batch([7, 8, 7], np.zeros((3, 2))),
            errors.DUPLICATE_ID,
            "row 2: id 7 stands in row 0 too",
        ),
        (
            Operation.UPSERT,
            make_batch([7, 7], np.zeros((2, 2))),
            errors.DUPLICATE_ID,
            "row 1: id 7 stands in row 0 too",
        ),
        (
            Operation.UPSERT,
            make_batch([7], np.zeros((1, 3))),
            errors.INVALID_DIMENSION,
            "2 dimensions, the vector has 3",
        ),
        (Operation.INSERT, make_batch([7], np.float32([[0, np.nan]])), errors.INVALID_VECTOR, "row 0: coordinate 1"),
        (Operation.INSERT, make_batch([""], np.zeros((1, 2))), errors.INVALID_ID, "row 0"),
        (Operation.DELETE, deletion(["x" * 256]), errors.INVALID_ID, "row 0"),
        (Operation.DELETE, deletion(np.arange(limits.BATCH_ROWS_MAX + 1)), errors.LIMIT_EXCEEDED, "65536 rows"),
    ],
    ids=lambda part: getattr(part, "name", None),
)
def test_a_wrong_batch_is_refused_whole(opened, disk, operation, batch, code, message):
    used = disk.used
    with pytest.raises(errors.RedDBError) as caught:
        opened.write(operation, batch)
    assert caught.value.code is code
    assert message in caught.value.message
    assert opened.partition.take_group() is None
    assert (contents(opened), disk.used) == (EXPECTED, used)


def prepare(opened: Opened, operation: Operation, ids: list[object], x: float = 0.0) -> int:
    batch = deletion(ids) if operation is Operation.DELETE else make_batch(ids, [[x, 0.0]] * len(ids))
    return opened.partition.prepare(operation, batch).result


def test_operations_see_those_before_them_in_the_group(opened, disk):
    insert, upsert, delete = Operation.INSERT, Operation.UPSERT, Operation.DELETE
    assert prepare(opened, insert, ["new"], 1) == 1
    with pytest.raises(errors.RedDBError, match="DUPLICATE_ID"):
        prepare(opened, insert, ["new"], 2)
    assert prepare(opened, delete, ["new", "b"]) == 2
    assert prepare(opened, delete, ["new", "b"]) == 0
    assert prepare(opened, insert, ["b"], 5) == 1
    assert prepare(opened, upsert, ["b"], 6) == 1
    assert prepare(opened, upsert, ["new"], 7) == 1
    assert contents(opened) == EXPECTED  # nothing is seen before it is stored
    opened.commit()
    expected = {**EXPECTED, "b": ([6, 0], None), "new": ([7, 0], None)}
    assert contents(opened) == expected
    assert contents(reopened(opened, disk)) == expected


def test_operations_see_those_of_the_group_that_is_being_written(opened):
    prepare(opened, Operation.INSERT, ["x"], 1)
    prepare(opened, Operation.DELETE, ["a"])
    group = opened.partition.take_group()
    assert opened.partition.take_group() is None  # one at a time
    with pytest.raises(errors.RedDBError, match="DUPLICATE_ID"):
        prepare(opened, Operation.INSERT, ["x"], 2)
    assert prepare(opened, Operation.INSERT, ["a"], 8) == 1
    assert prepare(opened, Operation.DELETE, ["x"]) == 1
    assert opened.partition.take_group() is None
    group.write(opened.partition.wal)
    opened.partition.complete(group)
    assert contents(opened) == {key: row for key, row in EXPECTED.items() if key != "a"} | {"x": ([1, 0], None)}
    opened.commit()
    assert contents(opened) == {**EXPECTED, "a": ([8, 0], None)}
    with pytest.raises(errors.RedDBError, match="DUPLICATE_ID"):
        prepare(opened, Operation.INSERT, ["a"], 2)
    assert prepare(opened, Operation.INSERT, ["x"], 2) == 1
    opened.commit()


@pytest.mark.parametrize("written", [0, 1, 40, 150])
def test_a_write_that_does_not_fit_leaves_nothing(opened, disk, written):
    disk.fail_next("write", errno.ENOSPC, written)
    with pytest.raises(errors.RedDBError) as caught:
        opened.upsert(["a", "z"], [[50.0, 0.0], [51.0, 0.0]], [{"x": "y" * 100}, None])
    assert caught.value.code is errors.DISK_FULL
    assert contents(opened) == EXPECTED
    assert nearest_ids(opened, 50) == [4, "c", "b", "a"]
    assert opened.insert(["z"], [[5.0, 0.0]]) == 1  # its id is free again
    expected = {**EXPECTED, "z": ([5, 0], None)}
    assert contents(opened) == expected
    assert contents(reopened(opened, disk)) == expected


def test_an_aborted_group_takes_what_was_checked_against_it_along(opened, disk):
    first = opened.partition.prepare(Operation.INSERT, make_batch(["x"], [[1.0, 0.0]]))
    group = opened.partition.take_group()
    second = opened.partition.prepare(Operation.DELETE, deletion(["x", "a"]))  # "x" would exist only then
    third = opened.partition.prepare(Operation.INSERT, make_batch(["y"], [[2.0, 0.0]]))
    disk.fail_next("write", errno.ENOSPC)
    with pytest.raises(errors.RedDBError, match="DISK_FULL"):
        group.write(opened.partition.wal)
    assert opened.partition.abort(group) == [first, second, third]
    assert opened.partition.take_group() is None
    assert contents(opened) == EXPECTED
    assert opened.insert(["x", "y"], [[1.0, 0.0], [2.0, 0.0]]) == 2
    assert opened.delete(["a"]) == 1
    assert contents(opened) == contents(reopened(opened, disk))


def test_after_a_failed_sync_nothing_is_taken_until_reopened(opened, disk):
    disk.fail_next("sync", errno.EIO)
    with pytest.raises(errors.RedDBError) as caught:
        opened.insert(["x"], [[1.0, 0.0]])
    assert caught.value.code is errors.DISK_FAILED
    for _ in range(2):
        with pytest.raises(errors.RedDBError, match="until a restart"):
            opened.insert(["y"], [[1.0, 0.0]])
    assert contents(opened) == EXPECTED
    again = reopened(opened, disk)
    assert contents(again) in (EXPECTED, {**EXPECTED, "x": ([1, 0], None)})  # nobody was told either
    assert again.insert(["y"], [[1.0, 0.0]]) == 1


def test_memory_promised_to_a_failed_write_is_free_again(opened, disk):
    """What a slot has room for is given once, to what is stored: 65,536 rows go into one segment."""
    opened.insert(np.arange(100, 65_500), np.zeros((65_400, 2)))
    for _ in range(5):
        disk.fail_next("write", errno.ENOSPC)
        with pytest.raises(errors.RedDBError, match="DISK_FULL"):
            opened.insert(np.arange(70_000, 70_132), np.zeros((132, 2)))
    assert opened.insert(np.arange(70_000, 70_131), np.zeros((131, 2))) == 131
    opened.partition.prepare(Operation.INSERT, make_batch(["one"], np.zeros((1, 2))))
    assert opened.insert(["two"], np.zeros((1, 2))) == 1  # the one on its way has taken the last place
    assert [segment.count for segment in opened.partition.segments] == [SLOT_ROWS, 1]
    assert opened.states() == ["frozen", "growing"]
    assert opened.reader.count() == SLOT_ROWS + 1


def test_a_segment_that_no_row_came_to_is_forgotten(opened, disk):
    """A write that would have begun a segment failed: its slot and its tombstones are free again."""
    opened.insert(np.arange(100, 65_600), np.zeros((65_500, 2)))
    for _ in range(2 * limits.GROWING_SEGMENTS_MAX):
        disk.fail_next("write", errno.ENOSPC)
        with pytest.raises(errors.RedDBError, match="DISK_FULL"):
            opened.insert(np.arange(70_000, 70_100), np.zeros((100, 2)))
    assert opened.states() == ["growing"]
    assert opened.insert(np.arange(70_000, 70_100), np.zeros((100, 2))) == 100
    assert opened.states() == ["frozen", "growing"]
    assert opened.reader.count() == 65_604


def test_writes_wait_when_too_many_segments_do(disk):
    """Nothing seals here: beyond 64 segments nothing is taken, and what is there stays readable."""
    made = Opened(collection(dim=1, seal_rows=1024), disk=disk)
    for first in range(0, 64 * 1024, 1024):
        made.insert(np.arange(first, first + 1024), np.zeros((1024, 1)))
    with pytest.raises(errors.RedDBError, match="64 segments wait to be sealed") as caught:
        made.insert([-1], [[0.0]])
    assert caught.value.code is errors.TOO_MANY_ROWS
    assert made.delete([5]) == 1
    assert made.reader.count() == 64 * 1024 - 1
    made.settle()
    assert made.insert([-1], [[0.0]]) == 1
    assert made.reader.count() == 64 * 1024
    made.close()


def test_power_lost_between_writes_loses_nothing(opened, disk):
    opened.upsert(["b"], [[20.0, 0.0]])
    opened.delete(["a"])
    expected = contents(opened)
    for seed in range(20):
        after = Opened(DOCS, disk=disk.power_loss(Random(seed)))
        assert contents(after) == expected
        after.close()


def test_power_lost_before_the_first_manifest_loses_nothing(opened, disk):
    expected = contents(opened)
    opened.partition.freeze()
    opened.begin(opened.due())
    after = Opened(DOCS, disk=disk.power_loss(Random(1)))
    assert contents(after) == expected
    after.close()


def test_a_log_of_large_segments_is_replayed_into_smaller_ones(disk):
    """Rows that wait to be sealed, and a setting that was changed meanwhile."""
    made = Opened(collection(dim=1), disk=disk)
    for first in range(0, 3 * SLOT_ROWS, 1024):
        made.insert(np.arange(first, first + 1024), np.zeros((1024, 1)))
    made.close()
    again = Opened(collection(dim=1, seal_rows=1024), disk=disk)
    assert again.reader.count() == 3 * SLOT_ROWS
    again.close()


def test_an_unknown_operation_in_the_log_is_another_format(opened, disk):
    body = b"".join(map(bytes, make_batch([1], np.zeros((1, 2))).encode()))
    opened.partition.wal.append([(9, [body])])
    opened.partition.wal.sync()
    with pytest.raises(errors.RedDBError, match="unknown operation 9") as caught:
        Opened(DOCS, disk=disk)
    assert caught.value.code is errors.UNSUPPORTED_FORMAT


def test_a_partition_that_cannot_be_opened_leaves_no_descriptor_behind(opened, disk):
    (name,) = disk.list_folder(FOLDER / "wal")
    disk.content(FOLDER / "wal" / name)[30] ^= 1
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(errors.RedDBError, match="CORRUPT_DATA"):
            Partition.open(disk, FOLDER, DOCS, 0, lambda: 1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_same_on_a_real_folder(tmp_path: Path):
    made = Opened(DOCS, tmp_path, OsDisk())
    made.insert(list(AT), list(AT.values()))
    made.delete(["b"])
    made.close()
    again = Opened(DOCS, tmp_path, OsDisk())
    assert nearest_ids(again, 0) == ["a", "c", 4]
    with pytest.raises(errors.RedDBError, match="DUPLICATE_ID"):
        again.insert([4], [[0.0, 0.0]])
    assert again.insert(["b"], [[0.0, 0.0]]) == 1
    again.close()


def test_a_batch_without_rows_is_nothing(opened, disk):
    used = disk.used
    assert opened.write(Operation.INSERT, RowBatch(np.empty(0, np.int64), np.empty((0, 2), np.float32))) == 0
    assert opened.delete([]) == 0
    assert disk.used == used
