"""`WITH (recall = r)` finds no less than the default, and rises with what is asked, for every query."""

from __future__ import annotations

import numpy as np
import pytest

import reddb
from tests.recall.matrix import WAYS, K
from tests.recall.sets import CLASSES, made, queries_for

ASKED = [0.8, 0.9, 0.95, 0.99, 0.999]
SETS = ["normal", "positive lengths", "negative", "many lengths", "clusters", "mostly equal"]


def assert_rises(db: reddb.Client, queries: np.ndarray) -> None:
    """Rank by rank nothing is farther than at the recall before, nor than in the default's answer."""
    answers = [db.search("c", queries, k=K, recall=recall, with_payloads=False) for recall in ASKED]
    default = db.search("c", queries, k=K, with_payloads=False)
    for number, hits in enumerate(default):
        before = hits.distances
        for recall, answer in zip(ASKED, answers, strict=True):
            found = answer[number].distances
            assert len(found) == K
            assert (found <= before).all(), (recall, number)
            before = found


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("way", ["hnsw", "turbo hnsw", "flat", "ivf"])
@pytest.mark.parametrize("name", SETS)
def test_a_recall_that_is_asked_for_finds_no_less(tmp_path, name, way, metric):
    of = WAYS[way]
    rows = made(name, of.rows, of.dim)
    queries = np.concatenate([queries_for(rows, 4)[of_class] for of_class in CLASSES])
    with reddb.connect(f"file:{tmp_path}") as db:
        db.execute(f"CREATE COLLECTION c KIND {of.kind} DIM {of.dim} METRIC {metric} {of.settings}")
        db.insert("c", np.arange(len(rows)), rows)
        db.execute("ALTER COLLECTION c SEAL")
        assert_rises(db, queries)


def test_a_graph_made_by_default_finds_no_less_when_a_recall_is_asked_for(tmp_path):
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.standard_normal((11_000, 1)))
    rows = (np.abs(rng.standard_normal((11_000, 384))) * lengths).astype(np.float32)
    normal = rng.standard_normal((8, 384)).astype(np.float32)
    with reddb.connect(f"file:{tmp_path}") as db:
        db.execute("CREATE COLLECTION c KIND vector DIM 384 METRIC ip")
        db.insert("c", np.arange(len(rows)), rows)
        db.execute("ALTER COLLECTION c SEAL")
        assert_rises(db, np.concatenate([normal, -np.abs(normal)]))
