"""Indexes of fields as files: every row at its value, and no damage unseen."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reddb import errors
from reddb.rows import make_batch
from reddb.storage.field_index import FieldIndexes, Ordered, open_field_indexes, write_field_indexes
from reddb.storage.sealed import SealedSegment, write_segment
from reddb.types import Collection, Kind, Metric
from tests.storage.disks import MemoryDisk
from tests.storage.test_sealed import columns_of

FOLDER = Path("/segments/4")
FILE = FOLDER / "fields.2"
DOCS = Collection(9, "docs", Kind.VECTOR, 1, Metric.L2, {}, indexes=("a", "m.b"))
PLAIN = Collection(9, "docs", Kind.VECTOR, 1, Metric.L2, {})
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=2) | st.just(NOON)


def segment_of(disk: MemoryDisk, payloads: list[Any]) -> SealedSegment:
    batch = make_batch(range(len(payloads)), np.zeros((len(payloads), 1)), payloads)
    write_segment(disk, FOLDER, DOCS, 2, 4, [(columns_of(batch), np.arange(len(payloads)))])
    return SealedSegment(disk, FOLDER, DOCS, 2, 4, len(payloads), verify=True)


def indexed(payloads: list[Any]) -> tuple[MemoryDisk, FieldIndexes]:
    disk = MemoryDisk()
    write_field_indexes(disk, FOLDER, DOCS, 2, 4, segment_of(disk, payloads), 2)
    return disk, reopened(disk, len(payloads))


def reopened(disk: MemoryDisk, rows: int, n: int = 2) -> FieldIndexes:
    return open_field_indexes(disk, FOLDER, DOCS, 2, 4, rows, n)


def content(ordered: Ordered) -> list[tuple[Any, list[int]]]:
    """Each value with its rows."""
    starts = ordered.first.tolist()
    pieces = [ordered.rows[start:end].tolist() for start, end in pairwise(starts)]
    return list(zip(ordered.values.to_pylist(), pieces, strict=True))


@given(st.lists(VALUES, min_size=1, max_size=30))
def test_every_row_stands_at_its_value(values):
    _, indexes = indexed([{"a": value} for value in values])
    found = [(type(value), value, row) for item in indexes["a"] for value, rows in content(item) for row in rows]
    stored = [(type(value), value, row) for row, value in enumerate(values) if value is not None and value == value]
    assert sorted(found, key=lambda cell: cell[2]) == stored
    for item in indexes["a"]:
        texts = item.values.to_pylist()
        assert texts == sorted(texts)


@given(
    st.lists(st.integers(-5, 5) | st.integers(2**53 - 2, 2**53 + 2), max_size=20),
    st.floats(-6, 2**54) | st.just(2.0**53),
)
def test_numbers_before_another_are_counted_as_they_compare(values, wanted):
    _, indexes = indexed([None, *({"a": value} for value in values)])
    counts = [item.before(wanted, including=False) for item in indexes["a"]]
    assert sum(counts) == sum(value < wanted for value in values)
    counts = [item.before(wanted, including=True) for item in indexes["a"]]
    assert sum(counts) == sum(value <= wanted for value in values)


def test_a_nested_field_and_one_that_no_row_has():
    _, indexes = indexed([{"m": {"b": "y"}}, None, {"m": {"b": "x"}}, {"m": 3}, {"m": {"b": ["x"]}}, {"m": {"b": "y"}}])
    assert indexes["a"] == ()
    assert content(indexes["m.b"][0]) == [("x", [2]), ("y", [0, 5])]


def test_what_has_no_order_is_left_out():
    _, indexes = indexed([{"a": value} for value in (math.nan, 1.0, math.inf, [1], {"x": 1}, -0.0, 0.0)])
    assert [(item.family, sorted(item.rows.tolist())) for item in indexes["a"]] == [("float", [1, 2, 5, 6])]


def test_a_segment_without_the_file_has_no_indexes():
    disk, indexes = indexed([{"a": 1}])
    assert set(indexes) == {"a", "m.b"}
    assert reopened(disk, 1, n=3) == {}


def test_a_collection_without_indexes_has_no_file():
    disk, _ = indexed([{"a": 1}])
    write_field_indexes(disk, FOLDER, PLAIN, 2, 4, segment_of(disk, [{"a": 1}]), 2)
    assert FILE.name not in disk.list_folder(FOLDER)


def test_a_damaged_file_is_refused():
    disk, _ = indexed([{"a": number} for number in range(50)])
    good = disk.read_file(FILE)
    padding = range(good.rindex(b"ARROW1") + len(b"ARROW1"), good.rindex(b"RedDBSEG"))  # belongs to nothing
    assert len(padding) < 8
    for place in set(range(0, len(good), 37)) - set(padding):
        disk.write_file(FILE, good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(errors.RedDBError, match=r"fields\.2") as caught:
            reopened(disk, 50)
        assert caught.value.name in ("CORRUPT_DATA", "UNSUPPORTED_FORMAT")


def test_a_file_of_another_segment_is_refused():
    disk, _ = indexed([{"a": 1}])
    with pytest.raises(errors.RedDBError, match="is expected"):
        reopened(disk, 2)
