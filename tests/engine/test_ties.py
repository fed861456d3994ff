"""Rows at equal distances: in the order of their ids, on every page alike."""

from __future__ import annotations

import numpy as np
import pytest

from reddb.types import Kind, SearchOptions
from tests.engine.partitions import Opened, collection


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_pages_of_equal_distances_do_not_overlap(tmp_path, is_sealed, exact):
    rng = np.random.default_rng(3)
    opened = Opened(collection(dim=8, metric="hamming", kind=Kind.VECTOR, seal_rows=1024), tmp_path)
    bits = rng.integers(0, 2, (3000, 8)).astype(np.float32)
    for first in range(0, 3000, 500):
        opened.insert(np.arange(first, first + 500), bits[first : first + 500])
    if is_sealed:
        opened.seal()
    distances = (bits != bits[0]).sum(axis=1)
    right = np.argsort(distances, kind="stable")
    for k in (1, 10, 40, 700, 2999):
        (found,) = opened.reader.search(bits[:1], SearchOptions(k, exact=exact))
        assert found.view.row_ids(found.addresses) == right[:k].tolist()
    opened.close()
