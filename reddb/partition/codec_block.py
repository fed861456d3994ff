"""What the codes of a growing segment mean, in shared memory: written by the encoder, read by every core.

    0    u64            generation: odd while the fit changes; it goes on when the slot gets another segment
    8    u64            encoded rows, from the segment's first, a multiple of 32
    16   f32            scale
    20   u32            needed: how many candidates hold 99 % of the ten nearest rows for queries like the rows;
                        0 until it is measured, 2^32 - 1 where codes do not tell the rows apart
    24   f64            where the first zone of the calibration (`calibration.py`) begins
    32   8 of f64, u64  its zones: where each ends, minus infinity for one that is not there, and what it needs
    160  64 of u32      its crowds (`watched.py`): rows, 2^32 - 1 where there are no more
    416  64 of u32      its outliers, likewise
    672  f32[padded]    mean

Invariant: a reader that sees the same even generation before and after copying has copied codes of one fit.
"""

from __future__ import annotations

from math import inf

import numpy as np
from numpy.typing import NDArray

from reddb.index.turbo import Fit, TurboCodec
from reddb.partition.calibration import Calibration, Needs
from reddb.partition.watched import WATCHED_MAX

RECALL = 0.99  # that is measured; for a higher one the rows are scanned
SCAN_EXACTLY = 2**32 - 1
ZONES_MAX = 8
_WATCHED_AT = 32 + 16 * ZONES_MAX
_MEAN_AT = _WATCHED_AT + 2 * 4 * WATCHED_MAX
_NO_ROW = 2**32 - 1


def codec_block_bytes(codec: TurboCodec) -> int:
    """Size of a codec block, a multiple of 8."""
    return -(-(_MEAN_AT + 4 * codec.rotation.padded) // 8) * 8


class CodecBlock:
    """Views of the fields of one segment's codec block."""

    def __init__(self, block: NDArray[np.uint8], padded: int) -> None:
        self._numbers = memoryview(block[:16]).cast("Q")  # plain integers; read before every search
        self._scale = block[16:20].view(np.float32)
        self._needed = memoryview(block[20:24]).cast("I")
        self._low = block[24:32].view(np.float64)
        self._zones = block[32:_WATCHED_AT].view([("high", "<f8"), ("needed", "<u8")])
        self._watched = block[_WATCHED_AT:_MEAN_AT].view(np.uint32).reshape(2, WATCHED_MAX)
        self._mean = block[_MEAN_AT : _MEAN_AT + 4 * padded].view(np.float32)

    @property
    def generation(self) -> int:
        return self._numbers[0]

    @property
    def encoded(self) -> int:
        return self._numbers[1]

    @property
    def needed(self) -> int:
        return self._needed[0]

    def read_fit(self) -> Fit:
        return Fit(self._mean.copy(), float(self._scale[0]))

    def write_fit(self, fit: Fit) -> None:
        self._numbers[0] += 1
        self._numbers[1] = 0
        self._needed[0] = 0
        self._mean[:] = fit.mean
        self._scale[0] = fit.scale
        self._numbers[0] += 1

    def reset(self) -> None:
        """Another segment is in the slot: no row of it is encoded."""
        self._numbers[0] += 2 + self._numbers[0] % 2
        self._numbers[1] = 0
        self._needed[0] = 0

    def read_calibration(self) -> Calibration:
        zones = [(high, _needs(needed)) for high, needed in self._zones.tolist() if high > -inf]
        crowds, outliers = (tuple[int, ...](rows[rows != _NO_ROW].tolist()) for rows in self._watched)
        return Calibration(_needs(self.needed), float(self._low[0]), tuple(zones), crowds, outliers)

    def write_calibration(self, calibration: Calibration) -> None:
        """From now on the codes are used."""
        assert len(calibration.zones) <= ZONES_MAX
        self._low[0] = calibration.low
        self._zones["high"] = -inf
        for number, (high, needs) in enumerate(calibration.zones):
            self._zones[number] = high, _number(needs)
        self._watched[:] = _NO_ROW
        for mine, rows in zip(self._watched, (calibration.crowds, calibration.outliers), strict=True):
            mine[: len(rows)] = rows
        self._needed[0] = _number(calibration.like)

    def write_encoded(self, rows: int) -> None:
        self._numbers[1] = rows


def _needs(needed: int) -> Needs:
    return Needs() if needed == SCAN_EXACTLY else Needs(((RECALL, needed),))


def _number(needs: Needs) -> int:
    needed = needs.needed(RECALL)
    return SCAN_EXACTLY if needed is None else needed
