"""Recall and distances on every set at hand, at default settings: the large ones where REDDB_DATASETS names them.

Without it the bundled sample alone is tested, and the run says so.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import reddb
from tests import oracle
from tests.bench.common import Dataset, datasets

QUERIES = 200


@cache
def all_sets() -> dict[str, Dataset]:
    return {data.name: data for data in datasets()}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory):
    """An embedded database with a collection per base."""
    path: Path = tmp_path_factory.mktemp("datasets")
    with reddb.connect(f"file:{path}") as opened:
        yield opened


@pytest.mark.parametrize("name", list(all_sets()))
def test_recall_and_distances(database: reddb.Client, name: str):
    data = all_sets()[name]
    collection = name.split()[0]
    shown = [row[0] for row in database.execute("SHOW COLLECTIONS")]
    if collection not in shown:
        dim = data.base.shape[1]
        database.execute(f'CREATE COLLECTION "{collection}" KIND vector.turbo DIM {dim} METRIC {data.metric}')
        for first in range(0, len(data.base), 20_000):
            part = data.base[first : first + 20_000]
            database.insert(collection, np.arange(first, first + len(part)), part)
    queries = data.queries[:QUERIES]
    found = database.search(collection, queries, k=10)
    right = [rows[:10] for rows in data.truth[:QUERIES]]
    assert oracle.recall([np.array(hits.ids) for hits in found], right) >= 0.99
    for query, hits in zip(queries, found, strict=True):
        expected = oracle.distances(data.metric, data.base[hits.ids], query)
        assert hits.distances == pytest.approx(expected, rel=1e-4)
