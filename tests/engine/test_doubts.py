"""What candidates say of the rows behind them."""

from __future__ import annotations

import numpy as np

from reddb.index.metrics import Distances, inverse_norms
from reddb.partition.candidate_sources import Proposal
from reddb.partition.doubts import are_doubtful, is_crowd_missed
from reddb.partition.ranking import Candidates
from reddb.types import Metric

COUNT, WANTED = 100, 10
ROWS = np.arange(COUNT)


def are(keys: np.ndarray, far: np.ndarray, *, scale: float = 1.0, depths: np.ndarray | None = None) -> bool:
    """Whether candidates with these keys, which an index gave as so far, are in doubt."""
    keys, far = keys.astype(np.float32), far.astype(np.float32)
    last = float(np.partition(keys, WANTED - 1)[WANTED - 1])
    given = Proposal(ROWS, far, None if depths is None else depths.astype(np.float32))
    return are_doubtful(Candidates(0, ROWS, keys, 0.0), given, WANTED, last, scale, is_first=True)


def wrong_by(deviation: float) -> tuple[np.ndarray, np.ndarray]:
    """Keys, and what an index says of them that is so wrong, in its order: the nearest rows come first all the same."""
    far = np.linspace(0, 1, COUNT)
    wrong = np.random.default_rng(0).normal(0, deviation, COUNT)
    wrong[: 2 * WANTED] = 0
    return far + np.maximum(wrong, 0.3 - far) * (ROWS >= 2 * WANTED), far


def test_an_index_that_is_right_leaves_no_doubt():
    keys, far = wrong_by(0.0)
    assert not are(keys, far)
    assert not are(keys, far + 3.0)  # what it is wrong by is the same for all rows
    assert not are(keys, -far / 7, scale=-7.0)


def test_an_index_that_is_wrong_by_as_much_as_it_looked_beyond_leaves_doubt():
    assert are(*wrong_by(1.0))


def test_rows_of_which_the_index_says_nothing_are_not_counted():
    keys, far = wrong_by(0.0)
    far[:5] = -np.inf
    assert not are(keys, far)


def test_nearest_rows_of_the_last_lists_leave_doubt():
    keys, far = wrong_by(0.0)
    assert not are(keys, far, depths=np.where(ROWS == 3, 0.9, 0.1))
    assert are(keys, far, depths=np.where(ROWS < 3, 0.9, 0.1))


def test_a_crowd_that_is_near_and_was_not_proposed_is_missed():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((COUNT, 16)).astype(np.float32)
    rows[50:] = rows[50]
    distances = Distances(Metric.L2, rows, inverse_norms(rows))
    query = rows[50] + np.float32(0.01)

    def missed(proposed: np.ndarray, crowd: int) -> bool:
        keys = distances.keys_of_rows(query, proposed)
        found = Candidates(0, proposed, keys, distances.errors(query, keys, proposed))
        last = float(np.partition(keys, WANTED - 1)[WANTED - 1])
        return is_crowd_missed(distances, query, np.array([crowd]), found, last)

    assert missed(ROWS[:50], 50)
    assert not missed(ROWS[:50], 20)
    assert not missed(ROWS[:62], 50)
    assert not missed(ROWS[:62], 99)  # its like were proposed
