"""The nearest rows of a view: each segment gives candidates in the way that costs least, exact distances decide.

    exact    all rows that may be found, or all that match a filter when these are few
    codes    a scan of turbo codes
    graph    a walk through a graph
    ivf      a scan of the nearest lists of an inverted file

Codes, graphs and lists only propose (`segment_search.py` says how many and when that is not enough). Rows are found
tier by tier: the first 10 are the nearest of the candidates for 10, the next 30 come from more candidates and behind
those, and so on. So `LIMIT 10` costs what ten rows cost, and begins exactly as `LIMIT 1000` does; pages of any size are
pages of one order.

Invariants:
  * Every distance given is exact (`reddb.index.metrics`), rows come by distance and then id, and none comes twice.
  * The first n rows are the same whatever k is.
  * Nothing runs for longer than about a millisecond between two yields, but for one call of faiss.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb.partition.candidate_sources import Queries
from reddb.partition.ranking import Candidates, Ranked, rank_steps
from reddb.partition.segment_search import TIER_ROWS, SegmentSearch
from reddb.partition.settled import EXACT
from reddb.partition.view import Addresses, View
from reddb.query.predicate import Predicate
from reddb.types import SearchOptions, Vectors

_QUERIES_AT_ONCE = 32  # in one scan of codes: about 3 ms for a full segment of 384-d


@dataclass(slots=True)
class SegmentReport:
    """What was done in one segment."""

    partition: int
    segment: int
    strategy: str
    candidates: int
    matches: int | None  # of the filter, deaths not looked at; None without a filter
    us: float
    fallback: str | None = None  # why rows were scanned though there is an index


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
    """The nearest rows of one query, nearest first, equal distances by id; `addresses` and `distances` are (n,)."""

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
        batch = Queries(view, queries[first : first + _QUERIES_AT_ONCE])
        found += yield from _Search(view, batch, options, report or SearchReport()).steps(predicate)
    return found


class _Search:
    """One batch of queries that ask alike."""

    def __init__(self, view: View, queries: Queries, options: SearchOptions, report: SearchReport) -> None:
        self._view = view
        self._queries = queries
        self._options = options
        self._report = report

    def steps(self, predicate: Predicate | None) -> Steps:
        segments = yield from self._segment_steps(predicate)
        k = self._options.k
        found: list[list[Ranked]] = [[] for _ in range(len(self._queries))]
        for tier in range(bisect_left(TIER_ROWS, k) + 1 if k else 0):
            count = min(TIER_ROWS[tier], k) - (TIER_ROWS[tier - 1] if tier else 0)
            waiting = [number for number, ranked in enumerate(found) if len(ranked) == tier]
            while waiting:
                after = {number: found[number][-1] if tier else None for number in waiting}
                parts = yield from self._candidate_steps(segments, tier, after)
                waiting = []
                for number, mine in parts.items():
                    ranked = yield from self._rank_steps(number, mine, count, after[number])
                    # An index may give too few that come behind those of the tiers before.
                    if len(ranked.addresses) < count and _give_up(segments, number):
                        waiting.append(number)
                    elif len(ranked.addresses):
                        found[number].append(ranked)
        return [self._found(ranked) for ranked in found]

    def _rank_steps(
        self, number: int, parts: list[Candidates], count: int, after: Ranked | None
    ) -> Generator[None, None, Ranked]:
        began = perf_counter()
        ranked = yield from rank_steps(self._view, self._queries.vectors[number], parts, count, after)
        self._report.rank_us += 1e6 * (perf_counter() - began)
        self._report.ranked += sum(len(part.rows) for part in parts)
        return ranked

    def _segment_steps(self, predicate: Predicate | None) -> Generator[None, None, list[SegmentSearch | None]]:
        """The segments, None for one in which nothing matches."""
        searches: list[SegmentSearch | None] = []
        for place, segment in enumerate(self._view.segments):
            if place:
                yield
            mask, began = None, perf_counter()
            if predicate is not None:
                mask = yield from self._view.mask_steps(place, predicate)
                self._report.filter_us += 1e6 * (perf_counter() - began)
            is_empty = not segment.count or (mask is not None and not mask.matches)
            search = None if is_empty else SegmentSearch(self._view, place, self._queries, self._options, mask)
            searches.append(search)
            matches = None if mask is None else mask.matches
            us = 1e6 * (perf_counter() - began)
            self._report.segments.append(SegmentReport(segment.partition, segment.id, "none", 0, matches, us))
        return searches

    def _candidate_steps(
        self, segments: list[SegmentSearch | None], tier: int, after: Mapping[int, Ranked | None]
    ) -> Generator[None, None, dict[int, list[Candidates]]]:
        """What all segments propose for each of some queries."""
        parts: dict[int, list[Candidates]] = {number: [] for number in after}
        reports = self._report.segments[-len(segments) :]
        for place, (search, report) in enumerate(zip(segments, reports, strict=True)):
            if search is None:
                continue
            if place:
                yield
            began = perf_counter()
            found = yield from search.tier_steps(tier, after)
            for number, mine in found.items():
                parts[number] += mine
                report.candidates += sum(len(part.rows) for part in mine)
            us = 1e6 * (perf_counter() - began)
            report.us += us
            report.strategy, report.fallback = search.way, search.fallback
            self._report.candidates_us += us
        return parts

    def _found(self, ranked: list[Ranked]) -> Found:
        if len(ranked) == 1:
            return Found(self._view, ranked[0].addresses, ranked[0].distances)
        addresses = np.concatenate([np.empty(0, np.int64), *(part.addresses for part in ranked)])
        return Found(self._view, addresses, np.concatenate([np.empty(0), *(part.distances for part in ranked)]))


def _give_up(segments: Sequence[SegmentSearch | None], number: int) -> bool:
    """Have all segments scanned for a query; False if they were."""
    given_up = [segment.give_up(number) for segment in segments if segment is not None]
    return True in given_up
