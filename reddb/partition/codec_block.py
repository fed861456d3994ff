"""What the codes of a growing segment mean, in shared memory: written by the encoder, read by every core.

    0    u64            generation: odd while the fit changes; it goes on when the slot gets another segment
    8    u64            encoded rows, from the segment's first, a multiple of 32
    16   f32            scale
    20   u32            needed: how many candidates hold 99 % of the ten nearest rows, as stored rows were searched for;
                        0 until it is measured, 2^32 - 1 where codes do not tell the rows apart
    24   f32[padded]    mean

Invariant: a reader that sees the same even generation before and after copying has copied codes of one fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reddb.index.turbo import Fit, TurboCodec


def codec_block_bytes(codec: TurboCodec) -> int:
    """Size of a codec block, a multiple of 8."""
    return -(-(24 + 4 * codec.rotation.padded) // 8) * 8


class CodecBlock:
    """Views of the fields of one segment's codec block."""

    def __init__(self, block: NDArray[np.uint8], padded: int) -> None:
        self._numbers = memoryview(block[:16]).cast("Q")  # plain integers; read before every search
        self._scale = block[16:20].view(np.float32)
        self._needed = memoryview(block[20:24]).cast("I")
        self._mean = block[24 : 24 + 4 * padded].view(np.float32)

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

    def write_needed(self, needed: int) -> None:
        self._needed[0] = needed

    def write_encoded(self, rows: int) -> None:
        self._numbers[1] = rows
