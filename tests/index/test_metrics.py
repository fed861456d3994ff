"""Distances: exact to the last digits that float64 gives, by the laws of each metric, and keys of the same order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reddb.client.demo import sample
from reddb.index.metrics import METRICS, Distances, inverse_norms, prepare, uses_l2
from reddb.types import INDEXABLE, Metric
from tests import oracle

ALL = list(Metric)
ZERO_OF_ITSELF = [Metric.L2, Metric.MANHATTAN, Metric.CHEBYSHEV, Metric.HAMMING, Metric.JACCARD]
TRIANGLE = ZERO_OF_ITSELF
RANGES = {"0 to 1": (0, 1), "0 to 2": (0, 2), "0 up": (0, np.inf), "all numbers": (-np.inf, np.inf)}

coordinates = st.sampled_from([0.0, 0.5, 0.75, 1.0, -1.0]) | st.floats(-(2.0**49), 2.0**49, width=32)
three_vectors = st.integers(1, 40).flatmap(lambda dim: arrays(np.float32, (3, dim), elements=coordinates))


def over(metric: Metric, vectors: np.ndarray) -> Distances:
    vectors = np.ascontiguousarray(vectors, np.float32)
    vectors.setflags(write=False)  # as a reader sees them
    return Distances(metric, vectors, inverse_norms(vectors, metric))


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
    """As the table of metrics says: no direction is 1 from everything, no product 0, the rest like any other."""
    vectors = np.concatenate([np.zeros((1, 4)), normal(1, 3, 4)]).astype(np.float32)
    zero = np.zeros(4, np.float32)
    distances = over(metric, vectors)
    of_query = distances.exact(zero, np.arange(4))
    of_row = [float(distances.exact(query, np.array([0]))[0]) for query in vectors]
    wide = np.abs(vectors.astype(np.float64))
    bits = np.count_nonzero(vectors > 0.5, axis=1)
    expected = {
        "cosine": np.ones(4),
        "pearson": np.ones(4),
        "ip": np.zeros(4),
        "l2": np.linalg.norm(wide, axis=1),
        "manhattan": wide.sum(axis=1),
        "chebyshev": wide.max(axis=1),
        "hamming": bits,
        "jaccard": np.minimum(bits, 1),
    }[metric]
    assert of_query == pytest.approx(expected, rel=1e-12)
    assert of_row == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 1e15, 1e-15, -7.7])
@pytest.mark.parametrize("dim", [1, 3, 384])
def test_pearson_finds_nothing_in_equal_coordinates(constant, dim):
    """Though the rounded mean of 384 times 0.1 is not 0.1."""
    vectors = np.concatenate([np.full((1, dim), constant), normal(1, 3, dim)]).astype(np.float32)
    pearson = over(Metric.PEARSON, vectors)
    assert pearson.exact(vectors[0], np.arange(4)).tolist() == [1, 1, 1, 1]
    assert all(pearson.exact(query, np.array([0])).tolist() == [1] for query in vectors)
    assert pearson.keys_of_range(vectors[0], 0, 4).tolist() == [0, 0, 0, 0]
    assert pearson.keys_of_range(vectors[1], 0, 1).tolist() == [0]


@pytest.mark.parametrize("offset", [2.0**10, -(2.0**16), 2.0**18])
def test_pearson_does_not_see_an_offset(offset):
    vectors = np.round(normal(5, 300, 384, 100)) / np.float32(32)  # so that the sums are exact in float32
    query, shifted = vectors[0], vectors + np.float32(offset)
    expected = oracle.distances("pearson", vectors, query)
    pearson = over(Metric.PEARSON, shifted)
    assert pearson.exact(shifted[0], np.arange(300)) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert_same_order(pearson.keys_of_range(shifted[0], 0, 300), expected)
    assert_same_order(pearson.keys_of_rows(query, np.arange(300)), expected)


def test_a_bit_is_a_coordinate_above_one_half():
    half, above = np.float32(0.5), np.nextafter(np.float32(0.5), np.float32(1))
    vectors = np.array([[half, 0, -3], [above, 0, 0], [1, 1e15, 0], [1, 1, 1]], np.float32)
    assert over(Metric.HAMMING, vectors).exact(vectors[1], np.arange(4)).tolist() == [1, 0, 1, 2]
    assert over(Metric.JACCARD, vectors).exact(vectors[1], np.arange(4)).tolist() == [1, 0, 1 / 2, 2 / 3]


@pytest.mark.parametrize("metric", ALL)
@given(vectors=three_vectors)
def test_distances_of_any_vectors_are_those_of_the_oracle(metric, vectors):
    wide = vectors.astype(np.float64)
    products = 1e-9 * np.abs(wide).sum() ** 2 if metric is Metric.IP else 1e-9
    found = over(metric, vectors).exact(vectors[0], np.arange(3))
    assert found == pytest.approx(oracle.distances(metric, vectors, vectors[0]), rel=1e-9, abs=products)


@pytest.mark.parametrize("metric", ALL)
@given(vectors=three_vectors)
def test_laws_of_a_distance(metric, vectors):
    distances = over(metric, vectors)
    matrix = np.array([distances.exact(query, np.arange(3)) for query in vectors])
    least, most = RANGES.get(METRICS[metric].range, (0, vectors.shape[1]))
    assert least <= matrix.min()
    assert matrix.max() <= most
    rounding = 1e-9 * max(1, np.abs(matrix).max())
    if metric is Metric.IP:  # whose products may be far larger than their sum
        rounding = 1e-9 * float(np.abs(vectors.astype(np.float64)).sum()) ** 2
    assert np.abs(matrix - matrix.T).max() <= rounding
    if metric in ZERO_OF_ITSELF:
        assert matrix.diagonal().tolist() == [0, 0, 0]
    if metric in TRIANGLE:
        assert matrix[0, 2] <= matrix[0, 1] + matrix[1, 2] + rounding


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_a_vector_is_at_no_distance_from_itself(scale):
    vectors = sample.load().vectors[:200] * np.float32(scale)
    for row in range(0, 200, 10):
        for metric in ZERO_OF_ITSELF:
            assert over(metric, vectors).exact(vectors[row], np.array([row])).tolist() == [0.0]
        for metric in (Metric.COSINE, Metric.PEARSON):
            (similar,) = over(metric, vectors).exact(vectors[row], np.array([row])).tolist()
            assert 0 <= similar <= 1e-7


@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.PEARSON])
def test_similarities_stay_between_0_and_2(metric):
    vectors = sample.load().vectors[:500]
    similar = over(metric, vectors)
    for query in (vectors[7], -vectors[7], vectors[7] * 3, vectors[7] * -1e20):
        found = similar.exact(np.ascontiguousarray(query), np.arange(500))
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
@pytest.mark.parametrize("scale", [1e-15, 1e-12, 1e-6, 1e6, 1e12, 1e15])
def test_keys_order_rows_of_small_and_large_scale(metric, scale):
    vectors, query = normal(3, 300, 16, scale), normal(4, 1, 16, scale)[0]
    distances = over(metric, vectors)
    expected = oracle.distances(metric, vectors, query)
    assert_same_order(distances.keys_of_rows(query, np.arange(300)), expected)
    assert_same_order(distances.keys_of_range(query, 0, 300), expected)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("dim", [1, 7, 384, 1536])
def test_keys_of_rows_are_those_of_the_range(metric, dim):
    vectors, query = normal(dim, 1000, dim), normal(dim + 1, 1, dim)[0]  # more coordinates than one block has
    distances = over(metric, vectors)
    by_range, by_rows = distances.keys_of_range(query, 100, 900), distances.keys_of_rows(query, np.arange(100, 900))
    assert by_range.dtype == by_rows.dtype == np.float32
    if metric in (Metric.L2, Metric.COSINE, Metric.IP):  # two kernels, which add in different orders
        assert by_range == pytest.approx(by_rows, rel=1e-5, abs=1e-5 * float(np.ptp(by_rows)))
    else:
        assert by_range.tolist() == by_rows.tolist()


def assert_same_order(keys: np.ndarray, expected: np.ndarray) -> None:
    """Sorted by key the distances ascend, but for steps back within the rounding of float32."""
    assert not np.isnan(keys).any()
    sorted_by_key = expected[np.argsort(keys, kind="stable")]
    steps_back = np.maximum.accumulate(sorted_by_key) - sorted_by_key
    assert steps_back.max() <= 1e-5 * np.ptp(expected)


@pytest.mark.parametrize("metric", ALL)
def test_no_rows_have_no_distances(metric):
    distances = over(metric, normal(1, 5, 4))
    query, nothing = np.ones(4, np.float32), np.empty(0, np.int64)
    assert distances.exact(query, nothing).shape == (0,)
    assert distances.keys_of_rows(query, nothing).shape == (0,)
    assert distances.keys_of_range(query, 2, 2).shape == (0,)


def test_inverse_norms():
    found = inverse_norms(np.array([[3, 4], [0, 0], [1e-30, 0], [1e30, 1e30]], np.float32))
    assert found == pytest.approx([0.2, 0, 1e30, 1e-30 / np.sqrt(2)], rel=1e-6)
    assert found[1] == 0


def test_inverse_norms_of_centred_vectors():
    vectors = np.array([[3, 5], [0, 0], [0.1, 0.1], [1e-30, 0], [1e30, -1e30]], np.float32)
    found = inverse_norms(vectors, Metric.PEARSON)
    assert found == pytest.approx([np.sqrt(0.5), 0, 0, np.sqrt(2) * 1e30, np.sqrt(0.5) * 1e-30], rel=1e-6)
    assert found[1:3].tolist() == [0, 0]
    assert inverse_norms(vectors[:0], Metric.PEARSON).shape == (0,)


@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.PEARSON])
@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_inner_products_of_prepared_vectors_are_similarities(metric, scale):
    vectors = normal(6, 2500, 24, scale)  # more rows than are prepared at once
    vectors[7] = 0
    prepared = prepare(metric, vectors)
    assert prepared.dtype == np.float32
    assert prepared[7].tolist() == [0] * 24
    assert 1.0 - prepared @ prepared[3] == pytest.approx(oracle.distances(metric, vectors, vectors[3]), abs=1e-6)
    assert prepare(metric, vectors[:0]).shape == (0, 24)


def test_prepared_vectors_of_equal_coordinates_are_zero():
    assert prepare(Metric.PEARSON, np.full((2, 384), 0.1, np.float32)).tolist() == [[0] * 384] * 2


def test_what_an_index_is_given():
    vectors = normal(1, 5, 4)
    assert prepare(Metric.L2, vectors) is vectors
    assert prepare(Metric.IP, vectors) is vectors
    assert [metric for metric in Metric if uses_l2(metric)] == [Metric.L2]
    for metric in set(Metric) - INDEXABLE:
        with pytest.raises(AssertionError):
            prepare(metric, vectors)


def test_every_metric_has_its_row():
    assert set(METRICS) == set(Metric)
    assert all(row.metric is metric for metric, row in METRICS.items())
    operators = {row.operator: str(metric) for metric, row in METRICS.items() if row.operator}
    assert operators == {"<->": "l2", "<=>": "cosine", "<#>": "ip", "<+>": "manhattan"}


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("dim", [2, 7, 33, 384])
def test_a_row_has_one_distance_whatever_rows_it_is_computed_with(metric, dim):
    """To the last bit: paging by `(distance, id) > ($1, $2)` gives back a distance that was told before."""
    vectors, query = normal(dim, 600, dim), normal(dim + 1, 1, dim)[0]
    distances = over(metric, vectors)
    together = distances.exact(query, np.arange(600))
    for count, first in [(1, 0), (1, 7), (2, 5), (3, 255), (5, 595), (33, 100), (257, 1)]:
        rows = np.arange(first, first + count)
        assert distances.exact(query, rows).tobytes() == together[rows].tobytes()
