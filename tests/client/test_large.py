"""Requests and answers that a frame cannot hold are refused with a reason, not by a lost connection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import reddb
from reddb.client.demo.sample import Sample
from reddb.limits import BATCH_ROWS_MAX, FRAME_BYTES_MAX

# The embedded database has no frames.
over_a_wire = pytest.mark.parametrize("db", ["sync", "async"], indirect=True)


@over_a_wire
def test_a_batch_larger_than_a_frame(db: Any, name: str) -> None:
    dim = 8192
    rows = FRAME_BYTES_MAX // (4 * dim) + 1
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {dim}")
    with pytest.raises(reddb.RedDBError) as caught:
        db.insert(name, np.arange(rows), np.zeros((rows, dim), np.float32))
    # A retryable error would have programs send the same 256 MiB for ever.
    assert (caught.value.name, caught.value.retryable) == ("LIMIT_EXCEEDED", False)
    assert db.execute(f"SELECT count(*) FROM {name}")[0] == (0,)


def test_a_batch_of_too_many_rows(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 1")
    rows = BATCH_ROWS_MAX + 1
    with pytest.raises(reddb.RedDBError) as caught:
        db.insert(name, np.arange(rows), np.zeros((rows, 1), np.float32))
    assert (caught.value.name, caught.value.retryable) == ("LIMIT_EXCEEDED", False)
    assert db.insert(name, np.arange(rows - 1), np.zeros((rows - 1, 1), np.float32)) == BATCH_ROWS_MAX
    assert db.execute(f"SELECT count(*) FROM {name}")[0] == (BATCH_ROWS_MAX,)


@over_a_wire
def test_an_answer_larger_than_a_frame(db: Any, name: str, sample: Sample) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 384")
    db.insert(name, sample.ids, sample.vectors)
    queries = sample.vectors[: FRAME_BYTES_MAX // (5000 * 4 * 384) + 1]
    with pytest.raises(reddb.RedDBError) as caught:
        db.search(name, queries, k=5000, with_vectors=True)
    assert (caught.value.name, caught.value.retryable) == ("TOO_LARGE", False)
    assert [hits.ids[0] for hits in db.search(name, queries, k=1)] == sample.ids[: len(queries)].tolist()
