"""The growing rows of one partition in memory that every core maps: one writer, any number of readers.

The owner makes an anonymous file in memory (memfd), hands its descriptor around, and everyone maps it. Addresses are
laid out for `limits.GROWING_ROWS_MAX` rows; memory is taken only as rows come (`reserve`), before they are written:
a store into a page that cannot be had would kill the process.

    region             type           row r
    header             4096 bytes     see below
    codec              bytes          one block per segment of 65,536 rows, written by the encoder
    id                 int64          the id, or where its text begins in the id texts
    id_bytes           uint16         0xFFFF for an integer id, else the text's length
    dead_lsn           uint64         0 while the row lives, else the LSN that deleted or replaced it
    inverse_norm       float64        1 / length of the vector, 0 for the zero vector
    payload_start      uint64         where its payload begins
    payload_bytes      uint32         its length, 0 for none
    vectors            float32[dim]
    codes              bytes          packed turbo codes, `code_bytes` a row, in blocks of 32 rows
    id texts           bytes          UTF-8, end to end
    payloads           bytes          MessagePack maps, end to end

    header, u64 each
        0    "RDBGROW1"        1  publication counter c
        16   snapshot slot 0   24  snapshot slot 1:   LSN, rows, live rows

A publication writes slot (c+1) % 2 and then stores c+1. A reader takes slot c % 2 and takes it again if c has moved on
meanwhile. So the three numbers belong together, a reader never waits for a writer, and a writer killed half-way leaves
the old snapshot whole. A row is visible at a snapshot if its number is below `rows` and its `dead_lsn` is 0 or above
the snapshot's LSN; a replaced row therefore vanishes for a reader in the same moment as its successor appears.

This needs stores to become visible in program order, which x86 promises. (Other processors need a release store of c.)

Invariants:
  * Only rows at or beyond the published count are written; published rows never change but for `dead_lsn`.
  * Nothing is published before its WAL records are on disk; that is the partition's duty.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.rows import RowBatch
from reddb.types import Buffer, IdColumn, RowId

_MAGIC = int.from_bytes(b"RDBGROW1", "little")
_PAGE = 4096
_COUNTER_AT, _SLOTS_AT, _SLOT_WORDS = 1, 16, 8
_INT_ID = 0xFFFF
# Rows of memory taken at once: as many again as there are, so that a small collection stays small, up to 6 MiB of
# 384-d vectors, so that a large one needs few system calls.
_RESERVE_ROWS_MIN, _RESERVE_ROWS_MAX = 256, 4096
_RESERVE_BYTES = 64 * limits.KIB

assert limits.ID_BYTES_MAX < _INT_ID


@dataclass(frozen=True, slots=True)
class GrowingShape:
    """What the layout depends on. `code_bytes` is per row, `codec_bytes` per segment."""

    dim: int
    code_bytes: int
    codec_bytes: int


class Snapshot(NamedTuple):
    """The rows that a read may see: all below `rows` that were not dead at `lsn`."""

    lsn: int
    rows: int
    live_rows: int


class GrowingRows:
    """The mapped columns. Arrays cover the whole address space; only reserved parts may be touched."""

    def __init__(self, descriptor: int, shape: GrowingShape, *, writable: bool) -> None:
        """Map the file. The mapping stays when the descriptor is closed, which is its owner's business."""
        self.descriptor = descriptor
        self.shape = shape
        self._regions, size = _lay_out(shape)
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            self._map = mmap.mmap(descriptor, size, mmap.MAP_SHARED, access)
        except OSError as error:
            raise errors.OUT_OF_MEMORY.error(f"no address space for a partition: {error.strerror}") from error
        rows = limits.GROWING_ROWS_MAX
        # A view, not an array: it gives plain integers, and a snapshot is taken for every search.
        self._words = memoryview(self._map)[:_PAGE].cast("Q")
        self.codec = self._column("codec", np.uint8).reshape(-1, shape.codec_bytes)
        self.id = self._column("id", np.int64)
        self.id_bytes = self._column("id_bytes", np.uint16)
        self.dead_lsn = self._column("dead_lsn", np.uint64)
        self.inverse_norm = self._column("inverse_norm", np.float64)
        self.payload_start = self._column("payload_start", np.uint64)
        self.payload_bytes = self._column("payload_bytes", np.uint32)
        self.vectors = self._column("vectors", np.float32).reshape(rows, shape.dim)
        self.codes = self._column("codes", np.uint8)
        self.id_texts = self._column("id_texts", np.uint8)
        self.payloads = self._column("payloads", np.uint8)
        if self._words[0] != _MAGIC:
            raise errors.CORRUPT_DATA.error("the shared memory of a partition has another layout")

    @classmethod
    def create(cls, shape: GrowingShape) -> GrowingRows:
        """New, empty rows in a memfd. Raises OUT_OF_MEMORY."""
        descriptor = os.memfd_create("reddb-growing")
        _, size = _lay_out(shape)
        os.ftruncate(descriptor, size)
        _reserve(descriptor, 0, _PAGE)
        os.pwrite(descriptor, _MAGIC.to_bytes(8, "little"), 0)
        return cls(descriptor, shape, writable=True)

    def snapshot(self) -> Snapshot:
        """The newest published snapshot."""
        words = self._words
        while True:
            counter = words[_COUNTER_AT]
            start = _SLOTS_AT + _SLOT_WORDS * (counter % 2)
            snapshot = Snapshot(words[start], words[start + 1], words[start + 2])
            if words[_COUNTER_AT] == counter:
                return snapshot

    def live(self, rows: NDArray[np.int64], snapshot: Snapshot) -> NDArray[np.bool_]:
        """Which of the rows (n,) the snapshot sees; rows must be below `snapshot.rows`."""
        # 0 - 1 wraps to the largest number, so one comparison covers "never died" and "died later".
        visible: NDArray[np.bool_] = self.dead_lsn[rows] - np.uint64(1) >= np.uint64(snapshot.lsn)
        return visible

    def row_id(self, row: int) -> RowId:
        size = int(self.id_bytes[row])
        start = int(self.id[row])
        return start if size == _INT_ID else bytes(self.id_texts[start : start + size]).decode()

    def id_column(self, rows: NDArray[np.int64]) -> IdColumn:
        """Ids of the rows (n,), an array where all are integers."""
        if bool((self.id_bytes[rows] == _INT_ID).all()):
            return self.id[rows]
        return [self.row_id(row) for row in rows.tolist()]

    def row_ids(self, rows: NDArray[np.int64]) -> list[RowId]:
        """Ids of the rows (n,) as plain values."""
        ids = self.id_column(rows)
        return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)

    def payload(self, row: int) -> bytes:
        """MessagePack bytes of the row's payload, empty if it has none."""
        start = int(self.payload_start[row])
        return bytes(self.payloads[start : start + int(self.payload_bytes[row])])

    def close(self) -> None:
        os.close(self.descriptor)

    def _column(self, name: str, dtype: Any) -> NDArray[Any]:
        region = self._regions[name]
        return np.frombuffer(self._map, dtype, region.size // np.dtype(dtype).itemsize, region.start)


class GrowingWriter:
    """The owner's side: reserve, append, mark dead, publish."""

    def __init__(self, rows: GrowingRows) -> None:
        self.rows = rows
        self.count = 0
        self.live_count = 0
        self._id_text_end = 0
        self._payload_end = 0
        self._reserved_rows = 0
        self._reserved_id_texts = 0
        self._reserved_payloads = 0
        self._counter = 0

    def reserve(self, rows: int, id_text_bytes: int, payload_bytes: int) -> None:
        """Take memory for so much more, on top of what is appended. Raises LIMIT_EXCEEDED or OUT_OF_MEMORY."""
        needed = self.count + rows
        if needed > limits.GROWING_ROWS_MAX:
            raise errors.LIMIT_EXCEEDED.error(f"a partition holds at most {limits.GROWING_ROWS_MAX} unsealed rows")
        if needed > self._reserved_rows:
            chunk = min(max(self._reserved_rows, _RESERVE_ROWS_MIN), _RESERVE_ROWS_MAX)
            step = min(-(-needed // chunk) * chunk, limits.GROWING_ROWS_MAX)
            self._reserve_rows(self._reserved_rows, step)
            self._reserved_rows = step
        self._reserved_id_texts = self._reserve_bytes(
            "id_texts", self._reserved_id_texts, self._id_text_end + id_text_bytes
        )
        self._reserved_payloads = self._reserve_bytes(
            "payloads", self._reserved_payloads, self._payload_end + payload_bytes
        )

    def _reserve_rows(self, first: int, last: int) -> None:
        """Take memory for rows `first` to `last` in each region that has a part per row."""
        segments = slice(first // limits.SEGMENT_ROWS, -(-last // limits.SEGMENT_ROWS))
        for region in self.rows._regions.values():
            if region.row_bytes:
                _reserve(
                    self.rows.descriptor, region.start + first * region.row_bytes, (last - first) * region.row_bytes
                )
        codec = self.rows._regions["codec"]
        size = self.rows.shape.codec_bytes
        _reserve(self.rows.descriptor, codec.start + segments.start * size, (segments.stop - segments.start) * size)

    def append(self, batch: RowBatch, inverse_norms: NDArray[np.float64]) -> NDArray[np.int64]:
        """Write the rows behind the last one, unpublished; return their row numbers (n,)."""
        first, last = self.count, self.count + len(batch)
        rows = self.rows
        assert last <= self._reserved_rows
        rows.vectors[first:last] = batch.vectors
        rows.inverse_norm[first:last] = inverse_norms
        if isinstance(batch.ids, np.ndarray):
            rows.id[first:last] = batch.ids
            rows.id_bytes[first:last] = _INT_ID
        else:
            self._append_ids(first, last, batch.ids)
        if batch.payloads is not None:
            self._append_payloads(first, last, batch.payloads.lengths, batch.payloads.content)
        self.count = last
        self.live_count += last - first
        return np.arange(first, last)

    def mark_dead(self, rows: Sequence[int], lsn: int) -> None:
        """Hide the rows from every snapshot at or above `lsn`."""
        self.rows.dead_lsn[list(rows)] = lsn
        self.live_count -= len(rows)

    def publish(self, lsn: int) -> None:
        """Let every reader see all that was appended and marked up to `lsn`."""
        words = self.rows._words
        self._counter += 1
        start = _SLOTS_AT + _SLOT_WORDS * (self._counter % 2)
        words[start], words[start + 1], words[start + 2] = lsn, self.count, self.live_count
        words[_COUNTER_AT] = self._counter

    def _reserve_bytes(self, name: str, reserved: int, needed: int) -> int:
        if needed <= reserved:
            return reserved
        region = self.rows._regions[name]
        step = min(-(-needed // _RESERVE_BYTES) * _RESERVE_BYTES, region.size)
        if needed > step:
            raise errors.LIMIT_EXCEEDED.error(
                f"the {name.replace('_', ' ')} of a partition take at most {region.size} bytes"
            )
        _reserve(self.rows.descriptor, region.start + reserved, step - reserved)
        return step

    def _append_ids(self, first: int, last: int, ids: Sequence[RowId]) -> None:
        texts: list[bytes] = []
        end = self._id_text_end
        for row, row_id in zip(range(first, last), ids, strict=True):
            if isinstance(row_id, int):
                self.rows.id[row], self.rows.id_bytes[row] = row_id, _INT_ID
                continue
            texts.append(row_id.encode())
            self.rows.id[row], self.rows.id_bytes[row] = end, len(texts[-1])
            end += len(texts[-1])
        self._id_text_end = _append_bytes(self.rows.id_texts, self._id_text_end, b"".join(texts))

    def _append_payloads(self, first: int, last: int, lengths: NDArray[np.uint32], content: Buffer) -> None:
        ends = self._payload_end + np.cumsum(lengths, dtype=np.uint64)
        self.rows.payload_start[first:last] = ends - lengths
        self.rows.payload_bytes[first:last] = lengths
        self._payload_end = _append_bytes(self.rows.payloads, self._payload_end, content)


@dataclass(frozen=True, slots=True)
class _Region:
    start: int
    size: int
    row_bytes: int  # 0 where the region has no fixed part per row


def _lay_out(shape: GrowingShape) -> tuple[dict[str, _Region], int]:
    """The regions in order, each on a page of its own, and the size of all."""
    rows = limits.GROWING_ROWS_MAX
    segments = rows // limits.SEGMENT_ROWS
    per_row = {
        "id": 8,
        "id_bytes": 2,
        "dead_lsn": 8,
        "inverse_norm": 8,
        "payload_start": 8,
        "payload_bytes": 4,
        "vectors": 4 * shape.dim,
        "codes": shape.code_bytes,
    }
    sizes = {
        "header": _PAGE,
        "codec": segments * shape.codec_bytes,
        **{name: rows * size for name, size in per_row.items()},
        "id_texts": limits.GIB,
        "payloads": limits.GROWING_ARENA_BYTES,
    }
    assert rows * limits.ID_BYTES_MAX <= limits.GIB
    regions: dict[str, _Region] = {}
    start = 0
    for name, size in sizes.items():
        regions[name] = _Region(start, size, per_row.get(name, 0))
        start += -(-size // _PAGE) * _PAGE
    return regions, start


def _reserve(descriptor: int, offset: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, offset, size)
    except OSError as error:
        raise errors.OUT_OF_MEMORY.error(f"no memory for {size} bytes of rows: {error.strerror}") from error


def _append_bytes(region: NDArray[np.uint8], end: int, content: Buffer) -> int:
    data = np.frombuffer(content, np.uint8)
    region[end : end + len(data)] = data
    return end + len(data)
