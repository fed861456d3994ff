"""Equal rows hide no others: whatever share of a segment they are, in one group or in several, sealed or merged."""

from __future__ import annotations

import numpy as np
import pytest

import reddb

ROWS, DIM = 11_000, 384
SMALL_ROWS, SMALL_DIM = 4_500, 64


def found(db: reddb.Client, rows: np.ndarray, numbers: np.ndarray) -> int:
    """How many of these rows a search for each finds."""
    hits = db.search("c", rows[numbers], k=10, with_payloads=False)
    return sum(number in item.ids for number, item in zip(numbers.tolist(), hits, strict=True))


def with_equal(rows: int, dim: int, share: float, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which a share are copies of so many of them, and the numbers of the others."""
    rng = np.random.default_rng(0)
    made = rng.standard_normal((rows, dim)).astype(np.float32)
    is_copy = rng.random(rows) < share
    made[is_copy] = made[rng.integers(0, groups, np.count_nonzero(is_copy))]
    is_copy[:groups] = True
    return made, np.flatnonzero(~is_copy)


def test_ten_of_eleven_equal_rows_hide_none_of_the_others(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ROWS, DIM)).astype(np.float32)
    is_copy = np.arange(ROWS) % 11 != 0
    rows[is_copy] = rows[1]
    with reddb.connect(f"file:{tmp_path}") as db:
        db.execute(f"CREATE COLLECTION c KIND vector DIM {DIM} METRIC cosine")
        db.insert("c", np.arange(ROWS), rows)
        db.execute("ALTER COLLECTION c SEAL")
        assert found(db, rows, np.flatnonzero(~is_copy)[:100]) == 100
        assert len(set(db.search("c", rows[1], k=300).ids) & set(np.flatnonzero(is_copy).tolist())) == 300


CREATIONS = {
    "graph": "KIND vector WITH (index = hnsw)",
    "turbo graph": "KIND vector.turbo WITH (index = hnsw, codes = turbo4)",
    "ivf": "KIND vector.turbo WITH (index = ivf)",
    "turbo": "KIND vector.turbo WITH (index = flat)",
}


def created(db: reddb.Client, creation: str, metric: str) -> None:
    kind, _, settings = CREATIONS[creation].partition(" WITH ")
    db.execute(f"CREATE COLLECTION c {kind} DIM {SMALL_DIM} METRIC {metric} WITH {settings}")


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize(("share", "groups"), [(0.9, 1), (0.9, 2), (0.5, 1), (0.97, 400)])
@pytest.mark.parametrize("creation", CREATIONS)
def test_equal_rows_hide_no_others(tmp_path, creation, share, groups, metric):
    rows, others = with_equal(SMALL_ROWS, SMALL_DIM, share, groups)
    with reddb.connect(f"file:{tmp_path}") as db:
        created(db, creation, metric)
        db.insert("c", np.arange(len(rows)), rows)
        db.execute("ALTER COLLECTION c SEAL")
        assert found(db, rows, others[:100]) >= 0.98 * len(others[:100])
        for number in range(min(groups, 5)):
            copies = np.flatnonzero((rows == rows[number]).all(axis=1))
            k = min(len(copies), 500)
            assert set(db.search("c", rows[number], k=k).ids) <= set(copies.tolist())


@pytest.mark.parametrize("creation", CREATIONS)
def test_equal_rows_that_come_later_hide_none_when_they_are_merged(tmp_path, creation):
    rows, _ = with_equal(3_000, SMALL_DIM, 0.0, 1)
    copies = np.tile(rows[5], (6_000, 1))
    numbers = np.arange(3_000, 9_000)
    with reddb.connect(f"file:{tmp_path}") as db:
        created(db, creation, "cosine")
        batches = [(np.arange(3_000), rows), (numbers[:3_000], copies[:3_000]), (numbers[3_000:], copies[3_000:])]
        for ids, vectors in batches:
            db.insert("c", ids, vectors)
            db.execute("ALTER COLLECTION c SEAL")
            assert found(db, rows, np.arange(10, 110)) >= 98
        db.execute("ALTER COLLECTION c COMPACT")
        assert found(db, rows, np.arange(10, 110)) >= 98
        db.delete("c", numbers[1_000:])
        assert found(db, rows, np.arange(10, 110)) >= 98
        db.execute("ALTER COLLECTION c COMPACT")
        assert found(db, rows, np.arange(10, 110)) >= 98
