"""Plans and rows to tables: the columns that were asked for, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reddb import errors
from reddb.fields import Field, FieldType
from reddb.grammar import parse
from reddb.query.binder import bind
from reddb.query.execute import Table, found_table, query_vector, run, show, show_one
from reddb.query.plan import SearchPlan
from reddb.settings import resolve
from reddb.types import Kind, Metric
from tests.engine.partitions import Opened, collection
from tests.storage.disks import MemoryDisk

DOCS = collection(dim=2, metric="l2", oversample=9)
IDS = ["a", 2, "c", 4]
VECTORS = [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]]
PAYLOADS = [{"tag": "x", "n": 1}, None, {"n": 3, "inner": {"deep": [1, None]}}, {"tag": None}]


@pytest.fixture(scope="module")
def opened():
    made = Opened(DOCS, disk=MemoryDisk())
    made.insert(IDS, VECTORS, PAYLOADS)
    yield made
    made.close()


def table(opened: Opened, text: str, parameters: Any = ()) -> tuple[list[str], list[list[Any]]]:
    plan = bind(parse(text), text, parameters, {"docs": DOCS})
    if isinstance(plan, SearchPlan):
        (found,) = opened.reader.search(query_vector(plan, opened.reader.view()), plan.options, plan.predicate)
        result = found_table(plan, found)
    else:
        result = run(plan, opened.reader.view())
    assert all(len(row) == len(result.columns) for row in result.rows)
    plain = [[value.tolist() if isinstance(value, np.ndarray) else value for value in row] for row in result.rows]
    return result.columns, plain


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("SELECT id FROM docs LIMIT 2", ["id"], [["a"], [2]]),
        ("SELECT id FROM docs LIMIT 9 OFFSET 3", ["id"], [[4]]),
        ("SELECT id FROM docs LIMIT 0", ["id"], []),
        (
            "SELECT n, id, missing FROM docs LIMIT 3",
            ["n", "id", "missing"],
            [[1, "a", None], [None, 2, None], [3, "c", None]],
        ),
        ("SELECT id AS x, tag AS id FROM docs LIMIT 1", ["x", "id"], [["a", "x"]]),
        ("SELECT id, id FROM docs LIMIT 1", ["id", "id"], [["a", "a"]]),
        ("SELECT vector FROM docs LIMIT 1", ["vector"], [[[1, 0]]]),
        ("SELECT inner FROM docs WHERE id = 'c'", ["inner"], [[{"deep": [1, None]}]]),
        (
            "SELECT inner.deep, tag.x FROM docs WHERE id IN ('a', 'c')",
            ["inner.deep", "tag.x"],
            [[None, None], [[1, None], None]],
        ),
        ("SELECT inner.deep AS d FROM docs WHERE n = 3 LIMIT 9", ["d"], [[[1, None]]]),
        ("SELECT id FROM docs WHERE n >= 1 LIMIT 9", ["id"], [["a"], ["c"]]),
        ("SELECT id FROM docs WHERE n >= 1 LIMIT 9 OFFSET 1", ["id"], [["c"]]),
        ("SELECT id FROM docs WHERE tag IS NULL LIMIT 9", ["id"], [[2], ["c"], [4]]),
        ("SELECT id FROM docs WHERE id > 2 LIMIT 9", ["id"], [[4]]),
        ("SELECT id FROM docs WHERE NOT id = 2 AND id != 'a' LIMIT 9", ["id"], [["c"], [4]]),
        ("SELECT count(*) FROM docs WHERE n > 1", ["count"], [[1]]),
        ("SELECT count(*) FROM docs WHERE n > 99", ["count"], [[0]]),
        ("SELECT id FROM docs WHERE n >= 1 ORDER BY vector <-> [9, 0] LIMIT 5", ["id"], [["c"], ["a"]]),
        ("SELECT id FROM docs WHERE id = 2 ORDER BY vector <-> [9, 0]", ["id"], [[2]]),
        ("VECTOR SEARCH docs SIMILAR TO [9, 0] WHERE tag = 'x'", ["id", "distance"], [["a", 8]]),
        ("VECTOR SEARCH docs SIMILAR TO [9, 0] WHERE n > 99", ["id", "distance"], []),
        ("SELECT id FROM docs WHERE id IN (4, 'zzz', 'a', 2)", ["id"], [[4], ["a"], [2]]),
        ("SELECT id FROM docs WHERE id IN (4, 'zzz', 'a', 2) LIMIT 1 OFFSET 1", ["id"], [["a"]]),
        ("SELECT id FROM docs WHERE id = 99", ["id"], []),
        ("SELECT count(*) FROM docs", ["count"], [[4]]),
        ("SELECT count(*) AS n FROM docs WHERE id IN (2, 99)", ["n"], [[1]]),
        ("SELECT id, distance FROM docs ORDER BY vector <-> [0, 0] LIMIT 2", ["id", "distance"], [["a", 1], [2, 2]]),
        ("SELECT id FROM docs ORDER BY vector <-> [5, 0] LIMIT 2 OFFSET 1", ["id"], [["c"], [2]]),
        ("SELECT id FROM docs ORDER BY vector <-> [5, 0] LIMIT 2 OFFSET 9", ["id"], []),
        ("VECTOR SEARCH docs SIMILAR TO ID 2 LIMIT 1", ["id", "distance"], [[2, 0]]),
        (
            "VECTOR SEARCH docs SIMILAR TO [4, 1] LIMIT 1 INCLUDE VECTORS",
            ["id", "distance", "vector"],
            [[4, 1, [4, 0]]],
        ),
    ],
)
def test_a_statement_gives_this_table(opened, text, columns, rows):
    assert table(opened, text) == (columns, rows)


def test_a_star_shows_every_key_in_the_order_they_come(opened):
    assert table(opened, "SELECT * FROM docs LIMIT 4") == (
        ["id", "vector", "tag", "n", "inner"],
        [
            ["a", [1, 0], "x", 1, None],
            [2, [2, 0], None, None, None],
            ["c", [3, 0], None, 3, {"deep": [1, None]}],
            [4, [4, 0], None, None, None],
        ],
    )


def test_a_star_without_rows_or_payloads_has_the_fixed_columns(opened):
    assert table(opened, "SELECT * FROM docs LIMIT 0") == (["id", "vector"], [])
    assert table(opened, "SELECT * FROM docs WHERE id = 2") == (["id", "vector"], [[2, [2, 0]]])


def test_metadata_is_included_beside_the_distance(opened):
    columns, rows = table(opened, "VECTOR SEARCH docs SIMILAR TO [1, 0] K = 2 INCLUDE METADATA")
    assert columns == ["id", "distance", "tag", "n"]
    assert rows == [["a", 0, "x", 1], [2, 1, None, None]]


def test_values_are_plain(opened):
    (row,) = table(opened, "SELECT id, distance, n FROM docs ORDER BY vector <-> [1, 0] LIMIT 1")[1]
    assert [type(value) for value in row] == [str, float, int]
    ((number,),) = table(opened, "SELECT id FROM docs WHERE id = 2")[1]
    assert type(number) is int


def test_a_row_that_is_not_there_cannot_be_searched_for(opened):
    with pytest.raises(errors.RedDBError, match="there is no row with id 'zzz' in 'docs'") as caught:
        table(opened, "VECTOR SEARCH docs SIMILAR TO ID 'zzz'")
    assert caught.value.code is errors.INVALID_ID


def test_the_vector_of_a_stored_row_is_a_copy(opened):
    text = "VECTOR SEARCH docs SIMILAR TO ID 'a'"
    vector = query_vector(bind(parse(text), text, (), {"docs": DOCS}), opened.reader.view())
    vector[:] = 99
    assert table(opened, "SELECT vector FROM docs WHERE id = 'a'")[1] == [[[1, 0]]]


def test_show_lists_collections():
    assert show([(DOCS, 4), (collection(dim=3), None)]) == Table(
        ["name", "kind", "dim", "metric", "rows"],
        [["docs", "vector.turbo", 2, "l2", 4], ["docs", "vector.turbo", 3, "l2", None]],
    )
    assert show([]).rows == []


@pytest.mark.parametrize("metric", list(Metric))
def test_show_one_tells_all_properties(metric):
    fields = [Field("n", FieldType.INT, not_null=True, default=3), Field("tags", FieldType.TEXTS)]
    of = collection(dim=2, metric=metric, kind=Kind.VECTOR, fields=fields, bits=4, oversample=9)
    shown = dict(show_one(of, {"rows": 7, "segments": 2}).rows)
    assert shown.pop("distance")
    assert shown.pop("range")
    assert shown.pop("score")
    assert shown.pop("zero vector")
    assert shown == {
        "name": "docs",
        "kind": "vector",
        "dim": 2,
        "metric": metric,
        "rows": 7,
        "segments": 2,
        "field n": "INT NOT NULL DEFAULT 3",
        "field tags": "TEXT[]",
        **resolve({"bits": 4, "oversample": 9}, 2),
    }
