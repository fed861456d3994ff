"""What one segment proposes for a batch of queries that ask alike: candidates of its index, or a scan of its rows.

How many candidates an index gives was measured when it was built (`calibration.py`). A search begins with what queries
like the rows needed, sees whether that was enough, and does more where it was not:

    far      the tenth row lies where queries needed more: as many are taken as these did. Where they could not be
             answered well, or none lay there, all rows are scanned
    doubt    what was found says that more must lie behind the candidates (`doubts.py`): four times as many are taken

A search for a higher recall begins as one by default and goes on from there, so it finds no less.

Invariants:
  * What is proposed for a tier depends on the query and the tier, not on how many rows are asked for.
  * `exact` and a number of candidates that a search gives itself (`ef`) are taken at their word.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Mapping
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from reddb import limits
from reddb.index.turbo import TurboIndex
from reddb.partition.calibration import RECALLS, UNKNOWN, Calibration, Needs
from reddb.partition.candidate_sources import (
    Ask,
    CodesSource,
    GraphSource,
    ListsSource,
    Members,
    Proposal,
    Queries,
    Rows,
    Source,
)
from reddb.partition.doubts import are_doubtful, is_crowd_missed
from reddb.partition.filters import Mask
from reddb.partition.growing_codes import GrowingCodes
from reddb.partition.ranking import Candidates, Ranked, contenders_after
from reddb.partition.settled import EXACT, FlatIndex, Graph, Lists
from reddb.partition.view import View
from reddb.types import SearchOptions, Vectors

# The rows that are found together: of the candidates for the first 10, then of those for the first 40, and so on.
TIER_ROWS = (10, 40, 100, 400, 1000, 4000, 10_000)

_SCAN_BLOCK_ROWS = 4096  # about 0.3 ms of 384-d
_CANDIDATES_MIN = 32  # so that k = 1 is not decided among a handful of codes
_TRIAL_K = 10  # that indexes were measured with
_INDEX_RECALL = 0.99  # that is expected of an index unless a search wants more
_WALKED = 2  # candidates of a walk for each row, at least
_MORE = 4
_DEEPEST = 8192  # candidates, beyond which a scan costs no more

_NO_ROWS: Rows = np.empty(0, np.int64)

UNLIKE = "unlike the queries that its index was measured with"
LATE = "the index cannot tell its nearest rows from others"


class SegmentSearch:
    """One segment, searched tier by tier."""

    def __init__(self, view: View, place: int, queries: Queries, options: SearchOptions, mask: Mask | None) -> None:
        self._view = view
        self._place = place
        self._segment = view.segments[place]
        self._queries = queries
        self._options = options
        self._members = Members(view, place, mask)
        self._calibration: Calibration = UNKNOWN
        self._turbo: TurboIndex | None = None
        self._indexed_rows = self._segment.count
        self._keyed: dict[int, Candidates] = {}  # what the index gave last
        self._scans: dict[int, Candidates] = {}  # of queries that no index answers
        self._tails: dict[int, Candidates] = {}  # of growing rows behind the last that has a code
        self._zones: dict[int, Needs] = {}  # of queries whose nearest rows lie where more is needed
        self._given_up: set[int] = set()
        asked = options.recall or 0.0
        self._recalls = [_INDEX_RECALL, *(recall for recall in RECALLS if _INDEX_RECALL < recall < asked)]
        if asked > _INDEX_RECALL:
            self._recalls.append(asked)
        self._source = self._make_source()
        watched = self._calibration.crowds, self._calibration.outliers
        self._crowds, outliers = (np.array(rows, np.int64) for rows in watched)
        self._outliers = outliers[self._members.of(outliers)] if len(outliers) else outliers
        self.fallback: str | None = None  # why rows were scanned though there is an index

    @property
    def way(self) -> str:
        """How candidates were found, for reports."""
        is_scanned = self._source is None or len(self._scans) == len(self._queries)
        return EXACT if is_scanned or self._source is None else self._source.way

    def give_up(self, number: int) -> bool:
        """Scan for this query from now on; False if its rows were scanned already."""
        if self._source is None or number in self._scans or number in self._given_up:
            return False
        self._given_up.add(number)
        self.fallback = LATE
        return True

    def tier_steps(
        self, tier: int, after: Mapping[int, Ranked | None]
    ) -> Generator[None, None, dict[int, list[Candidates]]]:
        """The candidates of some queries for the rows of this tier, which come behind those `after`."""
        found: dict[int, list[Candidates]] = {number: [] for number in after}
        asked = [number for number in after if number not in self._scans and number not in self._given_up]
        for needs in {id(needs): needs for needs in map(self._needs, asked)}.values():
            numbers = [number for number in asked if self._needs(number) is needs]
            ask = self._wanted(tier, 1, self._recalls[0], needs)
            if ask is None or self._source is None:
                continue
            for number, given in zip(numbers, self._source.ask(numbers, ask), strict=True):
                good = yield from self._checked_steps(tier, number, given, ask)
                if good is not None:
                    found[number].append(good)
        for number, mine in found.items():
            if not mine:
                if number not in self._scans:
                    self._scans[number] = yield from self._scan_steps(number, 0, after[number])
                mine.append(self._scans[number])
            elif self._indexed_rows < self._segment.count:
                if number not in self._tails:
                    self._tails[number] = yield from self._scan_steps(number, self._indexed_rows, after[number])
                mine.append(self._tails[number])
        return found

    # --- by the index --------------------------------------------------------------------------------------

    def _make_source(self) -> Source | None:
        """The index, if it is to be asked."""
        index, members, queries = self._segment.index, self._members, self._queries
        matches = self._segment.count if members.mask is None else members.mask.matches
        if self._options.exact or matches <= limits.SCANNED_ROWS:
            return None
        source: Source | None = None
        if isinstance(index, GrowingCodes):
            turbo = index.take_over(self._segment.count)
            self._indexed_rows, self._turbo = min(turbo.rows, self._segment.count), turbo
            self._calibration = index.calibration
            source = CodesSource(queries, members, turbo, self._indexed_rows, self._ahead())
        elif isinstance(index, FlatIndex):
            self._calibration = index.description.calibration
            self._turbo = index.turbo
            source = CodesSource(queries, members, index.turbo, self._segment.count, self._ahead())
        elif isinstance(index, Graph):
            self._calibration = index.description.calibration
            source = GraphSource(queries, members, index)
        elif isinstance(index, Lists):
            self._calibration = index.description.calibration
            source = ListsSource(queries, members, index)
        can_reach = self._options.ef is not None or self._calibration.like.needed(self._recalls[-1]) is not None
        return source if can_reach else None

    def _ahead(self) -> int:
        """Candidates that the last tier of the search will ask for, if it is not the first."""
        last = bisect_left(TIER_ROWS, self._options.k)
        if not last:
            return 0
        ask = self._wanted(last, 1, self._recalls[-1], self._calibration.like)
        return 0 if ask is None else ask.count

    def _needs(self, number: int) -> Needs:
        return self._zones.get(number, self._calibration.like)

    def _wanted(self, tier: int, times: int, recall: float, needs: Needs) -> Ask | None:
        """What to ask for, `times` as much as was measured; None where no number of candidates would do."""
        options, settings, rows = self._options, self._view.collection, TIER_ROWS[tier]
        if options.ef is not None:
            return Ask(rows, max(options.ef, rows), needs, _INDEX_RECALL, 1)
        needed = needs.needed(recall)
        if needed is None:
            return None
        if isinstance(self._segment.index, Graph):  # a walk that has found ten has little more to do for others
            count = max(settings.number("ef"), _WALKED * rows, needed)
        else:
            count = max(settings.number("oversample") * rows, _CANDIDATES_MIN, ceil(needed * rows / _TRIAL_K))
        return Ask(rows, times * count, needs, recall, times)

    def _checked_steps(
        self, tier: int, number: int, given: Proposal | None, ask: Ask
    ) -> Generator[None, None, Candidates | None]:
        """The candidates of a query, given those that its index gave when it was asked; None if all rows are to be
        scanned.
        """
        query, distances = self._queries.vectors[number], self._segment.distances
        is_checked, recalls, times = self._options.ef is None, list(self._recalls), 1
        scale, crowds = distances.key_scale(query), self._crowds
        first = ask
        found = _NO_ROWS  # what was good enough for a lower recall
        while given is not None:
            if len(found) or len(self._outliers):
                given = given.behind(np.setdiff1d(np.union1d(found, self._outliers), given.rows))
            candidates = self._with_keys(number, given.rows)
            keys = candidates.keys
            farthest = min(TIER_ROWS[tier], len(keys)) - 1
            last = float(np.partition(keys, farthest)[farthest])
            if is_checked and not tier and not self._is_tried(number, last, ask):
                zone = self._zones.get(number)
                if zone is None or zone.needed(_INDEX_RECALL) is None:
                    self.fallback = UNLIKE
                    return None
            elif is_checked and (
                are_doubtful(candidates, given, farthest + 1, last, scale, is_first=ask == first)
                or (len(crowds) and is_crowd_missed(distances, query, crowds, candidates, last))
            ):
                times *= _MORE
            elif len(recalls) == 1 or not is_checked:
                return candidates
            else:
                found = given.rows
                recalls.pop(0)
            yield
            more = self._wanted(tier, times, recalls[0], self._needs(number))
            given = None
            if more is not None and more.count <= _DEEPEST and self._source is not None:
                ask = more
                (given,) = self._source.ask([number], ask)
            if given is None:
                self.fallback = LATE
        return None

    def _with_keys(self, number: int, rows: Rows) -> Candidates:
        """The rows with their keys. Those that begin the rows of the tier before keep theirs."""
        query, distances = self._queries.vectors[number], self._segment.distances
        before = self._keyed.get(number)
        if before is not None and len(before.rows) <= len(rows) and (rows[: len(before.rows)] == before.rows).all():
            keys = np.concatenate([before.keys, distances.keys_of_rows(query, rows[len(before.rows) :])])
        else:
            keys = distances.keys_of_rows(query, rows)
        candidates = Candidates(self._place, rows, keys, distances.errors(query, keys, rows))
        self._keyed[number] = candidates
        return candidates

    def _is_tried(self, number: int, tenth: float, ask: Ask) -> bool:
        """Whether no more was needed than was asked for by the queries whose tenth row, by its key, lay about where
        that of the rows found lies. Else the zone is noted, or none.
        """
        distances, query = self._segment.distances, self._queries.vectors[number]
        key = distances.relative_key(query, tenth)
        if isinstance(self._source, CodesSource):  # sees every row: near ones that it cannot tell apart come late
            key = max(key, self._calibration.low)
        zone = self._calibration.zone(key)
        if self._members.mask is not None and not _is_met(zone, ask):
            # Rows that match lie farther than all rows do: ask for these, as the trials did.
            zone = self._calibration.zone(distances.relative_key(query, self._tenth_of_all(number)))
        if _is_met(zone, ask):
            return True
        if zone is None:
            self._zones.pop(number, None)
        else:
            # More and more, so that it ends: what a zone needs of one thing another may need less of.
            self._zones[number] = self._needs(number).joined(zone)
        return False

    def _tenth_of_all(self, number: int) -> float:
        """The key of the tenth row that is found without the filter."""
        index, everyone = self._segment.index, Members(self._view, self._place, None)
        ask = self._wanted(0, 1, _INDEX_RECALL, self._needs(number))
        assert ask is not None
        source: Source
        if isinstance(index, Graph):
            source = GraphSource(self._queries, everyone, index)
        elif isinstance(index, Lists):
            source = ListsSource(self._queries, everyone, index)
        else:
            assert self._turbo is not None
            source = CodesSource(self._queries, everyone, self._turbo, self._indexed_rows, 0)
        (given,) = source.ask([number], ask)
        if given is None or len(given.rows) < _TRIAL_K:
            return inf
        keys = self._segment.distances.keys_of_rows(self._queries.vectors[number], given.rows)
        return float(np.partition(keys, _TRIAL_K - 1)[_TRIAL_K - 1])

    # --- by a scan -----------------------------------------------------------------------------------------

    def _scan_steps(self, number: int, first: int, after: Ranked | None) -> Generator[None, None, Candidates]:
        """All rows from `first` on that match, live, and can be among the nearest that come behind `after`."""
        query, k, distances = self._queries.vectors[number], self._options.k, self._segment.distances
        rows: list[Rows] = [np.empty(0, np.int64)]
        keys: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
        held, kept, farthest = 0, k, inf  # no row whose key is surely above `farthest` can be among the nearest
        for mine, near in self._blocks(query, first):
            if farthest < inf:
                close = np.flatnonzero(near - distances.errors(query, near, mine) <= farthest)
                mine, near = mine[close], near[close]
            rows.append(mine)
            keys.append(near)
            held += len(mine)
            is_full = after is None and farthest == inf and held >= k
            if is_full or held > 2 * kept + _SCAN_BLOCK_ROWS:
                kept = held = self._keep_contenders(query, rows, keys, after)
                if is_full:
                    farthest = float(np.partition(keys[0] + distances.errors(query, keys[0], rows[0]), k - 1)[k - 1])
            yield
        self._keep_contenders(query, rows, keys, after)
        return Candidates(self._place, rows[0], keys[0], distances.errors(query, keys[0], rows[0]))

    def _keep_contenders(
        self, query: Vectors, rows: list[Rows], keys: list[NDArray[np.float32]], after: Ranked | None
    ) -> int:
        """Bring the blocks together and drop what cannot be among the nearest; gives how many are left."""
        joined, near = np.concatenate(rows), np.concatenate(keys)
        best = contenders_after(near, self._segment.distances.errors(query, near, joined), self._options.k, after)
        rows[:], keys[:] = [joined[best]], [near[best]]
        return len(best)

    def _blocks(self, query: Vectors, first: int) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
        segment, members = self._segment, self._members
        mask, last = members.mask, segment.count
        if mask is not None and mask.matches < segment.count // 2:
            matches = np.flatnonzero(mask.rows[first:last]) + first
            for start in range(0, len(matches), _SCAN_BLOCK_ROWS):
                rows = matches[start : start + _SCAN_BLOCK_ROWS]
                if not self._view.all_live(self._place):
                    rows = rows[self._view.live(self._place, rows)]
                yield rows, segment.distances.keys_of_rows(query, rows)
            return
        for start in range(first, last, _SCAN_BLOCK_ROWS):
            end = min(start + _SCAN_BLOCK_ROWS, last)
            rows, keys = np.arange(start, end), segment.distances.keys_of_range(query, start, end)
            if members.are_all:
                yield rows, keys
            else:
                keep = members.of(rows)
                yield rows[keep], keys[keep]


def _is_met(zone: Needs | None, ask: Ask) -> bool:
    """Whether as much was asked for as the queries of a zone needed."""
    needed = None if zone is None else zone.needed(ask.recall)
    if zone is None or needed is None:
        return False
    probes, asked = zone.needed_probes(ask.recall) or 0, ask.needs.needed_probes(ask.recall) or 0
    return needed <= ask.count and probes <= asked * ask.times  # of ten rows, the first tier
