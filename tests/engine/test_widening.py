"""How far codes are trusted is measured on the rows themselves: what it must find, and what searches gain by it."""

from __future__ import annotations

import numpy as np
import pytest

from reddb.client.demo import sample
from reddb.partition.codec_block import SCAN_EXACTLY
from reddb.types import SearchOptions
from tests.engine.partitions import Opened, collection, numbers_of
from tests.oracle import nearest, recall
from tests.storage.disks import MemoryDisk

ROWS = 8192


def needed_by(opened: Opened) -> int:
    return opened.codec_block().needed


def filled(base: np.ndarray, metric: str) -> Opened:
    opened = Opened(collection(dim=base.shape[1], metric=metric), disk=MemoryDisk())
    opened.insert(np.arange(len(base)), base)
    opened.encode()
    return opened


def test_text_needs_no_widening():
    opened = filled(sample.load().vectors, "cosine")
    assert 10 <= needed_by(opened) <= 60  # what a search takes anyway
    opened.close()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_random_vectors_need_some_and_are_found(metric):
    """In random directions the tenth neighbour is hardly nearer than the hundredth."""
    generator = np.random.default_rng(3)
    base = generator.standard_normal((ROWS, 128), dtype=np.float32)
    queries = generator.standard_normal((50, 128), dtype=np.float32)
    opened = filled(base, metric)
    assert 1 < needed_by(opened) < SCAN_EXACTLY
    right, _ = nearest(metric, base, queries, 10)
    found = numbers_of(opened.reader.search(queries, SearchOptions(10)))
    assert recall(found, right) >= 0.95
    without = numbers_of(opened.reader.search(queries, SearchOptions(10, ef=60)))
    assert recall(without, right) < recall(found, right)
    opened.close()


def test_rows_that_codes_cannot_tell_apart_are_scanned_exactly():
    """Four clusters far from one another, and so narrow that a cluster has one code."""
    generator = np.random.default_rng(4)
    centres = generator.standard_normal((4, 128)) * 1000
    base = (centres[np.arange(ROWS) % 4] + generator.standard_normal((ROWS, 128))).astype(np.float32)
    opened = filled(base, "l2")
    assert needed_by(opened) == SCAN_EXACTLY
    right, _ = nearest("l2", base, base[:20] + np.float32(0.1), 10)
    found = numbers_of(opened.reader.search(base[:20] + np.float32(0.1), SearchOptions(10)))
    assert recall(found, right) == 1.0
    opened.close()


def test_coded_rows_are_those_whose_codes_are_measured():
    opened = Opened(collection(dim=384, metric="cosine"), disk=MemoryDisk())
    vectors = sample.load().vectors
    opened.insert(np.arange(2080), vectors[:2080])
    assert opened.reader.coded_rows() == 0
    seen = [0]
    while opened.partition.encode_step():
        seen.append(opened.reader.coded_rows())
    assert opened.reader.coded_rows() == 2080
    assert set(seen) == {0}  # not before the measurement, which the last step ends
    assert opened.reader.count() == 2080
    opened.close()
