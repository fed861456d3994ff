"""Keeps the turbo codes of a partition's growing rows up to date, a slice at a time, on the owner's side.

    codec block of a segment, in shared memory
        0    u64            generation: odd while the fit changes
        8    u64            encoded rows, from the segment's first, a multiple of 32
        16   f32            scale
        20   u32            widening: by how much a search takes more candidates than its collection's default;
                            0 until it is measured, 65,535 where codes do not tell the rows apart
        24   f32[padded]    mean

Rows that are not encoded are scanned exactly, so encoding is never on a write's path and never changes an answer:
only its cost. The first 1,024 rows of a segment wait for a fit worth having. A fit is renewed when the segment has
doubled, so each row is encoded twice on average, and when a slice of new rows does not look like the rows that were
fitted (their mean square is far from 1): rows of another kind would otherwise all get the outermost code.

How far codes can be trusted depends on the data, so it is measured, not assumed: after each fit some stored rows are
searched for by code and exactly, and the widening is what 99 % of their true neighbours needed. Text and photographs
need none; random vectors, or short and long ones mixed in one segment, need much or cannot be coded.

Invariants:
  * Codes are used only once their widening is measured; until then a reader keeps those of the fit before.
  * A reader that sees the same even generation before and after copying has copied codes of one fit.
  * Encoded rows are published rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reddb import limits
from reddb.index.metrics import Distances
from reddb.index.turbo import BLOCK_ROWS, Fit, TurboCodec, TurboIndex
from reddb.storage.growing import GrowingRows
from reddb.types import Collection, Metric, Vectors

FIT_ROWS = 1024
_FIT_SAMPLE_ROWS = 1024
_SLICE_ROWS = 512  # about 2 ms of 384-d: what one step may take from the requests that wait
WIDENING_MAX = 16  # beyond it scanning codes and re-ranking costs as much as scanning rows
SCAN_EXACTLY = 65_535
_TRIAL_QUERIES = 16
_TRIAL_K = 10
_TRIAL_RECALL = 0.99
_TRIAL_SLICE_ROWS = 8192  # about 1 ms of 384-d
_DONE = object()
_ALIKE = (0.5, 2.0)  # mean square of normalised rows that suit a fit


def codec_block_bytes(codec: TurboCodec) -> int:
    """Size of a codec block, a multiple of 8."""
    return -(-(24 + 4 * codec.rotation.padded) // 8) * 8


class CodecBlock:
    """Views of the fields of one segment's codec block."""

    def __init__(self, block: NDArray[np.uint8], padded: int) -> None:
        self._numbers = memoryview(block[:16]).cast("Q")  # plain integers; read before every search
        self._scale = block[16:20].view(np.float32)
        self._widening = memoryview(block[20:24]).cast("I")
        self._mean = block[24 : 24 + 4 * padded].view(np.float32)

    @property
    def generation(self) -> int:
        return self._numbers[0]

    @property
    def encoded(self) -> int:
        return self._numbers[1]

    @property
    def widening(self) -> int:
        return self._widening[0]

    def read_fit(self) -> Fit:
        return Fit(self._mean.copy(), float(self._scale[0]))

    def write_fit(self, fit: Fit) -> None:
        self._numbers[0] += 1
        self._numbers[1] = 0
        self._widening[0] = 0
        self._mean[:] = fit.mean
        self._scale[0] = fit.scale
        self._numbers[0] += 1

    def write_widening(self, widening: int) -> None:
        self._widening[0] = widening

    def write_encoded(self, rows: int) -> None:
        self._numbers[1] = rows


class SegmentEncoder:
    """Encodes one segment of the growing rows: those from `first_row` on."""

    def __init__(self, codec: TurboCodec, collection: Collection, rows: GrowingRows, first_row: int) -> None:
        self._codec = codec
        self._metric = collection.metric
        self._oversample = collection.settings["oversample"]
        self._rows = rows
        self._distances = Distances(collection.metric, rows.vectors, rows.inverse_norm)
        self._first_row = first_row
        self._block = CodecBlock(rows.codec[first_row // limits.SEGMENT_ROWS], codec.rotation.padded)
        self._fit: Fit | None = None
        self._fitted_rows = 0
        self._encoded = 0
        self._trial: Iterator[None] = iter(())

    def step(self, count: int) -> bool:
        """Encode a slice of the segment's first `count` rows; False when there is nothing left to do."""
        count -= count % BLOCK_ROWS
        if self._needs_fit(count):
            self._refit(count)
        last = min(self._encoded + _SLICE_ROWS, count)
        if self._fit is None:
            return False
        if last <= self._encoded:
            return next(self._trial, _DONE) is not _DONE
        rotated = self._rotate(np.arange(self._encoded, last))
        normalised = self._codec.normalise(rotated, self._fit)
        if last > self._fitted_rows and not _looks_alike(normalised):
            if count - self._fitted_rows < FIT_ROWS:
                return False  # too few to learn from: they stay exact until more have come
            self._refit(count)
            return True
        start = (self._first_row + self._encoded) * self._codec.code_bytes
        packed = self._codec.encode(normalised)
        self._rows.codes[start : start + len(packed)] = packed
        self._encoded = last
        self._block.write_encoded(last)
        return True

    def _needs_fit(self, count: int) -> bool:
        return count >= FIT_ROWS and (self._fit is None or count >= 2 * self._fitted_rows)

    def _refit(self, count: int) -> None:
        sample = np.unique(np.linspace(0, count - 1, min(count, _FIT_SAMPLE_ROWS)).astype(np.int64))
        self._fit = self._codec.fit(self._rotate(sample))
        self._fitted_rows = count
        self._encoded = 0
        self._block.write_fit(self._fit)
        self._trial = self._measure(count)

    def _measure(self, count: int) -> Iterator[None]:
        """Find by how much to widen searches, in slices: how deep among the codes do true neighbours lie?"""
        assert self._fit is not None
        index = TurboIndex(self._codec, self._fit, self._metric)
        start = self._first_row * self._codec.code_bytes
        index.append(self._rows.codes[start : start + count * self._codec.code_bytes])
        depths: list[int] = []
        default = _TRIAL_K * self._oversample
        deepest = min(default * WIDENING_MAX, count)
        for row in np.linspace(self._first_row, self._first_row + count - 1, _TRIAL_QUERIES).astype(np.int64):
            query = self._rows.vectors[row]
            near: NDArray[np.int64] = np.empty(0, np.int64)
            for first in range(0, count, _TRIAL_SLICE_ROWS):
                near = np.concatenate([near, np.arange(first, min(first + _TRIAL_SLICE_ROWS, count))])
                keys = self._distances.keys_of_rows(query, near + self._first_row)
                # One more than asked, for the row finds itself.
                near = near[np.argsort(keys, kind="stable")[: _TRIAL_K + 1]]
                yield
            ranked = index.search(self._codec.rotation.apply(query[None]), deepest)[0].tolist()
            place = {found: depth for depth, found in enumerate(ranked)}
            depths += [place.get(found, count) for found in near.tolist() if found != row - self._first_row]
            yield
        needed = int(np.percentile(depths, 100 * _TRIAL_RECALL, method="lower")) + 1
        widening = -(-needed // default)
        self._block.write_widening(widening if widening <= WIDENING_MAX else SCAN_EXACTLY)

    def _rotate(self, rows: NDArray[np.int64]) -> Vectors:
        rows = rows + self._first_row
        vectors = self._rows.vectors[rows]
        if self._metric is Metric.COSINE:
            vectors *= self._rows.inverse_norm[rows, None]
        return self._codec.rotation.apply(vectors)


def _looks_alike(normalised: Vectors) -> bool:
    mean_square = float(np.mean(np.square(normalised)))
    return _ALIKE[0] <= mean_square <= _ALIKE[1]
