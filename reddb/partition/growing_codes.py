"""A reader's own copy of the turbo codes of a growing segment, taken over from the shared memory before each search.

Copying a row's code costs a twentieth of scanning the row exactly, so nothing is gained by putting it off.
"""

from __future__ import annotations

import numpy as np

from reddb.index.turbo import BLOCK_ROWS, Fit, TurboCodec, TurboIndex
from reddb.partition.calibration import UNKNOWN
from reddb.partition.codec_block import CodecBlock
from reddb.storage.memory import PartitionMemory
from reddb.types import Collection


class GrowingCodes:
    """The codes of one growing segment, as far as they exist."""

    def __init__(self, codec: TurboCodec, collection: Collection, memory: PartitionMemory, slot: int) -> None:
        self.block = CodecBlock(memory.codec[slot], codec.rotation.padded)
        self.calibration = UNKNOWN  # what searches need, as the owner measured
        self._codec = codec
        self._metric = collection.metric
        self._codes = memory.slot_codes(slot)
        self._generation = 0
        self._index = self._empty_index()

    def take_over(self, count: int) -> TurboIndex:
        """Copy the codes of the first `count` rows, as far as they exist, and give the index over them."""
        generation = self.block.generation
        encoded = min(self.block.encoded, count - count % BLOCK_ROWS)
        if encoded <= self._index.rows or generation % 2 or not self.block.needed:
            # Nothing new, or a new fit whose codes do not reach as far yet or are not measured: the old stay right.
            return self._index
        if generation != self._generation:
            self._index = TurboIndex(self._codec, self.block.read_fit(), self._metric)
            self._generation, self.calibration = generation, self.block.read_calibration()
        size = self._codec.code_bytes
        self._index.append(self._codes[self._index.rows * size : encoded * size])
        if self.block.generation != generation:  # the owner began a new fit while we copied
            self._index, self._generation = self._empty_index(), 0
        return self._index

    def _empty_index(self) -> TurboIndex:
        zero = np.zeros(self._codec.rotation.padded, np.float32)
        return TurboIndex(self._codec, Fit(zero, 1.0), self._metric)
