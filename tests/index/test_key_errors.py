"""How far a float32 key may be off: never farther than `Distances.errors` says, and whoever may be near is kept."""

from __future__ import annotations

import numpy as np
import pytest

from reddb.index.metrics import Distances, contenders, inverse_norms
from reddb.types import Metric

ROWS = 300
# What loses digits: lengths of many sizes, rows far from zero, near copies, a huge coordinate, and hardly anything.
SETS = {
    "normal": lambda rng, dim: rng.standard_normal((ROWS, dim)),
    "lengths": lambda rng, dim: rng.standard_normal((ROWS, dim)) * 10.0 ** rng.uniform(-12, 12, (ROWS, 1)),
    "shifted": lambda rng, dim: rng.standard_normal((ROWS, dim)) + 1e6,
    "copies": lambda rng, dim: rng.standard_normal(dim) * (1 + 1e-6 * rng.standard_normal((ROWS, dim))),
    "huge": lambda rng, dim: np.where(np.arange(dim) == 0, 1e12, rng.standard_normal((ROWS, dim))),
    "tiny": lambda rng, dim: np.where(np.arange(dim) == 0, 1e-14, 1e-25 * rng.standard_normal((ROWS, dim))),
    "binary": lambda rng, dim: rng.integers(0, 2, (ROWS, dim)).astype(np.float64),
}


def true_keys(metric: Metric, vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """What the keys stand for, in 80 bits."""
    rows, wanted = vectors.astype(np.longdouble), query.astype(np.longdouble)
    if metric is Metric.PEARSON:
        rows, wanted = rows - rows.mean(axis=1, keepdims=True), wanted - wanted.mean()
    match metric:
        case Metric.L2:
            return np.square(rows - wanted).sum(axis=1)
        case Metric.IP:
            return -(rows @ wanted)
        case Metric.COSINE | Metric.PEARSON:
            lengths = np.sqrt(np.square(rows).sum(axis=1))
            return -np.divide(rows @ wanted, lengths, out=np.zeros(len(rows), np.longdouble), where=lengths > 0)
        case Metric.MANHATTAN:
            return np.abs(rows - wanted).sum(axis=1)
        case Metric.CHEBYSHEV:
            return np.abs(rows - wanted).max(axis=1)
    ones, others = vectors > 0.5, query > 0.5
    both, either = (ones & others).sum(axis=1), (ones | others).sum(axis=1)
    if metric is Metric.HAMMING:
        return (either - both).astype(np.longdouble)
    return np.divide(either - both, either, out=np.zeros(len(rows)), where=either > 0).astype(np.longdouble)


def distances_of(metric: Metric, vectors: np.ndarray) -> Distances:
    return Distances(metric, vectors, inverse_norms(vectors, metric))


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("dim", [1, 3, 64, 1000])
def test_no_key_is_farther_off_than_its_error(metric, name, dim):
    rng = np.random.default_rng(dim)
    vectors = np.ascontiguousarray(SETS[name](rng, dim), np.float32)
    distances, rows = distances_of(metric, vectors), np.arange(ROWS)
    for query in (vectors[0], -vectors[1], rng.standard_normal(dim).astype(np.float32), 1e5 * vectors[2]):
        true = true_keys(metric, vectors, query)
        for keys in (distances.keys_of_rows(query, rows), distances.keys_of_range(query, 0, ROWS)):
            off = np.abs(keys.astype(np.longdouble) - true)
            assert (off <= np.broadcast_to(distances.errors(query, keys, rows), ROWS)).all()


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("count", [1, 10, ROWS])
def test_who_may_be_near_is_a_contender(metric, name, count):
    rng = np.random.default_rng(count)
    vectors = np.ascontiguousarray(SETS[name](rng, 48), np.float32)
    distances, rows = distances_of(metric, vectors), np.arange(ROWS)
    for query in (vectors[0], rng.standard_normal(48).astype(np.float32)):
        keys = distances.keys_of_rows(query, rows)
        kept = contenders(keys, distances.errors(query, keys, rows), count)
        exact = distances.exact(query, rows)
        assert set(np.flatnonzero(exact <= np.partition(exact, count - 1)[count - 1]).tolist()) <= set(kept.tolist())


def test_the_errors_leave_few_contenders_among_rows_that_float32_tells_apart():
    """Else every search would order all its candidates in float64, and this file would pass all the same."""
    vectors = np.random.default_rng(0).standard_normal((2000, 384)).astype(np.float32)
    for metric in (Metric.L2, Metric.COSINE, Metric.IP, Metric.PEARSON, Metric.MANHATTAN):
        distances = distances_of(metric, vectors)
        keys = distances.keys_of_rows(vectors[0], np.arange(2000))
        assert len(contenders(keys, distances.errors(vectors[0], keys, np.arange(2000)), 10)) <= 20
