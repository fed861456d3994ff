"""The memory of one partition that every core maps: which segments there are, which rows are dead, the growing rows.

The owner makes an anonymous file in memory (memfd), hands its descriptor around, and everyone maps it. Addresses are
laid out for the largest partition; memory is taken only as it is needed (`reserve`), before it is written: a store
into a page that cannot be had would kill the process. What is not needed any more is given back (`release`).

    region             size                            content
    header             4096 bytes                      see below
    tables             2 x 1,024 entries of 5 u64      the segments of the even and of the odd generations
    tombstones         67,108,864 u64                  a range for each segment, see `storage/segment_rows.py`
    codec              64 blocks                       what the codes of a slot mean, written by the encoder
    id … codes         64 slots of 65,536 rows         the growing rows, a segment a slot; columns of `segment_rows`
                                                       and `codes`: packed turbo codes, in blocks of 32 rows
    expiries           64 slots of 65,536 u64          when growing rows expire, see `reddb.expiry`
    id texts           64 x 16 MiB
    payloads           64 x 256 MiB

    header, u64 each
        0    "RDBPART4"        1  publication counter c
        16   snapshot slot 0   24  snapshot slot 1:   LSN, live rows, rows of the last segment, generation, segments
        40   job under way: its first and last source, rows done, rows of all; 0 rows for no job. Only to be looked at
        44   what its owner counts: see `Counts`. Only to be looked at
        64   of each slot, the earliest instant at which a row of it expires; 0 where none does, and then the slot's
             `expiries` have no memory
    table entry, u64 each
        segment id, rows, start of its tombstones, slot + 1 (0: sealed), index number

A publication writes snapshot slot (c+1) % 2 and then stores c+1. A reader takes slot c % 2 and takes it again if c has
moved on meanwhile. So the numbers belong together, a reader never waits for a writer, and a writer killed half-way
leaves the old snapshot whole. A generation's table is written before the first snapshot that names it, over that of
two generations before; a reader takes it again if the generation has moved on meanwhile. Only the last segment grows:
its rows are those that the snapshot says.

A row is visible at a snapshot if its number is below its segment's rows and its tombstone is 0 or above the snapshot's
LSN; a replaced row therefore vanishes for a reader in the same moment as its successor appears.

This needs stores to become visible in program order, which x86 promises. (Other processors need a release store of c.)

Invariants:
  * Only rows at or beyond the published count are written; published rows never change but for their tombstones.
  * Nothing is published before its WAL records are on disk; that is the partition's duty.
  * Nothing is released while a core may read it; that is the owner's duty, who asks them all.
"""

from __future__ import annotations

import errno
import mmap
import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.storage.segment_rows import Columns, Tombstones

_MAGIC = int.from_bytes(b"RDBPART4", "little")
_PAGE = 4096
_PAGE_WORDS = _PAGE // 8
_COUNTER_AT, _SLOTS_AT, _SLOT_WORDS, _JOB_AT, _COUNTS_AT, _EXPIRIES_AT = 1, 16, 8, 40, 44, 64
_ENTRY_WORDS = 5

SLOT_ROWS = limits.SEGMENT_ROWS
_SLOTS = limits.GROWING_SEGMENTS_MAX


@dataclass(frozen=True, slots=True)
class MemoryShape:
    """What the layout depends on. `code_bytes` is per row, `codec_bytes` per segment."""

    dim: int
    code_bytes: int
    codec_bytes: int


class Snapshot(NamedTuple):
    """What a read may see: of the segments of `generation` every row that was not dead at `lsn`."""

    lsn: int
    live_rows: int
    last_rows: int  # of the last segment, the only one that grows
    generation: int
    segments: int


class SegmentEntry(NamedTuple):
    """A segment as the table shows it. `slot` is -1 for a sealed one; `index_number` is 0 without an index."""

    id: int
    rows: int
    tombstones_at: int
    slot: int
    index_number: int


class JobProgress(NamedTuple):
    """How far the work on the segments from `first` to `last` has come; `total` is 0 where there is none."""

    first: int
    last: int
    done: int
    total: int


class Counts(NamedTuple):
    """What only the owner knows: bytes of its log, up to which LSN sealed files and a checkpoint reach, and how many
    caches it found damaged when it began.
    """

    log_bytes: int
    sealed_lsn: int
    checkpoint_lsn: int
    caches_refused: int


class PartitionMemory:
    """The mapped regions. Arrays cover the whole address space; only reserved parts may be touched."""

    def __init__(self, descriptor: int, shape: MemoryShape, *, writable: bool) -> None:
        """Map the file. The mapping stays when the descriptor is closed, which is its owner's business."""
        self.descriptor = descriptor
        self.shape = shape
        status = os.fstat(descriptor)
        self._identity = status.st_dev, status.st_ino
        self._regions, size = _lay_out(shape)
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            self._map = mmap.mmap(descriptor, size, mmap.MAP_SHARED, access)
        except OSError as error:
            raise _lack(error).error(f"the memory of a partition cannot be mapped: {error.strerror}") from error
        # A view, not an array: it gives plain integers, and a snapshot is taken for every search.
        self._words = memoryview(self._map)[:_PAGE].cast("Q")
        if self._words[0] != _MAGIC:
            raise errors.UNSUPPORTED_FORMAT.error("the shared memory of a partition has an unknown layout")
        self._tables = self._array("tables", np.uint64).reshape(2, limits.SEGMENTS_MAX, _ENTRY_WORDS)
        self._tombstones = self._array("tombstones", np.uint64)
        self.codec = self._array("codec", np.uint8).reshape(_SLOTS, shape.codec_bytes)
        self.codes = self._array("codes", np.uint8)

    @classmethod
    def create(cls, shape: MemoryShape) -> PartitionMemory:
        """New and empty. Raises OUT_OF_MEMORY."""
        regions, size = _lay_out(shape)
        try:
            descriptor = os.memfd_create("reddb-partition")
        except OSError as error:
            raise _lack(error).error(f"no shared memory for a partition: {error.strerror}") from error
        try:
            os.ftruncate(descriptor, size)
            for name in ("header", "tables"):
                _reserve(descriptor, regions[name].start, regions[name].size)
            os.pwrite(descriptor, _MAGIC.to_bytes(8, "little"), 0)
            return cls(descriptor, shape, writable=True)
        except BaseException:
            os.close(descriptor)
            raise

    # --- what every core does ------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The newest published snapshot."""
        words = self._words
        while True:
            counter = words[_COUNTER_AT]
            at = _SLOTS_AT + _SLOT_WORDS * (counter % 2)
            snapshot = Snapshot(words[at], words[at + 1], words[at + 2], words[at + 3], words[at + 4])
            if words[_COUNTER_AT] == counter:
                return snapshot

    def table(self) -> tuple[Snapshot, list[SegmentEntry]]:
        """The newest snapshot and the segments it sees, in order."""
        while True:
            snapshot = self.snapshot()
            numbers = self._tables[snapshot.generation % 2, : snapshot.segments].tolist()
            if self.snapshot().generation == snapshot.generation:
                return snapshot, [SegmentEntry(a, b, c, d - 1, e) for a, b, c, d, e in numbers]

    def progress(self) -> JobProgress:
        """What the builder does now; the numbers may not belong together for a moment."""
        return JobProgress(*self._words[_JOB_AT : _JOB_AT + 4].tolist())

    def counts(self) -> Counts:
        """What the owner counted last."""
        return Counts(*self._words[_COUNTS_AT : _COUNTS_AT + 4].tolist())

    def tombstones(self, start: int, rows: int) -> Tombstones:
        """Those of the segment whose range begins at `start`."""
        return Tombstones(self._tombstones[start : start + 1 + rows])

    def slot_columns(self, slot: int) -> Columns:
        """The columns of a slot, for 65,536 rows; starts of ids and payloads count from the slot's own."""
        return Columns(
            id=self._slot("id", np.int64, slot),
            id_bytes=self._slot("id_bytes", np.uint16, slot),
            id_texts=self._slot("id_texts", np.uint8, slot),
            inverse_norm=self._slot("inverse_norm", np.float64, slot),
            vectors=self._slot("vectors", np.float32, slot).reshape(SLOT_ROWS, self.shape.dim),
            payload_start=self._slot("payload_start", np.uint64, slot),
            payload_bytes=self._slot("payload_bytes", np.uint32, slot),
            payloads=self._slot("payloads", np.uint8, slot),
        )

    def slot_expiries(self, slot: int) -> NDArray[np.uint64]:
        """When the rows of a slot expire: (65536,), to be read only if `earliest_expiry` is not 0."""
        return self._slot("expiries", np.uint64, slot)

    def earliest_expiry(self, slot: int) -> int:
        """No row of the slot expires before it; 0 where none ever does."""
        return self._words[_EXPIRIES_AT + slot]

    def slot_codes(self, slot: int) -> NDArray[np.uint8]:
        """The packed codes of a slot."""
        return self._slot("codes", np.uint8, slot)

    def is_at(self, descriptor: int) -> bool:
        """Whether it is the very memory that this descriptor stands for."""
        found = os.fstat(descriptor)
        return self._identity == (found.st_dev, found.st_ino)

    def close(self) -> None:
        os.close(self.descriptor)

    # --- what its owner does -------------------------------------------------------------------------------

    def write_table(self, generation: int, entries: list[SegmentEntry]) -> None:
        """Write the table of a generation that no snapshot has named yet."""
        assert len(entries) <= limits.SEGMENTS_MAX
        table = self._tables[generation % 2]
        for place, entry in enumerate(entries):
            table[place] = (entry.id, entry.rows, entry.tombstones_at, entry.slot + 1, entry.index_number)

    def publish(self, snapshot: Snapshot) -> None:
        """Let every reader see this."""
        words = self._words
        counter = words[_COUNTER_AT] + 1
        at = _SLOTS_AT + _SLOT_WORDS * (counter % 2)
        for place, number in enumerate(snapshot):
            words[at + place] = number
        words[_COUNTER_AT] = counter

    def write_progress(self, progress: JobProgress) -> None:
        """Tell everyone how far the work has come."""
        for place, number in enumerate(progress):
            self._words[_JOB_AT + place] = number

    def write_counts(self, counts: Counts) -> None:
        """Tell everyone what the owner counts."""
        for place, number in enumerate(counts):
            self._words[_COUNTS_AT + place] = number

    @property
    def row_bytes(self) -> int:
        """What `reserve_rows` takes for each row, with its tombstone."""
        return 8 + sum(region.row_bytes for region in self._regions.values())

    def reserve_rows(self, slot: int, first: int, last: int) -> None:
        """Take memory for rows `first` to `last` of a slot, in each region that has a part per row."""
        for region in self._regions.values():
            if region.row_bytes:
                start = region.start + (slot * SLOT_ROWS + first) * region.row_bytes
                _reserve(self.descriptor, start, (last - first) * region.row_bytes)
        size = self.shape.codec_bytes
        _reserve(self.descriptor, self._regions["codec"].start + slot * size, size)

    def reserve_expiries(self, slot: int) -> None:
        """Take memory for the instants of all rows of a slot."""
        size = 8 * SLOT_ROWS
        _reserve(self.descriptor, self._regions["expiries"].start + slot * size, size)

    def note_expiry(self, slot: int, instant_us: int) -> None:
        """A row of the slot that is not published yet expires at this instant."""
        earliest = self.earliest_expiry(slot)
        self._words[_EXPIRIES_AT + slot] = min(earliest or instant_us, instant_us)

    def reserve_bytes(self, name: str, slot: int, first: int, last: int) -> None:
        """Take memory for bytes of the `id_texts` or `payloads` of a slot."""
        region = self._regions[name]
        _reserve(self.descriptor, region.start + slot * (region.size // _SLOTS) + first, last - first)

    def reserve_tombstones(self, start: int, first: int, last: int) -> None:
        """Take memory for words `first` to `last` of the range that begins at `start`."""
        _reserve(self.descriptor, self._regions["tombstones"].start + 8 * (start + first), 8 * (last - first))

    def release_slot(self, slot: int) -> None:
        """Give the memory of a slot back. Its codec block stays, for its generation must go on."""
        self._words[_EXPIRIES_AT + slot] = 0
        for name, region in self._regions.items():
            if region.row_bytes or name in _PER_SLOT:
                size = region.size // _SLOTS
                self._map.madvise(mmap.MADV_REMOVE, region.start + slot * size, size)

    def forget_tombstones(self, start: int, first: int, end: int) -> None:
        """Let words `first` to `end` of a range be 0; those beyond the page of the word before have no memory then."""
        page_end = min(-(-first // _PAGE_WORDS) * _PAGE_WORDS, end)
        self._tombstones[start + first : start + page_end] = 0
        last = -(-end // _PAGE_WORDS) * _PAGE_WORDS
        if page_end < end:
            self.release_tombstones(start + page_end, last - page_end)

    def release_tombstones(self, start: int, words: int) -> None:
        """Give the memory of a range back, both ends on pages."""
        self._map.madvise(mmap.MADV_REMOVE, self._regions["tombstones"].start + 8 * start, 8 * words)

    def _array(self, name: str, dtype: Any) -> NDArray[Any]:
        region = self._regions[name]
        return np.frombuffer(self._map, dtype, region.size // np.dtype(dtype).itemsize, region.start)

    def _slot(self, name: str, dtype: Any, slot: int) -> NDArray[Any]:
        region = self._regions[name]
        size = region.size // _SLOTS
        return np.frombuffer(self._map, dtype, size // np.dtype(dtype).itemsize, region.start + slot * size)


# Bytes of each slot for what only some rows have.
_PER_SLOT = {
    "id_texts": SLOT_ROWS * 256,
    "payloads": limits.SEGMENT_PAYLOAD_BYTES,
    "expiries": SLOT_ROWS * 8,
}

assert _EXPIRIES_AT + _SLOTS <= _PAGE // 8


@dataclass(frozen=True, slots=True)
class _Region:
    start: int
    size: int
    row_bytes: int = 0  # 0 where the region has no fixed part per growing row


def _lack(error: OSError) -> errors.ErrorCode:
    return errors.TOO_MANY_FILES if error.errno in (errno.EMFILE, errno.ENFILE) else errors.OUT_OF_MEMORY


def _lay_out(shape: MemoryShape) -> tuple[dict[str, _Region], int]:
    """The regions in order, each on a page of its own, and the size of all."""
    per_row = {
        "id": 8,
        "id_bytes": 2,
        "inverse_norm": 8,
        "payload_start": 8,
        "payload_bytes": 4,
        "vectors": 4 * shape.dim,
        "codes": shape.code_bytes,
    }
    sizes = {
        "header": _PAGE,
        "tables": 2 * limits.SEGMENTS_MAX * _ENTRY_WORDS * 8,
        "tombstones": limits.PARTITION_ROWS_MAX * 8,
        "codec": _SLOTS * shape.codec_bytes,
        **{name: _SLOTS * SLOT_ROWS * size for name, size in per_row.items()},
        **{name: _SLOTS * size for name, size in _PER_SLOT.items()},
    }
    regions: dict[str, _Region] = {}
    start = 0
    for name, size in sizes.items():
        regions[name] = _Region(start, size, per_row.get(name, 0))
        start += -(-size // _PAGE) * _PAGE
    return regions, start


def _reserve(descriptor: int, offset: int, size: int) -> None:
    if not size:
        return
    try:
        os.posix_fallocate(descriptor, offset, size)
    except OSError as error:
        raise errors.OUT_OF_MEMORY.error(f"no memory for {size} bytes of rows: {error.strerror}") from error
