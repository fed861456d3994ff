"""The calls of a client with values of any kind: conditions, options, ids, vectors, payloads, names, times."""

from __future__ import annotations

import random
import re
from typing import Any

import reddb
from tests.fuzz.material import CORPUS, NAMES, VALUES, any_value, mutated
from tests.fuzz.report import Report

_CONDITIONS = [
    *(found[1] for text in CORPUS if (found := re.search(r"\bWHERE\b(.*?)(?:;|ORDER BY|LIMIT|$)", text))),
    *("year > 1995", "title LIKE 'title 1%' AND year IN (1991, 1992)", "id = 3", "tags && ['a']", "year = $1"),
]


def ask_where(db: reddb.Client, rng: random.Random, report: Report) -> None:
    where: Any = mutated(rng, rng.choice(_CONDITIONS), _CONDITIONS) if rng.random() < 0.95 else any_value(rng)
    params = rng.choice([None, [], [rng.choice(VALUES)], {"a": rng.choice(VALUES)}])
    name = rng.choice(["docs", "books"])
    if rng.random() < 0.9:
        report.ask("where", (where, params), lambda: db.search(name, [1, 2], k=3, where=where, params=params))
    else:
        report.ask("where", (where, params), lambda: db.delete(name, where=where, params=params))


def ask_options(db: reddb.Client, rng: random.Random, report: Report) -> None:
    names = ["k", "ef", "recall", "exact", "with_payloads", "with_vectors", "with_report", "params", "timeout_s"]
    words = {name: any_value(rng) for name in rng.sample(names, rng.choice([1, 1, 1, 2, 3]))}
    report.ask("option", words, lambda: db.search("docs", [1, 2], **words))


def ask_ids(db: reddb.Client, rng: random.Random, report: Report) -> None:
    ids = any_value(rng)
    call = rng.choice([db.get, db.delete, lambda name, ids: db.upsert(name, ids, [[1, 2]])])
    report.ask("id", ids, lambda: call("docs", ids))


def ask_vectors(db: reddb.Client, rng: random.Random, report: Report) -> None:
    vectors = any_value(rng)
    name = rng.choice(["docs", "books"])
    call = rng.choice([db.search, lambda name, vectors: db.upsert(name, [1], vectors)])
    report.ask("vector", vectors, lambda: call(name, vectors))
    rows = [[any_value(rng), rng.choice(VALUES)]]
    report.ask("vector", rows, lambda: call(name, rows))


def ask_payloads(db: reddb.Client, rng: random.Random, report: Report) -> None:
    keys = ["title", "year", "price", "ok", "at", "tags", "nums", "meta", "expires_at", "free", "id", "vector", "", "é"]
    payload: Any = {rng.choice(keys): any_value(rng) for _ in range(rng.choice([1, 1, 2, 5]))}
    payloads = [payload] if rng.random() < 0.95 else any_value(rng)
    report.ask("payload", payloads, lambda: db.upsert("docs", [rng.randrange(100)], [[1, 2]], payloads))


def ask_names(db: reddb.Client, rng: random.Random, report: Report) -> None:
    name = rng.choice([*NAMES, any_value(rng)])
    call = rng.choice(
        [
            lambda: db.get(name, 1),
            lambda: db.search(name, [1, 2]),
            lambda: db.delete(name, where="id = 1"),
            lambda: db.insert(name, [1], [[1, 2]]),
            lambda: db.execute(name),
            lambda: db.prepare(name),
            lambda: db.ping(timeout_s=name),
        ]
    )
    report.ask("name", name, call)
