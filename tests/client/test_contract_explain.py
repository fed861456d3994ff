"""EXPLAIN on all faces: the plan as a tree, where values come from, what was measured, and that nothing changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import reddb

ROWS, DIM = 6_000, 32
VECTORS = np.random.default_rng(5).standard_normal((ROWS, DIM)).astype(np.float32)
YEARS = [2000 + row % 10 for row in range(ROWS)]
QUERY = np.random.default_rng(6).standard_normal(DIM).astype(np.float32)


@pytest.fixture
def docs(db: Any, name: str) -> str:
    """4,000 sealed rows and 2,000 growing ones."""
    db.execute(
        f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM} METRIC l2 FIELDS (year INT) WITH (oversample = 5)"
    )
    for first, last in ((0, 4_000), (4_000, ROWS)):
        payloads = [{"year": year} for year in YEARS[first:last]]
        db.insert(name, ids=range(first, last), vectors=VECTORS[first:last], payloads=payloads)
        if first == 0:
            db.execute(f"ALTER COLLECTION {name} SEAL")
    return name


def lines(db: Any, text: str, parameters: Any = ()) -> list[str]:
    result = db.execute(text, parameters)
    assert result.columns == ["plan"]
    return [line for (line,) in result]


def tree(db: Any, text: str, parameters: Any = ()) -> dict[str, Any]:
    """The same statement as JSON."""
    ((plan,),) = db.execute(text.replace("EXPLAIN", "EXPLAIN (FORMAT json)", 1), parameters)
    parsed: dict[str, Any] = json.loads(plan)
    return parsed


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("plans", []):
        yield from nodes(child)


def named(plan: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [node for node in nodes(plan) if node["node"] == name]


def test_a_search_is_a_tree(db: Any, docs: str) -> None:
    shown = lines(db, f"EXPLAIN SELECT id, distance FROM {docs} WHERE year > 2004 ORDER BY vector <-> $1", [QUERY])
    assert shown[0] == "Select id, distance: limit 10 (default)"
    assert shown[1] == f"└─ Search {docs}: metric l2, k 10, ef 192 (default), oversample 5 (collection)"
    assert re.fullmatch(r"   ├─ Filter year > 2004: about [\d,]+ of 6,000 rows match", shown[2])
    assert shown[3].startswith("   ├─ Segment 1: sealed, 4,000 rows, ")
    assert shown[4].startswith("   └─ Segment 2: growing, 2,000 rows, ")
    about = int(re.sub(r".*about ([\d,]+) of.*", r"\1", shown[2]).replace(",", ""))
    assert abs(about - sum(year > 2004 for year in YEARS)) < 0.1 * ROWS


@pytest.mark.parametrize(
    ("clause", "detail"),
    [
        ("WITH (ef = 70)", {"ef": {"value": 70, "from": "statement"}}),
        ("WITH (recall = 0.9)", {"recall": {"value": 0.9, "from": "statement"}}),
        ("WITH (exact = true)", {"exact": {"value": True, "from": "statement"}}),
        ("", {"oversample": {"value": 5, "from": "collection"}, "ef": {"value": 192, "from": "default"}}),
    ],
)
def test_values_say_where_they_come_from(db: Any, docs: str, clause: str, detail: dict[str, Any]) -> None:
    plan = tree(db, f"EXPLAIN SELECT id FROM {docs} ORDER BY vector <-> $1 LIMIT 3 {clause}", [QUERY])
    assert plan["limit"] == {"value": 3, "from": "statement"}
    (search,) = named(plan, "Search")
    assert search.items() >= detail.items()


def test_values_of_the_session_say_so(db: Any, docs: str) -> None:
    with db.session() as session:
        session.execute("SET ef = 55")
        plan = tree(session, f"EXPLAIN SELECT id FROM {docs} ORDER BY vector <-> $1", [QUERY])
    (search,) = named(plan, "Search")
    assert search["ef"] == {"value": 55, "from": "session"}


def test_analyze_counts_what_was_done(db: Any, docs: str) -> None:
    text = f"EXPLAIN ANALYZE SELECT id FROM {docs} WHERE year = 2003 ORDER BY vector <-> $1 LIMIT 7"
    plan = tree(db, text.replace("EXPLAIN ANALYZE", "EXPLAIN").replace("SELECT", "SELECT", 1), [QUERY])
    assert not any("measured" in node for node in nodes(plan))
    ((analyzed,),) = db.execute(text.replace("ANALYZE", "(ANALYZE, FORMAT json)"), [QUERY])
    plan = json.loads(analyzed)
    assert plan["measured"]["rows"] == 7
    (search,), (matched,) = named(plan, "Search"), named(plan, "Filter")
    assert matched["measured"]["rows"] == YEARS.count(2003)
    assert plan["measured"]["us"] >= search["measured"]["us"] > 0
    candidates = [segment["measured"]["candidates"] for segment in named(plan, "Segment")]
    assert len(candidates) == 2
    assert sum(candidates) == named(plan, "Rank")[0]["measured"]["rows"] >= 7


def test_recall_is_compared_with_the_exact_answer(db: Any, docs: str) -> None:
    truth = np.argsort(np.linalg.norm(VECTORS.astype(np.float64) - QUERY, axis=1))[:50]
    search = f"SELECT id FROM {docs} ORDER BY vector <-> $1 LIMIT 50 WITH (ef = 50)"
    found = {row[0] for row in db.execute(search, [QUERY])}
    ((text,),) = db.execute(f"EXPLAIN (ANALYZE, RECALL, FORMAT json) {search}", [QUERY])
    (recall,) = named(json.loads(text), "Recall")
    assert recall["measured"]["found"] == len(found & set(truth.tolist()))
    assert recall["measured"]["wanted"] == 50
    assert recall["measured"]["recall"] == recall["measured"]["found"] / 50


def test_steps_of_a_select_are_measured(db: Any, docs: str) -> None:
    shown = lines(db, f"EXPLAIN ANALYZE SELECT id FROM {docs} WHERE year < 2002 ORDER BY year DESC, id LIMIT 5")
    assert re.match(r"Select id: limit 5 \(statement\)  \[rows 5, [\d,.]+ us\]", shown[0])
    assert re.match(r"└─ Order by year DESC, id  \[rows 5, [\d,.]+ us\]", shown[1])
    assert re.match(rf"   └─ Scan {docs}  \[rows 1,200, [\d,.]+ us\]", shown[2])
    grouped = lines(
        db, f"EXPLAIN SELECT year, avg(id) AS m FROM {docs} GROUP BY year HAVING count(*) > 3 ORDER BY m DESC"
    )
    assert grouped[1] == "└─ Group by year: aggregates avg(id), count(*), having count(*) > 3, order avg(id) DESC"


def test_other_distances_are_computed_for_all_rows(db: Any, docs: str) -> None:
    shown = lines(db, f"EXPLAIN SELECT id FROM {docs} ORDER BY vector <=> $1 LIMIT 5", [QUERY])
    assert shown[1].startswith("└─ Order by vector <=> [")
    assert shown[2].startswith(f"   └─ Scan {docs}")
    assert not any("Search" in line for line in shown)


def test_writes_are_looked_at_and_change_nothing(db: Any, docs: str) -> None:
    before = db.execute(f"SELECT count(*), sum(year) FROM {docs}")[0]
    deleted = lines(db, f"EXPLAIN ANALYZE DELETE FROM {docs} WHERE year = 2001")
    assert deleted[0] == f"Delete {docs}: durability fsync"
    assert re.match(rf"└─ Count rows  \[rows {YEARS.count(2001)}, ", deleted[1])
    assert lines(db, f"EXPLAIN UPDATE {docs} SET year = 1 WHERE id = 3")[0] == f"Update {docs}: durability fsync"
    upsert = f"UPSERT INTO {docs} (id, vector) VALUES (1, $1), (-1, $1)"
    assert re.match(
        rf"Upsert {docs}: rows 2, durability fsync  \[replaced 1, ", lines(db, f"EXPLAIN ANALYZE {upsert}", [QUERY])[0]
    )
    assert db.execute(f"SELECT count(*), sum(year) FROM {docs}")[0] == before


def test_views_and_lookups_are_explained(db: Any, docs: str) -> None:
    assert lines(db, f"EXPLAIN SELECT id FROM {docs} WHERE id IN (1, 2)")[0].startswith(f"Look up 2 ids in {docs}")
    shown = lines(db, f"EXPLAIN ANALYZE SELECT name FROM red.collections WHERE name = '{docs}'")
    assert re.match(r"Select name  \[rows 1, ", shown[0])
    assert "View red.collections" in shown[-1]


@pytest.mark.parametrize("statement", ["CREATE COLLECTION x KIND vector DIM 2", "SHOW COLLECTIONS"])
def test_what_has_no_plan_is_refused(db: Any, statement: str) -> None:
    with pytest.raises(reddb.RedDBError, match="only statements that read or write rows are explained"):
        db.execute(f"EXPLAIN {statement}")


def test_recall_needs_a_search(db: Any, docs: str) -> None:
    with pytest.raises(reddb.RedDBError, match="RECALL is for searches by vector"):
        db.execute(f"EXPLAIN ANALYZE (RECALL) SELECT count(*) FROM {docs}")
