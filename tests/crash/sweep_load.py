"""The load of the crash sweep: writers, each with a connection, rows, settings and a collection of its own.

Every operation is drawn from the writer's generator and from what it knows to be stored, and comes with what it
changes, so its outcome can be told to the ledger:

    acknowledged    the number of rows it answers is checked too
    refused         nothing has changed; an error that was not foreseen is a violation
    unknown         the connection was lost, or the answer was retryable: the writer does nothing more in this round

Rules: rows have `who`, the number of their writer, and predicates name it; so no two writers change the same row.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import reddb
from tests.crash.oracle import Changes, Ledger
from tests.crash.sweep_control import Control

MAIN = {
    "plain": ("vector", 8, "l2", "index = 'hnsw', ef = 64, ef_construction = 16, m = 4"),
    "turbo": ("vector.turbo", 16, "cosine", "ef = 64, ef_construction = 16, m = 4"),
}
_OWN = [
    ("vector.turbo", 4, "l2", "index = 'ivf', ef = 32, ef_construction = 16, m = 4"),
    ("vector", 4, "cosine", "index = 'flat', ef = 32, ef_construction = 16, m = 4"),
]
_INDEXES = [("plain", "n"), ("turbo", "tag"), ("plain", "tag")]  # that each writer makes and drops
_SETTINGS = [("ef", 32, 256), ("ef_construction", 8, 32), ("m", 4, 8)]  # that each writer changes
WRITERS = 3
_ROWS_KEPT = 500  # of a writer in a collection; beyond it, it rather deletes
_ROWS_MANY = 400
_AFTER_DEATH = 3  # operations of a writer when a process has died and the others go on
_TIMEOUT_S = 30.0

# Nothing has happened, and the same request may succeed later.
_REFUSALS = {reddb.errors.NOT_READY, reddb.errors.TOO_MANY_ROWS}


@dataclass(frozen=True)
class Operation:
    """A request, what it changes, and the number of rows that it must answer."""

    text: str
    call: Callable[[reddb.Client], Any]
    changes: Changes
    count: int | None = None
    refusal: reddb.errors.ErrorCode | None = None  # with which it must be refused


class Writer:
    """One connection's worth of operations, one after another."""

    def __init__(self, number: int, seed: str, ledger: Ledger, control: Control, history: list[str]) -> None:
        """What is done is told to `history`, where other writers tell theirs."""
        self.violations: list[str] = []
        self._number = number
        self._random = random.Random(f"{seed}, writer {number}")
        self._vectors = np.random.default_rng(self._random.randrange(2**32))
        self._ledger = ledger
        self._control = control
        self._history = history
        self._next = 0

    def run(self, url: str, operations: int) -> None:
        """Do so many operations, fewer if an outcome is unknown, and only a few once something was struck."""
        try:
            with reddb.connect(url, timeout_s=_TIMEOUT_S) as db:
                self._run(db, operations)
        except reddb.RedDBError as error:  # before anything was asked
            self._note("connect", "unknown", error)

    def _run(self, db: reddb.Client, operations: int) -> None:
        left_after_death = _AFTER_DEATH
        for _ in range(operations):
            if self._control.struck is not None:
                left_after_death -= 1
            if left_after_death < 0 or not self.do(db, self._draw()):
                return

    def do(self, db: reddb.Client, operation: Operation) -> bool:
        """Send it and note the outcome; false if that is unknown."""
        try:
            answer = operation.call(db)
        except reddb.RedDBError as error:
            return self._failed(operation, error)
        affected = answer.affected if isinstance(answer, reddb.Result) else answer
        if operation.refusal is not None or affected != operation.count:
            wanted = operation.refusal.name if operation.refusal else operation.count
            self.violations.append(f"{operation.text} was answered with {affected}, not {wanted}")
        self._ledger.acknowledge(operation.changes)
        self._note(operation.text, "acknowledged")
        return True

    def _failed(self, operation: Operation, error: reddb.RedDBError) -> bool:
        if error.code is operation.refusal or error.code in _REFUSALS:
            self._note(operation.text, "refused", error)
            return True
        if error.code is reddb.errors.TIMEOUT or not error.retryable:
            self.violations.append(f"{operation.text} failed: {error}")
        self._ledger.leave_open(operation.changes)
        self._note(operation.text, "unknown", error)
        return False

    def _note(self, text: str, outcome: str, error: reddb.RedDBError | None = None) -> None:
        self._history.append(f"writer {self._number}: {text}: {outcome}{'' if error is None else f' ({error})'}")

    # --- which operation comes next ------------------------------------------------------------------------

    def _draw(self) -> Operation:
        names = list(MAIN)
        if self._ledger.get(("collection", self._own)) is not None:
            names.append(self._own)
        name = self._random.choice(names)
        rows = self._rows(name)
        if len(rows) > _ROWS_KEPT:
            return self._delete_where(name, rows)
        weighted: list[tuple[int, Callable[[], Operation]]] = [
            (20, lambda: self._insert(name, self._random.randint(1, 30))),
            (3, lambda: self._insert(name, _ROWS_MANY)),
            (20, lambda: self._upsert(name, rows)),
            (10, lambda: self._delete(name, rows)),
            (8, lambda: self._update_where(name, rows)),
            (5, lambda: self._delete_where(name, rows)),
            (6, lambda: self._work(name)),
            (4, self._set),
            (3, self._index),
            (3, self._alias),
            (6, self._own_definition),
        ]
        if rows:
            weighted += [(6, lambda: self._update_one(name, rows)), (2, lambda: self._insert_again(name, rows))]
            weighted += [(10, lambda: self._transact(name, rows))]
        return self._random.choices([make for _, make in weighted], [weight for weight, _ in weighted])[0]()

    @property
    def _own(self) -> str:
        return f"own_{self._number}"

    def _rows(self, name: str) -> dict[Any, Any]:
        """Our rows in a collection: id to (bytes of the vector, payload)."""
        stored = self._ledger.under("row", name)
        return {key[2]: row for key, row in stored.items() if row[1]["who"] == self._number}

    # --- rows ----------------------------------------------------------------------------------------------

    def _new_ids(self, count: int) -> list[int | str]:
        """Ids that were never used; every fourth is a text."""
        first, self._next = self._next, self._next + count
        numbers = [self._number + WRITERS * number for number in range(first, first + count)]
        return [f"id {number}" if number % 4 == 0 else number for number in numbers]

    def _make(self, name: str, ids: list[int | str]) -> tuple[np.ndarray, list[dict[str, Any]], Changes]:
        dim = self._ledger.get(("collection", name))[1]
        vectors = self._vectors.normal(size=(len(ids), dim)).astype(np.float32)
        payloads = [
            {"who": self._number, "n": self._random.randrange(100), "tag": f"tag {self._random.randrange(20)}"}
            for _ in ids
        ]
        stored = zip(ids, vectors, payloads, strict=True)
        return vectors, payloads, {("row", name, row_id): (vector.tobytes(), row) for row_id, vector, row in stored}

    def _insert(self, name: str, count: int) -> Operation:
        ids = self._new_ids(count)
        vectors, payloads, changes = self._make(name, ids)
        text = f"insert into {name} {ids[0]!r} to {ids[-1]!r}"
        return Operation(text, lambda db: db.insert(name, ids, vectors, payloads), changes, count)

    def _insert_again(self, name: str, rows: dict[Any, Any]) -> Operation:
        """One id of the batch exists: all of it is refused."""
        ids = [*self._new_ids(5), self._random.choice(list(rows))]
        vectors, payloads, _ = self._make(name, ids)
        text = f"insert into {name} {ids}"
        refusal = reddb.errors.DUPLICATE_ID
        return Operation(text, lambda db: db.insert(name, ids, vectors, payloads), {}, refusal=refusal)

    def _upsert(self, name: str, rows: dict[Any, Any]) -> Operation:
        old = self._random.sample(list(rows), min(len(rows), self._random.randint(1, 20)))
        ids = [*old, *self._new_ids(self._random.randint(1, 10))]
        vectors, payloads, changes = self._make(name, ids)
        text = f"upsert into {name} {ids}"
        return Operation(text, lambda db: db.upsert(name, ids, vectors, payloads), changes, len(ids))

    def _delete(self, name: str, rows: dict[Any, Any]) -> Operation:
        there = self._random.sample(list(rows), min(len(rows), self._random.randint(1, 20)))
        types = set(map(type, there))  # an id of a type that no row has is an error
        ids = [*there, *(row_id for row_id in self._new_ids(2) if type(row_id) in types)]
        changes = {("row", name, row_id): None for row_id in ids}
        text = f"delete from {name} {ids}"
        return Operation(text, lambda db: db.delete(name, ids) if ids else 0, changes, len(there))

    def _delete_where(self, name: str, rows: dict[Any, Any]) -> Operation:
        n = self._random.randint(1, 60)
        where = f"who = {self._number} AND n < {n}"
        changes = {("row", name, row_id): None for row_id, (_, payload) in rows.items() if payload["n"] < n}
        text = f"DELETE FROM {name} WHERE {where}"
        return Operation(text, lambda db: db.delete(name, where=where), changes, len(changes))

    def _update_where(self, name: str, rows: dict[Any, Any]) -> Operation:
        n, mark = self._random.randrange(100), self._random.randrange(1000)
        text = f"UPDATE {name} SET mark = {mark} WHERE who = {self._number} AND n BETWEEN {n} AND {n + 10}"
        changes = {
            ("row", name, row_id): (vector, {**payload, "mark": mark})
            for row_id, (vector, payload) in rows.items()
            if n <= payload["n"] <= n + 10
        }
        return Operation(text, lambda db: db.execute(text), changes, len(changes))

    def _update_one(self, name: str, rows: dict[Any, Any]) -> Operation:
        row_id = self._random.choice(list(rows))
        vectors, payloads, changes = self._make(name, [row_id])
        old = rows[row_id][1]
        key = ("row", name, row_id)
        changes = {key: (changes[key][0], {**old, "tag": payloads[0]["tag"]})}
        text = f"UPDATE {name} SET vector = $1, tag = $2 WHERE id = $3"
        params = [vectors[0], payloads[0]["tag"], row_id]
        return Operation(f"{text} ({row_id!r})", lambda db: db.execute(text, params), changes, 1)

    def _transact(self, name: str, rows: dict[Any, Any]) -> Operation:
        """Some rows go, others come, one changes: at once."""
        changed, *gone = self._random.sample(list(rows), min(len(rows), self._random.randint(1, 10)))
        ids = self._new_ids(self._random.randint(1, 10))
        vectors, payloads, changes = self._make(name, ids)
        vector, payload = rows[changed]
        mark = self._random.randrange(1000)
        changes |= {("row", name, changed): (vector, {**payload, "mark": mark})}
        changes |= {("row", name, row_id): None for row_id in gone}

        def call(db: reddb.Client) -> reddb.Result:
            with db.session() as session:
                session.execute("BEGIN")
                session.execute(f"DELETE FROM {name} WHERE id IN ($1)", [gone])
                session.insert(name, ids, vectors, payloads)
                session.execute(f"UPDATE {name} SET mark = {mark} WHERE id = $1", [changed])
                return session.execute("COMMIT")

        text = f"transaction on {name}: insert {ids}, delete {gone}, update {changed!r}"
        return Operation(text, call, changes, len(ids) + len(gone) + 1)

    # --- definitions and work ------------------------------------------------------------------------------

    def _work(self, name: str) -> Operation:
        verb = self._random.choice(["SEAL", "SEAL", "SEAL", "CHECKPOINT", "COMPACT", "REBUILD"])
        return _statement(f"ALTER COLLECTION {name} {verb}", {})

    def _set(self) -> Operation:
        name = self._random.choice(list(MAIN))
        setting, least, most = _SETTINGS[self._number]
        value = self._random.randint(least, most)
        changes = {("setting", name, setting): value}
        if setting == "m" and self._random.random() < 0.3:
            return _statement(f"ALTER COLLECTION {name} REBUILD WITH (m = {value})", changes)
        return _statement(f"ALTER COLLECTION {name} SET ({setting} = {value})", changes)

    def _index(self) -> Operation:
        name, field = _INDEXES[self._number]
        key = ("index", name, field)
        if self._ledger.get(key):
            return _statement(f"DROP INDEX ON {name} ({field})", {key: None})
        return _statement(f"CREATE INDEX ON {name} ({field})", {key: True})

    def _alias(self) -> Operation:
        alias = f"alias_{self._number}"
        key = ("alias", alias)
        if self._ledger.get(key) is not None and self._random.random() < 0.3:
            return _statement(f"DROP ALIAS {alias}", {key: None})
        name = self._random.choice(list(MAIN))
        return _statement(f"CREATE OR REPLACE ALIAS {alias} FOR {name}", {key: name})

    def _own_definition(self) -> Operation:
        if self._ledger.get(("collection", self._own)) is None:
            return creation(self._own, *self._random.choice(_OWN))
        if self._random.random() < 0.5:
            rows = self._ledger.under("row", self._own)
            return _statement(f"TRUNCATE COLLECTION {self._own}", dict.fromkeys(rows))
        changes: Changes = {("collection", self._own): None}
        for kind in ("row", "setting", "index"):
            changes |= dict.fromkeys(self._ledger.under(kind, self._own))
        return _statement(f"DROP COLLECTION {self._own}", changes)


def creation(name: str, kind: str, dim: int, metric: str, settings: str) -> Operation:
    """CREATE COLLECTION, with the smallest `seal_rows` there is."""
    fields = "who INT NOT NULL, n INT, tag TEXT"
    text = f"CREATE COLLECTION {name} KIND {kind} DIM {dim} METRIC {metric} FIELDS ({fields}, *)"
    values = dict(item.split(" = ") for item in settings.split(", "))
    numbers = {("setting", name, key): int(value) for key, value in values.items() if value.isdecimal()}
    changes = {("collection", name): (kind, dim, metric), **numbers}
    return _statement(f"{text} WITH (seal_rows = 1024, {settings})", changes)


def _statement(text: str, changes: Changes) -> Operation:
    return Operation(text, lambda db: db.execute(text), changes)
