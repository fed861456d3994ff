"""The files of a sealed segment: written once from columns, read mapped.

    segments/<segment id>/          each a checked file (`storage/checked_file.py`)
        vectors.f32     vectors float32[rows, dim], then inverse_norm float64[rows]
        ids             id int64[rows], keys uint64[rows] ascending, id_bytes uint16[rows], order uint32[rows], texts
        payloads        payload_start uint64[rows], payload_bytes uint32[rows], the payloads end to end
        columns.arrow   the payloads once more as typed columns, for filters (`storage/payload_columns.py`)

`keys[i]` is the key of row `order[i]`: an integer id itself, or the first 8 bytes of the BLAKE2b of a text. A key finds
candidates; the id itself decides.

Every array begins at a multiple of 8.

Invariants:
  * Rows keep the numbers they had when the segment was growing.
  * Nothing here is a cache: these files are the truth once the log before them is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reddb import errors
from reddb.disk import Disk
from reddb.fields import EXPIRES_AT
from reddb.storage.checked_file import FileIdentity, open_checked, write_checked
from reddb.storage.expiries import SealedExpiries
from reddb.storage.payload_columns import Family, PayloadColumns
from reddb.storage.segment_rows import INT_ID, Columns
from reddb.types import Buffer, Collection, RowId

VECTORS, IDS, PAYLOADS, FILTERS = "vectors.f32", "ids", "payloads", "columns.arrow"
FILES = {VECTORS: b"vecs", IDS: b"ids ", PAYLOADS: b"pays", FILTERS: b"cols"}

_BLOCK_ROWS = 4096  # copied at once: 6 MiB of 384-d


def segment_folder(partition_folder: Path, segment_id: int) -> Path:
    return partition_folder / "segments" / str(segment_id)


def identity_of(collection: Collection, partition: int, segment_id: int, content: bytes, rows: int) -> FileIdentity:
    return FileIdentity(content, collection.id, partition, segment_id, collection.dim, rows)


def write_segment(
    disk: Disk,
    folder: Path,
    collection: Collection,
    partition: int,
    segment_id: int,
    parts: Sequence[tuple[Columns, NDArray[np.int64]]],
) -> None:
    """Write the chosen rows of each part, in order, as one segment; everything is synced on return.

    Raises DISK_FULL or DISK_FAILED; what was written then is nobody's and may be written again.
    """
    rows = sum(len(chosen) for _, chosen in parts)

    def write(name: str, content: Iterable[Buffer]) -> None:
        identity = identity_of(collection, partition, segment_id, FILES[name], rows)
        write_checked(disk, folder / name, identity, content)

    disk.make_folder(folder)
    write(VECTORS, _vectors(parts))
    write(IDS, _ids(parts))
    payloads = [columns.payload(row) for columns, chosen in parts for row in chosen.tolist()]
    write(PAYLOADS, _payloads(payloads))
    write(FILTERS, [PayloadColumns.from_payloads(payloads).to_bytes()])
    disk.sync_folder(folder)


def open_file(
    disk: Disk, folder: Path, collection: Collection, partition: int, segment_id: int, rows: int, name: str
) -> memoryview:
    """The content of one of the `FILES`, its checksum computed. Raises CORRUPT_DATA naming the file."""
    identity = identity_of(collection, partition, segment_id, FILES[name], rows)
    return open_checked(disk, folder / name, identity, verify=True)


def rebuild_filters(
    disk: Disk, folder: Path, collection: Collection, partition: int, segment_id: int, rows: int
) -> None:
    """Make columns.arrow anew from the payloads; it is synced on return. Raises CORRUPT_DATA or a disk error."""
    arrays = _Arrays(folder / PAYLOADS, open_file(disk, folder, collection, partition, segment_id, rows, PAYLOADS))
    starts, lengths = arrays.take(np.uint64, rows).tolist(), arrays.take(np.uint32, rows).tolist()
    content = arrays.rest()
    payloads = [bytes(content[start : start + size]) for start, size in zip(starts, lengths, strict=True)]
    identity = identity_of(collection, partition, segment_id, FILES[FILTERS], rows)
    staged = folder / f"{FILTERS}.tmp"
    write_checked(disk, staged, identity, [PayloadColumns.from_payloads(payloads).to_bytes()])
    disk.rename(staged, folder / FILTERS)


class _Filters:
    """The file of payload columns, opened at the first use."""

    def __init__(self, path: Path, content: memoryview, rows: int) -> None:
        self._path = path
        self._content = content
        self._rows = rows
        self._columns: PayloadColumns | None = None

    def columns(self) -> PayloadColumns:
        if self._columns is None:
            with self._named():
                columns = PayloadColumns.open(self._content)
                if columns.rows != self._rows:
                    raise errors.CORRUPT_DATA.error(f"has {columns.rows} rows, not {self._rows}")
            self._columns = columns
        return self._columns

    @cached_property
    def names(self) -> frozenset[str] | None:
        with self._named():
            return PayloadColumns.names(self._content)

    def have_expiries(self) -> bool:
        with self._named():
            return PayloadColumns.has_column(self._content, Family.TIMESTAMP, EXPIRES_AT.name)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except errors.RedDBError as error:
            raise errors.RedDBError(error.code, f"{self._path}: {error.message}", {"path": str(self._path)}) from error


class SealedSegment:
    """A sealed segment's columns, mapped, and its rows by id."""

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        collection: Collection,
        partition: int,
        segment_id: int,
        rows: int,
        *,
        verify: bool,
    ) -> None:
        """Map the files. `verify` computes every checksum. Raises CORRUPT_DATA naming the file."""

        def content(name: str) -> memoryview:
            identity = identity_of(collection, partition, segment_id, FILES[name], rows)
            return open_checked(disk, folder / name, identity, verify=verify)

        vectors, ids, payloads = (_Arrays(folder / name, content(name)) for name in (VECTORS, IDS, PAYLOADS))
        matrix = vectors.take(np.float32, rows * collection.dim).reshape(rows, collection.dim)
        inverse_norm = vectors.take(np.float64, rows)
        id_values, self._keys = ids.take(np.int64, rows), ids.take(np.uint64, rows)
        id_bytes, self._order = ids.take(np.uint16, rows), ids.take(np.uint32, rows)
        starts, lengths = payloads.take(np.uint64, rows), payloads.take(np.uint32, rows)
        self.columns = Columns(
            id=id_values,
            id_bytes=id_bytes,
            id_texts=ids.rest(),
            inverse_norm=inverse_norm,
            vectors=matrix,
            payload_start=starts,
            payload_bytes=lengths,
            payloads=payloads.rest(),
        )
        self.rows = rows
        if verify:
            self._check_places(folder)
        self._filters = _Filters(folder / FILTERS, content(FILTERS), rows)
        # Not methods of this object: a segment in a cycle would keep its files open until the cycle is collected.
        self.expiries = SealedExpiries(self._filters.have_expiries, self._filters.columns)
        self._range = (int(self._keys[0]), int(self._keys[-1])) if rows else (1, 0)

    def payload_columns(self) -> PayloadColumns:
        """The payloads as typed columns, opened at the first use."""
        return self._filters.columns()

    @property
    def names(self) -> frozenset[str] | None:
        """The paths of the payloads, as names are compared; None where there are more than columns."""
        return self._filters.names

    def _check_places(self, folder: Path) -> None:
        """Raises CORRUPT_DATA where an array leads out of what it leads into; looks at numbers alone."""
        columns = self.columns
        texts = columns.id_bytes != INT_ID
        wrong = None
        if len(self._order) and self._order.max() >= self.rows:
            wrong = IDS, "names rows that there are not"
        elif (self._keys[1:] < self._keys[:-1]).any():
            wrong = IDS, "has keys that are not in order"
        elif not _are_texts(columns.id_texts, columns.id[texts], columns.id_bytes[texts].astype(np.int64)):
            wrong = IDS, "has ids that are no texts of it"
        elif not _lie_within(columns.payload_start, columns.payload_bytes, len(columns.payloads)):
            wrong = PAYLOADS, "has payloads that lie beyond its end"
        if wrong is not None:
            path = folder / wrong[0]
            raise errors.CORRUPT_DATA.error(f"{path} {wrong[1]}", path=str(path))

    def contradiction(self) -> str | None:
        """Where rows are not what they should be, if anywhere; looks at every one."""
        columns, rows = self.columns, np.arange(self.rows)
        if not np.array_equal(np.sort(self._order), rows):
            return "the order of the keys does not name every row once"
        if not np.array_equal(keys_of(columns.row_ids(self._order.astype(np.int64))), self._keys):
            return "the keys are not those of the ids"
        blocks = (columns.vectors[first : first + _BLOCK_ROWS] for first in range(0, self.rows, _BLOCK_ROWS))
        if not all(np.isfinite(block).all() for block in blocks) or not np.isfinite(columns.inverse_norm).all():
            return "a vector holds what is no number"
        self.payload_columns()
        return None

    def find(self, ids: Sequence[RowId], count: int) -> NDArray[np.int64]:
        """The row that has each id, -1 where there is none: (n,)."""
        assert count == self.rows
        found = np.full(len(ids), -1)
        keys = keys_of(ids)
        # Most segments have no id of a batch: rows that came later have larger ids.
        inside = np.flatnonzero((keys >= self._range[0]) & (keys <= self._range[1]))
        if not len(inside):
            return found
        places = np.searchsorted(self._keys, keys[inside])
        hit = self._keys[places] == keys[inside]
        for wanted, place in zip(inside[hit].tolist(), places[hit].tolist(), strict=True):
            found[wanted] = self._row_with(ids[wanted], place)
        return found

    def _row_with(self, row_id: RowId, place: int) -> int:
        """The row among those that share a key; the newest, for an earlier one of the same id is dead."""
        newest, key = -1, self._keys[place]
        while place < self.rows and self._keys[place] == key:
            row = int(self._order[place])
            if row > newest and self.columns.row_id(row) == row_id:
                newest = row
            place += 1
        return newest


def keys_of(ids: Sequence[RowId]) -> NDArray[np.uint64]:
    """What rows are found by; two ids may share one."""
    if all(type(row_id) is int for row_id in ids):
        return np.array(ids, np.int64).view(np.uint64)
    return np.array([_key(row_id) for row_id in ids], np.uint64)


def _key(row_id: RowId) -> int:
    if isinstance(row_id, int):
        return row_id & 0xFFFF_FFFF_FFFF_FFFF
    return int.from_bytes(blake2b(row_id.encode(), digest_size=8).digest(), "little")


def _vectors(parts: Sequence[tuple[Columns, NDArray[np.int64]]]) -> Iterator[Buffer]:
    written = 0
    for columns, chosen in parts:
        for first in range(0, len(chosen), _BLOCK_ROWS):
            block = columns.vectors[chosen[first : first + _BLOCK_ROWS]]
            written += block.nbytes
            yield block
    yield bytes(-written % 8)
    for columns, chosen in parts:
        yield columns.inverse_norm[chosen]


def _ids(parts: Sequence[tuple[Columns, NDArray[np.int64]]]) -> Iterator[Buffer]:
    ids = [row_id for columns, chosen in parts for row_id in columns.row_ids(chosen)]
    texts = [b"" if isinstance(row_id, int) else row_id.encode() for row_id in ids]
    starts = np.cumsum([0, *map(len, texts)])[:-1]
    values = [row_id if isinstance(row_id, int) else start for row_id, start in zip(ids, starts.tolist(), strict=True)]
    keys = np.array([_key(row_id) for row_id in ids], np.uint64)
    order = np.argsort(keys, kind="stable").astype(np.uint32)
    sizes = [INT_ID if isinstance(row_id, int) else len(text) for row_id, text in zip(ids, texts, strict=True)]
    yield np.array(values, np.int64)
    yield keys[order]
    yield from _padded(np.array(sizes, np.uint16))
    yield from _padded(order)
    yield b"".join(texts)


def _payloads(payloads: list[bytes]) -> Iterator[Buffer]:
    lengths = np.array([len(payload) for payload in payloads], np.uint32)
    yield np.cumsum(lengths, dtype=np.uint64) - lengths
    yield from _padded(lengths)
    yield b"".join(payloads)


def _padded(array: NDArray[Any]) -> Iterator[Buffer]:
    yield array
    yield bytes(-array.nbytes % 8)


def _lie_within(starts: NDArray[Any], sizes: NDArray[Any], size: int) -> bool:
    """Whether each place and its length lie in so many bytes."""
    if not len(starts):
        return True
    return bool(starts.min() >= 0 and starts.max() <= size and (starts + sizes <= size).all())


def _are_texts(content: NDArray[np.uint8], starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> bool:
    """Whether each place and length is a text in UTF-8: all of it is, and no text begins or ends within a letter."""
    if not _lie_within(starts, sizes, len(content)):
        return False
    try:
        str(content.data, "utf-8")
    except UnicodeDecodeError:
        return False
    edges = np.concatenate([starts, starts + sizes])
    return bool((content[edges[edges < len(content)]] & 0xC0 != 0x80).all())


class _Arrays:
    """Takes arrays one after the other from a content, each at a multiple of 8."""

    def __init__(self, path: Path, content: memoryview) -> None:
        self._path = path
        self._content = content
        self._at = 0

    def take(self, dtype: Any, count: int) -> NDArray[Any]:
        """Raises CORRUPT_DATA where there are fewer."""
        size = count * np.dtype(dtype).itemsize
        if self._at + size > len(self._content):
            text = f"{self._path} has {len(self._content)} bytes, which are too few for its rows"
            raise errors.CORRUPT_DATA.error(text, path=str(self._path))
        array = np.frombuffer(self._content[self._at : self._at + size], dtype)
        self._at += size + (-size % 8)
        return array

    def rest(self) -> NDArray[np.uint8]:
        return np.frombuffer(self._content[self._at :], np.uint8)
