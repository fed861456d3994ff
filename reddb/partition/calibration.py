"""How many candidates an index gives to a search, as trials measured it.

A search begins with what queries like the rows needed. When it has found its tenth row it knows how far that lies, and
takes as many candidates as the trials needed whose tenth row lay about as far: the trials are cut into zones by that
distance. A query whose tenth row lies where none did is one that nobody tried.

Invariant: what a recall needs never falls as the recall rises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from reddb.described import NotDescribed, is_of, list_of
from reddb.partition.watched import WATCHED_MAX
from reddb.wording import shown

RECALLS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
_ZONES_MAX = 4_096  # a file may tell; trials give some dozens at most
_COUNT_MAX = 2**31 - 1
_MARGIN = 0.05  # of the whole range, by which the outermost zones reach beyond what was seen: trials are a sample

Pairs: TypeAlias = tuple[tuple[float, int], ...]


class Outcome(NamedTuple):
    """What one trial gave: the relative keys of its ninth and tenth nearest rows, at which depth each of the nearest
    was found (from 0), and, for an index of lists, how many lists a search comes to before theirs.
    """

    low: float
    high: float
    depths: list[int]
    places: list[int]


@dataclass(frozen=True, slots=True)
class Needs:
    """`candidates` are pairs: a recall at k = 10, and the candidates that reached it; `probes` the same with the lists
    of an inverted file that these were taken from.
    """

    candidates: Pairs = ()
    probes: Pairs = ()

    def needed(self, recall: float) -> int | None:
        """Candidates for this recall at k = 10; None where no number of them was seen to reach it."""
        return _reaching(self.candidates, recall)

    def needed_probes(self, recall: float) -> int | None:
        """Lists to scan for this recall with that many candidates; None where not even all of them would do."""
        return _reaching(self.probes, recall)

    def joined(self, other: Needs) -> Needs:
        """What is enough for both: for the recalls that both can reach."""
        return Needs(_larger(self.candidates, other.candidates), _larger(self.probes, other.probes))


NOTHING = Needs()


@dataclass(frozen=True, slots=True)
class Calibration:
    """What queries like the rows need, and what all need by zones: (the largest relative key of the tenth row, needs),
    rising; the first begins at `low`. `crowds` and `outliers` are rows to watch (`watched.py`).
    """

    like: Needs = NOTHING
    low: float = inf
    zones: tuple[tuple[float, Needs], ...] = ()
    crowds: tuple[int, ...] = ()
    outliers: tuple[int, ...] = ()

    def zone(self, key: float) -> Needs | None:
        """The needs of a query whose tenth row has this relative key; None where no trial's did."""
        if not self.low <= key:
            return None
        return next((needs for high, needs in self.zones if key <= high), None)

    def to_plain(self) -> list[Any]:
        zones = [[high, needs.candidates, needs.probes] for high, needs in self.zones]
        return [self.like.candidates, self.like.probes, self.low, zones, self.crowds, self.outliers]

    @classmethod
    def from_plain(cls, plain: Any, rows: int) -> Calibration:
        """Of so many rows, as a file says. Raises NotDescribed."""
        if len(list_of(plain)) not in (4, 6):  # earlier builds watched no rows
            raise NotDescribed(f"has {shown(plain)} as what an index needs")
        candidates, probes, low, zones, *watched = plain
        of_zones: list[tuple[float, Needs]] = []
        for zone in list_of(zones):
            high, *needs = _items(zone, 3)
            of_zones.append((_key(high), Needs(*map(_pairs, needs))))
        if len(of_zones) > _ZONES_MAX:
            raise NotDescribed(f"has {len(of_zones)} zones")
        like = Needs(_pairs(candidates), _pairs(probes))
        return cls(like, _key(low), tuple(of_zones), *(_rows(item, rows) for item in watched))


UNKNOWN = Calibration()


def _items(plain: Any, count: int) -> list[Any]:
    if len(list_of(plain)) != count:
        raise NotDescribed(f"has {shown(plain)} where {count} values belong")
    return list_of(plain)


def _key(plain: Any) -> float:
    """One that a trial's row had, or infinity where there was no trial."""
    if type(plain) is not float or isnan(plain):
        raise NotDescribed(f"has {shown(plain)} where a distance belongs")
    return plain


def _pairs(plain: Any) -> Pairs:
    pairs: list[tuple[float, int]] = []
    for item in list_of(plain):
        recall, count = _items(item, 2)
        if type(recall) is not float or not 0 < recall <= 1 or not is_of(count, int) or count > _COUNT_MAX:
            raise NotDescribed(f"has {shown(item)} where a recall and what it needs belong")
        pairs.append((recall, count))
    return tuple(pairs)


def _rows(plain: Any, rows: int) -> tuple[int, ...]:
    found = tuple(list_of(plain))
    if len(found) > WATCHED_MAX or not all(is_of(row, int) and row < rows for row in found):
        raise NotDescribed(f"has {shown(plain)} where some of {rows} rows belong")
    return found


class Limits(NamedTuple):
    """How deep was looked: more `candidates` than that, or `probes`, are none."""

    candidates: int
    probes: int = 0
    lost_by_candidates: float = 1.0  # share of the rows that a recall allows to be lost for want of candidates


def calibrated(
    like: Sequence[Sequence[Outcome]], unlike: Sequence[Sequence[Outcome]], limits: Limits, zone_trials: int
) -> Calibration:
    """The needs of some groups of trials; a zone has at least `zone_trials` of them, if there are. In a zone each kind
    of unlike queries is answered as well as the like ones: a rare one would be lost among these.
    """
    kinds = [[outcome for group in like for outcome in group], *unlike]
    trials = sorted(
        ((outcome, kind) for kind, outcomes in enumerate(kinds) for outcome in outcomes),
        key=lambda trial: trial[0].high,
    )
    if not trials:
        return UNKNOWN
    width = trials[-1][0].high - trials[0][0].low
    count = max(len(trials) // zone_trials, 1)
    zones = []
    for number in range(count):
        of_zone = trials[number * len(trials) // count : (number + 1) * len(trials) // count]
        groups = [[outcome for outcome, kind in of_zone if kind == wanted] for wanted in range(len(kinds))]
        zones.append((of_zone[-1][0].high, _needs([group for group in groups if group], limits)))
    zones[-1] = (zones[-1][0] + _MARGIN * width, zones[-1][1])
    low = min(outcome.low for outcome, _ in trials)
    return Calibration(_needs(like, limits), low - _MARGIN * width, tuple(zones))


def needed(depths: Sequence[int], recall: float, deepest: int) -> int | None:
    """How many candidates hold this share of the neighbours that lie at these depths; None if more than `deepest`."""
    if not depths:
        return 1
    depth = int(np.percentile(depths, 100 * recall, method="higher")) + 1
    return depth if depth <= deepest else None


def _needs(groups: Sequence[Sequence[Outcome]], limits: Limits) -> Needs:
    """What reaches each recall in every one of the groups."""
    candidates: list[tuple[float, int]] = []
    probes: list[tuple[float, int]] = []
    for recall in RECALLS:
        lost = (1 - recall) * limits.lost_by_candidates
        depths = [[depth for outcome in group for depth in outcome.depths] for group in groups]
        counts = [needed(group, 1 - lost, limits.candidates) for group in depths]
        if None in counts:
            break
        candidates.append((recall, max((count for count in counts if count is not None), default=1)))
        if limits.probes:
            places = [[place for outcome in group for place in outcome.places] for group in groups]
            lists = [needed(group, recall + lost, limits.probes) or limits.probes for group in places]
            probes.append((recall, max(lists, default=1)))
    return Needs(tuple(candidates), tuple(probes))


def _larger(some: Pairs, others: Pairs) -> Pairs:
    of_others = dict(others)
    return tuple((recall, max(count, of_others[recall])) for recall, count in some if recall in of_others)


def _reaching(pairs: Pairs, recall: float) -> int | None:
    return next((count for reached, count in pairs if reached >= recall), None)
