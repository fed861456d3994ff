"""What the writers of the soak do: operations on rows of their own, and on definitions, drawn by a seed.

Rules: a writer's ids are a fixed range, and it keeps a ledger (`oracle.py`) of them. After an unknown outcome it reads
all its rows, once nothing can be on its way, before it writes again. A batch for several partitions is one change for
each.

Rows that expire are kept apart, in FLEETING, for the clock jumps while the soak runs. What holds under any clock: a row
with a lifetime is there when its write has been answered, has what was written last, and once gone does not come back.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Container
from typing import Any

import numpy as np

import reddb
from reddb.partition.placement import partition_of
from tests.crash.oracle import Changes, Ledger, State, Violation
from tests.crash.soak_strikes import Clock
from tests.crash.sweep_load import Operation, creation
from tests.server.harness import Server

COLLECTIONS = {  # kind, dim, metric; settings; partitions
    "plain": (("vector", 8, "l2"), "index = 'hnsw'", 1),
    "turbo": (("vector.turbo", 16, "cosine"), "oversample = 6", 1),
    "parted": (("vector.turbo", 8, "l2"), "partitions = 3", 3),
    "flushed": (("vector", 8, "ip"), "index = 'ivf', durability = 'flush'", 1),
}
_COMMON = "m = 4, ef_construction = 16, seal_idle_s = 3, checkpoint_s = 5"
_OWN = (("vector.turbo", 4, "l2"), "index = 'auto'", 1)
FLEETING = "fleeting"
WRITERS, _IDS = 4, 300  # ids of each in a collection
_LONG_S, _SHORT_S = 86_400, (1, 2, 5)  # lifetimes; the clock jumps by less than the first
_REFUSALS = {  # nothing has happened
    reddb.errors.NOT_READY,
    reddb.errors.TOO_MANY_ROWS,
    reddb.errors.TOO_MANY_FILES,
    reddb.errors.OUT_OF_MEMORY,
}
_PAUSE_S = 0.1  # before a lost connection is made anew
_TIMEOUT_S = 120.0  # what is being built waits for builders that are killed meanwhile


class Writer:
    """A connection's worth of operations on rows of its own, one after another."""

    def __init__(self, number: int, seed: int, server: Server, clock: Clock, stop: threading.Event) -> None:
        """`run` does them until `stop` is set."""
        self.operations = 0
        self.history: deque[str] = deque(maxlen=100)
        self.ledger = Ledger()
        self.own = f"own_{number}"
        self._number, self._server, self._stop = number, server, stop
        self._alias = f"alias_{number}"
        self._fleeting = Fleeting(clock)
        self._random = random.Random(f"soak {seed}, writer {number}")
        self._vectors = np.random.default_rng([seed, number])
        self._ids: list[int | str] = [i if i % 4 else f"id {i}" for i in range(number * _IDS, (number + 1) * _IDS)]

    def run(self) -> None:
        """Raises Violation."""
        while not self._stop.is_set():
            try:
                with reddb.connect(self._server.url, timeout_s=_TIMEOUT_S) as db:
                    self._settle(db)
                    while not self._stop.is_set() and self._do(db, self._draw()):
                        pass
            except reddb.RedDBError as error:
                self._must_be_retryable("connecting or looking", error)
            self._stop.wait(_PAUSE_S)

    def judge(self, seen: State) -> None:
        """Compare with all there is of this writer. Raises Violation."""
        if wrong := self.ledger.judge(seen):
            raise Violation(f"writer {self._number}: {'; '.join(wrong)}")

    def owns(self, key: Any, value: Any) -> bool:
        if key[0] == "row":
            return bool(value[1]["who"] == self._number)
        return key[1] in (self.own, self._alias)

    def _settle(self, db: reddb.Client) -> None:
        """Decide what is open, once nothing that a lost connection has asked for can still be on its way."""
        aliases = db.execute("SELECT name, collection FROM red.aliases WHERE name = $1", [self._alias])
        seen: State = {("alias", alias): name for alias, name in aliases}
        for name, *shape, _ in waited(db, {*COLLECTIONS, FLEETING, self.own}):
            if name == FLEETING:
                continue
            if name == self.own:
                seen["collection", name] = tuple(shape)
            ids = [row[0] for row in db.execute(f"SELECT id FROM {name} WHERE who = {self._number} LIMIT {_IDS + 1}")]
            for row_id, row in zip(ids, db.get(name, ids, with_vectors=True) if ids else [], strict=True):
                seen["row", name, row_id] = None if row is None else (row.vector.tobytes(), row.payload)
        self.judge(seen)

    def _do(self, db: reddb.Client, operation: Operation) -> bool:
        """Send it and note the outcome; false if that is unknown."""
        self.history.append(operation.text)
        try:
            answer = operation.call(db)
        except reddb.RedDBError as error:
            self.history.append(f"    failed: {error}")
            if error.code in _REFUSALS:
                return True
            for part in _parts(operation.changes):
                self.ledger.leave_open(part)
            self._must_be_retryable(operation.text, error)
            return False
        affected = answer.affected if isinstance(answer, reddb.Result) else answer
        if affected != operation.count:
            raise Violation(f"writer {self._number}: {operation.text} gave {affected}, not {operation.count}")
        self.ledger.acknowledge(operation.changes)
        self.operations += 1
        return True

    def _must_be_retryable(self, what: str, error: reddb.RedDBError) -> None:
        if error.code is reddb.errors.TIMEOUT or not error.retryable:
            raise Violation(f"writer {self._number}: {what} failed: {error}") from error

    def _draw(self) -> Operation:
        names = [*COLLECTIONS, *([self.own] if self.ledger.get(("collection", self.own)) else [])]
        name = self._random.choice(names)
        rows = {key[2]: row for key, row in self.ledger.under("row", name).items()}
        weighted: list[tuple[int, Callable[[], Operation]]] = [
            (30, lambda: self._upsert(name)),
            (10, lambda: self._delete(name, rows)),
            (5, lambda: self._delete_where(name, rows, self._random.randint(1, 60))),
            (1, lambda: self._delete_where(name, rows, 100)),  # all of them
            (30, lambda: self._read(name, rows)),
            (1, lambda: self._work(name)),
            (1, self._own_definition),
            (1, self._put_alias),
            (6, self._write_fleeting),
            (10, self._read_fleeting),
        ]
        if rows:
            weighted.append((10, lambda: self._update(name, rows)))
            if COLLECTIONS.get(name, _OWN)[2] == 1:
                weighted.append((10, lambda: self._transact(name, rows)))
        return self._random.choices([make for _, make in weighted], [weight for weight, _ in weighted])[0]()

    def _some(self, most: int) -> list[int | str]:
        return self._random.sample(self._ids, self._random.randint(1, most))

    def _draw_vectors(self, name: str, count: int) -> Any:
        return self._vectors.normal(size=(count, COLLECTIONS.get(name, _OWN)[0][1])).astype(np.float32)

    def _make(self, name: str, ids: list[int | str]) -> tuple[Any, list[dict[str, Any]], Changes]:
        vectors = self._draw_vectors(name, len(ids))
        payloads = [{"who": self._number, "n": self._random.randrange(100), "tag": f"tag {i}"} for i in range(len(ids))]
        stored = zip(ids, vectors, payloads, strict=True)
        return vectors, payloads, {("row", name, row_id): (vector.tobytes(), row) for row_id, vector, row in stored}

    def _upsert(self, name: str) -> Operation:
        ids = self._some(60)
        vectors, payloads, changes = self._make(name, ids)
        return Operation(f"upsert {name} {ids}", lambda db: db.upsert(name, ids, vectors, payloads), changes, len(ids))

    def _update(self, name: str, rows: dict[Any, Any]) -> Operation:
        n, tag = self._random.randrange(100), f"tag {self._random.randrange(1000)}"
        changes: Changes = {
            ("row", name, row_id): (vector, {**payload, "tag": tag})
            for row_id, (vector, payload) in rows.items()
            if n <= payload["n"] <= n + 5
        }
        text = f"UPDATE {name} SET tag = '{tag}' WHERE who = {self._number} AND n BETWEEN {n} AND {n + 5}"
        return _statement(text, changes, len(changes))

    def _transact(self, name: str, rows: dict[Any, Any]) -> Operation:
        """Some rows go, others come or are replaced: at once."""
        gone = self._random.sample(list(rows), min(len(rows), self._random.randint(1, 10)))
        ids = [row_id for row_id in self._some(10) if row_id not in gone]
        vectors, payloads, changes = self._make(name, ids)
        changes |= {("row", name, row_id): None for row_id in gone}

        def call(db: reddb.Client) -> reddb.Result:
            with db.session() as session:
                session.execute("BEGIN")
                session.execute(f"DELETE FROM {name} WHERE id IN ($1)", [gone])
                if ids:
                    session.upsert(name, ids, vectors, payloads)
                return session.execute("COMMIT")

        return Operation(f"transaction on {name}: {ids}, without {gone}", call, changes, len(ids) + len(gone))

    def _delete(self, name: str, rows: dict[Any, Any]) -> Operation:
        ids = [row_id for row_id in self._some(30) if type(row_id) in set(map(type, rows))]  # others are an error
        changes = {("row", name, row_id): None for row_id in ids}
        there = sum(row_id in rows for row_id in ids)
        return Operation(f"delete {name} {ids}", lambda db: db.delete(name, ids) if ids else 0, changes, there)

    def _delete_where(self, name: str, rows: dict[Any, Any], n: int) -> Operation:
        changes = {("row", name, row_id): None for row_id, (_, payload) in rows.items() if payload["n"] < n}
        return _statement(f"DELETE FROM {name} WHERE who = {self._number} AND n < {n}", changes, len(changes))

    def _read(self, name: str, rows: dict[Any, Any]) -> Operation:
        """Rows by id are as they were acknowledged, on whatever core; a search gives distinct rows, nearest first."""
        ids = [row_id for row_id in self._some(30) if type(row_id) in set(map(type, rows))]  # others are an error
        (query,) = self._draw_vectors(name, 1)
        where = self._random.choice([None, f"who = {self._number}"])

        def read(db: reddb.Client) -> None:
            for row_id, row in zip(ids, db.get(name, ids, with_vectors=True) if ids else [], strict=True):
                found = None if row is None else (row.vector.tobytes(), row.payload)
                if found != rows.get(row_id):
                    raise Violation(f"{name}: {row_id!r} is {found}, not {rows.get(row_id)}")
            hits = db.search(name, query, k=10, where=where)
            if len(set(hits.ids)) != len(hits.ids) or list(hits.distances) != sorted(hits.distances):
                raise Violation(f"{name}: a search gives {hits.ids} at {hits.distances}")

        return Operation(f"read {name} {ids}", read, {})

    def _work(self, name: str) -> Operation:
        return _statement(
            f"ALTER COLLECTION {name} {self._random.choice(['SEAL', 'SEAL', 'CHECKPOINT', 'COMPACT'])}", {}
        )

    def _own_definition(self) -> Operation:
        key = ("collection", self.own)
        if self.ledger.get(key) is None:
            return _statement(create(self.own), {key: _OWN[0]})
        rows: Changes = dict.fromkeys(self.ledger.under("row", self.own))
        if self._random.random() < 0.5:
            return _statement(f"TRUNCATE COLLECTION {self.own}", rows)
        return _statement(f"DROP COLLECTION {self.own}", {key: None, **rows})

    def _put_alias(self) -> Operation:
        key = ("alias", self._alias)
        if self.ledger.get(key) is not None and self._random.random() < 0.3:
            return _statement(f"DROP ALIAS {self._alias}", {key: None})
        name = self._random.choice(list(COLLECTIONS))
        return _statement(f"CREATE OR REPLACE ALIAS {self._alias} FOR {name}", {key: name})

    def _write_fleeting(self) -> Operation:
        row_id, n = self._number * _IDS + self._random.randrange(_IDS), self._random.randrange(1000)
        ttl_s = self._random.choice([_LONG_S, *_SHORT_S])
        return Operation(f"fleeting {row_id} for {ttl_s} s", lambda db: self._fleeting.write(db, row_id, n, ttl_s), {})

    def _read_fleeting(self) -> Operation:
        return Operation("read what is fleeting", self._fleeting.read, {})


class Fleeting:
    """Rows of one writer that expire, and what is known of each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[int, tuple[int, int]] = {}  # id: what was written last, and for how many seconds
        self._gone: set[int] = set()

    def write(self, db: reddb.Client, row_id: int, n: int, ttl_s: int) -> None:
        """A row that is there once this is answered. Raises Violation."""
        self._rows.pop(row_id, None)  # unknown, until it is answered
        self._gone.discard(row_id)
        jumps, began = self._clock.jumps, time.monotonic()
        text = f"UPSERT INTO {FLEETING} (id, vector, n) VALUES ($1, [1, 1], $2) WITH TTL $3"
        db.execute(text, [row_id, n, ttl_s])
        (row,) = db.get(FLEETING, [row_id])
        if row is None and (ttl_s == _LONG_S or (jumps == self._clock.jumps and time.monotonic() - began < ttl_s)):
            raise Violation(f"row {row_id}, to live for {ttl_s} s, is not there {time.monotonic() - began:.2f} s later")
        self._rows[row_id] = n, ttl_s
        if row is None:
            self._gone.add(row_id)

    def read(self, db: reddb.Client) -> None:
        """All rows that are known: as they were written, or gone for good. Raises Violation."""
        known = list(self._rows)
        for row_id, row in zip(known, db.get(FLEETING, known) if known else [], strict=True):
            n, ttl_s = self._rows[row_id]
            if row is None and ttl_s == _LONG_S:
                raise Violation(f"row {row_id}, to live for a day, is gone")
            if row is not None and row_id in self._gone:
                raise Violation(f"row {row_id}, which had expired, is there again")
            if row is None:
                self._gone.add(row_id)
            elif row.payload["n"] != n:
                raise Violation(f"row {row_id} has {row.payload}, not {n}")


def _statement(text: str, changes: Changes, count: int | None = None) -> Operation:
    return Operation(text, lambda db: db.execute(text), changes, count)


def create(name: str) -> str:
    """The statement that makes one of COLLECTIONS, FLEETING, or a collection of a writer's own."""
    if name == FLEETING:
        return f"CREATE COLLECTION {FLEETING} KIND vector DIM 2 FIELDS (n INT) WITH (seal_rows = 1024, {_COMMON})"
    shape, settings, _ = COLLECTIONS.get(name, _OWN)
    return creation(name, *shape, f"{_COMMON}, {settings}").text


def _parts(changes: Changes) -> list[Changes]:
    """What happens whole or not at all: everything, or the rows of each partition."""
    parts: defaultdict[int, Changes] = defaultdict(dict)
    for key, value in changes.items():
        partitions = COLLECTIONS.get(key[1], _OWN)[2]
        parts[int(partition_of([key[-1]], partitions)[0])][key] = value  # 0 where there is but one
    return list(parts.values())


def waited(db: reddb.Client, names: Container[str] | None = None) -> list[Any]:
    """These collections, or all, once nothing that a lost connection has asked for can be on its way to them."""
    db.execute("DROP COLLECTION IF EXISTS nothing")
    collections = [row for row in db.execute("SHOW COLLECTIONS") if names is None or row[0] in names]
    for name, *_ in collections:
        db.execute(f"DELETE FROM {name} WHERE n = -1")
    return collections
