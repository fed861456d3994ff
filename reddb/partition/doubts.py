"""Whether the candidates of an index leave doubt that the nearest rows are among them, from these candidates alone.

late      many of the nearest stand among the last half of the candidates, or of the lists that were scanned, so
          there must be more behind. Once a query has shown that it is not like others, none may stand there
blurred   the last candidate is for the index hardly farther than the nearest rows are, measured by how much it was
          wrong about the candidates: what comes behind may be nearer
missed    a row that stands for a crowd (`watched.py`) is near, and the crowd was not proposed
"""

from __future__ import annotations

from math import inf

import numpy as np
from numpy.typing import NDArray

from reddb.index.metrics import Distances
from reddb.partition.candidate_sources import Proposal
from reddb.partition.ranking import Candidates
from reddb.types import Vectors

_LATE_SHARE = 0.15  # of the nearest rows, in the last half of the candidates: more of them mean a recall below 0.97
_BLUR = 2.0  # standard deviations of what the index is wrong by


def are_doubtful(found: Candidates, given: Proposal, wanted: int, last: float, scale: float, *, is_first: bool) -> bool:
    """Whether rows nearer than the `wanted` nearest candidates, whose keys are up to `last`, may come behind what was
    `given`. What the index says of a distance is a key once it is multiplied by `scale`.

    Rows that the index cannot tell apart say no more than one row: the fewer there are to judge by, the earlier they
    must come. Where even the keys cannot tell most of them apart, codes do not.
    """
    keys, errors = found.keys, found.errors
    if _are_blurred(keys, given.far, last, scale):
        return True
    if np.count_nonzero(keys <= last + 2 * errors) * 2 > len(keys):
        return True
    near = (keys <= last).nonzero()[0][:wanted]
    distinct = len(set(given.far[near].tolist())) / len(near)
    late = np.count_nonzero(near * 2 >= len(keys) * distinct**2)
    if given.depths is not None:
        late = max(late, np.count_nonzero(given.depths[near] * 2 >= 1))
    return bool(late > (_LATE_SHARE * len(near) if is_first else 0))


def is_crowd_missed(
    distances: Distances, query: Vectors, crowds: NDArray[np.int64], found: Candidates, last: float
) -> bool:
    """Whether one of these rows, which need not match nor live, is nearer than `last`, and none like it was found."""
    keys = distances.keys_of_rows(query, crowds)
    errors = np.broadcast_to(distances.errors(query, keys, crowds), len(keys))
    near = keys + errors < last
    for row, key, error in zip(crowds[near], keys[near], errors[near], strict=True):
        if not (found.rows == row).any() and not (np.abs(found.keys - key) <= 2 * error).any():
            return True
    return False


def _are_blurred(keys: NDArray[np.float32], far: NDArray[np.float32], last: float, scale: float) -> bool:
    if not far[0] > -inf:  # rows beside the index, of which it says nothing
        known = far > -inf
        keys, far = keys[known], far[known]
        if not len(far):
            return False
    off = keys - far * np.float32(scale)
    mean = float(np.add.reduce(off)) / len(off)
    off -= np.float32(mean)
    deviation: float = (float(off @ off) / len(off)) ** 0.5
    return scale * float(far[-1]) + mean - last < _BLUR * deviation
