"""Turbo codes: a rotated vector with 2 or 4 bits per coordinate, packed as faiss's FastScan reads them.

A vector is rotated, which makes each coordinate close to normal whatever the data; the mean of the segment is taken
off and the rest divided by one scale; then each coordinate becomes the nearest level of the Lloyd-Max quantiser of
the unit normal (S. Lloyd, "Least squares quantization in PCM", 1982), which has the smallest mean squared error.
4 bits are one coordinate in a nibble, 2 bits two coordinates in a nibble.

One scale, not one per coordinate: on two real sets both give the same recall, and a coordinate that is constant in
the rows at hand cannot give a scale of zero.

Packed layout, an internal of faiss 1.15 (`pq4_pack_codes`): blocks of 32 rows; in a block 32 bytes for each pair of
nibble columns, 16 for the first and 16 for the second; of these 16 bytes the j-th holds row `_ORDER[j]` in its low
and row 16 + `_ORDER[j]` in its high nibble. `packs_like_faiss` compares at
the first use; where they differ, faiss packs.

Invariant: rows come in whole blocks of 32, so a published block never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import NormalDist
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from reddb.index.rotation import Rotation
from reddb.types import Metric, Vectors

BLOCK_ROWS = 32
_ORDER = np.array([0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15])
_LEVELS = 16  # of a nibble
_SCALE_MAX = 1e30
_SCALE_MIN = 1e-30  # rows that are all equal still need a scale to divide by


@dataclass(frozen=True, slots=True)
class Fit:
    """What adapts the codes to a segment. `mean` is float32 (padded,), in rotated coordinates."""

    mean: Vectors
    scale: float

    @property
    def is_sound(self) -> bool:
        """Whether rows can be coded with it."""
        return _SCALE_MIN <= self.scale <= _SCALE_MAX and bool(np.isfinite(self.mean).all())


class TurboCodec:
    """Encodes rows of `dim` coordinates with `bits` bits. The same for every segment; the `Fit` is not."""

    def __init__(self, dim: int, bits: int) -> None:
        assert bits in (2, 4)
        self.bits = bits
        self.rotation = Rotation(dim)
        self.columns = self.rotation.padded * bits // 4  # nibbles of a row
        self.code_bytes = self.columns // 2
        self.levels = lloyd_max_levels(2**bits)
        self._thresholds = ((self.levels[1:] + self.levels[:-1]) / 2).astype(np.float32)

    def fit(self, rotated: Vectors) -> Fit:
        """Fit to a sample (n, padded), n at least 1."""
        mean = rotated.mean(axis=0, dtype=np.float64)
        scale = float(np.sqrt(np.mean(np.square(rotated - mean))))
        return Fit(mean.astype(np.float32), max(scale, _SCALE_MIN))

    def normalise(self, rotated: Vectors, fit: Fit) -> Vectors:
        """Take off the mean and the scale: what the levels are made for, mean square 1 if the fit suits."""
        return (rotated - fit.mean) * np.float32(1.0 / fit.scale)

    def encode(self, normalised: Vectors) -> NDArray[np.uint8]:
        """Packed codes (rows * code_bytes,) of rows that are a multiple of 32."""
        assert len(normalised) % BLOCK_ROWS == 0
        if not packs_like_faiss(self.bits):
            return self._encode_with_faiss(normalised)
        codes: NDArray[np.uint8] = np.zeros(normalised.shape, np.uint8)
        for threshold in self._thresholds:
            codes += normalised > threshold
        if self.bits == 2:
            codes = codes[:, 0::2] | codes[:, 1::2] << np.uint8(2)
        return pack(codes)

    def centroids(self, fit: Fit) -> Vectors:
        """The codebook as faiss wants it: (columns, 16, coordinates per nibble), in rotated coordinates."""
        values = fit.mean[:, None] + np.float32(fit.scale) * self.levels.astype(np.float32)
        if self.bits == 4:
            return np.ascontiguousarray(values[:, :, None])
        pairs = values.reshape(self.columns, 2, 4)
        nibble = np.arange(_LEVELS)
        return np.ascontiguousarray(np.stack([pairs[:, 0, nibble & 3], pairs[:, 1, nibble >> 2]], axis=2))

    def _encode_with_faiss(self, normalised: Vectors) -> NDArray[np.uint8]:
        unit = Fit(np.zeros(self.rotation.padded, np.float32), 1.0)
        index = make_index(self, unit, Metric.L2)
        index.add(np.ascontiguousarray(normalised))
        return faiss.rev_swig_ptr(index.codes.get(), len(normalised) * self.code_bytes).copy()


class TurboIndex:
    """The codes of one segment in this process, searched by FastScan. Rows are numbered from 0 within the segment."""

    def __init__(self, codec: TurboCodec, fit: Fit, metric: Metric) -> None:
        self._index = make_index(codec, fit, metric)
        self._search: Any = self._index.search_c  # type: ignore[attr-defined]  # not in faiss's stubs
        self._code_bytes = codec.code_bytes
        self.rows = 0

    def append(self, packed: NDArray[np.uint8]) -> None:
        """Take over packed codes of whole blocks. Copying costs 0.03 us a row of 384-d; encoding again, 6 us."""
        rows = len(packed) // self._code_bytes
        assert rows * self._code_bytes == len(packed)
        assert rows % BLOCK_ROWS == 0
        packed = np.ascontiguousarray(packed)
        end = (self.rows + rows) * self._code_bytes
        self._index.codes.resize(end)
        target = faiss.rev_swig_ptr(self._index.codes.get(), end)
        target[self.rows * self._code_bytes :] = packed
        self.rows += rows
        self._index.ntotal = self.rows
        self._index.ntotal2 = self.rows  # type: ignore[attr-defined]  # rows with padding; missing in faiss's stubs

    def search(self, rotated: Vectors, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The `count` nearest rows by code for each rotated query, and what their codes say of their distances (l2,
        or inner products): twice (q, count), nearest first, -1 where there are fewer.

        A row's number is the same however many are asked for; of equal ones any may be left out at the end.
        """
        # Without faiss's Python wrapper, whose checks cost a tenth of a small search.
        queries = np.ascontiguousarray(rotated, np.float32)
        assert queries.shape[1] == self._index.d
        distances = np.empty((len(queries), count), np.float32)
        labels = np.empty((len(queries), count), np.int64)
        ptr = faiss.swig_ptr
        self._search(len(queries), ptr(queries), count, ptr(distances), ptr(labels))
        return distances, labels


def make_index(codec: TurboCodec, fit: Fit, metric: Metric) -> faiss.IndexPQFastScan:
    """An empty FastScan index whose codebook is ours: nothing is trained."""
    faiss_metric = faiss.METRIC_L2 if metric is Metric.L2 else faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexPQFastScan(codec.rotation.padded, codec.columns, 4, faiss_metric)
    faiss.copy_array_to_vector(codec.centroids(fit).reshape(-1), index.pq.centroids)
    index.is_trained = True
    return index


def pack(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Arrange nibbles (rows, columns) into the packed layout; rows a multiple of 32, columns even."""
    rows, columns = codes.shape
    blocks = codes.reshape(rows // BLOCK_ROWS, BLOCK_ROWS, columns)
    paired = blocks[:, _ORDER] | blocks[:, _ORDER + 16] << np.uint8(4)
    return np.ascontiguousarray(paired.transpose(0, 2, 1)).reshape(-1)


def sampled_nibbles(
    packed: NDArray[np.uint8], code_bytes: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """About so many rows at even distances, or all: their numbers (n,), and their nibbles (n, columns)."""
    blocks = packed.reshape(-1, 2 * code_bytes, BLOCK_ROWS // 2)
    lanes = np.arange(0, BLOCK_ROWS // 2, max(BLOCK_ROWS * len(blocks) // count, 1))
    chosen = blocks[:, :, lanes].transpose(0, 2, 1)
    first = np.arange(0, len(blocks) * BLOCK_ROWS, BLOCK_ROWS)[:, None] + _ORDER[lanes]
    numbers = np.concatenate([first.reshape(-1), first.reshape(-1) + BLOCK_ROWS // 2])
    return numbers, np.concatenate([chosen & 15, chosen >> 4]).reshape(len(numbers), 2 * code_bytes)


@cache
def packs_like_faiss(bits: int) -> bool:
    """Whether our packing equals that of the faiss at hand: the layout is an internal of it."""
    codec = TurboCodec(BLOCK_ROWS, bits)
    # Each level of each coordinate occurs, and neighbours differ, so that a swapped row or column shows.
    grid = np.arange(2 * BLOCK_ROWS * codec.rotation.padded).reshape(2 * BLOCK_ROWS, -1)
    nibbles = (grid * 7 + grid // 32) % _LEVELS
    coordinates = nibbles if bits == 4 else np.where(grid % 2 == 0, nibbles & 3, nibbles >> 2)
    normalised = codec.levels.astype(np.float32)[coordinates]
    ours = coordinates.astype(np.uint8)
    if bits == 2:
        ours = ours[:, 0::2] | ours[:, 1::2] << np.uint8(2)
    return bool(np.array_equal(pack(ours), codec._encode_with_faiss(normalised)))


@lru_cache
def lloyd_max_levels(count: int) -> NDArray[np.float64]:
    """The `count` levels of the Lloyd-Max quantiser of the unit normal, ascending."""
    normal = NormalDist()
    levels = np.linspace(-2.0, 2.0, count)
    while True:
        edges = [-np.inf, *((levels[1:] + levels[:-1]) / 2).tolist(), np.inf]
        density = [0.0, *(normal.pdf(edge) for edge in edges[1:-1]), 0.0]
        mass = [0.0, *(normal.cdf(edge) for edge in edges[1:-1]), 1.0]
        better = -np.diff(density) / np.diff(mass)
        if np.abs(better - levels).max() < 1e-12:
            return better
        levels = better
