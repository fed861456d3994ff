"""Which way a SELECT is read: the shortest that is sure to give the answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reddb import limits
from reddb.fields import Field, FieldType
from reddb.grammar import parse
from reddb.query.binder import bind
from reddb.query.read_plans import CountPlan, GetPlan, Nearest, ScanPlan, SearchPlan, SelectPlan, ViewPlan
from tests.engine.partitions import collection

CATALOG = {"docs": collection(dim=2, metric="l2", fields=[Field("year", FieldType.INT)])}
NEAR = "ORDER BY vector <-> [1, 2]"


def plan(text: str) -> Any:
    return bind(parse(text), text, (), CATALOG)


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT id FROM docs {NEAR}",
        f"SELECT upper(a), 1 - distance AS s, score FROM docs WHERE year > 3 {NEAR} LIMIT 5 OFFSET 5",
        "SELECT id, vector <-> [1, 2] AS d FROM docs ORDER BY d LIMIT 5",
        "SELECT id, vector <-> [1, 2] AS d FROM docs ORDER BY 2",
        "SELECT id FROM docs WHERE vector NEAR [1, 2]",
        "SELECT id FROM docs WHERE vector NEAR [1, 2] AND year = 3 ORDER BY distance",
        "SELECT id FROM docs WHERE vector NEAR [1, 2] ORDER BY score DESC",
        "SELECT id FROM docs WHERE vector <-> [1, 2] < 3 LIMIT 5",
        f"SELECT id FROM docs WHERE [1, 2] <-> vector BETWEEN 0 AND 3 {NEAR} LIMIT 5",
        f"SELECT id FROM docs WHERE 0.5 <= score {NEAR} LIMIT 5",
        f"SELECT DISTINCT id, year FROM docs {NEAR} LIMIT 5",
        f"SELECT id FROM docs {NEAR}, id LIMIT 5",
        "VECTOR SEARCH docs SIMILAR TO ID (1, 2) NOT LIKE ID (3) THRESHOLD 2 LIMIT 5",
        "VECTOR SEARCH docs SIMILAR TO [1, 2] METRIC l2 MIN_SCORE 0.5 LIMIT 5 OFFSET 5",
    ],
)
def test_the_short_way_of_a_search(text):
    assert isinstance(plan(text), SearchPlan)


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT id FROM docs {NEAR}, year LIMIT 5",
        f"SELECT id FROM docs WHERE vector <-> [1, 2] < 3 {NEAR}, id DESC LIMIT 5 WITH (ef = 9)",
        f"SELECT id FROM docs GROUP BY year {NEAR} LIMIT 5 PER GROUP 2",
        "VECTOR SEARCH docs SIMILAR TO [1, 2] GROUP BY year WITH (recall = 0.9)",
    ],
)
def test_an_index_with_more_rows_if_need_be(text):
    found = plan(text)
    assert isinstance(found, SelectPlan)
    assert found.nearest is not None
    assert found.nearest.options is not None


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM docs WHERE vector <-> [1, 2] < 3",
        f"SELECT id FROM docs WHERE distance > 3 {NEAR} LIMIT 5",
        f"SELECT id FROM docs WHERE distance < 3 OR year = 3 {NEAR} LIMIT 5",
        f"SELECT id FROM docs WHERE (distance, id) > (1, 2) {NEAR}, id LIMIT 5",
        f"SELECT id FROM docs {NEAR} DESC LIMIT 5",
        "SELECT id FROM docs ORDER BY year, vector <-> [1, 2] LIMIT 5",
        f"SELECT DISTINCT year, distance FROM docs {NEAR}, year LIMIT 5",
        f"SELECT distance, count(*) FROM docs GROUP BY distance {NEAR} LIMIT 5",
        "VECTOR SEARCH docs SIMILAR TO [1, 2] THRESHOLD 3",
        "VECTOR SEARCH docs SIMILAR TO [1, 2] METRIC manhattan LIMIT 5",
    ],
)
def test_all_rows_that_match_are_compared(text):
    found = plan(text)
    assert isinstance(found, SelectPlan)
    assert found.nearest is not None
    assert found.nearest.options is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("SELECT id FROM docs WHERE id = 7", GetPlan),
        ("SELECT upper(a) AS b FROM docs WHERE id IN (1, 'b') LIMIT 1", GetPlan),
        ("SELECT year + 1 FROM docs WHERE year > 3 LIMIT 5", ScanPlan),
        ("SELECT count(*) FROM docs WHERE year > 3", CountPlan),
        ("SELECT count(*) AS n FROM docs WHERE id IN (1, 2)", CountPlan),
        ("SELECT id FROM docs", SelectPlan),
        ("SELECT id FROM docs WHERE id = 7 AND year = 3", SelectPlan),
        ("SELECT count(*) FROM docs LIMIT 1", SelectPlan),
        ("SELECT count(*) FROM docs WHERE vector <-> [1, 2] < 3", SelectPlan),
        ("SELECT id FROM docs ORDER BY vector <=> [1, 2] LIMIT 5", SelectPlan),
        ("SELECT 1", ViewPlan),
        ("SELECT * FROM red.collections", ViewPlan),
    ],
)
def test_the_way_of_other_reads(text, kind):
    assert isinstance(plan(text), kind)


def test_ids_are_looked_up_and_the_rest_is_asked_of_these_rows():
    found = plan("SELECT a FROM docs WHERE year = 3 AND id IN (1, 2) AND vector <-> [1, 2] < 3 ORDER BY a")
    assert found.ids == [1, 2]
    assert found.predicate is None
    assert found.selection.condition.columns == {"year", "distance"}
    assert found.nearest == Nearest(found.nearest.query, CATALOG["docs"].metric)
    assert np.array_equal(found.nearest.query, [[1, 2]])


def test_what_looks_at_distances_is_no_mask_to_keep():
    found = plan("SELECT id FROM docs WHERE year = 3 AND vector <-> [1, 2] > 3 AND cosine_distance(vector, [1, 2]) > 0")
    assert found.predicate.columns == {"year"}
    assert found.selection.condition.columns == {"vector"}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("SELECT id FROM docs", None),
        ("SELECT id FROM docs WHERE vector <-> [1, 2] < 3", None),
        ("SELECT id FROM docs WHERE distance > 3 ORDER BY vector <-> [1, 2]", limits.K_DEFAULT),
        ("SELECT id FROM docs GROUP BY year ORDER BY vector <-> [1, 2] LIMIT 4 PER GROUP 2", 4),
        ("VECTOR SEARCH docs SIMILAR TO [1, 2] GROUP BY year", limits.K_DEFAULT),
        ("VECTOR SEARCH docs SIMILAR TO [1, 2] METRIC ip", limits.K_DEFAULT),
    ],
)
def test_how_many_rows_without_a_limit(text, limit):
    assert plan(text).selection.limit == limit
