"""What a server must hold by what its clients were told, and whether it does.

Everything that can be asked for is one flat map from keys to values:

    ("collection", name)            (kind, dim, metric)
    ("setting", name, setting)      its value
    ("index", name, field)          True
    ("alias", name)                 the collection that it stands for
    ("row", name, id)               (bytes of the vector, payload)

An operation is a map of changes, None for what it takes away. Acknowledged, it has happened; refused, it has not; with
an unknown outcome it has happened whole or not at all, the next look decides, and so it must stay.

    ledger.acknowledge(changes) / ledger.leave_open(changes)
    look(db, other)             everything there is, by one connection, counted again by another
    ledger.judge(seen)          what is wrong, nothing if all is well

Rule: clients change disjoint keys, each one after another, and nothing more after an unknown outcome before a look.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any, TypeAlias

import numpy as np

import reddb
from tests.oracle import distances

Key: TypeAlias = tuple[Hashable, ...]
State: TypeAlias = dict[Key, Any]
Changes: TypeAlias = dict[Key, Any]

WATCHED = ("ef", "ef_construction", "m")
_ROWS_MAX = 10_000  # that a statement gives
_TOLERANCE = 1e-9
_SHOWN = 5  # differences of one kind in a report
_K = 10


class Violation(Exception):
    """The server broke a promise."""


class Ledger:
    """What was acknowledged, and what is open. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: State = {}
        self._open: list[Changes] = []

    def acknowledge(self, changes: Changes) -> None:
        with self._lock:
            _apply(self._state, changes)

    def leave_open(self, changes: Changes) -> None:
        with self._lock:
            self._open.append(changes)

    def get(self, key: Key) -> Any:
        with self._lock:
            return self._state.get(key)

    def under(self, *prefix: Hashable) -> State:
        """What has a key that begins so."""
        with self._lock:
            return {key: value for key, value in self._state.items() if key[: len(prefix)] == prefix}

    def judge(self, seen: State) -> list[str]:
        """Close what is open by what is seen; say what differs then."""
        with self._lock:
            wrong = [text for changes in self._open if (text := _close(self._state, changes, seen))]
            self._open.clear()
            return wrong + _differences(self._state, seen)


def _apply(state: State, changes: Changes) -> None:
    for key, value in changes.items():
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value


def _close(state: State, changes: Changes, seen: State) -> str:
    """Decide whether the changes have happened; what is wrong if they did by half."""
    done = [key for key, value in changes.items() if seen.get(key) == value]
    undone = [key for key in changes if seen.get(key) == state.get(key)]
    if len(done) == len(changes):
        _apply(state, changes)
        return ""
    if len(undone) == len(changes):
        return ""
    return f"happened by half: {len(changes)} changes, {_some(done)} are as after it, {_some(undone)} as before it"


def _differences(state: State, seen: State) -> list[str]:
    missing = [key for key in state if key not in seen]
    extra = [key for key in seen if key not in state]
    other = [key for key, value in state.items() if key in seen and seen[key] != value]
    found = {"lost": missing, "there again, or never written": extra, "other than acknowledged": other}
    return [f"{what}: {_some(keys)}" for what, keys in found.items() if keys]


def _some(keys: list[Key]) -> str:
    return f"{len(keys)} ({', '.join(map(str, keys[:_SHOWN]))}{', …' if len(keys) > _SHOWN else ''})"


def look(db: reddb.Client, other: reddb.Client, queries: np.random.Generator) -> State:
    """Read everything. Raises Violation where answers contradict each other, RedDBError for what is not answered."""
    seen: State = {("alias", alias): name for alias, name in db.execute("SELECT name, collection FROM red.aliases")}
    for name, kind, dim, metric, *_ in db.execute("SHOW COLLECTIONS"):
        seen["collection", name] = (kind, dim, metric)
        seen |= _definitions(db, name)
        rows = _rows(db, name)
        seen |= {("row", name, row.id): (row.vector.tobytes(), row.payload) for row in rows}
        (count,) = other.execute(f"SELECT count(*) FROM {name}")[0]
        if count != len(rows):
            raise Violation(f"{name}: count(*) is {count}, but there are {len(rows)} rows")
        if rows:
            _check_searches(other, name, str(metric), rows, queries)
    return seen


def _definitions(db: reddb.Client, name: str) -> State:
    shown = dict(db.execute(f"SHOW COLLECTION {name}"))
    indexes = [row[0] for row in db.execute(f"SHOW INDEXES FOR {name}")]
    return {("setting", name, setting): shown[setting] for setting in WATCHED} | {
        ("index", name, field): True for field in indexes
    }


def _rows(db: reddb.Client, name: str) -> list[Any]:
    ids = [row[0] for row in db.execute(f"SELECT id FROM {name} LIMIT {_ROWS_MAX}")]
    assert len(ids) < _ROWS_MAX, "the load makes more rows than one statement shows"
    if len(set(ids)) != len(ids):
        raise Violation(f"{name}: rows are there twice: {_some([(item,) for item in ids if ids.count(item) > 1])}")
    rows = db.get(name, ids, with_vectors=True) if ids else []
    lost = [(row_id,) for row_id, row in zip(ids, rows, strict=True) if row is None]
    if lost:
        raise Violation(f"{name}: rows that a scan gives are not found by id: {_some(lost)}")
    return rows


def _check_searches(db: reddb.Client, name: str, metric: str, rows: list[Any], queries: np.random.Generator) -> None:
    """Exact searches, with and without a filter, find the nearest; the others find rows that are there."""
    base = np.stack([row.vector for row in rows])
    query = queries.normal(size=base.shape[1]).astype(np.float32)
    far = distances(metric, base, query)
    n = int(queries.integers(100))
    _check_hits(name, rows, far, db.search(name, query, k=_K, exact=True), exact=True)
    _check_hits(name, rows, far, db.search(name, query, k=_K), exact=False)
    chosen = np.array([row.payload["n"] < n for row in rows])
    some = [row for row, is_chosen in zip(rows, chosen, strict=True) if is_chosen]
    _check_hits(name, some, far[chosen], db.search(name, query, k=_K, exact=True, where=f"n < {n}"), exact=True)


def _check_hits(name: str, rows: list[Any], far: Any, hits: Any, *, exact: bool) -> None:
    place = {row.id: number for number, row in enumerate(rows)}
    if not (len(set(hits.ids)) == len(hits.ids) == min(_K, len(rows)) and place.keys() >= set(hits.ids)):
        raise Violation(f"{name}: of {len(rows)} rows a search for {_K} finds {hits.ids}")
    right = far[[place[row_id] for row_id in hits.ids]]
    nearest = np.sort(far)[: len(right)] if exact else np.sort(right)
    for wanted in (right, nearest):
        if not np.allclose(hits.distances, wanted, _TOLERANCE, _TOLERANCE):
            raise Violation(f"{name}: a search finds {hits.ids} at {hits.distances}, right is {wanted}")
