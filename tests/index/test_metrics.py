"""Distances: exact to the last digits that float64 gives, and keys that put rows into the same order."""

from __future__ import annotations

import numpy as np
import pytest

from reddb.client.demo import sample
from reddb.index.metrics import METRICS, Distances, inverse_norms
from reddb.types import Metric
from tests import oracle

ALL = list(Metric)


def over(metric: Metric, vectors: np.ndarray) -> Distances:
    vectors = np.ascontiguousarray(vectors, np.float32)
    return Distances(metric, vectors, inverse_norms(vectors))


def normal(seed: int, count: int, dim: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, dim)) * scale).astype(np.float32)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("dim", [1, 2, 3, 7, 8, 33, 384, 1536])
def test_distances_are_those_of_the_oracle(metric, dim):
    vectors, query = normal(dim, 2500, dim), normal(dim + 1, 1, dim)[0]  # more rows than are converted at once
    rows = np.random.default_rng(0).permutation(2500)
    found = over(metric, vectors).exact(query, rows)
    assert found.dtype == np.float64
    assert found == pytest.approx(oracle.distances(metric, vectors[rows], query), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-30, 1e-19, 1e19, 1e30, 1e38])
@pytest.mark.parametrize("query_scale", [1e-30, 1.0, 1e30])
def test_distances_of_huge_and_tiny_vectors_are_those_of_the_oracle(metric, scale, query_scale):
    vectors = np.clip(normal(1, 50, 16).astype(np.float64), -3, 3) * scale
    query = normal(2, 1, 16, query_scale)[0]
    vectors = vectors.astype(np.float32)
    found = over(metric, vectors).exact(query, np.arange(50))
    expected = oracle.distances(metric, vectors, query)
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() <= 1e-6 * max(np.abs(expected).max(), 1e-300)


def test_vectors_of_very_different_length_in_one_call():
    vectors = np.concatenate([normal(1, 10, 16, scale) for scale in (1e-30, 1e-3, 1, 1e3, 1e30)])
    query = normal(2, 1, 16)[0]
    for metric in ALL:
        found = over(metric, vectors).exact(query, np.arange(50))
        assert found == pytest.approx(oracle.distances(metric, vectors, query), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("metric", ALL)
def test_zero_vectors(metric):
    """As the table of metrics says: cosine 1 to everything, inner product 0, l2 like any other."""
    vectors = np.concatenate([np.zeros((1, 4)), normal(1, 3, 4)]).astype(np.float32)
    zero = np.zeros(4, np.float32)
    distances = over(metric, vectors)
    of_query = distances.exact(zero, np.arange(4))
    of_row = [float(distances.exact(query, np.array([0]))[0]) for query in vectors]
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    expected = {"cosine": np.ones(4), "ip": np.zeros(4), "l2": lengths}[metric]
    assert of_query == pytest.approx(expected, rel=1e-12)
    assert of_row == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_a_vector_is_at_no_distance_from_itself(scale):
    vectors = sample.load().vectors[:200] * np.float32(scale)
    for row in range(0, 200, 10):
        assert over(Metric.L2, vectors).exact(vectors[row], np.array([row])).tolist() == [0.0]
        (cosine,) = over(Metric.COSINE, vectors).exact(vectors[row], np.array([row])).tolist()
        assert 0 <= cosine <= 1e-7


def test_cosine_stays_between_0_and_2():
    vectors = sample.load().vectors[:500]
    cosine = over(Metric.COSINE, vectors)
    for query in (vectors[7], -vectors[7], vectors[7] * 3, vectors[7] * -1e20):
        found = cosine.exact(np.ascontiguousarray(query), np.arange(500))
        assert found.min() >= 0
        assert found.max() <= 2


def test_cosine_keeps_the_digits_of_near_vectors():
    """In float32 `1 - cos` of these is 0 or 6e-8 or 1.2e-7, nothing between."""
    base = np.zeros((3, 2), np.float32)
    base[:, 0] = 1
    base[:, 1] = [1e-4, 2e-4, 3e-4]
    found = over(Metric.COSINE, base).exact(np.array([1, 0], np.float32), np.arange(3))
    assert found == pytest.approx([0.5e-8, 2e-8, 4.5e-8], rel=1e-4)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("dim", [1, 3, 100, 384])
def test_keys_order_rows_as_distances_do(metric, dim):
    vectors, query = normal(dim, 300, dim), normal(dim + 9, 1, dim)[0]
    distances = over(metric, vectors)
    rows = np.random.default_rng(0).permutation(300)[:200]
    assert_same_order(distances.keys_of_rows(query, rows), oracle.distances(metric, vectors[rows], query))
    assert_same_order(distances.keys_of_range(query, 50, 250), oracle.distances(metric, vectors[50:250], query))


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_keys_order_rows_of_small_and_large_scale(metric, scale):
    vectors, query = normal(3, 300, 16, scale), normal(4, 1, 16, scale)[0]
    distances = over(metric, vectors)
    expected = oracle.distances(metric, vectors, query)
    assert_same_order(distances.keys_of_rows(query, np.arange(300)), expected)
    assert_same_order(distances.keys_of_range(query, 0, 300), expected)


def assert_same_order(keys: np.ndarray, expected: np.ndarray) -> None:
    """Sorted by key the distances ascend, but for steps back within the rounding of float32."""
    assert not np.isnan(keys).any()
    sorted_by_key = expected[np.argsort(keys, kind="stable")]
    steps_back = np.maximum.accumulate(sorted_by_key) - sorted_by_key
    assert steps_back.max() <= 1e-5 * np.ptp(expected)


def test_no_rows_have_no_distances():
    distances = over(Metric.L2, normal(1, 5, 4))
    query, nothing = np.ones(4, np.float32), np.empty(0, np.int64)
    assert distances.exact(query, nothing).shape == (0,)
    assert distances.keys_of_rows(query, nothing).shape == (0,)
    assert distances.keys_of_range(query, 2, 2).shape == (0,)


def test_inverse_norms():
    found = inverse_norms(np.array([[3, 4], [0, 0], [1e-30, 0], [1e30, 1e30]], np.float32))
    assert found == pytest.approx([0.2, 0, 1e30, 1e-30 / np.sqrt(2)], rel=1e-6)
    assert found[1] == 0


def test_every_metric_has_its_row():
    assert set(METRICS) == set(Metric)
    assert all(row.metric is metric for metric, row in METRICS.items())
