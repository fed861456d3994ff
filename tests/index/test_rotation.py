"""The rotation: orthogonal for every dimension, the same on every machine and for ever, and it spreads what is thin."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from reddb.index.rotation import SEED, Rotation

DIMS = [1, 2, 3, 31, 32, 100, 384, 512, 513, 768, 1536]

# Digest of three rotated unit vectors (of the first, the middle and the last coordinate) and how the first begins, in
# steps of 1/4096. Codes mean something only with this very rotation, and each process makes its own: a new one must be
# a decision, not an accident.
FROZEN = {
    1: ("91155a593c9678a5", [768, 256, -768, -256, 256, 768]),
    2: ("3004c720e580b69e", [256, -768, -256, -1280, -256, 768]),
    3: ("35ebc3dfce04249d", [-256, 256, -256, 256, -1280, -768]),
    31: ("8710f0394d030fb9", [512, 0, -1024, -512, -512, -1024]),
    32: ("6ec32049831bc171", [-256, -768, 256, -256, -256, 1280]),
    100: ("08955b99b01b2338", [-704, 576, -448, 320, 64, 64]),
    384: ("0721005017df6613", [-96, -224, -160, -32, 288, 32]),
    512: ("82bfc12e6842106a", [-320, 128, 384, -64, -64, 512]),
    513: ("437a84f3cd88af89", [0, 256, 0, -256, 0, 256]),
    768: ("057082250509d7ce", [32, -32, 96, 160, 96, -96]),
    1536: ("a8f9fe7c1e205aae", [-224, -32, 160, -32, -96, 96]),
}


def unit_vectors(dim: int, coordinates: list[int]) -> np.ndarray:
    vectors = np.zeros((len(coordinates), dim), np.float32)
    vectors[np.arange(len(coordinates)), coordinates] = 1
    return vectors


@pytest.mark.parametrize("dim", DIMS)
def test_lengths_and_inner_products_are_kept(dim):
    vectors = np.random.default_rng(dim).normal(size=(40, dim)).astype(np.float32)
    rotated = Rotation(dim).apply(vectors)
    assert rotated.dtype == np.float32
    assert rotated.shape == (40, -(-dim // 32) * 32)
    wide, wide_rotated = vectors.astype(np.float64), rotated.astype(np.float64)
    scale = np.linalg.norm(wide, axis=1)
    error = np.abs(wide @ wide.T - wide_rotated @ wide_rotated.T) / np.outer(scale, scale)
    assert error.max() < 1e-6


@pytest.mark.parametrize("dim", [31, 384, 513])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_changes_nothing(dim, scale):
    vectors = np.random.default_rng(0).normal(size=(5, dim))
    rotation = Rotation(dim)
    plain = rotation.apply(vectors.astype(np.float32)).astype(np.float64)
    scaled = rotation.apply((vectors * scale).astype(np.float32)).astype(np.float64) / scale
    assert np.abs(plain - scaled).max() < 1e-5


@pytest.mark.parametrize("dim", DIMS)
def test_the_rotation_is_frozen(dim):
    digest, beginning = FROZEN[dim]
    rotated = Rotation(dim).apply(unit_vectors(dim, [0, dim // 2, dim - 1][: min(dim, 3)]))
    steps = np.rint(rotated * 4096).astype("<i2")
    assert steps[0, :6].tolist() == beginning
    assert hashlib.sha256(steps.tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("dim", DIMS)
def test_a_single_coordinate_is_spread_over_all(dim):
    """Embeddings have coordinates that dwarf the rest; a code can hold them only once they are spread."""
    rotated = Rotation(dim).apply(np.eye(dim, dtype=np.float32))
    even = 1 / np.sqrt(rotated.shape[1])
    assert np.abs(rotated).max() < 6 * even
    assert (np.abs(rotated) > 1e-6 * even).mean() > 0.65  # a processor may leave 1e-9 where another has 0
    assert np.abs(rotated).mean(axis=1).min() > 0.6 * even


def test_neighbouring_coordinates_go_different_ways():
    """A constant vector and a staircase must not come out on a few coordinates either."""
    for dim in (384, 1536):
        vectors = np.stack([np.ones(dim), np.arange(dim), np.arange(dim) % 2, np.arange(dim) < dim / 2]).astype(
            np.float32
        )
        rotated = Rotation(dim).apply(vectors)
        peaks = np.abs(rotated).max(axis=1) / np.linalg.norm(rotated, axis=1)
        assert peaks.max() < 6 / np.sqrt(dim)


def test_another_seed_is_another_rotation():
    vectors = unit_vectors(64, [0])
    assert not np.array_equal(Rotation(64, SEED).apply(vectors), Rotation(64, SEED + 1).apply(vectors))


@pytest.mark.parametrize("dim", [100, 1536])
def test_rows_are_rotated_alone_as_among_others(dim):
    vectors = np.random.default_rng(1).normal(size=(33, dim)).astype(np.float32)
    rotation = Rotation(dim)
    together = rotation.apply(vectors)
    alone = np.concatenate([rotation.apply(vectors[row : row + 1]) for row in range(33)])
    assert np.abs(together - alone).max() < 1e-5
    assert rotation.apply(vectors[:0]).shape == (0, together.shape[1])
