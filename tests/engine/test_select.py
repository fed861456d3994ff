"""Any SELECT that hypothesis makes gives what plain Python gives, in every state of the rows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reddb
from tests.engine.select_oracle import (
    Row,
    Where,
    aggregate,
    best_of_groups,
    both,
    compared,
    either,
    grouped,
    ordered,
)

FIELDS = "FIELDS (year INT, title TEXT, price FLOAT, sold BOOL, *)"
COLUMNS = ("year", "title", "price", "sold", "free")
STATES = ("growing", "sealed", "merged", "mixed", "spread")
ROWS = 400
DIM = 4


def make_rows() -> list[Row]:
    chosen = random.Random(5)
    rows = []
    for number in range(ROWS):
        row: Row = {
            "id": number if number % 5 else f"r{number}",
            "vector": [float(chosen.randrange(-3, 4)) for _ in range(DIM)],
            "year": chosen.choice([None, 1999, 2000, 2001, 2**53 + 1, 2**53]),
            "title": chosen.choice([None, "a", "b", "ä", "zz", ""]),
            "price": chosen.choice([None, 0.25, -1.5, 7.0, 2.0**40]),
            "sold": chosen.choice([None, True, False]),
            "free": chosen.choice([None, 1, 1.0, 2, 2.5, "1", "x", True, False, -7]),
        }
        rows.append(row)
    return rows


def fill(db: Any, state: str, rows: list[Row]) -> list[Row]:
    """A collection in this state with rows that were deleted and replaced on the way; the rows in it."""
    spread = " WITH (partitions = 3)" if state == "spread" else ""
    db.execute(f"CREATE COLLECTION {state} KIND vector.turbo DIM {DIM} METRIC l2 {FIELDS}{spread}")
    kept = list(rows)
    for first in range(0, ROWS, 100):
        part = rows[first : first + 100]
        payloads = [{name: row[name] for name in COLUMNS if row[name] is not None} for row in part]
        db.insert(state, [row["id"] for row in part], np.array([row["vector"] for row in part], np.float32), payloads)
        gone = [row["id"] for row in part[10:20]]
        db.delete(state, gone)
        kept = [row for row in kept if row["id"] not in gone]
        if state in ("sealed", "merged", "spread") or (state == "mixed" and first == 100):
            db.execute(f"ALTER COLLECTION {state} SEAL")
    if state == "merged":
        db.execute(f"ALTER COLLECTION {state} COMPACT")
    late = [row["id"] for row in kept[::17]]
    db.delete(state, late)
    return [row for row in kept if row["id"] not in late]


class Filled(tuple[Any, list[Row]]):
    """The database and the rows in each of its collections."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<filled>"  # hypothesis shows arguments, and warns of long ones


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    db = reddb.connect(f"file:{tmp_path_factory.mktemp('select')}")
    kept = [fill(db, state, make_rows()) for state in STATES]
    assert all(rows == kept[0] for rows in kept)
    yield Filled((db, kept[0]))
    db.close()


# --- statements --------------------------------------------------------------------------------------------

VALUES = {
    "year": [1999, 2000, 2**53, 2000.5],
    "title": ["'a'", "'b'", "'y'", "''"],
    "price": [0.25, 7, -2],
    "free": [1, 2.5, "'x'", "TRUE"],
}
OPERATORS = ["=", "<>", "<", "<=", ">", ">="]


def plain(written: Any) -> Any:
    if written in ("TRUE", "FALSE"):
        return written == "TRUE"
    return written[1:-1] if isinstance(written, str) else written


@st.composite
def comparisons(draw: st.DrawFn) -> Where:
    column = draw(st.sampled_from(sorted(VALUES)))
    if draw(st.integers(0, 4)) == 0:
        return f"{column} IS NULL", lambda row: row[column] is None
    operator, value = draw(st.sampled_from(OPERATORS)), draw(st.sampled_from(VALUES[column]))
    return f"{column} {operator} {value}", lambda row: compared(operator, row[column], plain(value))


def joined(left: Where, right: Where, word: str) -> Where:
    join = both if word == "AND" else either
    return f"({left[0]} {word} {right[0]})", lambda row: join(left[1](row), right[1](row))


conditions = st.recursive(
    comparisons(),
    lambda inner: st.builds(joined, inner, inner, st.sampled_from(["AND", "OR"])),
    max_leaves=3,
)
wheres = st.none() | conditions


@st.composite
def order_keys(draw: st.DrawFn, columns: list[str]) -> tuple[str, bool, bool]:
    column, descending = draw(st.sampled_from(columns)), draw(st.booleans())
    nulls = draw(st.sampled_from([None, True, False]))
    return column, descending, descending if nulls is None else nulls


def written_order(keys: list[tuple[str, bool, bool]]) -> str:
    return ", ".join(
        f"{column}{' DESC' if descending else ''} NULLS {'FIRST' if first else 'LAST'}"
        for column, descending, first in keys
    )


def matching(rows: list[Row], where: Where | None) -> list[Row]:
    return rows if where is None else [row for row in rows if where[1](row) is True]


def clause(where: Where | None) -> str:
    return "" if where is None else f" WHERE {where[0]}"


def check(db: Any, text: str, expected: list[list[Any]], *, in_order: bool = True) -> None:
    for state in STATES:
        found = [list(row) for row in db.execute(text.format(state))]
        mine, right = [list(map(repr_of, row)) for row in found], [list(map(repr_of, row)) for row in expected]
        assert (mine if in_order else sorted(mine)) == (right if in_order else sorted(right)), text.format(state)


def repr_of(value: Any) -> str:
    """1 and 1.0 are equal and which of them stands for a group is not promised; TRUE is neither."""
    if type(value) is float or (type(value) is int and abs(value) < 2**53):
        return f"{value:.15g}"
    return repr(value)


quick = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(data=st.data())
def test_rows_are_filtered_ordered_and_cut(filled, data):
    db, rows = filled
    where = data.draw(wheres)
    columns = [*COLUMNS, "id"]
    keys = data.draw(st.lists(order_keys(columns), max_size=3))
    keys.append(("id", data.draw(st.booleans()), False))
    limit, offset = data.draw(st.none() | st.integers(0, 60)), data.draw(st.none() | st.integers(0, 60))
    text = f"SELECT id, free, year FROM {{}}{clause(where)} ORDER BY {written_order(keys)}"
    right = ordered(matching(rows, where), keys)[offset or 0 :]
    if limit is not None:
        text, right = f"{text} LIMIT {limit}", right[:limit]
    text += "" if offset is None else f" OFFSET {offset}"
    check(db, text, [[row["id"], row["free"], row["year"]] for row in right])


AGGREGATES = [
    ("count", None, False),
    *((name, column, False) for name in ("count", "min", "max") for column in COLUMNS),
    *(("count", column, True) for column in COLUMNS),
    *(
        (name, column, distinct)
        for name in ("sum", "avg")
        for column in ("year", "price")
        for distinct in (False, True)
    ),
]


def written_aggregate(name: str, column: str | None, distinct: bool) -> str:
    return f"{name}({'DISTINCT ' if distinct else ''}{column or '*'})"


@quick
@given(
    wheres,
    st.lists(st.sampled_from(COLUMNS), max_size=2, unique=True),
    st.lists(st.sampled_from(AGGREGATES), min_size=1, max_size=3),
    st.none() | st.integers(0, 20),
    st.none() | st.integers(0, 6),
    st.booleans(),
    st.booleans(),
)
def test_groups_have_their_aggregates(filled, where, keys, wanted, least, limit, descending, nulls_first):
    db, rows = filled
    groups = grouped(matching(rows, where), keys)
    if least is not None:
        groups = [group for group in groups if len(group) >= least]
    right = [
        {**{key: group[0][key] for key in keys}, **{str(at): aggregate(*item, group) for at, item in enumerate(wanted)}}
        for group in groups
    ]
    order = [("0", descending, nulls_first), *((key, False, False) for key in keys)]
    right = ordered(right, order)[: len(right) if limit is None else limit]
    by = [written_aggregate(*wanted[0]), *keys]
    text = f"SELECT {', '.join([*keys, *(written_aggregate(*item) for item in wanted)])} FROM {{}}{clause(where)}"
    text += f" GROUP BY {', '.join(keys)}" if keys else ""
    text += "" if least is None else f" HAVING count(*) >= {least}"
    text += f" ORDER BY {written_order([(name, *key[1:]) for name, key in zip(by, order, strict=True)])}"
    text += "" if limit is None else f" LIMIT {limit}"
    check(db, text, [list(row.values()) for row in right])


@quick
@given(data=st.data())
def test_distinct_rows_are_there_once(filled, data):
    db, rows = filled
    where = data.draw(wheres)
    columns = data.draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3, unique=True))
    found = [group[0] for group in grouped(matching(rows, where), columns)]
    keys = [(column, data.draw(st.booleans()), data.draw(st.booleans())) for column in columns]
    limit = data.draw(st.integers(0, 40))
    text = f"SELECT DISTINCT {', '.join(columns)} FROM {{}}{clause(where)} ORDER BY {written_order(keys)} LIMIT {limit}"
    check(db, text, [[row[column] for column in columns] for row in ordered(found, keys)[:limit]])


# --- distances ---------------------------------------------------------------------------------------------


def with_distances(rows: list[Row], query: list[float]) -> list[Row]:
    def far(row: Row) -> float:
        return float(np.sqrt(sum((mine - its) ** 2 for mine, its in zip(row["vector"], query, strict=True))))

    return [{**row, "distance": far(row)} for row in rows]


queries = st.lists(st.integers(-3, 3), min_size=DIM, max_size=DIM)


@quick
@given(data=st.data())
def test_rows_by_distance_and_further_keys(filled, data):
    """Coordinates are few, so that many rows are equally far."""
    db, rows = filled
    where, query = data.draw(wheres), data.draw(queries)
    descending = data.draw(st.booleans())
    keys = [("distance", descending, False), *data.draw(st.lists(order_keys(["title", "free"]), max_size=1))]
    keys.append(("id", data.draw(st.booleans()), False))
    limit, offset = data.draw(st.integers(0, 40)), data.draw(st.integers(0, 20))
    right = ordered(with_distances(matching(rows, where), query), keys)[offset:][:limit]
    order = written_order(keys).replace("distance", f"vector <-> {query}", 1)
    text = f"SELECT id, distance FROM {{}}{clause(where)} ORDER BY {order} LIMIT {limit} OFFSET {offset}"
    check(db, text, [[row["id"], row["distance"]] for row in right])


@quick
@given(data=st.data())
def test_all_rows_within_a_distance(filled, data):
    db, rows = filled
    where, query = data.draw(wheres), data.draw(queries)
    reach, operator = data.draw(st.sampled_from([0.0, 1.0, 2.0, 3.5, 5.0])), data.draw(st.sampled_from(["<", "<="]))
    limit = data.draw(st.none() | st.integers(0, 30))
    near = [row for row in with_distances(matching(rows, where), query) if compared(operator, row["distance"], reach)]
    right = ordered(near, [("distance", False, False), ("id", False, False)])[:limit]
    within = f"vector <-> {query} {operator} {reach}"
    if operator == "<=" and data.draw(st.booleans()):
        within = f"vector <-> {query} BETWEEN 0 AND {reach}"
    rest = "" if where is None else f" AND {where[0]}"
    end = "" if limit is None else f" LIMIT {limit}"
    expected = [[row["id"], row["distance"]] for row in right]
    check(db, f"SELECT id, distance FROM {{}} WHERE {within}{rest} ORDER BY distance, id{end}", expected)
    if limit is None:
        check(db, f"SELECT id, distance FROM {{}} WHERE {within}{rest}", expected, in_order=False)
        if operator == "<=":
            search = f"VECTOR SEARCH {{}} SIMILAR TO {query}{clause(where)} THRESHOLD {reach}"
            check(db, search, expected, in_order=False)


@quick
@given(data=st.data())
def test_the_best_rows_of_the_nearest_groups(filled, data):
    db, rows = filled
    where, query = data.draw(wheres), data.draw(queries)
    key = data.draw(st.sampled_from(COLUMNS))
    groups, per_group = data.draw(st.integers(0, 7)), data.draw(st.integers(0, 70))
    near = ordered(with_distances(matching(rows, where), query), [("distance", False, False), ("id", True, False)])
    right = best_of_groups(near, key, groups, per_group)
    text = (
        f"SELECT id, distance FROM {{}}{clause(where)} GROUP BY {key} "
        f"ORDER BY vector <-> {query}, id DESC LIMIT {groups} PER GROUP {per_group}"
    )
    check(db, text, [[row["id"], row["distance"]] for row in right])


# --- paging ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_pages_by_offset_neither_repeat_nor_leave_out(filled, state):
    """Without a key that tells rows apart, too."""
    db, rows = filled
    for order in ("title", "vector <-> [0, 0, 0, 0]", "vector <-> [0, 0, 0, 0] DESC", "vector <-> [1, 0, 0, 0], sold"):
        seen: list[Any] = []
        for page in range(0, ROWS, 30):
            text = f"SELECT id FROM {state} ORDER BY {order} LIMIT 30 OFFSET {page}"
            seen += [row[0] for row in db.execute(text)]
        assert len(seen) == len(rows)
        assert set(seen) == {row["id"] for row in rows}


@pytest.mark.parametrize("state", STATES)
def test_pages_by_id_neither_repeat_nor_leave_out(filled, state):
    db, rows = filled
    for kind, last in ((int, -1), (str, "")):
        wanted = sorted(row["id"] for row in rows if type(row["id"]) is kind)
        seen: list[Any] = []
        where = "id > $1 AND id >= 0" if kind is int else "id > $1"
        while page := list(db.execute(f"SELECT id FROM {state} WHERE {where} ORDER BY id LIMIT 37", [last])):
            seen += [row[0] for row in page]
            last = seen[-1]
        assert seen == wanted
