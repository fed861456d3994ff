"""A batch of rows as columns: one byte layout for the wire, the mailbox between cores and the WAL.

    offset        type            content
    0             u8              1, the layout's version
    1             u8              id type: 0 = int64, 1 = MessagePack
    2             u16             0
    4             u32             n, rows
    8             u32             dim (0 where there are no vectors, as in a delete)
    12            u32             bytes of the id block
    16            u64             bytes of the payload block, 0 where no row has a payload
    24            id block        int64[n], or a MessagePack array of n strings and integers
    padded to 4   float32[n*dim]  the vectors
                  payload block   u32 lengths[n] followed by the payloads end to end, each a MessagePack map

All integers are little-endian. A batch is thus never a list of boxed floats: `decode` gives arrays over the
received bytes and copies nothing.

Invariants:
  * `decode(encode(batch)) == batch`, and `decode` accepts exactly what `encode` can make: every length is checked
    against the bytes at hand before it is used.
  * Ids that are all integers are an array, so that they stay one from the socket to the columns.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgpack
import numpy as np
from numpy.typing import ArrayLike, NDArray

from reddb import errors, limits
from reddb.array_likes import float32_array, is_hidden
from reddb.fields import pack_payload
from reddb.types import Buffer, IdColumn, Payload, RowId, Vectors
from reddb.wording import shown

_HEADER = struct.Struct("<BBHIIIQ")
_VERSION = 1
_INT_IDS, _MIXED_IDS = 0, 1


@dataclass(frozen=True, slots=True)
class PayloadColumn:
    """The payloads of a batch: MessagePack maps end to end. `lengths` is uint32 (n,); 0 means no payload."""

    lengths: NDArray[np.uint32]
    content: memoryview

    def split(self) -> list[bytes]:
        """Each row's MessagePack bytes, empty where the row has no payload."""
        ends = np.cumsum(self.lengths, dtype=np.int64).tolist()
        return [bytes(self.content[end - size : end]) for end, size in zip(ends, self.lengths.tolist(), strict=True)]

    def part(self, first: int, last: int) -> PayloadColumn:
        """Those of rows that follow each other, in place."""
        start = int(self.lengths[:first].sum(dtype=np.int64))
        size = int(self.lengths[first:last].sum(dtype=np.int64))
        return PayloadColumn(self.lengths[first:last], self.content[start : start + size])

    def take(self, rows: NDArray[np.int64]) -> PayloadColumn:
        """A copy of those of the rows (n,)."""
        payloads = self.split()
        return PayloadColumn(self.lengths[rows], memoryview(b"".join([payloads[row] for row in rows.tolist()])))


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows to insert or upsert, or (with dim 0) ids to delete. `vectors` is float32 (n, dim)."""

    ids: IdColumn
    vectors: Vectors
    payloads: PayloadColumn | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def id_list(self) -> list[RowId]:
        """The ids as plain Python values."""
        return self.ids.tolist() if isinstance(self.ids, np.ndarray) else list(self.ids)

    def take(self, rows: NDArray[np.int64]) -> RowBatch:
        """A copy of those rows (n,), by number."""
        ids = (
            self.ids[rows] if isinstance(self.ids, np.ndarray) else id_column([self.ids[row] for row in rows.tolist()])
        )
        return RowBatch(ids, self.vectors[rows], None if self.payloads is None else self.payloads.take(rows))

    def part(self, first: int, last: int) -> RowBatch:
        """Rows that follow each other, in place."""
        payloads = None if self.payloads is None else self.payloads.part(first, last)
        return RowBatch(self.ids[first:last], self.vectors[first:last], payloads)

    def id_text_bytes(self) -> int:
        """UTF-8 bytes of all string ids."""
        return 0 if isinstance(self.ids, np.ndarray) else sum(len(i.encode()) for i in self.ids if isinstance(i, str))

    def encode(self) -> list[Buffer]:
        """The layout above, as buffers to be written end to end without joining them."""
        count, dim = self.vectors.shape
        assert count == len(self.ids)
        id_type, id_block = _encode_ids(self.ids)
        payload_bytes = 0
        tail: list[Buffer] = []
        if self.payloads is not None:
            payload_bytes = 4 * count + len(self.payloads.content)
            tail = [np.ascontiguousarray(self.payloads.lengths), self.payloads.content]
        header = _HEADER.pack(_VERSION, id_type, 0, count, dim, len(id_block), payload_bytes)
        padding = bytes(-len(id_block) % 4)
        vectors: list[Buffer] = [np.ascontiguousarray(self.vectors)] if dim and count else []
        return [header + id_block + padding, *vectors, *tail]

    @staticmethod
    def decode(buffer: Buffer, rows_max: int | None = None) -> RowBatch:
        """Read the layout above. Raises PROTOCOL where the bytes are not a batch.

        Raises LIMIT_EXCEEDED for more than `rows_max`, before any of them is looked at.
        """
        view = memoryview(buffer).cast("B")
        if len(view) < _HEADER.size:
            raise errors.PROTOCOL.error(f"a row batch has at least {_HEADER.size} bytes, not {len(view)}")
        version, id_type, zero, count, dim, id_bytes, payload_bytes = _HEADER.unpack_from(view)
        if version != _VERSION or zero != 0 or id_type not in (_INT_IDS, _MIXED_IDS):
            raise errors.PROTOCOL.error(f"unknown row batch layout (version {version}, id type {id_type})")
        vectors_at = _HEADER.size + id_bytes + (-id_bytes % 4)
        payloads_at = vectors_at + 4 * count * dim
        if payloads_at + payload_bytes != len(view):
            raise errors.PROTOCOL.error(f"a row batch of {len(view)} bytes does not have the lengths in its header")
        if rows_max is not None and count > rows_max:
            raise errors.LIMIT_EXCEEDED.error(f"a batch has at most {rows_max} rows, not {count}; send several")
        ids = _decode_ids(id_type, count, view[_HEADER.size : _HEADER.size + id_bytes])
        vectors = np.frombuffer(view[vectors_at:payloads_at], np.float32).reshape(count, dim)
        return RowBatch(ids, vectors, _decode_payloads(count, view[payloads_at:]) if payload_bytes else None)


def _encode_ids(ids: IdColumn) -> tuple[int, bytes]:
    if isinstance(ids, np.ndarray):
        return _INT_IDS, np.ascontiguousarray(ids, np.int64).tobytes()
    return _MIXED_IDS, msgpack.packb(list(ids))


def _decode_ids(id_type: int, count: int, block: memoryview) -> IdColumn:
    if id_type == _INT_IDS:
        if len(block) != 8 * count:
            raise errors.PROTOCOL.error(f"{count} integer ids need {8 * count} bytes, not {len(block)}")
        return np.frombuffer(block, np.int64)
    try:
        ids = msgpack.unpackb(block, max_array_len=count, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise errors.PROTOCOL.error(f"the ids are no MessagePack array: {error}") from error
    if not isinstance(ids, list) or len(ids) != count:
        raise errors.PROTOCOL.error(f"the id block does not hold {count} ids")
    return id_column(ids)


def _decode_payloads(count: int, block: memoryview) -> PayloadColumn:
    if len(block) < 4 * count:
        raise errors.PROTOCOL.error(f"the lengths of {count} payloads do not fit in {len(block)} bytes")
    lengths = np.frombuffer(block[: 4 * count], np.uint32)
    if int(lengths.sum(dtype=np.uint64)) != len(block) - 4 * count:
        raise errors.PROTOCOL.error(f"the lengths of {count} payloads do not add up to the bytes that follow")
    return PayloadColumn(lengths, block[4 * count :])


def make_batch(
    ids: IdColumn | Iterable[RowId],
    vectors: ArrayLike | Iterator[ArrayLike],
    payloads: Iterable[Payload | None] | None = None,
) -> RowBatch:
    """Build a batch from what a user holds. What this form cannot hold is refused; the partition checks the rest.

    Raises INVALID_ID, INVALID_VECTOR or INVALID_PAYLOAD naming the row.
    """
    array = float32_array(vectors, "vectors")
    if array.ndim != 2:
        message = f"vectors must be a two-dimensional array of numbers, not one of shape {array.shape}"
        raise errors.INVALID_VECTOR.error(message)
    column = id_column(ids)
    if len(column) != len(array):
        raise errors.INVALID_VECTOR.error(f"{len(column)} ids but {len(array)} vectors")
    if payloads is None:
        return RowBatch(column, array)
    payloads = list(payloads)
    if len(payloads) != len(array):
        raise errors.INVALID_PAYLOAD.error(f"{len(payloads)} payloads but {len(array)} vectors")
    return RowBatch(column, array, payload_column(payloads))


def joined(batches: Sequence[RowBatch]) -> RowBatch:
    """Batches of one dim end to end; at least one."""
    if len(batches) == 1:
        return batches[0]
    column = [batch.ids for batch in batches if len(batch)]
    ids: IdColumn = np.empty(0, np.int64)
    if all(isinstance(part, np.ndarray) for part in column):
        ids = np.concatenate([ids, *column])
    else:
        ids = id_column([row_id for batch in batches for row_id in batch.id_list()])
    vectors = np.concatenate([batch.vectors for batch in batches])
    if all(batch.payloads is None for batch in batches):
        return RowBatch(ids, vectors)
    payloads = [batch.payloads or _no_payloads(len(batch)) for batch in batches]
    lengths = np.concatenate([column.lengths for column in payloads])
    return RowBatch(ids, vectors, PayloadColumn(lengths, memoryview(b"".join(item.content for item in payloads))))


def _no_payloads(count: int) -> PayloadColumn:
    return PayloadColumn(np.zeros(count, np.uint32), memoryview(b""))


def id_column(ids: IdColumn | Iterable[RowId]) -> IdColumn:
    """The ids as one column. Raises INVALID_ID naming the row whose id is neither a string nor a 64-bit integer."""
    if is_hidden(ids):
        row = int(np.argmax(np.ma.getmaskarray(ids)))
        raise errors.INVALID_ID.error(f"row {row}: the id is masked", hint="leave the row out", row=row)
    if isinstance(ids, np.ndarray):
        if ids.ndim == 1 and (ids.dtype == np.int64 or len(ids) == 0):
            return np.ascontiguousarray(ids, np.int64)
        ids = ids.tolist()
    values = [value.item() if isinstance(value, np.integer | np.str_) else value for value in ids]
    for row, value in enumerate(values):
        if type(value) is int and limits.ID_INT_MIN <= value <= limits.ID_INT_MAX:
            continue
        if type(value) is int:
            raise errors.INVALID_ID.error(f"row {row}: the id {shown(value)} does not fit in 64 bits", row=row)
        if type(value) is not str:
            message = f"row {row}: an id must be an integer or a string, not {shown(value)}"
            raise errors.INVALID_ID.error(message, row=row)
        if not value.isascii():
            _check_unicode(row, value)
    return values if any(type(value) is str for value in values) else np.array(values, np.int64)


def _check_unicode(row: int, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise errors.INVALID_ID.error(
            f"row {row}: the id {text!r} is not valid Unicode: {error.reason}", row=row
        ) from error


def payload_column(payloads: Sequence[Payload | None]) -> PayloadColumn:
    """Payloads as one column. Raises INVALID_PAYLOAD naming the row whose payload cannot be stored."""
    packed: list[bytes] = []
    for row, payload in enumerate(payloads):
        if payload is not None and not isinstance(payload, dict):
            raise errors.INVALID_PAYLOAD.error(
                f"row {row}: a payload must be a dict, not {type(payload).__name__}", row=row
            )
        packed.append(pack_payload(payload or {}, row))
    return PayloadColumn(np.array([len(item) for item in packed], np.uint32), memoryview(b"".join(packed)))
