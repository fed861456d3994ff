"""What trials measured, looked up by recall and by how far the tenth row lies."""

from __future__ import annotations

import numpy as np
from msgpack import packb, unpackb

from reddb.partition.calibration import RECALLS, UNKNOWN, Calibration, Limits, Needs, Outcome, calibrated


def outcomes(keys, depth: int) -> list[Outcome]:
    """A trial for each key of a tenth row, whose ten neighbours lie at this depth."""
    return [Outcome(key - 0.1, key, [depth] * 10, []) for key in keys]


def test_queries_whose_tenth_row_lies_elsewhere_have_needs_of_their_own():
    like, unlike = outcomes(np.linspace(0, 1, 24), 19), outcomes(np.linspace(2, 3, 24), 499)
    found = calibrated([like], [unlike], Limits(1000), 24)
    assert found.like.needed(0.99) == 20
    assert [found.zone(key).needed(0.99) for key in (0.0, 0.5, 1.0, 1.5, 2.5, 3.0)] == [20, 20, 20, 500, 500, 500]
    assert found.zone(-1.0) is None
    assert found.zone(9.0) is None


def test_each_group_is_found_as_well_as_is_asked_for():
    many, few = outcomes([1.0] * 99, 9), outcomes([1.0] * 1, 99)
    assert calibrated([many + few], [], Limits(1000), 100).like.needed(0.9) == 10
    assert calibrated([many, few], [], Limits(1000), 100).like.needed(0.9) == 100


def test_what_was_not_found_as_deep_as_was_looked_is_not_reached():
    found = calibrated([outcomes([1.0] * 19, 5) + outcomes([1.0], 10**6)], [], Limits(100), 10)
    assert found.like.needed(0.9) == 6
    assert found.like.needed(0.95) is None
    assert UNKNOWN.like.needed(0.9) is None
    assert UNKNOWN.zone(0.0) is None


def test_needs_never_fall_as_the_recall_rises():
    rng = np.random.default_rng(0)
    trials = [Outcome(0.0, 1.0, rng.integers(0, 500, 10).tolist(), []) for _ in range(50)]
    counts = [calibrated([trials], [], Limits(1000), 50).like.needed(recall) for recall in RECALLS]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_what_is_enough_for_both_is_the_larger_and_only_what_both_reach():
    one, other = Needs(((0.9, 10), (0.99, 50)), ((0.9, 8), (0.99, 9))), Needs(((0.9, 30),), ((0.9, 4),))
    assert one.joined(other) == other.joined(one) == Needs(((0.9, 30),), ((0.9, 8),))


def test_plain_values_give_the_same_calibration():
    found = calibrated([outcomes([0.0, 1.0], 3)], [outcomes([5.0], 7)], Limits(100), 1)
    assert Calibration.from_plain(unpackb(packb(found.to_plain())), 100) == found


def test_in_a_zone_each_kind_of_unlike_queries_is_found_as_well_as_the_like_ones():
    like, rare = outcomes([1.0] * 99, 9), outcomes([1.0], 99)
    assert calibrated([like + rare], [], Limits(1000), 100).zone(1.0).needed(0.9) == 10
    assert calibrated([like], [rare], Limits(1000), 100).zone(1.0).needed(0.9) == 100
