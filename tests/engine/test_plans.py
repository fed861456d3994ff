"""Statements to plans: every clause that is understood stands in the plan."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest

from reddb import errors, limits
from reddb.fields import Field, Fields, FieldType
from reddb.grammar import parse
from reddb.query.assignments import Assignment, Fixed
from reddb.query.binder import bind
from reddb.query.plan import (
    ChangePlan,
    CountPlan,
    CreatePlan,
    DropPlan,
    ExplainPlan,
    GetPlan,
    Plan,
    Projection,
    ScanPlan,
    SearchPlan,
    SettingsPlan,
    ShowPlan,
    Work,
    WorkPlan,
    WriteKind,
    WritePlan,
)
from reddb.query.read_plans import ALL_KEYS
from reddb.query.views import VIEWS
from reddb.settings import resolve
from reddb.types import Kind, Metric, SearchOptions
from tests.engine.partitions import collection

DOCS = collection(dim=2, metric="cosine")
CATALOG = {"docs": DOCS, "points": collection(dim=2, metric="l2"), "dots": collection(dim=2, metric="ip")}
VECTOR = [1.0, 2.0]
FIELDS = Fields((Field("n", FieldType.INT, not_null=True, default=3), Field("tags", FieldType.TEXTS)))


def plan(text: str, parameters: Any = ()) -> Plan:
    return bind(parse(text), text, parameters, CATALOG)


def shown(*columns: str, all_payload: bool = False) -> Projection:
    paths = tuple((column, tuple(column.split("."))) for column in columns)
    return Projection((*paths, ALL_KEYS) if all_payload else paths)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DROP COLLECTION docs", DropPlan("docs", False)),
        ("DROP COLLECTION IF EXISTS nope", DropPlan("nope", True)),
        ("SHOW COLLECTIONS", ShowPlan(VIEWS["collections"])),
        ("SHOW COLLECTION docs", ShowPlan(VIEWS["collection"], DOCS)),
        ("SHOW SEGMENTS FOR docs", ShowPlan(VIEWS["segments"], DOCS)),
        (
            "CREATE COLLECTION c KIND vector.turbo DIM 384",
            CreatePlan("c", Kind.TURBO, 384, Metric.COSINE, resolve({}, 384), False),
        ),
        (
            "CREATE COLLECTION IF NOT EXISTS c KIND vector.turbo DIM 2 METRIC dot WITH (bits = 2, oversample = 9)",
            CreatePlan("c", Kind.TURBO, 2, Metric.IP, resolve({"bits": 2, "oversample": 9}, 2), True),
        ),
        (
            "CREATE COLLECTION c KIND vector DIM 2 METRIC hamming FIELDS (n INT NOT NULL DEFAULT 3, tags TEXT[])",
            CreatePlan("c", Kind.VECTOR, 2, Metric.HAMMING, resolve({}, 2, has_fields=True), False, FIELDS),
        ),
        ("ALTER COLLECTION docs SET (ef = 9)", SettingsPlan("docs", {"ef": 9})),
        ("ALTER COLLECTION docs SEAL", WorkPlan(DOCS, Work.SEAL)),
        ("ALTER COLLECTION docs COMPACT", WorkPlan(DOCS, Work.COMPACT)),
        ("ALTER COLLECTION docs REBUILD", WorkPlan(DOCS, Work.REBUILD)),
        ("ALTER COLLECTION docs REBUILD WITH (m = 8)", WorkPlan(DOCS, Work.REBUILD, {"m": 8})),
        (
            "EXPLAIN SELECT id FROM docs LIMIT 3",
            ExplainPlan(ScanPlan(DOCS, 3, 0, shown("id")), False, limit_from="statement"),
        ),
        ("EXPLAIN ANALYZE SELECT count(*) FROM docs", ExplainPlan(CountPlan(DOCS, None, "count"), True)),
        ("SELECT id FROM docs LIMIT 3", ScanPlan(DOCS, 3, 0, shown("id"))),
        ("SELECT a, id, vector FROM docs LIMIT 0 OFFSET 9", ScanPlan(DOCS, 0, 9, shown("a", "id", "vector"))),
        ("SELECT * FROM docs LIMIT 10000", ScanPlan(DOCS, 10_000, 0, shown("id", "vector", all_payload=True))),
        ("SELECT id AS x FROM docs LIMIT 1", ScanPlan(DOCS, 1, 0, Projection((("x", ("id",)),)))),
        ("SELECT id FROM docs WHERE id = 7", GetPlan(DOCS, [7], limits.SCAN_ROWS_MAX, 0, shown("id"))),
        ("SELECT id FROM docs WHERE id IN (7, 'a', 7) LIMIT 1 OFFSET 1", GetPlan(DOCS, [7, "a"], 1, 1, shown("id"))),
        ("SELECT a.b, a FROM docs LIMIT 1", ScanPlan(DOCS, 1, 0, shown("a.b", "a"))),
        ("SELECT count(*) FROM docs", CountPlan(DOCS, None, "count")),
        ("SELECT count(*) AS n FROM docs WHERE id IN (1, 2)", CountPlan(DOCS, [1, 2], "n")),
        ("VECTOR SEARCH docs SIMILAR TO ID 'a'", SearchPlan(DOCS, "a", SearchOptions(10), 0, shown("id", "distance"))),
    ],
)
def test_a_statement_gives_this_plan(text, expected):
    assert plan(text) == expected


@pytest.mark.parametrize(
    ("text", "options", "offset", "projection"),
    [
        ("SELECT id FROM docs ORDER BY vector <=> $1", SearchOptions(10), 0, shown("id")),
        (
            "SELECT distance, * FROM docs ORDER BY $1 <=> vector ASC LIMIT 0",
            SearchOptions(0),
            0,
            shown("distance", "id", "vector", all_payload=True),
        ),
        ("SELECT id FROM docs ORDER BY vector <=> $1 LIMIT 5 OFFSET 20", SearchOptions(25), 20, shown("id")),
        ("SELECT id FROM docs ORDER BY vector <=> $1 LIMIT 9990 OFFSET 10", SearchOptions(10_000), 10, shown("id")),
        (
            "SELECT id FROM docs ORDER BY vector <=> $1 WITH (ef = 64, exact = true)",
            SearchOptions(10, 64, True),
            0,
            shown("id"),
        ),
        (
            "SELECT id FROM docs ORDER BY vector <=> $1 WITH (recall = 0.95)",
            SearchOptions(10, recall=0.95),
            0,
            shown("id"),
        ),
        ("SELECT id FROM docs ORDER BY vector <=> $1 WITH (exact = false)", SearchOptions(10), 0, shown("id")),
        ("VECTOR SEARCH docs SIMILAR TO $1", SearchOptions(10), 0, shown("id", "distance")),
        (
            "SEARCH SIMILAR $1 COLLECTION docs K = 4 INCLUDE VECTORS INCLUDE METADATA WITH (ef = 7)",
            SearchOptions(4, 7),
            0,
            shown("id", "distance", "vector", all_payload=True),
        ),
    ],
)
@pytest.mark.parametrize("vector", [VECTOR, tuple(VECTOR), np.array(VECTOR), np.array(VECTOR, np.float16), [1, 2]])
def test_a_search_gives_this_plan(text, options, offset, projection, vector):
    found = plan(text, (vector,))
    assert isinstance(found, SearchPlan)
    assert (found.options, found.offset, found.projection) == (options, offset, projection)
    assert found.query.dtype == np.float32
    assert found.query.tolist() == [VECTOR]
    assert found.query.flags.c_contiguous


@pytest.mark.parametrize(
    "where", ["topic = 'x'", "id > 3", "id NOT IN (3)", "id = 1 OR id = 2", "NOT id = 1", "id = other", "a.b = c"]
)
def test_a_filter_stands_in_the_plan(where):
    """What is no list of ids is looked for in all rows; every statement binds the same WHERE to the same predicate."""
    scan = plan(f"SELECT id FROM docs WHERE {where} LIMIT 1")
    assert isinstance(scan, ScanPlan)
    assert scan.predicate is not None
    search = plan(f"SELECT id FROM docs WHERE {where} ORDER BY vector <=> [1, 2]")
    assert search.predicate == scan.predicate
    assert plan(f"VECTOR SEARCH docs SIMILAR TO [1, 2] WHERE {where}").predicate == scan.predicate
    assert plan(f"SELECT count(*) FROM docs WHERE {where}") == CountPlan(DOCS, None, "count", scan.predicate)
    delete = plan(f"DELETE FROM docs WHERE {where}")
    assert delete == ChangePlan(DOCS, delete.asked, None, scan.predicate)
    update = plan(f"UPDATE docs SET a = 1 WHERE {where}")
    assert update == ChangePlan(DOCS, update.asked, None, scan.predicate, (Assignment("a", Fixed(1)),))


def test_ids_of_a_search_are_a_filter():
    found = plan("SELECT id FROM docs WHERE id = 1 ORDER BY vector <=> [1, 2]")
    assert found.predicate is not None


def test_an_update_gives_values_and_vector():
    found = plan("UPDATE docs SET a = $1, vector = [1, 2], b = NULL WHERE id IN (1, 'x')", (["t"],))
    assert (found.ids, found.predicate, found.deletes) == ([1, "x"], None, False)
    values = {item.name: item.value.value for item in found.assignments}
    assert values.pop("vector").tolist() == [VECTOR]
    assert values == {"a": ["t"], "b": None}


@pytest.mark.parametrize(("name", "operator"), [("docs", "<=>"), ("points", "<->"), ("dots", "<#>")])
def test_each_metric_has_its_operator(name, operator):
    found = plan(f"SELECT id FROM {name} ORDER BY vector {operator} [1, 2]")
    assert found.query.tolist() == [VECTOR]


def payloads(found: WritePlan) -> list[Any]:
    assert found.batch.payloads is not None
    return [msgpack.unpackb(content) if content else None for content in found.batch.payloads.split()]


def test_an_insert_gives_a_batch():
    rows = "('x', [1, 2], 7, 1.5), (NULL, $1, 'b', NULL), ($2, [3, 4], -1, true)"
    found = plan(f"INSERT INTO docs (tag, vector, id, n) VALUES {rows}", ([5, 6], ["p", "q"]))
    assert isinstance(found, WritePlan)
    assert (found.collection, found.kind) == (DOCS, WriteKind.INSERT)
    assert found.batch.id_list() == [7, "b", -1]
    assert found.batch.vectors.tolist() == [[1, 2], [5, 6], [3, 4]]
    assert payloads(found) == [{"tag": "x", "n": 1.5}, None, {"tag": ["p", "q"], "n": True}]


def test_an_insert_without_payloads_has_none():
    found = plan("INSERT INTO docs (id, vector, a) VALUES (1, [1, 2], NULL)")
    assert found.batch.payloads is None


def test_named_and_positional_parameters():
    named = plan("UPSERT INTO docs (id, vector) VALUES (:id, :vector)", {"id": 3, "vector": VECTOR})
    assert (named.kind, named.batch.id_list()) == (WriteKind.UPSERT, [3])
    positional = plan("UPSERT INTO docs (id, vector) VALUES (?, ?)", (4, VECTOR))
    assert (positional.batch.id_list(), positional.batch.vectors.tolist()) == ([4], [VECTOR])
    assert plan("SELECT id FROM docs LIMIT $1 OFFSET $1", (2,)) == ScanPlan(DOCS, 2, 2, shown("id"))


@pytest.mark.parametrize(
    ("where", "parameters", "ids"),
    [
        ("id = 5", (), [5]),
        ("id = 'a'", (), ["a"]),
        ("id = $1", (-(2**63),), [-(2**63)]),
        ("id IN (1, 'a', 2)", (), [1, "a", 2]),
        ("id IN ($1)", ([1, "b", 1],), [1, "b"]),
        ("id IN ($1, 9)", ([],), [9]),
        ("id IN ($1)", ([],), []),
    ],
)
def test_a_delete_gives_the_ids(where, parameters, ids):
    found = plan(f"DELETE FROM docs WHERE {where}", parameters)
    assert (found.kind, found.batch.id_list()) == (WriteKind.DELETE, ids)
    assert found.batch.vectors.shape == (len(ids), 0)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip", "euclidean", "inner_product", "dot", "COSINE"])
def test_metrics_go_by_several_names(metric):
    found = plan(f"CREATE COLLECTION c KIND vector.turbo DIM 2 METRIC {metric}")
    aliases = {"euclidean": "l2", "inner_product": "ip", "dot": "ip", "COSINE": "cosine"}
    assert found.metric == aliases.get(metric, metric)


def test_a_create_plan_crosses_the_control_channel():
    found = plan("CREATE COLLECTION IF NOT EXISTS c KIND vector.turbo DIM 7 METRIC l2 WITH (bits = 4)")
    assert CreatePlan.from_plain(msgpack.unpackb(msgpack.packb(found.to_plain()))) == found


def test_binding_changes_no_parameter():
    given = {"v": [1.0, 2.0], "p": ["x"]}
    plan("INSERT INTO docs (id, vector, tags) VALUES (1, :v, :p)", given)
    assert given == {"v": [1.0, 2.0], "p": ["x"]}


def test_an_unknown_collection_in_an_empty_catalog():
    with pytest.raises(errors.RedDBError) as caught:
        bind(parse("SHOW COLLECTION x"), "SHOW COLLECTION x", (), {})
    assert caught.value.detail["hint"] == "there are no collections yet"
