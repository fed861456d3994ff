"""Rows that a search does not leave to the index: crowds among codes, and rows longer than their codes can say."""

from __future__ import annotations

import numpy as np

from reddb.index.turbo import TurboCodec, pack, sampled_nibbles
from reddb.partition.calibration import Calibration, Needs
from reddb.partition.codec_block import CodecBlock, codec_block_bytes
from reddb.partition.graph_rows import distinct_rows
from reddb.partition.watched import WATCHED_MAX, crowds_of_codes, crowds_of_nodes, outliers

DIM = 64


def packed_codes(rows: np.ndarray) -> tuple[np.ndarray, int]:
    codec = TurboCodec(DIM, 2)
    rotated = codec.rotation.apply(rows)
    return codec.encode(codec.normalise(rotated, codec.fit(rotated))), codec.code_bytes


def with_groups(count: int, sizes: list[int]) -> np.ndarray:
    """Rows of which some groups are equal, spread among the others."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((count, DIM)).astype(np.float32)
    places = iter(np.split(rng.permutation(count)[: sum(sizes)], np.cumsum(sizes)[:-1]))
    for place in places:
        rows[place] = rows[place[0]]
    return rows


def test_nibbles_are_those_that_were_packed():
    nibbles = np.random.default_rng(0).integers(0, 16, (96, 8)).astype(np.uint8)
    numbers, found = sampled_nibbles(pack(nibbles), 4, 96)
    assert sorted(numbers.tolist()) == list(range(96))
    assert (found == nibbles[numbers]).all()
    numbers, found = sampled_nibbles(pack(nibbles), 4, 24)
    assert 6 <= len(numbers) <= 24
    assert (found == nibbles[numbers]).all()


def test_the_largest_groups_of_equal_codes_are_crowds():
    for count in (3_200, 32_000):
        rows = with_groups(count, [count // 2, count // 20, 5])
        packed, code_bytes = packed_codes(rows)
        crowds = crowds_of_codes(packed, code_bytes, count)
        sizes = [np.count_nonzero((rows == rows[row]).all(axis=1)) for row in crowds]
        assert sizes == [count // 2, count // 20]


def test_ordinary_rows_have_neither_crowds_nor_outliers():
    rows = with_groups(3_200, [5])
    packed, code_bytes = packed_codes(rows)
    assert crowds_of_codes(packed, code_bytes, len(rows)) == ()
    assert outliers(rows, 0) == ()


def test_rows_that_fill_up_a_block_are_no_crowd():
    rows = np.zeros((3_200, DIM), np.float32)
    rows[:2_000] = with_groups(2_000, [5])
    packed, code_bytes = packed_codes(rows)
    assert crowds_of_codes(packed, code_bytes, 2_000) == ()


def test_equal_vectors_behind_one_node_are_a_crowd():
    rows = with_groups(2_100, [700, 9])
    crowds = crowds_of_nodes(distinct_rows(rows, lambda vectors: vectors))
    assert [np.count_nonzero((rows == rows[row]).all(axis=1)) for row in crowds] == [700]


def test_the_longest_of_all_blocks_are_outliers():
    normalised = np.ones((500, DIM), np.float32)
    normalised[100:300] *= np.linspace(3, 9, 200, dtype=np.float32)[:, None]
    found = outliers(normalised[250:], 250, outliers(normalised[:250], 0))
    assert [row for _, row in found] == list(range(299, 299 - WATCHED_MAX, -1))


def test_shared_memory_keeps_both():
    codec = TurboCodec(DIM, 2)
    memory = np.zeros(codec_block_bytes(codec), np.uint8)
    written = Calibration(Needs(((0.99, 40),)), -1.0, ((0.5, Needs()),), (7, 3), tuple(range(WATCHED_MAX)))
    CodecBlock(memory, codec.rotation.padded).write_calibration(written)
    assert CodecBlock(memory, codec.rotation.padded).read_calibration() == written
