"""Keeps the turbo codes of a partition's growing rows up to date, a slice at a time, on the owner's side.

    codec block of a segment, in shared memory
        0    u64            generation: odd while the fit changes
        8    u64            encoded rows, from the segment's first, a multiple of 32
        16   f32            scale
        20   f32[padded]    mean

Rows that are not encoded are scanned exactly, so encoding is never on a write's path and never changes an answer:
only its cost. The first 1,024 rows of a segment wait for a fit worth having. A fit is renewed when the segment has
doubled, so each row is encoded twice on average, and when a slice of new rows does not look like the rows that were
fitted (their mean square is far from 1): rows of another kind would otherwise all get the outermost code.

Invariants:
  * A reader that sees the same even generation before and after copying has copied codes of one fit.
  * Encoded rows are published rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reddb import limits
from reddb.index.turbo import BLOCK_ROWS, Fit, TurboCodec
from reddb.storage.growing import GrowingRows
from reddb.types import Metric, Vectors

FIT_ROWS = 1024
_FIT_SAMPLE_ROWS = 4096
_SLICE_ROWS = 512  # about 2 ms of 384-d: what one step may take from the requests that wait
_ALIKE = (0.5, 2.0)  # mean square of normalised rows that suit a fit


def codec_block_bytes(codec: TurboCodec) -> int:
    """Size of a codec block, a multiple of 8."""
    return -(-(20 + 4 * codec.rotation.padded) // 8) * 8


class CodecBlock:
    """Views of the fields of one segment's codec block."""

    def __init__(self, block: NDArray[np.uint8], padded: int) -> None:
        self._numbers = memoryview(block[:16]).cast("Q")  # plain integers; read before every search
        self._scale = block[16:20].view(np.float32)
        self._mean = block[20 : 20 + 4 * padded].view(np.float32)

    @property
    def generation(self) -> int:
        return self._numbers[0]

    @property
    def encoded(self) -> int:
        return self._numbers[1]

    def read_fit(self) -> Fit:
        return Fit(self._mean.copy(), float(self._scale[0]))

    def write_fit(self, fit: Fit) -> None:
        self._numbers[0] += 1
        self._numbers[1] = 0
        self._mean[:] = fit.mean
        self._scale[0] = fit.scale
        self._numbers[0] += 1

    def write_encoded(self, rows: int) -> None:
        self._numbers[1] = rows


class SegmentEncoder:
    """Encodes one segment of the growing rows: those from `first_row` on."""

    def __init__(self, codec: TurboCodec, metric: Metric, rows: GrowingRows, first_row: int) -> None:
        self._codec = codec
        self._normalised_length = metric is Metric.COSINE
        self._rows = rows
        self._first_row = first_row
        self._block = CodecBlock(rows.codec[first_row // limits.SEGMENT_ROWS], codec.rotation.padded)
        self._fit: Fit | None = None
        self._fitted_rows = 0
        self._encoded = 0

    def step(self, count: int) -> bool:
        """Encode a slice of the segment's first `count` rows; False when there is nothing left to do."""
        count -= count % BLOCK_ROWS
        if self._needs_fit(count):
            self._refit(count)
        last = min(self._encoded + _SLICE_ROWS, count)
        if self._fit is None or last <= self._encoded:
            return False
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

    def _rotate(self, rows: NDArray[np.int64]) -> Vectors:
        rows = rows + self._first_row
        vectors = self._rows.vectors[rows]
        if self._normalised_length:
            vectors *= self._rows.inverse_norm[rows, None]
        return self._codec.rotation.apply(vectors)


def _looks_alike(normalised: Vectors) -> bool:
    mean_square = float(np.mean(np.square(normalised)))
    return _ALIKE[0] <= mean_square <= _ALIKE[1]
