"""Mutated statements, with parameters of any kind, and what is around them: prepared statements and variables.

A statement is parsed and bound by itself first, which is measured in processor time, and then asked.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import reddb
from reddb.grammar import ast, parse
from reddb.query.binder import bind
from reddb.query.values import parameter_keys
from reddb.session_settings import SESSION_SETTINGS
from reddb.types import Kind
from tests.engine.partitions import collection
from tests.fuzz.material import COLLECTIONS, CORPUS, EXTREMES, FIELDS, VALUES, any_value, mutated
from tests.fuzz.report import Report

_CATALOG = {
    name: replace(collection(dim=2, metric=metric, kind=Kind(kind), fields=FIELDS), name=name)
    for name, kind, metric in COLLECTIONS
}
_SETTING_VALUES = [
    "DEFAULT",
    "on",
    "off",
    "'2s'",
    "'1e99 s'",
    "-1",
    "0",
    "1",
    "0.5",
    "1.5",
    "'x'",
    "NULL",
    "$1",
    *EXTREMES,
]


def ask_statement(db: reddb.Client, rng: random.Random, report: Report) -> None:
    text = mutated(rng, rng.choice(CORPUS))
    params = _bound(text, rng, report)
    refusal = report.ask("statement", (text, params), lambda: db.execute(text, params))
    if refusal == "TRANSACTION_ABORTED":
        with suppress(reddb.RedDBError):  # where that was said by a COMMIT, it has ended
            db.execute("ROLLBACK")


def ask_parameters(db: reddb.Client, rng: random.Random, report: Report) -> None:
    """Any value where a statement has a parameter, and any thing where the parameters should be."""
    text = rng.choice(
        [
            "SELECT $1", "SELECT $1 + 1", "SELECT id FROM docs WHERE id = $1", "SELECT id FROM docs WHERE id IN ($1)",
            "SELECT id FROM docs ORDER BY vector <-> $1 LIMIT 3", "SELECT id FROM docs WHERE year IN $1",
            "SELECT id FROM docs LIMIT $1", "SELECT id FROM docs OFFSET $1", "UPDATE docs SET meta = $1 WHERE id = 1",
            "UPDATE docs SET title = $1, free = $1 WHERE id = 2", "SELECT id FROM docs WHERE tags && $1 AND year > $1",
            "UPSERT INTO docs (id, vector, title) VALUES ($1, $2, $3)", "SELECT :a", "SELECT title LIKE $1 FROM docs",
            "UPSERT INTO docs (id, vector) VALUES (1, [1, 2]) WITH TTL $1", "KILL $1", "SET ef = $1", "EXECUTE q ($1)",
            "VECTOR SEARCH docs SIMILAR TO $1 LIMIT $2", "VECTOR SEARCH docs SIMILAR TO ID ($1) THRESHOLD $2",
            "SELECT id FROM docs WHERE (distance, id) > ($1, $2) ORDER BY vector <-> $3, id LIMIT 3", "SELECT $1::INT",
        ]
    )  # fmt: skip
    params = [any_value(rng) for _ in range(text.count("$"))] if rng.random() < 0.9 else any_value(rng)
    if rng.random() < 0.5:
        report.ask("parameter", (text, params), lambda: db.execute(text, params))
    else:
        report.ask("parameter", (text, params), lambda: db.prepare(text).execute(params))


def ask_setting(db: reddb.Client, rng: random.Random, report: Report) -> None:
    """Variables and settings of collections, set to extremes, and given back."""
    name = rng.choice([*SESSION_SETTINGS, "nosuch", "red.x", ""])
    value = rng.choice(_SETTING_VALUES)
    params = [rng.choice(VALUES)] if value == "$1" else []
    text = rng.choice([f"SET {name} = {value}", f"ALTER COLLECTION docs SET ({name} = {value})", f"SHOW {name}"])
    report.ask("setting", (text, params), lambda: db.execute(text, params))
    db.execute("RESET ALL")


def _bound(text: str, rng: random.Random, report: Report) -> Any:
    """Parse and bind by themselves. Returns parameters for the statement."""
    params: Any = []
    began = time.thread_time()
    with suppress(reddb.RedDBError):  # the database is to say the same
        tree = parse(text)
        ended = time.thread_time()
        keys = parameter_keys(tree)
        given = [rng.choice(VALUES) for _ in keys]
        params = given if not keys or isinstance(keys[0], int) else dict(zip(keys, given, strict=True))
        began += time.thread_time() - ended
        if not isinstance(tree, ast.SessionCommand):
            with suppress(Exception):  # of values that no client would have let through
                bind(tree, text, params, _CATALOG)
    took_s = time.thread_time() - began
    if took_s > report.slowest_s:
        report.slowest_s, report.slowest = took_s, text
    return params
