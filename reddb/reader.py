"""Reads one partition from the shared memory, on whichever core the question came to.

    search     each segment gives candidates by turbo code (rows without codes are scanned exactly), their exact
               distances decide, rows that the snapshot does not see are left out
    get        ids to rows, through a map that this reader fills as it is asked
    scan       rows in the order they came
    count      live rows of the snapshot

A reader keeps its own copy of the codes and takes over new blocks before it searches: copying a row's code costs a
twentieth of scanning the row exactly, so nothing is gained by putting it off.

Invariants:
  * One call sees one snapshot: a batch or an upsert whole, or not at all.
  * A search returns k rows whenever k rows are live: candidates are asked for again, more of them, until enough live.
  * Distances are exact (`reddb.index.metrics`); codes only choose candidates.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb import limits
from reddb.encoder import CodecBlock
from reddb.index.metrics import Distances
from reddb.index.turbo import BLOCK_ROWS, Fit, TurboCodec, TurboIndex
from reddb.storage.growing import GrowingRows, Snapshot
from reddb.types import Collection, Found, RowId, SearchOptions, Vectors

Steps: TypeAlias = "Generator[None, None, list[Found]]"

_SCAN_BLOCK_ROWS = 4096  # about 0.3 ms of 384-d: an exact search yields between blocks
_QUERIES_AT_ONCE = 32  # in one FastScan call: about 3 ms for a full segment of 384-d
_CANDIDATES_MIN = 32  # so that k = 1 is not decided among a handful of codes
_ASK_AGAIN = (1, 4, 16)  # times the candidates wanted, while dead rows take their places
_DEPTH_MARGIN = 3  # candidates per place of the k-th live one
_EXACT_SLACK = 16  # rows beyond k ranked in float64, for float32 keys may swap near ties


class PartitionReader:
    """A read-only view of one partition's rows."""

    def __init__(self, collection: Collection, rows: GrowingRows, codec: TurboCodec) -> None:
        self.collection = collection
        self.rows = rows
        self._codec = codec
        self._oversample = collection.settings["oversample"]
        self._distances = Distances(collection.metric, rows.vectors, rows.inverse_norm)
        self._segments: list[_SegmentCodes] = []
        self._row_of: dict[RowId, int] = {}
        self._mapped_rows = 0

    def search(self, queries: Vectors, options: SearchOptions) -> list[Found]:
        """The nearest live rows for each query of (q, dim), at one snapshot."""
        steps = self.search_steps(queries, options)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                found: list[Found] = stop.value
                return found

    def search_steps(self, queries: Vectors, options: SearchOptions) -> Steps:
        """The same in slices of about a millisecond: yields between them and returns the list."""
        snapshot = self.rows.snapshot()
        found: list[Found] = []
        for first in range(0, len(queries), _QUERIES_AT_ONCE):
            some = queries[first : first + _QUERIES_AT_ONCE]
            if options.exact:
                found += yield from self._search_exact(some, options, snapshot)
            else:
                found += yield from self._search_turbo(some, options, snapshot)
        return found

    def work(self, queries: int, options: SearchOptions) -> int:
        """A rough number of float32 products that a search costs, to tell the short from the long."""
        rows = self.rows.snapshot().rows
        per_row = self.collection.dim if options.exact else self._codec.code_bytes // 4
        return queries * rows * per_row

    def get(self, ids: Sequence[RowId]) -> list[int | None]:
        """The live row of each id, None where there is none."""
        snapshot = self.rows.snapshot()
        if self._mapped_rows < snapshot.rows:
            new = np.arange(self._mapped_rows, snapshot.rows)
            # A later row of an id replaces the earlier one here as it did in the partition.
            self._row_of.update(zip(self.rows.row_ids(new), new.tolist(), strict=True))
            self._mapped_rows = snapshot.rows
        rows = [self._row_of.get(row_id) for row_id in ids]
        return [row if row is not None and self.rows.live(np.array([row]), snapshot)[0] else None for row in rows]

    def scan(self, count: int, offset: int = 0) -> NDArray[np.int64]:
        """The first `count` live rows after `offset` live ones, in the order they came."""
        snapshot = self.rows.snapshot()
        parts = [np.empty(0, np.int64)]
        wanted = offset + count
        for first in range(0, snapshot.rows, _SCAN_BLOCK_ROWS):
            rows = np.arange(first, min(first + _SCAN_BLOCK_ROWS, snapshot.rows))
            parts.append(rows[self.rows.live(rows, snapshot)])
            wanted -= len(parts[-1])
            if wanted <= 0:
                break
        return np.concatenate(parts)[offset : offset + count]

    def count(self) -> int:
        return self.rows.snapshot().live_rows

    def coded_rows(self) -> int:
        """How many rows are found by their codes; the rest is scanned exactly, until the owner has coded it."""
        segments = -(-self.rows.snapshot().rows // limits.SEGMENT_ROWS)
        blocks = [self._codes(number).block for number in range(segments)]
        return sum(block.encoded for block in blocks if block.widening)

    def _search_turbo(self, queries: Vectors, options: SearchOptions, snapshot: Snapshot) -> Steps:
        rotated = self._codec.rotation.apply(queries)
        candidates: list[list[NDArray[np.int64]]] = [[] for _ in queries]
        for number in range(-(-snapshot.rows // limits.SEGMENT_ROWS)):
            if number:
                yield
            codes = self._codes(number)
            count = min(snapshot.rows - codes.first_row, limits.SEGMENT_ROWS)
            index = codes.take_over(count)
            encoded = min(index.rows, count)
            wanted = self._wanted(options, codes.widening)
            if wanted < encoded:
                found = self._candidates(codes, rotated, options.k, wanted, encoded, snapshot)
            else:
                encoded, found = 0, [None] * len(queries)
            for query, mine, rows in zip(queries, candidates, found, strict=True):
                if rows is None:  # few rows, or too many dead ones: scan what has codes, too
                    mine.append(self._scan(query, codes.first_row, codes.first_row + count, options.k, snapshot))
                    continue
                mine.append(rows)
                if encoded < count:
                    tail = codes.first_row + encoded, codes.first_row + count
                    mine.append(self._scan(query, *tail, options.k, snapshot))
        return [self._rank(query, mine, options.k) for query, mine in zip(queries, candidates, strict=True)]

    def _wanted(self, options: SearchOptions, widening: int) -> int:
        """How many candidates a segment gives; more than it has rows where its codes cannot be trusted."""
        if options.ef is not None:
            return max(options.ef, options.k)
        return max(self._oversample * options.k, _CANDIDATES_MIN) * widening

    def _search_exact(self, queries: Vectors, options: SearchOptions, snapshot: Snapshot) -> Steps:
        candidates: list[list[NDArray[np.int64]]] = [[] for _ in queries]
        for first in range(0, snapshot.rows, _SCAN_BLOCK_ROWS):
            last = min(first + _SCAN_BLOCK_ROWS, snapshot.rows)
            for query, mine in zip(queries, candidates, strict=True):
                mine.append(self._scan(query, first, last, options.k + _EXACT_SLACK, snapshot))
                yield
        pairs = zip(queries, candidates, strict=True)
        return [self._rank(query, mine, options.k, slack=_EXACT_SLACK) for query, mine in pairs]

    def _codes(self, number: int) -> _SegmentCodes:
        while len(self._segments) <= number:
            self._segments.append(_SegmentCodes(self._codec, self.collection, self.rows, len(self._segments)))
        return self._segments[number]

    def _candidates(
        self, codes: _SegmentCodes, rotated: Vectors, k: int, wanted: int, encoded: int, snapshot: Snapshot
    ) -> list[NDArray[np.int64] | None]:
        """`wanted` candidates among the encoded rows for each query; None where dead rows crowd out the live.

        Codes rank roughly, the more roughly the deeper: that k live rows were among the candidates is not enough, they
        must come early among them.
        """
        margin = min(_DEPTH_MARGIN, wanted / max(k, 1))
        if snapshot.rows == snapshot.live_rows and codes.index.rows == encoded:
            labels = codes.index.search(rotated, wanted)
            # A query that tells no code from another (all zeros) finds none: -1.
            return [mine + codes.first_row if mine[-1] >= 0 else None for mine in labels]
        found: list[NDArray[np.int64] | None] = [None] * len(rotated)
        for times in _ASK_AGAIN:
            asked = [place for place, rows in enumerate(found) if rows is None]
            if not asked or wanted * times >= encoded:
                break
            labels = codes.index.search(rotated[asked], wanted * times)
            for place, mine in zip(asked, labels, strict=True):
                known = (mine >= 0) & (mine < encoded)
                rows = np.where(known, mine, 0) + codes.first_row
                live = np.flatnonzero(self.rows.live(rows, snapshot) & known)
                if len(live) > k and live[k] * margin <= len(mine):
                    found[place] = rows[live]
        return found

    def _scan(self, query: Vectors, first: int, last: int, count: int, snapshot: Snapshot) -> NDArray[np.int64]:
        """The `count` nearest live rows of a range, in no order, by float32 keys."""
        rows = np.arange(first, last)
        keys = self._distances.keys_of_range(query, first, last)
        if snapshot.rows != snapshot.live_rows:
            live = self.rows.live(rows, snapshot)
            rows, keys = rows[live], keys[live]
        return rows[np.argpartition(keys, count)[:count]] if count < len(rows) else rows

    def _rank(self, query: Vectors, parts: list[NDArray[np.int64]], k: int, slack: int = 0) -> Found:
        """The k nearest of the candidates, by exact distance."""
        rows = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int64), *parts])
        if len(rows) > k + slack:
            keys = self._distances.keys_of_rows(query, rows)
            rows = rows[np.argpartition(keys, k + slack)[: k + slack]]
        distances = self._distances.exact(query, rows)
        order = np.lexsort((rows, distances))[:k]
        return Found(rows[order], distances[order])


class _SegmentCodes:
    """This reader's copy of the codes of one segment, taken over from the shared memory as it grows."""

    def __init__(self, codec: TurboCodec, collection: Collection, rows: GrowingRows, number: int) -> None:
        self.first_row = number * limits.SEGMENT_ROWS
        self._codec = codec
        self._metric = collection.metric
        self._rows = rows
        self.block = CodecBlock(rows.codec[number], codec.rotation.padded)
        self._generation = 0
        self.index = self._empty_index()
        self.widening = 1  # by how much to take more candidates than usual

    def take_over(self, count: int) -> TurboIndex:
        """Copy the codes of the first `count` rows, as far as they exist, and give the index over them."""
        generation, widening = self.block.generation, self.block.widening
        encoded = min(self.block.encoded, count - count % BLOCK_ROWS)
        if encoded <= self.index.rows or generation % 2 or not widening:
            # Nothing new, or a new fit whose codes do not reach as far yet or are not measured: the old stay right.
            return self.index
        if generation != self._generation:
            self.index = TurboIndex(self._codec, self.block.read_fit(), self._metric)
            self._generation, self.widening = generation, widening
        size = self._codec.code_bytes
        first = (self.first_row + self.index.rows) * size
        self.index.append(self._rows.codes[first : (self.first_row + encoded) * size])
        if self.block.generation != generation:  # the owner began a new fit while we copied
            self.index, self._generation = self._empty_index(), 0
        return self.index

    def _empty_index(self) -> TurboIndex:
        zero = np.zeros(self._codec.rotation.padded, np.float32)
        return TurboIndex(self._codec, Fit(zero, 1.0), self._metric)
