"""Filters against an evaluator of plain Python values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reddb.fields import Field, Fields, FieldType, pack_payload
from reddb.grammar import ast, parse
from reddb.query.predicate import Predicate, bind_predicate
from reddb.query.values import Values
from reddb.storage import payload_cells
from reddb.storage.payload_columns import PayloadColumns
from tests.engine.row_oracle import COMPARE, Oracle

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
TYPES = {"title": "TEXT", "year": "INT", "ok": "BOOL", "at": "TIMESTAMP", "tags": "TEXT[]", "nums": "INT[]"}
FIELDS = Fields(tuple(Field(name, FieldType(word)) for name, word in {**TYPES, "extra": "JSON"}.items()))


@dataclass(frozen=True)
class Rows:
    """Payload columns with ids beside them."""

    ids: list[int | str]
    columns: PayloadColumns

    @property
    def rows(self) -> int:
        return len(self.ids)

    def vectors(self) -> Any:
        raise AssertionError("no predicate here asks for vectors")

    def families(self, path: str) -> Mapping[str, pa.Array]:
        if path != "id":
            return self.columns.families(path)
        return {
            "int": pa.array([i if isinstance(i, int) else None for i in self.ids], pa.int64()),
            "text": pa.array([i if isinstance(i, str) else None for i in self.ids], pa.string()),
        }


def rows_of(payloads: list[dict[str, Any]], ids: list[int | str] | None = None) -> Rows:
    packed = [pack_payload(payload) for payload in payloads]
    return Rows(list(range(len(payloads))) if ids is None else ids, PayloadColumns.from_payloads(packed))


def bound(where: str, parameters: Any = ()) -> Predicate:
    text = f"SELECT id FROM docs WHERE {where} LIMIT 1"
    statement: Any = parse(text)
    return bind_predicate(statement.where, Values(text, statement, parameters), FIELDS)


def chosen(where: str, payloads: list[dict[str, Any]], parameters: Any = ()) -> list[int]:
    """The numbers of the rows for which the expression is TRUE."""
    return np.flatnonzero(bound(where, parameters).evaluate(rows_of(payloads))).tolist()


# --- random rows and expressions ---------------------------------------------------------------------------

texts = st.sampled_from(["", "a", "A", "ab", "b", "é", "É", "a%", "a\\", "\n", "a_b", "😀", "\uffff"])
integers = st.sampled_from([-(2**63), -1, 0, 1, 2, 2**53, 2**53 + 1, 2**63 - 1])
floats = st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.5, 2.0**53, 1e300])
moments = st.sampled_from([NOON, NOON - timedelta(microseconds=1), datetime(1, 1, 1, tzinfo=UTC)])
scalars = st.none() | st.booleans() | integers | floats | texts
lists = st.lists(texts, max_size=3) | st.lists(integers, max_size=3) | st.lists(scalars, max_size=2)
leaves = scalars | moments | lists
maps = st.dictionaries(st.sampled_from(["x", "y.z"]), leaves | st.just({}), max_size=2)
payloads = st.dictionaries(st.sampled_from(["a", "b", "m", "m.x", "s"]), leaves | maps, max_size=5)
row_ids = st.sampled_from([-1, 0, 1, 2**53 + 1, "a", "b", "0"])

columns = st.sampled_from(
    [ast.Column(path) for path in [("a",), ("b",), ("m",), ("m", "x"), ("m.x",), ("m", "y.z"), ("s",), ("none",)]]
)
LISTS = [["a", "B", None], [1, 2.5, "a"], [], [2**53, 0.0, NOON, True]]
ID = ast.Column(("id",))
literals = scalars.map(ast.Literal)
values = literals | st.just(ast.Parameter("moment"))
list_parameters = st.sampled_from([ast.Parameter(f"list{number}") for number in range(len(LISTS))])
signs = st.sampled_from(sorted(COMPARE))
patterns = st.sampled_from(["", "a%", "%b", "_", "%", "A_", "%\\%%", "a\\\\", "É", "%_%", None]).map(ast.Literal)
comparisons = (
    st.builds(ast.Comparison, signs, columns, values | columns)
    | st.builds(ast.Comparison, signs, values, columns)
    | st.builds(ast.Comparison, signs, st.just(ID), (integers | texts | floats).map(ast.Literal) | columns)
)
predicates = (
    comparisons
    | st.builds(ast.Between, columns, values, values, st.booleans())
    | st.builds(ast.InList, columns, st.lists(values, min_size=1, max_size=4).map(tuple), st.booleans())
    | st.builds(ast.Member, columns, list_parameters, st.booleans())
    | st.builds(ast.Member, st.just(ID), st.just(ast.Parameter("ids")), st.booleans())
    | st.builds(ast.Member, (integers | texts | st.none()).map(ast.Literal) | columns, columns, st.booleans())
    | st.builds(ast.Overlap, columns, list_parameters)
    | st.builds(ast.Like, columns | st.just(ID), patterns, st.booleans(), st.booleans())
    | st.builds(ast.IsNull, columns | st.just(ID), st.booleans())
    | columns
    | st.sampled_from([True, False, None]).map(ast.Literal)
)


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return (
        st.builds(ast.And, several)
        | st.builds(ast.Or, several)
        | st.builds(ast.Not, inner)
        | st.builds(ast.IsNull, inner.filter(lambda node: not isinstance(node, ast.Column)), st.booleans())
    )


expressions = st.recursive(predicates, combined, max_leaves=6)
tables = st.lists(st.tuples(row_ids, payloads), max_size=8)
PARAMETERS = {"moment": NOON, "ids": [1, "a", 2.0**53], **{f"list{n}": items for n, items in enumerate(LISTS)}}


def bound_node(node: Any) -> Predicate:
    used = ast.And((node, *(ast.Parameter(key) for key in PARAMETERS)))  # so that no parameter is unused
    return bind_predicate(node, Values("", used, PARAMETERS), Fields())


@given(tables, expressions)
def test_every_row_is_chosen_as_one_by_one(table, expression):
    expected = [Oracle(row_id, payload, PARAMETERS).truth(expression) is True for row_id, payload in table]
    predicate = bound_node(expression)
    ids = [row_id for row_id, _ in table]
    packed = [pack_payload(payload) for _, payload in table]
    built = PayloadColumns.from_payloads(packed)
    with mock.patch.object(payload_cells, "_REPEATS_MIN", 0):
        repeated = PayloadColumns.from_payloads(packed)
    with mock.patch.object(payload_cells, "PATHS_MAX", 1):
        few = PayloadColumns.from_payloads(packed)
    for one in (built, repeated, few):
        assert predicate.evaluate(Rows(ids, one)).tolist() == expected
        assert predicate.evaluate(Rows(ids, PayloadColumns.open(one.to_bytes()))).tolist() == expected


@given(tables, expressions)
def test_not_not_changes_no_truth_and_a_row_is_never_in_both(table, expression):
    rows = rows_of([payload for _, payload in table], [row_id for row_id, _ in table])
    true = bound_node(expression).evaluate(rows)
    false = bound_node(ast.Not(expression)).evaluate(rows)
    assert bound_node(ast.Not(ast.Not(expression))).evaluate(rows).tolist() == true.tolist()
    assert not (true & false).any()
    assert true.dtype == np.bool_
    assert true.shape == (len(table),)


@given(expressions)
def test_a_predicate_bound_twice_is_one_key(expression):
    one, other = bound_node(expression), bound_node(expression)
    assert one == other
    assert hash(one) == hash(other)
    assert one.columns == other.columns
    assert one.describe() == other.describe()


# --- single cases ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"), [("a = 1", "a = 1.0"), ("a = 1", "a = TRUE"), ("a IN (0)", "a IN (FALSE)"), ("a", "b")]
)
def test_other_values_are_another_key(one, other):
    assert bound(one) != bound(other)


def test_parameters_are_part_of_the_key():
    assert bound("a = $1", [1]) == bound("a = 1")
    assert bound("a = $1", [1]) != bound("a = $1", [True])
    assert bound("a IN $1", [[1, 2, 1]]) == bound("a IN (1, 2)")


def test_a_timestamp_compares_as_text_with_a_zone_and_as_a_datetime():
    payloads = [{"at": NOON}, {"at": NOON + timedelta(hours=1)}, {}]
    assert chosen("at > '2024-05-01T12:00:00Z'", payloads) == [1]
    assert chosen("at = '2024-05-01T14:00:00+02:00'", payloads) == [0]
    assert chosen("at BETWEEN $1 AND $2", payloads, [NOON, NOON]) == [0]
    assert chosen("at IN ('2024-05-01T13:00:00Z')", payloads) == [1]


def test_a_text_stays_a_text_beside_a_free_key():
    assert chosen("free = '2024-05-01T12:00:00Z'", [{"free": NOON}, {"free": "2024-05-01T12:00:00Z"}]) == [1]
    assert chosen("free = $1", [{"free": NOON}, {"free": "2024-05-01T12:00:00Z"}], [NOON]) == [0]


def test_an_empty_array_holds_nothing_whatever_its_type():
    payloads = [{"nums": []}, {"nums": [1]}, {}]
    assert chosen("NOT 2 IN nums", payloads) == [0, 1]
    assert chosen("NOT nums && [2]", payloads) == [0, 1]
    assert chosen("nums IS NOT NULL", payloads) == [0, 1]


def test_a_list_of_ids_may_come_as_a_parameter_within_parentheses():
    rows = rows_of([{}, {}, {}], [7, "b", 9])
    assert bound("id IN ($1, 9)", [[7, "b"]]).evaluate(rows).tolist() == [True, True, True]
    assert bound("id NOT IN $1", [[7, "b"]]).evaluate(rows).tolist() == [False, False, True]
    assert bound("id IN $1", [None]).evaluate(rows).tolist() == [False, False, False]
    assert bound("id IN $1", [np.array([7, 9])]).evaluate(rows).tolist() == [True, False, True]


def test_edges_that_random_rows_seldom_meet():
    assert chosen(f"n = {2**53 + 1}", [{"n": 2**53}, {"n": 2**53 + 1}]) == [1]
    assert chosen("n IN (0.0) AND n IN $1", [{"n": 0.0}, {"n": -0.0}, {"n": 0}], [[-0.0]]) == [0, 1, 2]
    assert chosen("t LIKE 'a_b' AND t LIKE '%b'", [{"t": "a\nb"}, {"t": "ab"}, {"t": "a\nb\n"}]) == [0]
    assert chosen("n NOT IN $1", [{"n": 1}, {}], [[]]) == [0, 1]


def test_columns_are_those_that_are_read():
    where = "year = 1 AND (m.x IS NULL OR title LIKE 'a%') AND 'x' IN tags AND id IN (1)"
    assert bound(where).columns == {"year", "m.x", "title", "tags", "id"}
    assert bound("TRUE").columns == frozenset()


@pytest.mark.parametrize(
    ("where", "parameters", "described"),
    [
        ("year >= $1 AND (ok OR NOT title ILIKE 'it''s%')", [5], "year >= 5 AND (ok OR NOT (title ILIKE 'it''s%'))"),
        ("5 < year", (), "year > 5"),
        ("year NOT BETWEEN 1 AND 2", (), "NOT (year >= 1 AND year <= 2)"),
        ("at = '2024-05-01T14:00:00+02:00'", (), "at = '2024-05-01T12:00:00+00:00'"),
        ("id IN $1", [list(range(100))], "id IN (0, 1, 2, 3, 4, 5, 6, 7, … 92 more)"),
        ("'x' IN tags OR tags && ['a', 'b']", (), "'x' IN tags OR tags && ['a', 'b']"),
        ("title = $1", ["x" * 200], f"title = '{'x' * 100}…'"),
        ("extra.a IS NOT NULL OR free = NULL OR ok = TRUE", (), "NOT (extra.a IS NULL) OR free = NULL OR ok = TRUE"),
    ],
)
def test_a_predicate_describes_itself(where, parameters, described):
    assert bound(where, parameters).describe() == described
