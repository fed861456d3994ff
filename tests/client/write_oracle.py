"""Statements that write rows, beside what they mean for a dict: an oracle that shares nothing with the database.

A table is a dict from id to (vector, payload) in which a payload has `n` and may have `m`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

Table: TypeAlias = dict[Any, tuple[list[float], dict[str, Any]]]


class Duplicate(Exception):
    """The statement inserts an id that exists."""


@dataclass(frozen=True)
class Statement:
    """A text, and its effect on a table in place: returns the rows it affects, or raises Duplicate."""

    text: str
    apply: Callable[[Table], int]


def any_statement(random: Random, name: str, ids: Sequence[Any]) -> Statement:
    """One that is allowed in a transaction."""
    make = random.choice([_insert, _insert, _upsert, _do_nothing, _do_update, _replace, _update, _update, _delete])
    return make(random, name, ids)


def _rows(random: Random, ids: Sequence[Any]) -> list[tuple[Any, list[float], int]]:
    chosen = random.sample(list(ids), random.randint(1, 3))
    return [(row_id, [float(random.randint(0, 9)), 1.0], random.randint(0, 9)) for row_id in chosen]


def _values(rows: list[tuple[Any, list[float], int]]) -> str:
    return ", ".join(f"({row_id!r}, {vector}, {n})" for row_id, vector, n in rows)


def _insert(random: Random, name: str, ids: Sequence[Any]) -> Statement:
    rows = _rows(random, ids)

    def apply(table: Table) -> int:
        if any(row_id in table for row_id, _, _ in rows):
            raise Duplicate
        table.update({row_id: (vector, {"n": n}) for row_id, vector, n in rows})
        return len(rows)

    return Statement(f"INSERT INTO {name} (id, vector, n) VALUES {_values(rows)}", apply)


def _upsert(random: Random, name: str, ids: Sequence[Any]) -> Statement:
    rows = _rows(random, ids)

    def apply(table: Table) -> int:
        table.update({row_id: (vector, {"n": n}) for row_id, vector, n in rows})
        return len(rows)

    return Statement(f"UPSERT INTO {name} (id, vector, n) VALUES {_values(rows)}", apply)


def _do_nothing(random: Random, name: str, ids: Sequence[Any]) -> Statement:
    rows = _rows(random, ids)

    def apply(table: Table) -> int:
        new = {row_id: (vector, {"n": n}) for row_id, vector, n in rows if row_id not in table}
        table.update(new)
        return len(new)

    return Statement(f"INSERT INTO {name} (id, vector, n) VALUES {_values(rows)} ON CONFLICT DO NOTHING", apply)


def _do_update(random: Random, name: str, ids: Sequence[Any]) -> Statement:
    rows = _rows(random, ids)

    def apply(table: Table) -> int:
        for row_id, vector, n in rows:
            if row_id in table:
                old = table[row_id][1]
                table[row_id] = (vector, {**old, "n": old["n"] + n, "m": old["n"]})
            else:
                table[row_id] = (vector, {"n": n})
        return len(rows)

    clause = "ON CONFLICT (id) DO UPDATE SET n = n + excluded.n, m = n, vector = excluded.vector"
    return Statement(f"INSERT INTO {name} (id, vector, n) VALUES {_values(rows)} {clause}", apply)


def _replace(random: Random, name: str, ids: Sequence[Any]) -> Statement:
    upsert = _upsert(random, name, ids)
    return Statement(upsert.text.replace("UPSERT", "INSERT", 1) + " ON CONFLICT DO UPDATE", upsert.apply)


def _update(random: Random, name: str, ids: Sequence[Any]) -> Statement:
    chosen, more = random.sample(list(ids), random.randint(1, 4)), random.randint(1, 9)

    def apply(table: Table) -> int:
        found = [row_id for row_id in chosen if row_id in table]
        for row_id in found:
            vector, payload = table[row_id]
            table[row_id] = (vector, {**payload, "n": payload["n"] * 2 + more, "m": payload["n"]})
        return len(found)

    return Statement(f"UPDATE {name} SET n = n * 2 + {more}, m = n WHERE id IN ({_listed(chosen)})", apply)


def _delete(random: Random, name: str, ids: Sequence[Any]) -> Statement:
    chosen = random.sample(list(ids), random.randint(1, 3))

    def apply(table: Table) -> int:
        return sum(table.pop(row_id, None) is not None for row_id in chosen)

    return Statement(f"DELETE FROM {name} WHERE id IN ({_listed(chosen)})", apply)


def _listed(ids: Sequence[Any]) -> str:
    return ", ".join(map(repr, ids))
