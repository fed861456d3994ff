"""The nearest rows of a view: each segment gives candidates in the way that costs least, exact distances decide.

    exact    all rows that may be found, or all that match a filter when these are few
    codes    a scan of turbo codes, which knows no filter: as many candidates are taken as should hold enough matches
    graph    a walk through the graph, which skips what does not match
    ivf      a scan of the nearest lists of an inverted file, which skips what does not match

Codes, graphs and lists only propose. When too few of the proposed rows match and live, more are proposed, and where
that would cost as much, the matching rows are scanned: a search gives k rows whenever k rows match, and the nearest of
them as surely as without a filter. A graph, whose walk ends where it finds no matches, and lists, which may hold none,
are trusted only if they came back with as many matches as they were asked for.

Invariants:
  * Every distance given is exact (`reddb.index.metrics`).
  * Nothing runs for longer than about a millisecond between two yields, but for one call of faiss.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field
from math import ceil
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb.index.metrics import INDEXABLE, prepare
from reddb.index.turbo import TurboIndex
from reddb.partition.encoder import SCAN_EXACTLY
from reddb.partition.filters import Mask
from reddb.partition.growing_codes import GrowingCodes
from reddb.partition.kinds import codec_of
from reddb.partition.settled import EXACT, FlatIndex, Graph, Lists
from reddb.partition.view import Addresses, SegmentView, View, address, split
from reddb.query.predicate import Predicate
from reddb.types import SearchOptions, Vectors

Rows: TypeAlias = NDArray[np.int64]

_QUERIES_AT_ONCE = 32  # in one scan of codes: about 3 ms for a full segment of 384-d
_SCAN_BLOCK_ROWS = 4096  # about 0.3 ms of 384-d
_CANDIDATES_MIN = 32  # so that k = 1 is not decided among a handful of codes
_FEW_MATCHES = 2048  # scanning so many rows costs what a scan of codes does
_ASK_AGAIN = (1, 4, 16)  # times the candidates, while others take the places of matches
_MARGIN = 1.25  # more candidates than the share of matches says, for matches are never spread evenly
_GRAPH_SHARE_MIN = 0.02  # below it a walk through the graph meets too few matches
_GRAPH_WIDENING_MAX = 8.0
_PROBES_MIN = 8
_REACH_MAX = 2
_SLACK = 16  # rows beyond k ranked in float64, for float32 keys may swap near ties
_TRIAL_K = 10  # that indexes were measured with
_INDEX_RECALL = 0.99  # that is expected of codes and lists unless a search says otherwise


@dataclass(slots=True)
class SegmentReport:
    """What was done in one segment."""

    partition: int
    segment: int
    strategy: str
    candidates: int
    matches: int | None  # of the filter, deaths not looked at; None without a filter
    us: float


@dataclass(slots=True, eq=False)
class SearchReport:
    """What was done for a search; for EXPLAIN ANALYZE."""

    segments: list[SegmentReport] = field(default_factory=list)
    filter_us: float = 0.0
    candidates_us: float = 0.0
    rank_us: float = 0.0
    ranked: int = 0

    @property
    def exact(self) -> bool:
        return all(segment.strategy in (EXACT, "none") for segment in self.segments)

    def to_plain(self) -> dict[str, Any]:
        """The same as plain values, for an answer."""
        return {"exact": self.exact, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Found:
    """The nearest rows of one query, nearest first; `addresses` and `distances` are (n,).

    Equal distances keep row order.
    """

    view: View
    addresses: Addresses
    distances: NDArray[np.float64]


Steps: TypeAlias = "Generator[None, None, list[Found]]"


def search_steps(
    view: View,
    queries: Vectors,
    options: SearchOptions,
    predicate: Predicate | None = None,
    report: SearchReport | None = None,
) -> Steps:
    """The nearest live rows for each query of (q, dim): yields now and then, and returns the list."""
    found: list[Found] = []
    for first in range(0, len(queries), _QUERIES_AT_ONCE):
        search = _Search(view, queries[first : first + _QUERIES_AT_ONCE], options, predicate, report or SearchReport())
        found += yield from search.run()
    return found


class _Search:
    """One batch of queries that ask alike."""

    def __init__(
        self, view: View, queries: Vectors, options: SearchOptions, predicate: Predicate | None, report: SearchReport
    ) -> None:
        self._view = view
        self._queries = queries
        self._options = options
        self._predicate = predicate
        self._report = report
        self._oversample = view.collection.number("oversample")
        self._ef = view.collection.number("ef")
        self._prepared: Vectors | None = None
        self._rotated: Vectors | None = None
        self._candidates: list[list[tuple[SegmentView, int, Rows]]] = [[] for _ in queries]

    def run(self) -> Steps:
        for place, segment in enumerate(self._view.segments):
            if place:
                yield
            began = perf_counter()
            mask = None
            if self._predicate is not None:
                mask = self._view.mask(place, self._predicate)
                self._report.filter_us += 1e6 * (perf_counter() - began)
            before = sum(map(_total, self._candidates))
            strategy = yield from self._segment(segment, place, mask)
            taken = sum(map(_total, self._candidates)) - before
            matches = None if mask is None else mask.matches
            us = 1e6 * (perf_counter() - began)
            self._report.segments.append(SegmentReport(segment.partition, segment.id, strategy, taken, matches, us))
            self._report.candidates_us += us
        began = perf_counter()
        found = [self._rank(query, mine) for query, mine in zip(self._queries, self._candidates, strict=True)]
        self._report.rank_us += 1e6 * (perf_counter() - began)
        return found

    # --- one segment ---------------------------------------------------------------------------------------

    def _segment(self, segment: SegmentView, place: int, mask: Mask | None) -> Generator[None, None, str]:
        """Add the candidates of a segment; gives how they were found."""
        if (mask is not None and not mask.matches) or not segment.count:
            return "none"
        index = segment.index
        matches = segment.count if mask is None else mask.matches
        if not self._options.exact and matches > _FEW_MATCHES:
            if isinstance(index, GrowingCodes):
                return (yield from self._growing(segment, place, index, mask))
            if isinstance(index, FlatIndex):
                wanted = self._wanted(index)
                if wanted is not None:
                    return (yield from self._codes(segment, place, index.turbo, segment.count, wanted, mask))
            if isinstance(index, Graph | Lists):
                wanted = self._wanted(index)
                if wanted is not None:
                    return (yield from self._skipping(segment, place, index, wanted, mask))
        for number in range(len(self._queries)):
            yield from self._scan(number, segment, place, 0, segment.count, mask)
        return EXACT

    def _wanted(self, index: FlatIndex | Graph | Lists) -> int | None:
        """How many candidates a sealed segment gives; None where no number of them would do."""
        options, described = self._options, index.description
        scale = max(options.k / _TRIAL_K, 1.0)
        if options.ef is not None:
            return max(options.ef, options.k)
        if options.recall is not None:
            needed = described.needed(options.recall)
            return None if needed is None else max(ceil(needed * scale), options.k)
        if isinstance(index, Graph):
            return max(self._ef, 2 * options.k)
        needed = described.needed(_INDEX_RECALL)
        default = max(self._oversample * options.k, _CANDIDATES_MIN)
        return None if needed is None else max(default, ceil(needed * scale))

    def _growing(
        self, segment: SegmentView, place: int, codes: GrowingCodes, mask: Mask | None
    ) -> Generator[None, None, str]:
        """The encoded rows by their codes, what comes behind them exactly."""
        options = self._options
        turbo = codes.take_over(segment.count)
        encoded = min(turbo.rows, segment.count)
        needed = ceil(codes.needed * max(options.k / _TRIAL_K, 1.0))
        wanted = max(self._oversample * options.k, _CANDIDATES_MIN, needed)
        if options.ef is not None:
            wanted = max(options.ef, options.k)
        is_known = codes.needed < SCAN_EXACTLY and (options.recall is None or options.recall <= _INDEX_RECALL)
        if not is_known or wanted >= encoded:
            encoded = 0
        strategy = EXACT
        if encoded:
            strategy = yield from self._codes(segment, place, turbo, encoded, wanted, mask)
        if encoded < segment.count:
            for number in range(len(self._queries)):
                yield from self._scan(number, segment, place, encoded, segment.count, mask)
        return strategy

    def _codes(
        self, segment: SegmentView, place: int, turbo: TurboIndex, encoded: int, wanted: int, mask: Mask | None
    ) -> Generator[None, None, str]:
        """`wanted` matching live rows of the first `encoded` by code, for each query; all where these are few."""
        rotated = self._rotate()
        count = wanted
        if mask is not None:
            count = ceil(wanted * segment.count / mask.matches * _MARGIN) if mask.matches < segment.count else wanted
        is_plain = mask is None and self._view.all_live(place) and turbo.rows == encoded
        asked = list(range(len(self._queries)))
        for times in _ASK_AGAIN:
            if not asked or count * times * 2 > encoded:
                break
            labels = turbo.search(rotated if len(asked) == len(rotated) else rotated[asked], count * times)
            left = []
            for number, mine in zip(asked, labels, strict=True):
                # A query that tells no code from another (all zeros) finds none: -1.
                rows = mine if is_plain and mine[-1] >= 0 else self._keep(segment, place, mine, encoded, mask)
                if len(rows) >= min(wanted, count * times):
                    self._candidates[number].append((segment, place, rows))
                else:
                    left.append(number)
            asked = left
            if asked:
                yield
        for number in asked:
            yield from self._scan(number, segment, place, 0, encoded, mask)
        return f"codes x {count}" if len(asked) < len(self._queries) else EXACT

    def _skipping(
        self, segment: SegmentView, place: int, index: Graph | Lists, wanted: int, mask: Mask | None
    ) -> Generator[None, None, str]:
        """`wanted` live rows for each query from an index that skips what does not match; by a scan if it fails."""
        count, widening, bitmap = wanted, 1.0, None
        if mask is not None:
            share = mask.matches / segment.count
            if share < _GRAPH_SHARE_MIN:
                for number in range(len(self._queries)):
                    yield from self._scan(number, segment, place, 0, segment.count, mask)
                return EXACT
            widening = min(1 / share**0.5, _GRAPH_WIDENING_MAX)
            bitmap = np.packbits(mask.rows, bitorder="little")
        if isinstance(index, Graph):
            count = ceil(wanted * widening)
        dead = self._view.gone_rows(place)
        if dead:  # they are found like others, and take their places
            count = ceil(count * segment.count / max(segment.count - dead, 1) * _MARGIN)
        count = min(count, segment.count)
        if isinstance(index, Graph):
            way, labels = f"graph x {count}", index.graph.search(self._prepare(), count, count, bitmap)
        else:
            count, probes = self._probes(index, count, widening, mask)
            way, labels = f"ivf x {probes}", index.file.search(self._prepare(), count, probes, bitmap)
        unreliable = 0
        for number, mine in enumerate(labels):
            rows = self._keep(segment, place, mine, segment.count, None)
            if len(rows) >= min(wanted, count):
                self._candidates[number].append((segment, place, rows))
            else:
                unreliable += 1
                yield from self._scan(number, segment, place, 0, segment.count, mask)
        return way if unreliable < len(self._queries) else EXACT

    def _probes(self, index: Lists, count: int, widening: float, mask: Mask | None) -> tuple[int, int]:
        """How many rows to take for `count` candidates, and of how many lists."""
        recall = _INDEX_RECALL if self._options.recall is None else self._options.recall
        needed = index.description.needed_probes(recall) or index.file.count
        # More rows lie in more lists: at k = 100 recall was 0.997 with it, 0.984 without.
        farther: float = max(self._options.k / _TRIAL_K, 1.0) ** 0.25
        # Lists differ in size: so many rows may lie in half of these.
        least = 2 * ceil(count * index.file.count / index.file.rows)
        probes = max(ceil(needed * farther), _PROBES_MIN)
        if mask is not None and index.file.reach(self._prepare(), mask.rows, probes) > _REACH_MAX * probes:
            # What matches lies far from a query: about as far in many lists, and hard to tell apart by codes.
            return min(2 * count, index.file.rows), index.file.count
        return count, min(max(ceil(probes * widening), ceil(least * widening**2)), index.file.count)

    def _keep(self, segment: SegmentView, place: int, labels: Rows, encoded: int, mask: Mask | None) -> Rows:
        """Those of the labels that are rows, match and live."""
        rows = labels[(labels >= 0) & (labels < encoded)]
        if mask is not None:
            rows = rows[mask.rows[rows]]
        if not self._view.all_live(place):
            rows = rows[self._view.live(place, rows)]
        return rows

    def _scan(
        self, number: int, segment: SegmentView, place: int, first: int, last: int, mask: Mask | None
    ) -> Iterator[None]:
        """The nearest matching live rows of a range, by float32 keys."""
        query = self._queries[number]
        count = self._options.k + _SLACK
        best_rows: Rows = np.empty(0, np.int64)
        best_keys: NDArray[np.float32] = np.empty(0, np.float32)
        for rows, keys in self._scan_blocks(query, segment, place, first, last, mask):
            best_rows, best_keys = np.concatenate([best_rows, rows]), np.concatenate([best_keys, keys])
            if count < len(best_rows):
                nearest = _smallest(best_keys, count)
                best_rows, best_keys = best_rows[nearest], best_keys[nearest]
            yield
        self._candidates[number].append((segment, place, best_rows))

    def _scan_blocks(
        self, query: Vectors, segment: SegmentView, place: int, first: int, last: int, mask: Mask | None
    ) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
        if mask is not None and mask.matches < segment.count // 2:
            matches = np.flatnonzero(mask.rows[first:last]) + first
            for start in range(0, len(matches), _SCAN_BLOCK_ROWS):
                rows = matches[start : start + _SCAN_BLOCK_ROWS]
                if not self._view.all_live(place):
                    rows = rows[self._view.live(place, rows)]
                yield rows, segment.distances.keys_of_rows(query, rows)
            return
        for start in range(first, last, _SCAN_BLOCK_ROWS):
            end = min(start + _SCAN_BLOCK_ROWS, last)
            rows, keys = np.arange(start, end), segment.distances.keys_of_range(query, start, end)
            keep: NDArray[Any] | None = None if mask is None else mask.rows[start:end]
            if not self._view.all_live(place):
                live = self._view.live(place, slice(start, end))
                keep = live if keep is None else live & keep
            yield (rows, keys) if keep is None else (rows[keep], keys[keep])

    # --- all segments --------------------------------------------------------------------------------------

    def _rank(self, query: Vectors, parts: list[tuple[SegmentView, int, Rows]]) -> Found:
        """The k nearest of the candidates, by exact distance."""
        k, slack = self._options.k, _SLACK
        self._report.ranked += sum(len(rows) for _, _, rows in parts)
        addresses = np.concatenate([np.empty(0, np.int64), *(address(place, rows) for _, place, rows in parts)])
        if len(addresses) > k + slack:
            keys = np.concatenate([segment.distances.keys_of_rows(query, rows) for segment, _, rows in parts])
            addresses = addresses[_smallest(keys, k + slack)]
        distances = self._exact(query, addresses)
        order = np.lexsort((addresses, distances))[:k]
        return Found(self._view, addresses[order], distances[order])

    def _exact(self, query: Vectors, addresses: Addresses) -> NDArray[np.float64]:
        segments = self._view.segments
        if len(segments) == 1:
            return segments[0].distances.exact(query, addresses)
        distances = np.empty(len(addresses))
        places, rows = split(addresses)
        for place in np.unique(places).tolist():
            mine = places == place
            distances[mine] = segments[place].distances.exact(query, rows[mine])
        return distances

    def _prepare(self) -> Vectors:
        if self._prepared is None:
            metric = self._view.collection.metric
            assert metric in INDEXABLE
            self._prepared = prepare(metric, self._queries)
        return self._prepared

    def _rotate(self) -> Vectors:
        if self._rotated is None:
            codec = codec_of(self._view.collection)
            assert codec is not None
            self._rotated = codec.rotation.apply(self._prepare())
        return self._rotated


def _smallest(keys: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Places of the `count` smallest keys, in their order; of equal ones the first, so that pages do not overlap."""
    if not count:
        return np.empty(0, np.int64)
    last = np.partition(keys, count - 1)[count - 1]
    smaller, equal = np.flatnonzero(keys < last), np.flatnonzero(keys == last)
    return np.sort(np.concatenate([smaller, equal[: count - len(smaller)]]))


def _total(parts: list[tuple[SegmentView, int, Rows]]) -> int:
    return sum(len(rows) for _, _, rows in parts)
