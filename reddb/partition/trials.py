"""What an index finds, measured by whoever builds it: queries whose nearest rows are known exactly are asked of it.

    like      stored rows, and stored rows with noise of the size of the distances between neighbours
    unlike    what no row resembles: rows negated, mirrored at their mean, shifted, stretched, and other directions

What each of them needs, and how far its nearest rows lie, makes a `Calibration`.

Invariants:
  * A trial asks for rows other than the one it asks with.
  * Who is near is decided in float64, and rows at one distance count alike.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb import limits
from reddb.index.metrics import Distances, contenders
from reddb.partition.calibration import Outcome
from reddb.types import Metric, Vectors

K = 10
DEPTH_MAX = 2048
_SLICE_COORDINATES = 512 * 1024  # of rows that all queries are compared with before the next: they stay in the cache
_NOISE = (0.2, 1.0)  # times the distance to the tenth neighbour
_SHIFT = 10.0  # times the spread of the coordinates
_STRETCH = 10.0
_SEED = 7

Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A query (dim,), and its K nearest rows: those whose distance is at most `distance`, but for the row `without`."""

    query: Vectors
    without: int
    near: Rows
    distance: float
    reach: float  # no row that near has a key above it
    ninth: float  # relative keys of the last two of the nearest
    tenth: float

    def depths(self, distances: Distances, proposed: Rows, missing: int) -> list[int]:
        """At which place (from 0) of the proposed rows (n,) each of the K nearest comes; `missing` for one that does
        not. Of rows at one distance the first ones count.
        """
        proposed = proposed[(proposed >= 0) & (proposed != self.without)]
        keys = distances.keys_of_rows(self.query, proposed)
        may = np.flatnonzero(keys - distances.errors(self.query, keys, proposed) <= self.reach)
        right = may[distances.exact(self.query, proposed[may]) <= self.distance]
        wanted = len(self.near)
        found: list[int] = right[:wanted].tolist()
        return found + [missing] * (wanted - len(right))

    def outcome(self, depths: list[int], places: Sequence[int] = ()) -> Outcome:
        return Outcome(self.ninth, self.tenth, depths, list(places))


class Trials(NamedTuple):
    """Groups of trials: each must be found well."""

    like: tuple[list[Trial], ...]
    unlike: tuple[list[Trial], ...]


def trial_steps(
    metric: Metric, distances: Distances, vectors: Vectors, like: int, unlike: int
) -> Generator[None, None, Trials]:
    """Trials over all rows `vectors` (n, dim): two groups of `like` each, five of `unlike`; yields between slices of
    rows.
    """
    rows = spread(len(vectors), like)
    stored = yield from _solved(distances, vectors, vectors[rows], rows)
    rng = np.random.default_rng(_SEED)
    noise = rng.standard_normal((len(rows), vectors.shape[1]))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    apart = [
        float(np.linalg.norm(vectors[trial.near[-1]].astype(np.float64) - trial.query)) if len(trial.near) else 0.0
        for trial in stored
    ]
    noise *= (np.array(apart) * rng.uniform(*_NOISE, len(rows)))[:, None]
    noisy = yield from _solved(distances, vectors, _valid(vectors[rows] + noise), np.full(len(rows), -1))
    others: tuple[list[Trial], ...] = ()
    if unlike:
        for queries in _unlike(vectors[spread(len(vectors), 1024)], vectors[spread(len(vectors), unlike)], metric):
            others += ((yield from _solved(distances, vectors, queries, np.full(len(queries), -1))),)
    return Trials((stored, noisy), others)


def spread(rows: int, count: int) -> Rows:
    """So many of the rows, or all, at even distances."""
    return np.unique(np.linspace(0, rows - 1, count).astype(np.int64))


def _unlike(sample: Vectors, rows: Vectors, metric: Metric) -> list[Vectors]:
    """Queries (n, dim) of each kind that the rows are not, made of some of them."""
    wide, mean = rows.astype(np.float64), sample.mean(axis=0, dtype=np.float64)
    deviation = float(np.sqrt(np.mean(np.square(sample - mean))))
    direction = np.random.default_rng(_SEED + 1).standard_normal(wide.shape)
    direction *= np.linalg.norm(wide, axis=1, keepdims=True) / np.linalg.norm(direction, axis=1, keepdims=True)
    kinds = [-wide, 2 * mean - wide, wide + _SHIFT * deviation, direction]
    if metric is Metric.L2:  # by the others the length of a query orders nothing
        kinds.append(_STRETCH * wide)
    return [_valid(queries) for queries in kinds]


def _valid(queries: NDArray[np.float64]) -> Vectors:
    """The same (n, dim) within what a query may be."""
    return np.clip(queries, -limits.COORDINATE_MAX, limits.COORDINATE_MAX).astype(np.float32)


def _solved(
    distances: Distances, vectors: Vectors, queries: Vectors, without: Rows
) -> Generator[None, None, list[Trial]]:
    """The queries (q, dim) with their nearest rows; `without` (q,) is the row that each must not find, or -1."""
    queries = np.ascontiguousarray(queries)
    step = max(_SLICE_COORDINATES // vectors.shape[1], 1)
    rows: list[Rows] = [np.empty(0, np.int64) for _ in queries]
    keys: list[NDArray[np.float32]] = [np.empty(0, np.float32) for _ in queries]
    for first in range(0, len(vectors), step):
        last = min(first + step, len(vectors))
        block = np.arange(first, last)
        for number, query in enumerate(queries):
            near = distances.keys_of_range(query, first, last)
            best = contenders(near, distances.errors(query, near, block), K + 1)
            rows[number] = np.concatenate([rows[number], block[best]])
            keys[number] = np.concatenate([keys[number], near[best]])
            if number % 8 == 7:
                yield
        yield
    solved = []
    for number, query in enumerate(queries):
        solved.append(_trial(distances, query, int(without[number]), rows[number], keys[number]))
        yield
    return solved


def _trial(distances: Distances, query: Vectors, without: int, rows: Rows, keys: NDArray[np.float32]) -> Trial:
    best = contenders(keys, distances.errors(query, keys, rows), K + 1)
    best = best[rows[best] != without]
    exact = distances.exact(query, rows[best])
    order = np.argsort(exact, kind="stable")[:K]
    near = best[order]
    if not len(near):
        return Trial(query, without, rows[near], -inf, -inf, inf, -inf)
    found = keys[near]
    reach = float((found + distances.errors(query, found, rows[near])).max())
    # A user who asks with a stored row finds it too, and so one of the others less.
    inner = found[: max(len(found) - 1, 1)] if without >= 0 else found
    ninth, tenth = (distances.relative_key(query, float(part.max())) for part in (inner, found))
    return Trial(query, without, rows[near], float(exact[order[-1]]), reach, ninth, tenth)
