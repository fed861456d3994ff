"""Keeps the turbo codes of a partition's growing rows up to date, a slice at a time, on the owner's side.

Rows that are not encoded are scanned exactly, so encoding is never on a write's path and never changes an answer:
only its cost. The first 1,024 rows of a segment wait for a fit worth having. A fit is renewed when the segment has
doubled, so each row is encoded twice on average, and when a slice of new rows does not look like the rows that were
fitted (their mean square is far from 1): rows of another kind would otherwise all get the outermost code.

How far codes can be trusted depends on the data and the query, so it is measured, not assumed: after each fit some
queries like the rows and unlike them (`trials.py`) are answered by code and exactly, and it is noted how deep among the
codes 99 % of the true neighbours lay. Text and photographs need little; random vectors, or short and long ones mixed in
one segment, need much or cannot be coded.

Invariants:
  * Codes are used only once that is measured; until then a reader keeps those of the fit before.
  * Encoded rows are published rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from reddb.index.metrics import Distances, prepare
from reddb.index.turbo import BLOCK_ROWS, Fit, TurboCodec, TurboIndex
from reddb.partition.calibration import Calibration, Limits, Outcome, calibrated
from reddb.partition.code_snapshot import SegmentCodes
from reddb.partition.codec_block import CodecBlock
from reddb.partition.trials import trial_steps
from reddb.partition.watched import Outliers, crowds_of_codes, outliers
from reddb.storage.memory import PartitionMemory
from reddb.types import Collection, Vectors

FIT_ROWS = 1024
_FIT_SAMPLE_ROWS = 1024
_SLICE_ROWS = 512  # about 2 ms of 384-d: what one step may take from the requests that wait
_DEPTH_MAX = 960  # beyond it scanning codes and re-ranking costs as much as scanning rows
_LIKE, _UNLIKE = 16, 4  # trials of each group
_ZONE_TRIALS = 8
_DONE = object()
_ALIKE = (0.5, 2.0)  # mean square of normalised rows that suit a fit


class GrowingEncoder:
    """Encodes whatever segments grow."""

    def __init__(self, codec: TurboCodec | None, collection: Collection, memory: PartitionMemory) -> None:
        """`codec` is None where rows have no codes."""
        self._codec = codec
        self._collection = collection
        self._memory = memory
        self._encoders: dict[int, SegmentEncoder] = {}

    def begin(self, segment_id: int, slot: int) -> None:
        """A new segment is in the slot; to be called before anyone can read it, for codes of another may be there."""
        if self._codec is not None:
            self._encoders[segment_id] = SegmentEncoder(self._codec, self._collection, self._memory, slot)
            self._encoders[segment_id].reset()

    def adopt(self, segment_id: int, slot: int, count: int) -> None:
        """The slot has `count` rows of a segment whose owner died: codes that he had measured stay."""
        if self._codec is not None:
            self._encoders[segment_id] = SegmentEncoder(self._codec, self._collection, self._memory, slot)
            self._encoders[segment_id].adopt(count)

    def encoded(self, segment_id: int) -> Callable[[int], SegmentCodes | None]:
        """What a segment's codes mean now; called with its first row, in any thread, it copies them: None where there
        are none yet, or where they were made anew since.
        """
        return self._encoders[segment_id].encoded() if segment_id in self._encoders else _nothing

    def restore(self, growing: Iterable[tuple[int, int]], codes: Mapping[int, SegmentCodes]) -> None:
        """Give the growing segments (id, rows), in order, the codes that rows like theirs had before."""
        first = 0
        for segment_id, count in growing:
            if first in codes:
                self._encoders[segment_id].restore(count, codes[first])
            first += count

    def step(self, segments: Iterable[tuple[int, int]]) -> bool:
        """Encode a slice of the first of the growing segments (id, rows) that needs it; False when none does."""
        if self._codec is None:
            return False
        growing = list(segments)
        self._encoders = {id: self._encoders[id] for id, _ in growing}
        return any(self._encoders[id].step(rows) for id, rows in growing)


class SegmentEncoder:
    """Encodes one growing segment."""

    def __init__(self, codec: TurboCodec, collection: Collection, memory: PartitionMemory, slot: int) -> None:
        columns = memory.slot_columns(slot)
        self._codec = codec
        self._metric = collection.metric
        self._vectors = columns.vectors
        self._codes = memory.slot_codes(slot)
        self._distances = Distances(collection.metric, columns.vectors, columns.inverse_norm)
        self._block = CodecBlock(memory.codec[slot], codec.rotation.padded)
        self._fit: Fit | None = None
        self._calibration: Calibration | None = None
        self._fitted_rows = 0
        self._encoded = 0
        self._outliers: Outliers = ()
        self._trial: Iterator[None] = iter(())

    def reset(self) -> None:
        """Nothing of what is there is of this segment."""
        self._block.reset()

    def adopt(self, count: int) -> None:
        """Go on with codes that another process made of the first of `count` rows, if it had measured them."""
        block = self._block
        if block.generation % 2 or not block.needed or block.encoded > count:
            block.reset()
            return
        self._fit, self._calibration = block.read_fit(), block.read_calibration()
        self._fitted_rows = self._encoded = block.encoded  # it may have fitted fewer, and renews the fit later than he

    def encoded(self) -> Callable[[int], SegmentCodes | None]:
        fit, fitted_rows, rows = self._fit, self._fitted_rows, self._encoded
        calibration, generation = self._calibration, self._block.generation

        def copy(first: int) -> SegmentCodes | None:
            if fit is None or calibration is None:
                return None
            codes = self._codes[: rows * self._codec.code_bytes].copy()
            if self._block.generation != generation:
                return None
            return SegmentCodes(first, rows, fitted_rows, calibration, fit, codes)

        return copy

    def restore(self, count: int, codes: SegmentCodes) -> None:
        rows = min(codes.rows, count - count % BLOCK_ROWS)
        if codes.fitted_rows > rows:
            return  # it was fitted to rows that are not there
        self._fit, self._fitted_rows, self._encoded = codes.fit, codes.fitted_rows, rows
        self._block.write_fit(codes.fit)
        self._codes[: rows * self._codec.code_bytes] = codes.codes[: rows * self._codec.code_bytes]
        self._calibrate(codes.calibration)
        self._block.write_encoded(rows)

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
        start = self._encoded * self._codec.code_bytes
        packed = self._codec.encode(normalised)
        self._outliers = outliers(normalised, self._encoded, self._outliers)
        self._codes[start : start + len(packed)] = packed
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
        self._outliers = ()
        self._calibration = None
        self._block.write_fit(self._fit)
        self._trial = self._measure(count)

    def _measure(self, count: int) -> Iterator[None]:
        """Find how many candidates searches need, in slices: how deep among the codes do true neighbours lie?"""
        assert self._fit is not None
        index = TurboIndex(self._codec, self._fit, self._metric)
        index.append(self._codes[: count * self._codec.code_bytes])
        trials = yield from trial_steps(self._metric, self._distances, self._vectors[:count], _LIKE, _UNLIKE)
        deepest = min(_DEPTH_MAX, count)
        groups: list[list[Outcome]] = []
        for group in (*trials.like, *trials.unlike):
            groups.append([])
            for trial in group:
                rotated = self._codec.rotation.apply(prepare(self._metric, trial.query[None]))
                depths = trial.depths(self._distances, index.search(rotated, deepest)[1][0], count)
                groups[-1].append(trial.outcome(depths))
                yield
        like = len(trials.like)
        calibration = calibrated(groups[:like], groups[like:], Limits(deepest), _ZONE_TRIALS)
        code_bytes = self._codec.code_bytes
        crowds = crowds_of_codes(self._codes[: count * code_bytes], code_bytes, count)
        self._calibrate(replace(calibration, crowds=crowds, outliers=tuple(row for _, row in self._outliers)))

    def _calibrate(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._block.write_calibration(calibration)

    def _rotate(self, rows: NDArray[np.int64]) -> Vectors:
        return self._codec.rotation.apply(prepare(self._metric, self._vectors[rows]))


def _nothing(first: int) -> None:
    return None


def _looks_alike(normalised: Vectors) -> bool:
    mean_square = float(np.mean(np.square(normalised)))
    return _ALIKE[0] <= mean_square <= _ALIKE[1]
