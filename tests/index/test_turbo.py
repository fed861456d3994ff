"""Turbo codes: the best levels, the loss they promise, and the layout that faiss reads."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from reddb.client.demo import sample
from reddb.index.turbo import Fit, TurboCodec, TurboIndex, lloyd_max_levels, make_index, packs_like_faiss
from reddb.types import Metric
from tests.oracle import nearest, recall

# Mean squared error of the best quantiser of the unit normal (J. Max, "Quantizing for minimum distortion", 1960).
LEAST_ERROR = {2: 0.1175, 4: 0.009497}


def unpacked(packed: np.ndarray, rows: int) -> np.ndarray:
    """Nibbles (rows, columns) from the packed layout, as the module's first lines describe it."""
    order = [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15]
    blocks = packed.reshape(rows // 32, -1, 16)  # block, column, byte
    nibbles = np.zeros((rows // 32, 32, blocks.shape[1]), np.uint8)
    for place, row in enumerate(order):
        nibbles[:, row] = blocks[:, :, place] & 15
        nibbles[:, row + 16] = blocks[:, :, place] >> 4
    return nibbles.reshape(rows, -1)


def decoded(codec: TurboCodec, fit: Fit, packed: np.ndarray, rows: int) -> np.ndarray:
    """The rotated coordinates that the codes stand for, by the codebook that faiss is given."""
    nibbles = unpacked(packed, rows)
    return codec.centroids(fit)[np.arange(codec.columns), nibbles].reshape(rows, -1)


def faiss_codes(codec: TurboCodec, fit: Fit, rotated: np.ndarray) -> np.ndarray:
    """The packed codes that faiss makes itself."""
    index = make_index(codec, fit, Metric.L2)
    index.add(rotated)
    return faiss.rev_swig_ptr(index.codes.get(), len(rotated) * codec.code_bytes).copy()


@pytest.mark.parametrize("bits", [2, 4])
def test_the_levels_are_those_of_least_error(bits):
    levels = lloyd_max_levels(2**bits)
    assert len(levels) == 2**bits
    assert (np.diff(levels) > 0).all()
    assert np.abs(levels + levels[::-1]).max() < 1e-9
    x = np.linspace(-8, 8, 400_001)
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    error = np.min((x[:, None] - levels) ** 2, axis=1)
    assert float(np.sum(error * density) * (x[1] - x[0])) == pytest.approx(LEAST_ERROR[bits], rel=1e-3)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("dim", [1, 31, 100, 384, 544])
def test_the_packing_is_that_of_faiss(dim, bits):
    codec = TurboCodec(dim, bits)
    generator = np.random.default_rng(dim)
    fit = Fit(generator.normal(size=codec.rotation.padded).astype(np.float32), 0.25)
    # Coordinates right at the levels: no rounding decides between two of them.
    levels = codec.levels.astype(np.float32)[generator.integers(0, 2**bits, (96, codec.rotation.padded))]
    rotated = fit.mean + np.float32(fit.scale) * levels
    packed = codec.encode(codec.normalise(rotated, fit))
    assert packed.shape == (96 * codec.code_bytes,)
    assert np.array_equal(packed, faiss_codes(codec, fit, rotated))
    assert np.abs(decoded(codec, fit, packed, 96) - rotated).max() < 1e-5


@pytest.mark.parametrize("bits", [2, 4])
def test_the_fast_packing_is_in_use(bits):
    assert packs_like_faiss(bits)


@pytest.mark.parametrize("bits", [2, 4])
def test_the_loss_on_real_vectors_is_near_the_least(bits):
    vectors = sample.load().vectors[:4992]
    codec = TurboCodec(384, bits)
    rotated = codec.rotation.apply(vectors)
    fit = codec.fit(rotated[:1024])  # rows that were not fitted must do as well
    packed = codec.encode(codec.normalise(rotated, fit))
    error = np.mean((decoded(codec, fit, packed, len(vectors)) - rotated) ** 2) / fit.scale**2
    assert error < 1.15 * LEAST_ERROR[bits]
    assert error > 0.85 * LEAST_ERROR[bits]


@pytest.mark.parametrize(("bits", "dim", "expected"), [(2, 384, 96), (4, 384, 192), (2, 1, 8), (4, 100, 64)])
def test_a_row_takes_the_bytes_that_its_bits_say(bits, dim, expected):
    assert TurboCodec(dim, bits).code_bytes == expected


def test_every_coordinate_takes_the_nearest_level():
    for bits in (2, 4):
        codec = TurboCodec(32, bits)
        values = np.random.default_rng(3).normal(size=(64, 32)).astype(np.float32) * 2
        fit = Fit(np.zeros(32, np.float32), 1.0)
        chosen = decoded(codec, fit, codec.encode(values), 64)
        best = np.min(np.abs(values[:, :, None] - codec.levels), axis=2)
        assert np.abs(np.abs(values - chosen) - best).max() < 1e-6


@pytest.mark.parametrize("value", [0.0, 1e-35, 5.0, 1e30])
def test_rows_that_are_all_equal_have_a_fit(value):
    codec = TurboCodec(64, 2)
    rotated = codec.rotation.apply(np.full((1024, 64), value, np.float32))
    fit = codec.fit(rotated)
    normalised = codec.normalise(rotated, fit)
    assert np.isfinite(normalised).all()
    assert np.isfinite(codec.centroids(fit)).all()


def test_a_fit_takes_off_mean_and_scale():
    generator = np.random.default_rng(5)
    codec = TurboCodec(64, 4)
    rotated = (generator.normal(size=(2048, 64)) * 3 + generator.normal(size=64) * 100).astype(np.float32)
    normalised = codec.normalise(rotated, codec.fit(rotated))
    assert np.abs(normalised.mean(axis=0)).max() < 1e-3
    assert np.mean(normalised.astype(np.float64) ** 2) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("bits", [2, 4])
def test_codes_taken_over_in_pieces_find_as_all_at_once(metric, bits):
    vectors = np.random.default_rng(6).normal(size=(1024, 64)).astype(np.float32)
    codec = TurboCodec(64, bits)
    rotated = codec.rotation.apply(vectors)
    fit = codec.fit(rotated)
    packed = codec.encode(codec.normalise(rotated, fit))
    whole, pieces = TurboIndex(codec, fit, metric), TurboIndex(codec, fit, metric)
    whole.append(packed)
    for first, last in ((0, 32), (32, 32), (32, 544), (544, 1024)):
        pieces.append(packed[first * codec.code_bytes : last * codec.code_bytes])
        assert pieces.rows == last
    queries = codec.rotation.apply(vectors[:20] + np.float32(0.1))
    _, found = pieces.search(queries, 50)
    assert np.array_equal(found, whole.search(queries, 50)[1])
    right, _ = nearest("l2" if metric is Metric.L2 else "ip", rotated, queries, 5)
    assert recall(list(found), right) > 0.9
    assert all(len(set(row)) == 50 for row in found.tolist())
