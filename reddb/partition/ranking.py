"""The one order of found rows: by float64 distance, then by id, whatever proposed them.

Float32 keys leave out what is surely farther, exact distances order the rest. Keys that cannot tell rows apart leave
many: then this takes as long as their float64 distances do, in slices.

Invariant: how many rows are asked for changes where the answer ends, never what it begins with.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb.index.metrics import contenders
from reddb.partition.view import Addresses, View, address, split
from reddb.types import Vectors

Rows: TypeAlias = NDArray[np.int64]

_SLICE_ROWS = 4096  # whose exact distances are computed at once: about 2 ms of 384-d


class Candidates(NamedTuple):
    """Rows (n,) of the segment at a place, with their float32 keys (n,) and how far each of these may be off."""

    place: int
    rows: Rows
    keys: NDArray[np.float32]
    errors: float | NDArray[np.float32]


class Ranked(NamedTuple):
    """Rows in order, (n,). `low` and `high` are between which the key of the last one lies."""

    addresses: Addresses
    distances: NDArray[np.float64]
    low: float
    high: float


def rank_steps(
    view: View, query: Vectors, parts: Sequence[Candidates], count: int, after: Ranked | None = None
) -> Generator[None, None, Ranked]:
    """The first `count` of the candidates in order, at least 1, of those that come behind the last of `after`."""
    if len(parts) == 1:
        (part,) = parts
        addresses, keys, errors = address(part.place, part.rows), part.keys, part.errors
    else:
        addresses = np.concatenate([np.empty(0, np.int64), *(address(part.place, part.rows) for part in parts)])
        keys = np.concatenate([np.empty(0, np.float32), *(part.keys for part in parts)])
        errors = np.concatenate(
            [np.empty(0, np.float32), *(np.broadcast_to(part.errors, len(part.rows)) for part in parts)],
            dtype=np.float32,
        )
    near = contenders_after(keys, errors, count, after)
    addresses, keys = addresses[near], keys[near]
    distances = yield from _exact_steps(view, query, addresses)
    order = _order(view, addresses, distances)
    if after is not None:
        order = order[_behind(view, addresses[order], distances[order], after) :]
    order = order[:count]
    low, high = 0.0, 0.0
    if len(order):
        last = order[-1]
        error = errors if isinstance(errors, float) else float(errors[near[last]])
        low, high = float(keys[last]) - 2 * error, float(keys[last]) + 2 * error
    return Ranked(addresses[order], distances[order], low, high)


def contenders_after(
    keys: NDArray[np.float32], errors: float | NDArray[np.float32], count: int, after: Ranked | None
) -> Rows:
    """Places of all that can be among the first `count` behind the last of `after`, by their keys and errors (n,)."""
    if after is None:
        return contenders(keys, errors, count)
    rest = np.flatnonzero(keys + errors >= after.low)
    keys, errors = keys[rest], errors if isinstance(errors, float) else errors[rest]
    passed = int(np.count_nonzero(keys - errors <= after.high))  # so many may come before it, or be it
    return rest[contenders(keys, errors, count + passed)]


def _exact_steps(view: View, query: Vectors, addresses: Addresses) -> Generator[None, None, NDArray[np.float64]]:
    if len(addresses) <= _SLICE_ROWS:
        return _exact(view, query, addresses)
    parts = []
    for first in range(0, len(addresses), _SLICE_ROWS):
        parts.append(_exact(view, query, addresses[first : first + _SLICE_ROWS]))
        yield
    return np.concatenate(parts)


def _exact(view: View, query: Vectors, addresses: Addresses) -> NDArray[np.float64]:
    if len(view.segments) == 1:
        return view.segments[0].distances.exact(query, addresses)
    distances = np.empty(len(addresses))
    places, rows = split(addresses)
    for place in np.unique(places).tolist():
        mine = places == place
        distances[mine] = view.segments[place].distances.exact(query, rows[mine])
    return distances


def _order(view: View, addresses: Addresses, distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """By distance, equal ones by id. Ids are looked at only where there are equal ones."""
    order = np.argsort(distances, kind="stable")
    ordered = distances[order]
    if not (ordered[1:] == ordered[:-1]).any():
        return order
    return np.lexsort((_id_ranks(view, addresses), distances))


def _id_ranks(view: View, addresses: Addresses) -> NDArray[np.int64]:
    """Numbers (n,) that sort as the ids do: numbers before texts, these by code point, as ORDER BY id has them."""
    ids = view.id_column(addresses)
    if isinstance(ids, np.ndarray):
        return ids
    ordered = sorted(range(len(ids)), key=lambda item: (isinstance(ids[item], str), ids[item]))
    ranks = np.empty(len(ids), np.int64)
    ranks[ordered] = np.arange(len(ids))
    return ranks


def _behind(view: View, addresses: Addresses, distances: NDArray[np.float64], after: Ranked) -> int:
    """How many of these rows, in order, are not behind the last of `after`."""
    last = after.distances[-1]
    first, end = np.searchsorted(distances, last, "left"), int(np.searchsorted(distances, last, "right"))
    ties = np.append(addresses[first:end], after.addresses[-1])
    ranks = _id_ranks(view, ties)
    return int(first + np.count_nonzero(ranks[:-1] <= ranks[-1]))
