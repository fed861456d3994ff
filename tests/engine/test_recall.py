"""Searches against the oracle: how many of the right rows come, and that their distances are exact."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from reddb import limits
from reddb.client.demo import sample
from reddb.partition.search import Found
from reddb.settings import SettingValue
from reddb.types import INDEXABLE, Kind, Metric, SearchOptions
from tests.engine.partitions import Opened, collection, ids_of, numbers_of
from tests.oracle import distances, nearest, recall
from tests.storage.disks import MemoryDisk

METRICS = sorted(INDEXABLE)
SAMPLE = sample.load()
QUERIES = np.stack([vector for _, vector in SAMPLE.queries] + list(SAMPLE.vectors[::1250]))


@cache
def all_nearest(metric: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The oracle's order of the whole sample for each query, and the distances."""
    return nearest(metric, SAMPLE.vectors, QUERIES, len(SAMPLE.vectors))


def right_rows(metric: str, k: int) -> list[np.ndarray]:
    return [rows[:k] for rows in all_nearest(metric)[0]]


def filled(metric: str, vectors: np.ndarray, *, kind: Kind = Kind.TURBO, **settings: SettingValue) -> Opened:
    """An open partition with row i under the id i."""
    opened = Opened(collection(dim=vectors.shape[1], metric=metric, kind=kind, **settings), disk=MemoryDisk())
    opened.insert(np.arange(len(vectors)), vectors)
    opened.encode()
    return opened


def assert_exact_distances(metric: str, base: np.ndarray, queries: np.ndarray, found: list[Found]) -> None:
    """Every row exists, comes once, nearest first, at the distance the oracle computes."""
    for query, item, numbers in zip(queries, found, numbers_of(found), strict=True):
        assert ((numbers >= 0) & (numbers < len(base))).all()
        assert len(set(numbers.tolist())) == len(numbers)
        expected = distances(metric, base[numbers], query)
        tolerance = 1e-12 * max(1.0, float(np.abs(expected).max(initial=0)))
        assert np.abs(item.distances - expected).max(initial=0) <= tolerance
        assert (np.diff(item.distances) >= 0).all()


@pytest.fixture(scope="module", params=[(metric, bits) for metric in METRICS for bits in (2, 4)], ids=str)
def encoded(request: pytest.FixtureRequest):
    """The bundled sample with codes, for each metric and number of bits, other settings at their defaults."""
    metric, bits = request.param
    opened = filled(metric, SAMPLE.vectors, bits=bits)
    assert opened.encoded_rows() == 4992  # all whole blocks of 32: the codes decide what is found
    yield opened
    opened.close()


def test_a_search_by_codes_finds_what_is_near(encoded):
    metric = str(encoded.collection.metric)
    found = encoded.reader.search(QUERIES, SearchOptions(10))
    assert recall(numbers_of(found), right_rows(metric, 10)) >= 0.99
    assert_exact_distances(metric, SAMPLE.vectors, QUERIES, found)


@pytest.mark.parametrize("k", [1, 2, 100, 1000])
def test_other_numbers_of_rows(encoded, k):
    metric = str(encoded.collection.metric)
    found = encoded.reader.search(QUERIES, SearchOptions(k))
    assert recall(numbers_of(found), right_rows(metric, k)) >= 0.99
    assert all(len(item.addresses) == k for item in found)


def test_an_exact_search_is_the_oracle(encoded):
    metric = str(encoded.collection.metric)
    found = encoded.reader.search(QUERIES, SearchOptions(25, exact=True))
    for item, rows, far in zip(found, *all_nearest(metric), strict=True):
        assert ids_of(item) == rows[:25].tolist()
        assert item.distances == pytest.approx(far[:25], rel=1e-12, abs=1e-12)


def test_queries_alone_find_as_together(encoded):
    together = encoded.reader.search(np.tile(QUERIES, (3, 1)), SearchOptions(10))  # more than go into one call
    for number in range(0, 48, 5):
        (alone,) = encoded.reader.search(QUERIES[number % 16][None], SearchOptions(10))
        assert ids_of(alone) == ids_of(together[number])


def test_a_larger_ef_finds_no_less(encoded):
    right = right_rows(str(encoded.collection.metric), 10)
    found = [encoded.reader.search(QUERIES, SearchOptions(10, ef=ef)) for ef in (1, 100, 4000)]
    shares = [recall(numbers_of(item), right) for item in found]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("exact", [False, True])
def test_a_zero_query_gives_rows_that_exist(encoded, exact):
    """To a cosine or an inner product all rows are equally far; the first ones come."""
    queries = np.zeros((2, 384), np.float32)
    found = encoded.reader.search(queries, SearchOptions(10, exact=exact))
    assert all(len(item.addresses) == 10 for item in found)
    assert_exact_distances(str(encoded.collection.metric), SAMPLE.vectors, queries, found)


@pytest.mark.parametrize("metric", ["cosine", "ip"])
def test_the_length_of_a_query_does_not_matter_to_cosine_and_ip(metric):
    opened = filled(metric, SAMPLE.vectors)
    for scale in (1e-13, 1e-6, 1e6, 1e14):
        found = opened.reader.search((QUERIES * scale).astype(np.float32), SearchOptions(10))
        assert recall(numbers_of(found), right_rows(metric, 10)) >= 0.99
    opened.close()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-12, 1e14])
@pytest.mark.parametrize("exact", [False, True])
def test_rows_of_any_scale_are_found(metric, scale, exact):
    """Near both bounds on coordinates, where squares nearly leave float32: vectors that were taken must be found."""
    vectors = (SAMPLE.vectors[:1100] * scale).astype(np.float32)
    queries = (QUERIES[:12] * scale).astype(np.float32)
    opened = filled(metric, vectors)
    found = opened.reader.search(queries, SearchOptions(10, exact=exact))
    right, _ = nearest(metric, vectors, queries, 10)
    assert recall(numbers_of(found), right) >= (1.0 if exact else 0.99)
    opened.close()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [0, 1, 33, 1023, 1024, 1055])
def test_small_collections_are_searched_exactly(metric, count):
    opened = filled(metric, SAMPLE.vectors[:count])
    right, _ = nearest(metric, SAMPLE.vectors[:count], QUERIES[:2], count)
    for k in (0, 1, 5, count, count + 1, limits.K_MAX):
        found = opened.reader.search(QUERIES[:2], SearchOptions(k))
        assert [len(item.addresses) for item in found] == [min(k, count)] * 2
        if count < 1024:
            assert [ids_of(item) for item in found] == [rows[:k].tolist() for rows in right]
        assert_exact_distances(metric, SAMPLE.vectors[:count], QUERIES[:2], found)
    opened.close()


@pytest.mark.parametrize("exact", [False, True])
def test_edges_of_a_search(encoded, exact):
    none = encoded.reader.search(QUERIES[:3], SearchOptions(0, exact=exact))
    assert [(ids_of(item), item.distances.tolist()) for item in none] == [([], [])] * 3
    assert encoded.reader.search(QUERIES[:0], SearchOptions(10, exact=exact)) == []
    (all_rows,) = encoded.reader.search(QUERIES[:1], SearchOptions(limits.K_MAX, exact=exact))
    assert sorted(ids_of(all_rows)) == list(range(5000))


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_keep_their_order(metric):
    vectors = np.repeat(SAMPLE.vectors[:40], 50, axis=0)
    opened = filled(metric, vectors)
    (found,) = opened.reader.search(vectors[:1], SearchOptions(60, exact=True))
    assert ids_of(found)[:50] == list(range(50))
    assert found.distances[:50].tolist() == [found.distances[0]] * 50
    opened.close()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("exact", [False, True])
def test_dead_rows_around_the_query_do_not_take_the_places_of_live_ones(metric, exact):
    opened = filled(metric, SAMPLE.vectors)
    query, order = QUERIES[:1], all_nearest(metric)[0][0]
    opened.delete(order[:2000])
    live = np.sort(order[2000:])
    for k in (1, 100):
        (found,) = opened.reader.search(query, SearchOptions(k, exact=exact))
        assert len(found.addresses) == k
        assert len(set(ids_of(found)) & set(order[2000 : 2000 + k].tolist())) >= (k if exact else 0.9 * k)
        assert set(ids_of(found)) <= set(live.tolist())
    opened.delete(live[:-7])
    (found,) = opened.reader.search(query, SearchOptions(100, exact=exact))
    assert sorted(ids_of(found)) == live[-7:].tolist()
    opened.close()


def in_segments(metric: str, kind: Kind = Kind.TURBO, vectors: np.ndarray = SAMPLE.vectors) -> Opened:
    """The sample in three growing segments of 2,048 rows and fewer."""
    opened = Opened(collection(dim=384, metric=metric, kind=kind, seal_rows=2048), disk=MemoryDisk())
    for first in range(0, 5000, 1024):
        numbers = np.arange(first, min(first + 1024, 5000))
        opened.insert(numbers, vectors[numbers])
    opened.encode()
    assert opened.states() == ["frozen", "frozen", "growing"]
    return opened


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("state", ["growing", "partly sealed", "sealed", "compacted"])
def test_rows_of_several_segments_are_found_together(metric, state):
    opened = in_segments(metric)
    if state == "partly sealed":
        opened.settle()
    elif state == "sealed":
        opened.seal()
    elif state == "compacted":
        opened.compact()
        assert opened.states() == ["sealed"]
    for options, least in (
        (SearchOptions(10), 0.99),
        (SearchOptions(10, exact=True), 1.0),
        (SearchOptions(3000), 0.99),
    ):
        found = opened.reader.search(QUERIES, options)
        assert recall(numbers_of(found), right_rows(metric, options.k)) >= least
        assert_exact_distances(metric, SAMPLE.vectors, QUERIES, found)
    opened.close()


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("state", ["growing", "sealed", "compacted"])
def test_without_codes_every_metric_is_the_oracle(metric, state):
    """The kind that has no codes: deaths and segments change nothing either. Of equally far rows any may come."""
    vectors, queries = SAMPLE.vectors, QUERIES[:4]
    if metric in (Metric.HAMMING, Metric.JACCARD):
        vectors, queries = (vectors > 0).astype(np.float32), (queries > 0).astype(np.float32)
    opened = in_segments(str(metric), Kind.VECTOR, vectors)
    dead = np.arange(0, 5000, 3)
    opened.delete(dead)
    if state == "sealed":
        opened.seal()
    elif state == "compacted":
        opened.compact()
    live = np.setdiff1d(np.arange(5000), dead)
    _, far = nearest(str(metric), vectors[live], queries, 10)
    found = opened.reader.search(queries, SearchOptions(10, exact=True))
    assert_exact_distances(str(metric), vectors, queries, found)
    for item, expected in zip(found, far, strict=True):
        assert not set(ids_of(item)) & set(dead.tolist())
        assert item.distances == pytest.approx(expected, rel=1e-12, abs=1e-12)
    opened.close()


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("shift", [0, 1000], ids=["around the origin", "elsewhere"])
def test_rows_of_another_scale_that_come_later_blur_nothing(metric, shift):
    """1,500 rows near the origin, then 3,500 at a hundred times the scale; asked among both, also amid the encoding."""
    direction = np.random.default_rng(1).normal(size=384)
    place = shift * direction / np.linalg.norm(direction)
    base = np.concatenate([SAMPLE.vectors[:1500], 100 * SAMPLE.vectors[1500:] + place]).astype(np.float32)
    near, far = QUERIES[:6], 100 * QUERIES[:6] + place
    queries = np.concatenate([near, far]).astype(np.float32)
    opened = Opened(collection(dim=384, metric=metric), disk=MemoryDisk())
    shares = {}
    for first, last in ((0, 1500), (1500, 5000)):
        opened.insert(np.arange(first, last), base[first:last])
        right, _ = nearest(metric, base[:last], queries, 10)
        step, is_done = 0, False
        while not is_done:
            step, is_done = step + 1, not opened.partition.encode_step()
            if is_done or step % 4 == 0:
                found = numbers_of(opened.reader.search(queries, SearchOptions(10)))
                shares[last, step, "near"] = recall(found[:6], right[:6])
                shares[last, step, "far"] = recall(found[6:], right[6:])
    assert {place: share for place, share in shares.items() if share < 0.95} == {}
    opened.close()


@pytest.mark.parametrize("metric", METRICS)
def test_rows_in_tight_clusters_are_told_apart(metric):
    """Codes are made for the spread of all rows; inside a cluster they are nearly equal and must not be trusted."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(8, 64))
    base = centres[generator.integers(0, 8, 4000)] + 0.03 * generator.normal(size=(4000, 64))
    queries = (base[:10] + 0.03 * generator.normal(size=(10, 64))).astype(np.float32)
    opened = filled(metric, base.astype(np.float32))
    right, _ = nearest(metric, base.astype(np.float32), queries, 10)
    assert recall(numbers_of(opened.reader.search(queries, SearchOptions(10))), right) >= 0.95
    opened.close()
