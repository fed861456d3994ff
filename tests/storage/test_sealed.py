"""Sealed segments: rows of growing and sealed segments written as files, and read as they were."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reddb import errors, limits
from reddb.disk import Disk, OsDisk
from reddb.fields import unpack_payload
from reddb.rows import RowBatch, make_batch
from reddb.storage.sealed import FILTERS, IDS, PAYLOADS, VECTORS, SealedSegment, write_segment
from reddb.storage.segment_rows import INT_ID, Columns
from reddb.types import Collection, Kind, Metric
from tests.storage.disks import MemoryDisk

FOLDER = Path("/segments/4")
DOCS = Collection(9, "docs", Kind.VECTOR, 3, Metric.L2, {})
FILES = [VECTORS, IDS, PAYLOADS, FILTERS]

INTS = [0, -1, 1, limits.ID_INT_MIN, limits.ID_INT_MAX, 2**32, -(2**32), 0xFFFF]
TEXTS = ["a", "é" * 127 + "x", "😀" * 63 + "abc", "0", "-1", "z" * 255, "\0", "a\nb"]
NESTED = {"a": [1, None], "b": {"c": True}}
PAYLOAD_ROWS: list[Any] = [None, {"n": 1}, {}, {"t": "x" * 600}, NESTED, None, {"n": 2.5}]


def columns_of(batch: RowBatch) -> Columns:
    """The batch as columns in plain memory."""
    ids = batch.id_list()
    texts = [b"" if isinstance(row_id, int) else row_id.encode() for row_id in ids]
    starts = np.cumsum([0, *map(len, texts)])
    payloads = [b""] * len(ids) if batch.payloads is None else batch.payloads.split()
    ends = np.cumsum([0, *map(len, payloads)])
    return Columns(
        id=np.array([i if isinstance(i, int) else at for i, at in zip(ids, starts.tolist(), strict=False)], np.int64),
        id_bytes=np.array([INT_ID if isinstance(i, int) else len(i.encode()) for i in ids], np.uint16),
        id_texts=np.frombuffer(b"".join(texts), np.uint8),
        inverse_norm=np.arange(len(ids), dtype=np.float64) / 7,
        vectors=batch.vectors,
        payload_start=ends[:-1].astype(np.uint64),
        payload_bytes=np.array([len(item) for item in payloads], np.uint32),
        payloads=np.frombuffer(b"".join(payloads), np.uint8),
    )


def batch_of(ids: list[Any], seed: int = 0) -> RowBatch:
    payloads = [PAYLOAD_ROWS[number % len(PAYLOAD_ROWS)] for number in range(len(ids))]
    vectors = np.random.default_rng(seed).standard_normal((len(ids), 3), np.float32)
    return make_batch(ids, vectors, payloads)


def sealed(disk: Disk, rows: int, folder: Path = FOLDER, *, verify: bool = True) -> SealedSegment:
    return SealedSegment(disk, folder, DOCS, 2, 4, rows, verify=verify)


def write(disk: Disk, parts: list[tuple[Columns, np.ndarray]], folder: Path = FOLDER) -> None:
    write_segment(disk, folder, DOCS, 2, 4, parts)


def assert_same(found: SealedSegment, chosen: list[tuple[RowBatch, np.ndarray]]) -> None:
    """Every row of the segment is the chosen row, and is found by its id."""
    ids = [batch.id_list()[row] for batch, rows in chosen for row in rows.tolist()]
    assert found.rows == len(ids)
    assert found.columns.row_ids(np.arange(len(ids))) == ids
    vectors = np.concatenate([np.empty((0, 3), np.float32), *(batch.vectors[rows] for batch, rows in chosen)])
    assert found.columns.vectors.tobytes() == vectors.tobytes()
    norms = np.concatenate([np.empty(0), *(rows / 7 for _, rows in chosen)])
    assert found.columns.inverse_norm.tolist() == norms.tolist()
    payloads = [batch.payloads.split()[row] for batch, rows in chosen for row in rows.tolist()]
    assert [found.columns.payload(row) for row in range(len(ids))] == payloads
    assert found.find(ids, found.rows).tolist() == list(range(len(ids)))
    assert found.payload_columns().rows == len(ids)


@pytest.mark.parametrize(
    "ids", [INTS, TEXTS, INTS + TEXTS, TEXTS[:1], INTS[3:4], list(range(-500, 500)), []], ids=lambda ids: str(len(ids))
)
def test_rows_come_back_as_they_were(ids):
    disk = MemoryDisk()
    batch = batch_of(ids)
    every = np.arange(len(ids))
    write(disk, [(columns_of(batch), every)])
    for verify in (False, True):
        assert_same(sealed(disk, len(ids), verify=verify), [(batch, every)])


def test_the_same_on_the_real_disk(tmp_path):
    batch = batch_of(INTS + TEXTS)
    write(OsDisk(), [(columns_of(batch), np.arange(16))], tmp_path / "4")
    assert_same(sealed(OsDisk(), 16, tmp_path / "4"), [(batch, np.arange(16))])
    assert sorted(path.name for path in (tmp_path / "4").iterdir()) == sorted(FILES)


def test_chosen_rows_of_several_parts_become_one_segment():
    """As in a merge: dead rows are left out, and one of the parts is sealed itself."""
    disk = MemoryDisk()
    first, second, third = batch_of([*range(100), *TEXTS], 1), batch_of([*range(200, 5300)], 2), batch_of(["last"], 3)
    some = np.array([0, 3, 99, 100, 104, 107])
    write(disk, [(columns_of(first), some), (columns_of(second), np.arange(0, 5100, 2))])
    old = sealed(disk, 6 + 2550)
    assert_same(old, [(first, some), (second, np.arange(0, 5100, 2))])
    folder = FOLDER.with_name("5")
    kept = np.array([1, 2, 5, 2000])
    none = np.empty(0, np.int64)
    write(disk, [(old.columns, kept), (columns_of(first), none), (columns_of(third), np.arange(1))], folder)
    found = sealed(disk, 5, folder)
    assert found.columns.row_ids(np.arange(5)) == [3, 99, TEXTS[7], second.id_list()[2 * (2000 - 6)], "last"]
    assert found.columns.vectors[:4].tobytes() == old.columns.vectors[kept].tobytes()
    assert [found.columns.payload(row) for row in range(4)] == [old.columns.payload(row) for row in kept.tolist()]
    assert found.find([3, 0, "last", TEXTS[0], TEXTS[7]], 5).tolist() == [0, -1, 4, -1, 2]


def test_what_is_not_there_is_not_found():
    disk = MemoryDisk()
    write(disk, [(columns_of(batch_of(INTS + TEXTS)), np.arange(16))])
    found = sealed(disk, 16)
    missing = [2, -2, limits.ID_INT_MAX - 1, limits.ID_INT_MIN + 1, "b", "z" * 254, "1", "é" * 127]
    assert found.find(missing, 16).tolist() == [-1] * len(missing)
    assert found.find(["0", 0, -1, "-1"], 16).tolist() == [11, 0, 1, 12]
    assert found.find([], 16).tolist() == []


def test_in_a_segment_without_rows_nothing_is_found():
    disk = MemoryDisk()
    write(disk, [])
    assert sealed(disk, 0).find([0, 1, "a"], 0).tolist() == [-1, -1, -1]


def test_of_rows_with_one_id_the_newest_is_found():
    """Rows that were replaced lie in the segment with the row that replaced them."""
    disk = MemoryDisk()
    ids = [7, "a", 7, 8, "a", 7]
    batch = make_batch(ids, np.zeros((6, 3)), [None] * 6)
    write(disk, [(columns_of(batch), np.arange(6))])
    assert sealed(disk, 6).find([7, "a", 8], 6).tolist() == [5, 4, 3]


@given(st.lists(st.integers(limits.ID_INT_MIN, limits.ID_INT_MAX) | st.text(min_size=1, max_size=60), unique=True))
@settings(max_examples=50)
def test_any_ids_are_found(ids):
    disk = MemoryDisk()
    batch = batch_of(ids)
    write(disk, [(columns_of(batch), np.arange(len(ids)))])
    found = sealed(disk, len(ids))
    assert found.columns.row_ids(np.arange(len(ids))) == ids
    shuffled = Random(1).sample(range(len(ids)), len(ids))
    assert found.find([ids[row] for row in shuffled], len(ids)).tolist() == shuffled


def test_payloads_are_columns_too():
    disk = MemoryDisk()
    batch = batch_of(list(range(14)))
    write(disk, [(columns_of(batch), np.arange(14))])
    found = sealed(disk, 14)
    families = found.payload_columns().families("n").values()
    by_row = [unpack_payload(found.columns.payload(row)).get("n") for row in range(14)]
    rows = zip(*(array.to_pylist() for array in families), strict=True)
    merged = [next((value for value in row if value is not None), None) for row in rows]
    assert merged == by_row
    assert found.payload_columns() is found.payload_columns()


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_cut_or_missing_file_is_named(name):
    disk = MemoryDisk()
    write(disk, [(columns_of(batch_of(INTS + TEXTS)), np.arange(16))])
    whole = bytes(disk.content(FOLDER / name))
    for content in (b"", whole[:-1], whole[8:], b"\xff" + whole[1:], whole[:-1] + bytes([whole[-1] ^ 1])):
        disk.put(FOLDER / name, content)
        with pytest.raises(errors.RedDBError) as caught:
            sealed(disk, 16)
        assert caught.value.code is errors.CORRUPT_DATA
        assert caught.value.detail == {"path": str(FOLDER / name)}
    disk.remove_file(FOLDER / name)
    with pytest.raises(errors.RedDBError, match=name.replace(".", r"\.")):
        sealed(disk, 16)


def test_files_of_another_segment_are_refused():
    disk = MemoryDisk()
    write(disk, [(columns_of(batch_of(INTS)), np.arange(8))])
    for partition, segment, rows in ((1, 4, 8), (2, 5, 8), (2, 4, 7)):
        with pytest.raises(errors.RedDBError, match="is expected"):
            SealedSegment(disk, FOLDER, DOCS, partition, segment, rows, verify=False)


def test_nothing_of_a_written_segment_is_lost_with_the_power():
    batch = batch_of(INTS + TEXTS)
    for seed in range(10):
        disk = MemoryDisk()
        write(disk, [(columns_of(batch), np.arange(16))])
        assert_same(sealed(disk.power_loss(Random(seed)), 16), [(batch, np.arange(16))])
