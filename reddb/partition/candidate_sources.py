"""The indexes of a segment as sources of candidates: each gives the first rows of its own order that match and live.

    codes    a scan of turbo codes, which knows no filter: as many are taken as should hold enough matches
    graph    a walk through the graph, which skips what does not match
    lists    a scan of the nearest lists of an inverted file, which skips what does not match

A source that cannot give as many as it is asked for gives None: then the matching rows are scanned.

Invariant: what a source gives depends on the query and on how many are asked for, not on what was asked before, nor on
the other queries of a batch. So codes of one distance come all or not at all: among them there is no first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb.index.metrics import prepare
from reddb.index.turbo import TurboIndex
from reddb.partition.calibration import Needs
from reddb.partition.filters import Mask
from reddb.partition.kinds import codec_of
from reddb.partition.settled import Graph, Lists
from reddb.partition.view import View
from reddb.types import INDEXABLE, Vectors

Rows: TypeAlias = NDArray[np.int64]

_MORE = 4  # times as many are asked for, while others take the places of matches
_TIES = 16  # codes asked for beyond the candidates, to see that those of the last distance are all there
_MARGIN = 1.25  # more candidates than the share of matches says, for matches are never spread evenly
_GRAPH_SHARE_MIN = 0.02  # below it a walk through the graph meets too few matches
_GRAPH_WIDENING_MAX = 8.0
_PROBES_MIN = 8
_REACH_MAX = 2
_TRIAL_K = 10  # that indexes were measured with


class Queries:
    """The queries of a batch (q, dim), and what indexes are given for them, made once for all segments."""

    def __init__(self, view: View, vectors: Vectors) -> None:
        self.vectors = vectors
        self._collection = view.collection
        self._prepared: Vectors | None = None
        self._rotated: Vectors | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def prepared(self, numbers: Sequence[int]) -> Vectors:
        if self._prepared is None:
            assert self._collection.metric in INDEXABLE
            self._prepared = prepare(self._collection.metric, self.vectors)
        return self._prepared if len(numbers) == len(self) else self._prepared[list(numbers)]

    def rotated(self, numbers: Sequence[int]) -> Vectors:
        if self._rotated is None:
            codec = codec_of(self._collection)
            assert codec is not None
            self._rotated = codec.rotation.apply(self.prepared(range(len(self))))
        return self._rotated if len(numbers) == len(self) else self._rotated[list(numbers)]


@dataclass(frozen=True, slots=True)
class Ask:
    """`count` candidates for `rows` wanted rows, of an index that needs what `needs` says for this `recall`; `times`
    as much as it needs.
    """

    rows: int
    count: int
    needs: Needs
    recall: float
    times: int


class Proposal(NamedTuple):
    """Rows (n,) in the order of an index, and how `far` (n,) each is for it: alike where it cannot tell them apart.
    `depths` (n,) say at which part of a scan of some lists each was met, 0 to 1; None where all that there is was seen.
    """

    rows: Rows
    far: NDArray[np.float32]
    depths: NDArray[np.float32] | None = None

    def only(self, members: Members) -> Proposal:
        """Those of them that may be found."""
        keep = members.of(self.rows)
        return Proposal(self.rows[keep], self.far[keep], None if self.depths is None else self.depths[keep])

    def behind(self, rows: Rows) -> Proposal:
        """The same behind some other rows (n,), which no index says anything of."""
        if not len(rows):
            return self
        unknown = np.full(len(rows), -np.inf, np.float32)
        depths = None if self.depths is None else np.concatenate([np.zeros_like(unknown), self.depths])
        return Proposal(np.concatenate([rows, self.rows]), np.concatenate([unknown, self.far]), depths)


class Source(Protocol):
    way: str  # what was done last, for reports

    def ask(self, numbers: Sequence[int], ask: Ask) -> list[Proposal | None]:
        """The candidates of each of the queries with these numbers."""


class Members(NamedTuple):
    """Which rows of the segment at a place may be found: those that match and live."""

    view: View
    place: int
    mask: Mask | None

    @property
    def are_all(self) -> bool:
        return self.mask is None and self.view.all_live(self.place)

    def of(self, rows: Rows) -> NDArray[np.bool_]:
        """Which of these rows (n,)."""
        keep: NDArray[np.bool_] = np.ones(len(rows), np.bool_) if self.mask is None else self.mask.rows[rows]
        return keep if self.view.all_live(self.place) else keep & self.view.live(self.place, rows)


class CodesSource:
    """A scan of the codes of the first `encoded` rows; so many as `ahead` are taken at once, to be asked for."""

    def __init__(self, queries: Queries, members: Members, turbo: TurboIndex, encoded: int, ahead: int) -> None:
        self.way = "codes"
        self._queries = queries
        self._members = members
        self._turbo = turbo
        self._encoded = encoded
        self._ahead = ahead
        self._scanned: dict[int, tuple[NDArray[np.float32], Rows]] = {}
        mask = members.mask
        is_partial = mask is not None and mask.matches < encoded
        self._scale = encoded / mask.matches * _MARGIN if mask is not None and is_partial else 1.0

    def ask(self, numbers: Sequence[int], ask: Ask) -> list[Proposal | None]:
        count = ceil(ask.count * self._scale)
        self.way = f"codes x {count}"
        found: dict[int, Proposal] = {}
        left = self._cut(numbers, ask.count, found)
        most, asked = self._encoded // 2, count + _TIES  # beyond that a scan of the rows costs less
        ahead = ceil(self._ahead * self._scale) + _TIES
        while left and asked <= most:
            self._scan(left, max(asked, ahead) if ahead <= most else asked)
            left = self._cut(left, ask.count, found)
            # The last try is the same for whoever asks: what was taken ahead changes no answer.
            asked = most if asked < most < _MORE * asked else _MORE * asked
        return [found.get(number) for number in numbers]

    def _scan(self, numbers: Sequence[int], asked: int) -> None:
        distances, labels = self._turbo.search(self._queries.rotated(numbers), asked)
        for number, far, rows in zip(numbers, distances, labels, strict=True):
            if not self._members.are_all or self._turbo.rows != self._encoded or rows[-1] < 0:
                # A query that tells no code from another (all zeros) finds none: -1.
                keep = (rows >= 0) & (rows < self._encoded)
                far, rows = far[keep], rows[keep]
                keep = self._members.of(rows)
                far, rows = far[keep], rows[keep]
            self._scanned[number] = far, rows

    def _cut(self, numbers: Sequence[int], count: int, found: dict[int, Proposal]) -> list[int]:
        """Put the first `count` of what was scanned, and all that are as far as the last, into `found`; gives the
        queries for which more must be scanned to know.
        """
        left = []
        for number in numbers:
            far, rows = self._scanned.get(number, (_NONE_FAR, _NO_ROWS))
            if len(rows) <= count or far[count - 1] == far[-1]:
                left.append(number)
                continue
            end = count + int(np.argmax(far[count:] != far[count - 1]))
            found[number] = Proposal(rows[:end], far[:end])
        return left


class GraphSource:
    def __init__(self, queries: Queries, members: Members, index: Graph) -> None:
        self.way = "graph"
        self._queries = queries
        self._members = members
        self._index = index
        self._hidden = _NO_ROWS
        self._walked: dict[tuple[int, int], Proposal | None] = {}  # by query and candidates: tiers may ask alike
        if index.rows is not None:
            hidden = index.rows.hidden.astype(np.int64)
            self._hidden = hidden[members.of(hidden)]

    def ask(self, numbers: Sequence[int], ask: Ask) -> list[Proposal | None]:
        left = [number for number in numbers if (number, ask.count) not in self._walked]
        if left:
            for number, near in zip(left, self._walk(left, ask), strict=True):
                self._walked[number, ask.count] = near
        return [self._walked[number, ask.count] for number in numbers]

    def _walk(self, numbers: Sequence[int], ask: Ask) -> list[Proposal | None]:
        graph, rows, members = self._index.graph, self._index.rows, self._members
        widening, bitmap = 1.0, None
        if members.mask is not None:
            chosen = members.mask.rows if rows is None else rows.any_of(members.mask.rows)
            share = np.count_nonzero(chosen) / graph.rows
            if share < _GRAPH_SHARE_MIN:
                return [None for _ in numbers]
            widening = min(1 / share**0.5, _GRAPH_WIDENING_MAX)
            bitmap = np.packbits(chosen, bitorder="little")
        count = min(_beside_dead(members, ceil(ask.count * widening)), graph.rows)
        self.way = f"graph x {count}"
        found: list[Proposal | None] = []
        for far, nodes in zip(*graph.search(self._queries.prepared(numbers), count, count, bitmap), strict=True):
            far, nodes = far[nodes >= 0], nodes[nodes >= 0]
            near = Proposal(nodes, far)
            if rows is not None:
                near = Proposal(rows.behind(nodes), np.repeat(far, rows.sizes(nodes)))
            if not members.are_all:
                near = near.only(members)
            is_enough = len(near.rows) >= min(ask.count, count)
            found.append(near.behind(self._hidden) if is_enough else None)
        return found


class ListsSource:
    def __init__(self, queries: Queries, members: Members, index: Lists) -> None:
        self.way = "ivf"
        self._queries = queries
        self._members = members
        self._file = index.file

    def ask(self, numbers: Sequence[int], ask: Ask) -> list[Proposal | None]:
        members, file = self._members, self._file
        widening, bitmap = 1.0, None
        if members.mask is not None:
            share = members.mask.matches / file.rows
            if share < _GRAPH_SHARE_MIN:
                return [None for _ in numbers]
            widening = min(1 / share**0.5, _GRAPH_WIDENING_MAX)
            bitmap = np.packbits(members.mask.rows, bitorder="little")
        found: list[Proposal | None] = []
        for number in numbers:
            count, probes = self._probes(number, ask, widening)
            self.way = f"ivf x {probes}"
            near = self._first(number, count, probes, bitmap)
            if probes < file.count:
                near = near._replace(depths=file.depths(self._queries.prepared([number]), near.rows, probes))
            near = near if members.are_all else near.only(members)
            found.append(near if len(near.rows) >= min(ask.count, count) else None)
        return found

    def _first(self, number: int, count: int, probes: int, bitmap: NDArray[np.uint8] | None) -> Proposal:
        """The first `count` rows of the lists, and all whose codes are as far as the last."""
        query, rows = self._queries.prepared([number]), self._file.rows
        asked = min(count + _TIES, rows)
        while True:
            (far,), (labels,) = self._file.search(query, asked, probes, bitmap)
            if labels[-1] < 0 or asked == rows or far[count - 1] != far[-1]:
                break
            asked = min(_MORE * asked, rows)
        near: Rows = labels[labels >= 0]
        far = far[labels >= 0]
        if len(near) <= count or far[count - 1] == far[-1]:
            return Proposal(near, far)
        end = count + int(np.argmax(far[count:] != far[count - 1]))
        return Proposal(near[:end], far[:end])

    def _probes(self, number: int, ask: Ask, widening: float) -> tuple[int, int]:
        """How many rows to take, and of how many lists."""
        file, mask = self._file, self._members.mask
        count = min(_beside_dead(self._members, ask.count), file.rows)
        needed = ask.needs.needed_probes(ask.recall) or file.count
        # More rows lie in more lists: at k = 100 recall was 0.997 with it, 0.984 without.
        farther: float = max(ask.rows / _TRIAL_K, 1.0) ** 0.25 * ask.times
        # Lists differ in size: so many rows may lie in half of these.
        least = 2 * ceil(count * file.count / file.rows)
        probes = max(ceil(needed * farther), _PROBES_MIN)
        if mask is not None and file.reach(self._queries.prepared([number]), mask.rows, probes) > _REACH_MAX * probes:
            # What matches lies far from the query: about as far in many lists, and hard to tell apart by codes.
            return min(2 * count, file.rows), file.count
        return count, min(max(ceil(probes * widening), ceil(least * widening**2)), file.count)


def _beside_dead(members: Members, count: int) -> int:
    """So many more as take the places of rows that live: the dead are found like others."""
    view, place = members.view, members.place
    dead, rows = view.gone_rows(place), view.segments[place].count
    return ceil(count * rows / max(rows - dead, 1) * _MARGIN) if dead else count


_NO_ROWS: Rows = np.empty(0, np.int64)
_NONE_FAR: NDArray[np.float32] = np.empty(0, np.float32)
