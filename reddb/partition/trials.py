"""What an index finds of what is near: stored rows are searched for, exactly and by the index, by whoever builds it.

Invariant: a trial asks for rows other than the one it asks with.
"""

from __future__ import annotations

import time
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb.index.ivf import InvertedFile
from reddb.index.metrics import Distances, prepare
from reddb.partition.encoder import depths_of
from reddb.storage.sealed import SealedSegment
from reddb.types import Metric, Vectors

K = 10
RECALLS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
DEPTH_MAX = 2048
_QUERIES = 64
_BLOCK_ROWS = 8192
# Which list a neighbour lies in varies more from query to query than how deep among the codes it stands: on 100,000
# sentences 64 queries gave recall 0.982 where 0.99 was wanted.
_LIST_QUERIES = 512
_LOST_BY_CODES = 0.25  # of the neighbours that an inverted file may miss; the others lie in lists not scanned

Pairs: TypeAlias = tuple[tuple[float, int], ...]


class ListsTrial(NamedTuple):
    """What each recall needs of an inverted file: candidates, and lists to take them from."""

    candidates: Pairs
    probes: Pairs
    search_us: float


def exact_trials(metric: Metric, segment: SealedSegment) -> list[tuple[Vectors, NDArray[np.int64]]]:
    """Stored rows as queries, each with its true nearest neighbours without itself."""
    columns = segment.columns
    distances = Distances(metric, columns.vectors, columns.inverse_norm)
    trials = []
    for row in _spread(segment.rows, _QUERIES).tolist():
        near: NDArray[np.int64] = np.empty(0, np.int64)
        for first in range(0, segment.rows, _BLOCK_ROWS):
            keys = distances.keys_of_range(columns.vectors[row], first, min(first + _BLOCK_ROWS, segment.rows))
            near = np.concatenate([near, first + np.argsort(keys, kind="stable")[: K + 1]])
        keys = distances.keys_of_rows(columns.vectors[row], near)
        near = near[np.argsort(keys, kind="stable")[: K + 1]]
        trials.append((columns.vectors[row], near[near != row]))
    return trials


def depth_for(depths: list[int], recall: float, deepest: int) -> int | None:
    """How many candidates hold this share of the neighbours; None if more than were looked at."""
    if not depths:
        return 1
    depth = int(np.percentile(depths, 100 * recall, method="higher")) + 1
    return depth if depth <= deepest else None


def try_lists(metric: Metric, segment: SealedSegment, file: InvertedFile) -> ListsTrial:
    """Where neighbours stand among all codes, and where their lists: that tells what any search would find."""
    depths: list[int] = []
    depth = min(DEPTH_MAX, segment.rows)
    for query, near in exact_trials(metric, segment):
        depths += depths_of(near, file.search(prepare(metric, query[None]), depth, file.count)[0], segment.rows)
    candidates, probes = [], []
    places: list[int] = []
    rows = _spread(segment.rows, _LIST_QUERIES)
    queries = prepare(metric, segment.columns.vectors[rows])
    for recall in RECALLS:
        count = depth_for(depths, 1 - (1 - recall) * _LOST_BY_CODES, depth)
        if count is None:
            break
        candidates.append((recall, count))
    if candidates:
        places = _places(metric, segment, file, rows, queries, candidates[-1][1])
    for recall, _ in candidates:
        lists = depth_for(places, 1 - (1 - recall) * (1 - _LOST_BY_CODES), file.count)
        assert lists is not None  # a row lies in some list
        probes.append((recall, lists))
    of = dict(candidates).get(0.99, depth), dict(probes).get(0.99, file.count)
    began = time.thread_time()
    for query in queries:
        file.search(query[None], *of)
    return ListsTrial(tuple(candidates), tuple(probes), 1e6 * (time.thread_time() - began) / len(queries))


def _places(
    metric: Metric, segment: SealedSegment, file: InvertedFile, rows: NDArray[np.int64], queries: Vectors, count: int
) -> list[int]:
    """At which place the lists of the neighbours come. Neighbours are the nearest of `count` candidates of all lists:
    for far less than an exact scan takes, these are nearly all.
    """
    columns = segment.columns
    distances = Distances(metric, columns.vectors, columns.inverse_norm)
    places: list[int] = []
    for row, query, labels in zip(rows.tolist(), queries, file.search(queries, count + 1, file.count), strict=True):
        found = labels[(labels >= 0) & (labels != row)]
        keys = distances.keys_of_rows(columns.vectors[row], found)
        near = found[np.argsort(keys, kind="stable")[:K]]
        places += file.places(query[None], prepare(metric, columns.vectors[near])).tolist()
    return places


def _spread(rows: int, count: int) -> NDArray[np.int64]:
    """So many of the rows, or all, at even distances."""
    return np.unique(np.linspace(0, rows - 1, count).astype(np.int64))
