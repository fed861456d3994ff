"""What a batch of rows must be before anything of it is written.

Invariant: a batch either passes whole, or an error names the first wrong row and nothing has happened.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import lru_cache
from operator import is_
from typing import Any, NoReturn

import numpy as np

from reddb import errors, limits
from reddb.coordinates import check_coordinates
from reddb.expiry import may_expire
from reddb.fields import check_row, check_unaltered, refused, unpack_payload
from reddb.keys import check_keys, declared_keys, folded
from reddb.plain import NotPlain, is_plain, plain
from reddb.rows import PayloadColumn, RowBatch, payload_column
from reddb.types import RESERVED_NAMES, Collection, IdColumn, Payload, RowId, Vectors

_ROWS_AT_ONCE = 2_048
_BYTES_AT_ONCE = 64 * limits.KIB  # of payloads that are checked in one step: 5 ms where they are many small values
_VECTOR_BYTES_FOR_BYTE = 128  # of vectors that are checked in the time of a byte of payload


def check_batch(collection: Collection, batch: RowBatch, *, is_new: bool = True) -> RowBatch:
    """Check all that needs no look at the stored rows, and give the batch as it is to be stored.

    Values of fields are normalised and defaults put in. Rows that are not new were stored, and have been changed: they
    keep the keys that they have. Raises an input or limit error naming the row.
    """
    check_count(batch)
    check_ids(batch.ids)
    check_vectors(collection, batch.vectors)
    if batch.payloads is None and not len(collection.fields):
        return batch
    contents = [b""] * len(batch) if batch.payloads is None else batch.payloads.split()
    given = [_check_content(row, content) for row, content in enumerate(contents)]
    for row, payload in enumerate(given) if is_new else ():
        _check_reserved(row, tuple(payload))
        check_keys(collection.fields, payload, row, free_keys=collection.has_free_keys)
    payloads = [declared_keys(collection.fields, payload) for payload in given]
    if not len(collection.fields) and not may_expire(batch.payloads) and all(map(is_, payloads, given)):
        return batch
    checked = [check_row(collection.fields, payload, row) for row, payload in enumerate(payloads)]
    for row, payload in enumerate(checked):
        _check_payload(row, payload)
    column = payload_column(checked)
    for row, size in enumerate(column.lengths.tolist()):  # defaults make them larger
        _check_size(row, size)
    return RowBatch(batch.ids, batch.vectors, column)


def is_long(batch: RowBatch) -> bool:
    """Whether a batch takes too long to be checked in one step."""
    payload_bytes = 0 if batch.payloads is None else len(batch.payloads.content)
    return len(batch) > _ROWS_AT_ONCE or payload_bytes > _BYTES_AT_ONCE


def check_steps(collection: Collection, batch: RowBatch) -> Generator[None, None, RowBatch]:
    """`check_batch` of a new batch in slices of a few milliseconds: yields between them and returns what it gives."""
    check_count(batch)
    parts: list[RowBatch] = []
    is_changed = False
    for first, last in _ranges(batch):
        if first:
            yield
        part = batch.part(first, last)
        try:
            parts.append(check_batch(collection, part))
        except errors.RedDBError as error:
            raise of_part(error, first) from None
        is_changed |= parts[-1] is not part
    if not is_changed:
        return batch
    yield
    lengths = [part.payloads.lengths for part in parts if part.payloads is not None]
    contents = [part.payloads.content for part in parts if part.payloads is not None]
    return RowBatch(batch.ids, batch.vectors, PayloadColumn(np.concatenate(lengths), memoryview(b"".join(contents))))


def of_part(error: errors.RedDBError, first: int) -> errors.RedDBError:
    """An error about a row of a part that begins at row `first` of a batch, with the row's number in the batch."""
    row = error.detail.get("row")
    if row is None:
        return error
    message = error.message.replace(f"row {row}:", f"row {first + row}:", 1)
    return errors.RedDBError(error.code, message, {**error.detail, "row": first + row})


def _ranges(batch: RowBatch) -> Iterator[tuple[int, int]]:
    """Cut a batch: first row and end of each part."""
    sizes = np.full(len(batch), _BYTES_AT_ONCE // _ROWS_AT_ONCE, np.int64)
    if batch.payloads is not None:
        sizes += batch.payloads.lengths
    sizes += batch.vectors.shape[1] * 4 // _VECTOR_BYTES_FOR_BYTE
    ends = np.cumsum(sizes)
    first = 0
    while first < len(batch):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _BYTES_AT_ONCE, side="right")))
        yield first, last
        first = last


def check_count(batch: RowBatch) -> None:
    """Raises LIMIT_EXCEEDED for too many rows."""
    if len(batch) > limits.BATCH_ROWS_MAX:
        raise errors.LIMIT_EXCEEDED.error(
            f"a batch has at most {limits.BATCH_ROWS_MAX} rows, not {len(batch)}; send several"
        )


def check_ids(ids: IdColumn) -> None:
    """Raises INVALID_ID for an empty or overlong string; integers fit by their type."""
    if isinstance(ids, np.ndarray):
        return
    for row, row_id in enumerate(ids):
        if isinstance(row_id, int):
            continue
        size = len(row_id.encode())
        if not 1 <= size <= limits.ID_BYTES_MAX:
            raise errors.INVALID_ID.error(
                f"row {row}: a string id has 1 to {limits.ID_BYTES_MAX} UTF-8 bytes, not {size}", row=row
            )


def check_distinct(ids: list[RowId]) -> None:
    """Raises DUPLICATE_ID naming both rows."""
    if len(set(ids)) == len(ids):
        return
    first: dict[RowId, int] = {}
    for row, row_id in enumerate(ids):
        if row_id in first:
            raise errors.DUPLICATE_ID.error(f"row {row}: id {row_id!r} stands in row {first[row_id]} too", row=row)
        first[row_id] = row


def check_vectors(collection: Collection, vectors: Vectors, what: str = "row") -> None:
    """Raises INVALID_DIMENSION naming both numbers, or what `check_coordinates` raises."""
    if vectors.shape[1] != collection.dim:
        raise errors.INVALID_DIMENSION.error(
            f"collection {collection.name!r} has {collection.dim} dimensions, the vector has {vectors.shape[1]}"
        )
    check_coordinates(vectors, what=what)


def _check_size(row: int, size: int) -> None:
    if size > limits.PAYLOAD_BYTES_MAX:
        raise errors.LIMIT_EXCEEDED.error(
            f"row {row}: a payload has at most {limits.PAYLOAD_BYTES_MAX} bytes, not {size}", row=row
        )


def _check_content(row: int, content: bytes) -> Payload:
    _check_size(row, len(content))
    payload = unpack_payload(content, row)
    _check_payload(row, payload)
    check_unaltered(payload, content, row)
    return payload


def _check_payload(row: int, payload: Payload) -> None:
    if len(payload) > limits.PAYLOAD_KEYS_MAX:
        raise errors.LIMIT_EXCEEDED.error(f"row {row}: a payload has at most {limits.PAYLOAD_KEYS_MAX} keys", row=row)
    for name, value in payload.items():
        if not isinstance(name, str) or not 1 <= len(name.encode()) <= limits.NAME_BYTES_MAX:
            raise errors.INVALID_PAYLOAD.error(
                f"row {row}: a payload key is a string of 1 to {limits.NAME_BYTES_MAX} bytes, not {name!r}", row=row
            )
        if name in RESERVED_NAMES:
            raise errors.INVALID_PAYLOAD.error(f"row {row}: the payload key {name!r} is reserved", row=row)
        if not is_plain(value):
            _refuse_value(row, name, value)


def _check_reserved(row: int, keys: tuple[str, ...]) -> None:
    """Raises INVALID_PAYLOAD for a key that a name could not mean, for it is a column's in another case."""
    reserved = _reserved(keys)
    if reserved is not None:
        message = f"row {row}: the payload key {reserved!r} is reserved, as {folded(reserved)!r} is"
        raise errors.INVALID_PAYLOAD.error(message, row=row)


@lru_cache(64)
def _reserved(keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if folded(key) in RESERVED_NAMES), None)


def _refuse_value(row: int, name: str, value: Any) -> NoReturn:
    if _is_too_deep(value):
        raise errors.LIMIT_EXCEEDED.error(f"row {row}: {name!r} nests deeper than {limits.PAYLOAD_DEPTH_MAX}", row=row)
    try:
        plain(value, name)
    except NotPlain as fault:
        raise refused(fault, row) from None
    raise AssertionError(value)


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(limits.PAYLOAD_DEPTH_MAX):
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for items in inner for item in items]
    return bool(level)
