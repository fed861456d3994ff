"""Equal vectors are one node, and every row is behind one."""

from __future__ import annotations

import numpy as np
import pytest

from reddb.partition.graph_rows import GraphRows, distinct_rows


def as_given(vectors: np.ndarray) -> np.ndarray:
    return vectors


@pytest.mark.parametrize("copies", [1, 3, 1000])
def test_rows_are_behind_the_node_of_their_vector(copies):
    rng = np.random.default_rng(copies)
    distinct = rng.standard_normal((1000 // copies, 5)).astype(np.float32)
    of = rng.integers(0, len(distinct), 1000)
    vectors = distinct[of]
    made = distinct_rows(vectors, as_given)
    assert made.nodes == len(np.unique(of))
    assert sorted(made.rows.tolist()) == list(range(1000))
    for node in range(made.nodes):
        rows = made.behind(np.array([node]))
        assert (vectors[rows] == vectors[made.first[node]]).all()
        equal = np.count_nonzero((vectors == vectors[rows[0]]).all(axis=1))
        assert len(rows) == equal == made.sizes(np.array([node]))[0]


def test_nodes_keep_their_order_and_minus_one_is_none():
    vectors = np.array([[1], [2], [1], [3], [2]], np.float32)
    made = distinct_rows(vectors, as_given)
    assert made.first.tolist() == [0, 1, 3]
    assert made.behind(np.array([2, -1, 0, 1])).tolist() == [3, 0, 2, 1, 4]
    assert made.any_of(np.array([False, False, True, False, False])).tolist() == [True, False, False]


def test_zeros_of_both_signs_are_equal():
    assert distinct_rows(np.array([[0.0, 1], [-0.0, 1]], np.float32), as_given).nodes == 1


def test_what_is_written_is_read_again():
    made = distinct_rows(np.array([[1], [2], [1], [3]], np.float32), as_given).hiding(np.array([0, 2]))
    assert made.hidden.tolist() == [0, 2, 3]
    content = b"".join(part.tobytes() for part in made.parts())
    read = GraphRows.read(memoryview(content), 4)
    assert [part.tolist() for part in read.parts()] == [part.tolist() for part in made.parts()]
    assert (made.is_plain, distinct_rows(np.eye(3, dtype=np.float32), as_given).is_plain) == (False, True)
