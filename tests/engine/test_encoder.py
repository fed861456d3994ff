"""Codes that come and go behind a reader's back: whatever the owner is at, the answers stay right."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from reddb.client.demo import sample
from reddb.partition.encoder import FIT_ROWS
from reddb.settings import SettingValue
from reddb.types import INDEXABLE, SearchOptions
from tests import oracle
from tests.engine.partitions import Opened, collection, finish, ids_of, numbers_of
from tests.oracle import nearest, recall
from tests.storage.disks import MemoryDisk

DIM = 32
# Real vectors, fewer coordinates: an orthogonal projection would do as well.
VECTORS = np.ascontiguousarray(sample.load().vectors[:, :DIM])
QUERIES = np.ascontiguousarray(VECTORS[[5, 1700, 3900]] + np.float32(0.01))


def make(metric: str = "l2", **settings: SettingValue) -> Opened:
    return Opened(collection(dim=DIM, metric=metric, **settings), disk=MemoryDisk())


def add(opened: Opened, first: int, last: int) -> None:
    opened.insert(np.arange(first, last), VECTORS[first:last])


@cache
def right_answers(metric: str, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return nearest(metric, VECTORS[:count], QUERIES, 10)


def assert_right(opened: Opened, count: int, least: float = 0.9, *, also_exactly: bool = True) -> None:
    """Distances are exact and the rows nearly all of the nearest; an exact search gives precisely the oracle's."""
    metric = str(opened.collection.metric)
    right, distances = right_answers(metric, count)
    for exact in (True, False) if also_exactly else (False,):
        found = opened.reader.search(QUERIES, SearchOptions(10, exact=exact))
        numbers = numbers_of(found)
        assert recall(numbers, right) >= (1.0 if exact else least)
        for item, mine, rows, far, query in zip(found, numbers, right, distances, QUERIES, strict=True):
            if exact:
                assert mine.tolist() == rows.tolist()
                assert np.abs(item.distances - far).max() < 1e-12
            assert np.abs(item.distances - oracle.distances(metric, VECTORS[mine], query)).max() < 1e-12


def generation(opened: Opened) -> np.ndarray:
    """The generation counter of the first segment's codec block."""
    return opened.codec_bytes()[:8].view(np.uint64)


@pytest.mark.parametrize("metric", sorted(INDEXABLE))
def test_answers_stay_right_at_every_step_of_encoding(metric):
    """Rows come in uneven batches; between any two steps of the owner the reader searches."""
    opened = make(metric)
    steps = 0
    bounds = [0, 1000, 1024, 1030, 2040, 2048, 3333, 4096, 4999]
    for first, last in pairwise(bounds):
        add(opened, first, last)
        assert_right(opened, last)
        while opened.partition.encode_step():
            steps += 1
            assert_right(opened, last, also_exactly=steps % 8 == 0)
        assert_right(opened, last)
    assert steps > 10
    assert opened.encoded_rows() == 4992
    opened.close()


def test_a_reader_that_comes_late_or_seldom_is_right_too():
    """One reader looks at every step, one only now and then: each has a copy of its own."""
    opened = make()
    seldom = opened.with_new_reader()
    step = 0
    for first, last in ((0, 1500), (1500, 3100), (3100, 5000)):
        add(opened, first, last)
        while opened.partition.encode_step():
            step += 1
            opened.reader.search(QUERIES, SearchOptions(10))
            if step % 4 == 0:
                assert_right(seldom, last)
    assert_right(seldom, 5000)
    opened.close()


def test_fewer_rows_than_a_fit_needs_have_no_codes():
    opened = make()
    add(opened, 0, FIT_ROWS - 1)
    assert opened.encode() == 0
    assert opened.encoded_rows() == 0
    add(opened, FIT_ROWS - 1, FIT_ROWS)
    assert opened.encode() > 0
    assert opened.encoded_rows() == FIT_ROWS
    assert opened.encode() == 0
    opened.close()


def test_only_published_rows_are_encoded():
    opened = make()
    add(opened, 0, 1100)
    opened.encode()
    assert opened.encoded_rows() == 1088  # whole blocks of 32
    add(opened, 1100, 1119)
    opened.encode()
    assert opened.encoded_rows() == 1088
    add(opened, 1119, 1120)
    opened.encode()
    assert opened.encoded_rows() == 1120
    opened.close()


def test_a_fit_is_renewed_when_the_rows_have_doubled():
    opened = make()
    add(opened, 0, 1023)
    opened.encode()
    begun = int(generation(opened)[0])
    add(opened, 1023, 1024)
    opened.encode()
    assert generation(opened)[0] == begun + 2
    add(opened, 1024, 2040)
    opened.encode()
    assert generation(opened)[0] == begun + 2
    add(opened, 2040, 2048)
    opened.encode()
    assert generation(opened)[0] == begun + 4
    assert opened.encoded_rows() == 2048
    opened.close()


def test_a_reader_keeps_its_old_codes_while_the_fit_changes():
    """The owner may be stopped at any store: between the two counts of a generation nothing may be taken over."""
    opened = make()
    add(opened, 0, 2000)
    opened.encode()
    assert_right(opened, 2000)
    block = opened.codec_bytes()
    whole = block.copy()
    generation(opened)[0] += 1
    assert_right(opened, 2000)
    block[8:16] = 0  # no rows of the new fit yet
    block[16:] = 0xFF  # a mean that is half old, half new: here not even numbers
    assert_right(opened, 2000)
    fresh = opened.with_new_reader()  # it has seen no codes before, and must do without
    assert_right(fresh, 2000, least=1.0)
    block[:] = whole
    generation(opened)[0] += 2
    assert_right(opened, 2000)
    assert_right(fresh, 2000)
    opened.close()


def test_codes_of_a_new_fit_replace_the_old_only_when_they_reach_as_far():
    opened = make()
    add(opened, 0, 2000)
    opened.encode()
    assert_right(opened, 2000)
    add(opened, 2000, 4200)
    reached = []
    while opened.partition.encode_step():
        reached.append(opened.encoded_rows())
        assert_right(opened, 4200)
    assert min(reached) < 1984 <= max(reached)  # the new fit began anew, behind a reader that had more
    opened.close()


@pytest.mark.parametrize("exact", [False, True])
def test_a_search_under_way_is_not_disturbed_by_rows_and_codes_that_come(exact):
    """It stops between segments; meanwhile other searches of the same reader take over codes beyond its snapshot."""
    opened = make(seal_rows=2048)
    add(opened, 0, 2048)
    add(opened, 2048, 4500)
    opened.encode()
    steps = opened.reader.search_steps(QUERIES, SearchOptions(10, exact=exact))
    next(steps)
    add(opened, 4500, 5000)
    opened.delete(np.arange(0, 5000, 2))

    def disturb() -> None:
        opened.partition.encode_step()
        opened.reader.search(QUERIES, SearchOptions(10))

    opened.encode()
    found = finish(steps, disturb)
    right, distances = nearest("l2", VECTORS[:4500], QUERIES, 10)
    assert recall(numbers_of(found), right) >= 0.9
    for item, mine, far in zip(found, numbers_of(found), distances, strict=True):
        assert mine.max() < 4500
        assert item.distances[0] == pytest.approx(far[0])
    opened.close()


def test_each_segment_has_codes_of_its_own():
    """A batch that does not fit beneath the bound goes to the next segment whole."""
    opened = make(seal_rows=2048)
    for first, last in ((0, 1500), (1500, 2500), (2500, 4200), (4200, 5000)):
        add(opened, first, last)
        while opened.partition.encode_step():
            assert_right(opened, last)
    assert [segment.count for segment in opened.partition.segments] == [2500, 2500]
    assert [opened.codec_block(place).encoded for place in (0, 1)] == [2496, 2496]
    add_few(opened)
    assert_right(opened, 5000)
    assert [opened.codec_block(place).encoded for place in (0, 1, 2)] == [2496, 2496, 0]  # too few for a fit
    opened.close()


def add_few(opened: Opened) -> None:
    """Rows too far away to be near any query."""
    opened.insert(np.arange(9000, 9100), np.full((100, DIM), 1e6))
    opened.encode()


def test_a_slot_that_is_used_again_begins_without_codes():
    """A reader that held the codes of the segment before must not take them for those of the one that follows."""
    opened = make(seal_rows=2048)
    add(opened, 0, 2100)
    opened.encode()
    assert_right(opened, 2100)
    before = opened.codec_bytes()
    opened.seal()
    assert_right(opened, 2100)
    add(opened, 2100, 4200)
    assert opened.codec_bytes(1) is not before
    assert opened.codec_bytes(1).ctypes.data == before.ctypes.data  # the slot was free again
    assert opened.codec_block(1).encoded == 0
    assert_right(opened, 4200)
    opened.encode()
    assert opened.codec_block(1).encoded == 2080
    assert_right(opened, 4200)
    opened.close()


def test_equal_rows_can_be_encoded():
    opened = make()
    opened.insert(np.arange(2000), np.ones((2000, DIM)))
    opened.encode()
    (found,) = opened.reader.search(np.ones((1, DIM), np.float32), SearchOptions(10))
    assert len(set(ids_of(found))) == 10
    assert found.distances.tolist() == [0.0] * 10
    opened.close()


def test_zero_vectors_among_others_are_found_by_cosine():
    opened = make("cosine")
    vectors = VECTORS[:3000].copy()
    vectors[::3] = 0
    opened.insert(np.arange(3000), vectors)
    opened.encode()
    right, distances = nearest("cosine", vectors, QUERIES, 10)
    found = opened.reader.search(QUERIES, SearchOptions(10))
    assert recall(numbers_of(found), right) >= 0.9
    far = opened.reader.search(-QUERIES[:1], SearchOptions(2500, exact=True))[0]
    assert 1.0 in far.distances.tolist()
    assert len(distances) == 3
    opened.close()
