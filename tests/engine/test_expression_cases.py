"""Expressions case by case: distances, what is refused and where, and what takes part in equality."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from reddb import errors
from reddb.fields import Field, Fields, FieldType, pack_payload
from reddb.grammar import parse
from reddb.index.metrics import METRICS, distance_of, score_of
from reddb.query.expressions import Bound, Scope, bind_expression, to_plain
from reddb.query.functions import FUNCTIONS
from reddb.query.predicate import Predicate, bind_predicate
from reddb.query.sources import RowsAtHand
from reddb.query.values import Values
from reddb.types import Metric

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TYPES = {"title": "TEXT", "year": "INT", "price": "FLOAT", "ok": "BOOL", "at": "TIMESTAMP", "tags": "TEXT[]"}
FIELDS = Fields(tuple(Field(name, FieldType(word)) for name, word in TYPES.items()))
DIM = 5
RNG = np.random.default_rng(7)
VECTORS = RNG.standard_normal((40, DIM), dtype=np.float32)
VECTORS[3] = 0
QUERY = RNG.standard_normal(DIM, dtype=np.float32)


class SearchedRows(RowsAtHand):
    """Rows with the distances 0.0, 0.1, …"""

    def families(self, path: str) -> Mapping[str, pa.Array]:
        return {"float": pa.array(np.arange(self.rows) / 10)} if path == "distance" else super().families(path)


def scope(metric: Metric = Metric.COSINE, *, has_distance: bool = False) -> Scope:
    return Scope(FIELDS, metric, DIM, has_distance)


def bound(expression: str, parameters: Any = (), within: Scope | None = None) -> Bound:
    text = f"SELECT {expression} FROM docs"
    statement: Any = parse(text)
    values = Values(text, statement, parameters, lambda: NOON)
    return bind_expression(statement.items[0].expression, values, scope() if within is None else within)


def value(expression: str, payload: dict[str, Any] | None = None, parameters: Any = ()) -> Any:
    source = RowsAtHand([7], lambda: [pack_payload(payload or {})], lambda: VECTORS[:1])
    return to_plain(bound(expression, parameters).operand.values(source), 1)[0]


def numbers(expression: str, parameters: Any, within: Scope) -> np.ndarray[Any, Any]:
    rows = SearchedRows(range(len(VECTORS)), lambda: [b""] * len(VECTORS), lambda: VECTORS)
    return np.array(to_plain(bound(expression, parameters, within).operand.values(rows), len(VECTORS)))


# --- distances ---------------------------------------------------------------------------------------------


def reference(metric: str) -> np.ndarray[Any, Any]:
    rows, query = VECTORS.astype(np.float64), QUERY.astype(np.float64)
    if metric == "<->":
        return np.linalg.norm(rows - query, axis=1)
    if metric == "<+>":
        return np.abs(rows - query).sum(axis=1)
    if metric == "<#>":
        return -(rows @ query)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return 1 - np.divide(rows @ query, lengths, out=np.zeros(len(rows)), where=lengths > 0)


@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.HAMMING])
@pytest.mark.parametrize("operator", ["<->", "<=>", "<#>", "<+>"])
def test_any_distance_is_that_of_float64_whatever_the_metric(operator, metric):
    for expression, parameter in [
        (f"vector {operator} $1", QUERY),
        (f"$1 {operator} vector", QUERY.tolist()),
        (f"vector {operator} $1", str(QUERY.tolist())),
        (f"vector {operator} $1::vector", str(QUERY.tolist())),
    ]:
        np.testing.assert_allclose(numbers(expression, [parameter], scope(metric)), reference(operator), atol=1e-12)


@pytest.mark.parametrize(
    ("expression", "operator", "sign"),
    [
        ("l2_distance(vector, $1)", "<->", 1),
        ("cosine_distance($1, vector)", "<=>", 1),
        ("l1_distance(vector, $1)", "<+>", 1),
        ("inner_product(vector, $1)", "<#>", -1),
        ("-(vector <#> $1)", "<#>", -1),
    ],
)
def test_functions_of_vectors_are_the_operators(expression, operator, sign):
    found = numbers(expression, [QUERY], scope(Metric.PEARSON))
    np.testing.assert_allclose(found, sign * reference(operator), atol=1e-12)


def test_the_collections_own_distance_and_score():
    np.testing.assert_allclose(numbers("vector_distance(vector, $1)", [QUERY], scope(Metric.L2)), reference("<->"))
    np.testing.assert_allclose(numbers("similarity(vector, $1)", [QUERY], scope(Metric.L2)), 1 / (1 + reference("<->")))
    np.testing.assert_allclose(numbers("similarity(vector, $1)", [QUERY], scope(Metric.IP)), -reference("<#>"))


def test_distance_and_score_are_those_of_the_search():
    within = scope(Metric.COSINE, has_distance=True)
    np.testing.assert_array_equal(numbers("distance", (), within), np.arange(40) / 10)
    for score in ("score", "similarity()"):
        np.testing.assert_array_equal(numbers(score, (), within), 1 - np.arange(40) / 10)


def test_lengths_and_dimensions():
    np.testing.assert_allclose(
        numbers("vector_norm(vector)", (), scope()), np.linalg.norm(VECTORS.astype(float), axis=1)
    )
    assert value("vector_norm([3, 4, 0, 0, 0])") == 5.0
    assert numbers("vector_dims(vector)", (), scope()).tolist() == [DIM] * 40


@pytest.mark.parametrize("metric", list(Metric))
def test_a_larger_score_is_nearer_and_has_its_distance(metric):
    distances = np.array([0.0, 0.125, 0.5, 0.75, 1.0])
    scores = score_of(metric, distances)
    assert (np.diff(scores) < 0).all()
    assert [distance_of(metric, score) for score in scores.tolist()] == pytest.approx(distances.tolist())
    assert METRICS[metric].score


def test_no_distance_scores_0_or_less_where_all_scores_are_above():
    assert distance_of(Metric.L2, 0.0) == distance_of(Metric.L2, -1.0) == float("inf")


# --- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("round(2.675, 2)", 2.68),
        ("round(-2.5)", -3.0),
        ("round(1250, -2)", 1300),
        ("round($1, 1)", 0.3),
        ("7 / 2 + 7 % 2 * -1", 2),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("1 + 2 * 3 - 4", 3),
        ("now()", NOON),
        ("now() - INTERVAL '1 day 12 hours' + INTERVAL '720 min'", NOON - DAY),
        ("INTERVAL '-01:30' + now()", NOON - timedelta(minutes=90)),
        ("now() - '2024-05-01T11:00:00Z'", 3600.0),
        ("'2024-05-01T14:00:00+02:00'::timestamp = now()", True),
        ("CAST(' 12 ' AS INT)", 12),
        ("CAST('yes' AS BOOL) AND NOT 'off'::bool", True),
        ("2.5::int", 3),
        ("1e3::text", "1000.0"),
        ("TRUE::int + TRUE::int", 2),
        ("lower('ÉA') = 'éa'", True),
        ("coalesce(NULL, 2.5, 1)", 2.5),
        ("coalesce(1, 2.5) / 2", 0.5),
        ("greatest(1, NULL, 3, 2)", 3),
        ("(1, NULL) < (2, 1)", True),
        ("(1, NULL) < (1, 1)", None),
        ("(1, NULL) = (2, 1)", False),
        ("1 IN (2, NULL)", None),
        ("NULL + 1", None),
        ("lower(NULL) IS NULL", True),
        ("'[1, 2, 0, 0, 0]'::vector <-> [1, 5, 0, 0, 0]", 3.0),
        ("vector_dims([1, 2, 3, 4, 5])", DIM),
    ],
)
def test_constants_are_computed_while_binding(expression, expected):
    parameters = [0.25] if "$1" in expression else ()
    found = bound(expression, parameters)
    assert found.is_constant
    assert value(expression, parameters=parameters) == expected
    assert type(value(expression, parameters=parameters)) is type(expected)


def test_a_declared_int_beside_a_float_becomes_one_and_values_of_a_free_key_keep_their_own():
    payload = {"year": 5, "price": 2.5, "n": 5}
    assert value("coalesce(year, price) / 2", payload) == 2.5
    assert value("year / 2", payload) == 2
    assert value("n / 2", payload) == 2
    assert value("n / price", payload) == 2.0


def test_a_list_may_be_an_item_and_so_may_an_expression():
    payload = {"year": 5, "n": 4}
    assert value("year IN (1, n + 1)", payload) is True
    assert value("year IN ($1)", payload, [[4, 5]]) is True
    assert value("year NOT IN (n, none)", payload) is None


def test_maps_and_mixed_lists_are_part_of_no_value():
    with pytest.raises(errors.RedDBError, match="select it alone"):
        value("coalesce(m, 1)", {"m": {"x": 1}})
    assert value("coalesce(m, 1)", {}) == 1


# --- predicates as keys ------------------------------------------------------------------------------------


def predicate(where: str, parameters: Any = (), now: datetime = NOON) -> Predicate:
    text = f"SELECT id FROM docs WHERE {where}"
    statement: Any = parse(text)
    values = Values(text, statement, parameters, lambda: now)
    return bind_predicate(statement.where, values, FIELDS, Metric.L2, DIM)


def test_a_query_and_an_instant_are_part_of_the_key():
    near = "vector <-> $1 < 0.5"
    assert predicate(near, [QUERY]) == predicate(near, [QUERY.tolist()])
    assert predicate(near, [QUERY]) != predicate(near, [VECTORS[0]])
    assert predicate(near, [QUERY]) != predicate("vector <=> $1 < 0.5", [QUERY])
    assert predicate("vector_distance(vector, $1) < 0.5", [QUERY]) == predicate(near, [QUERY])
    assert predicate("at < now()") == predicate("at < now()")
    assert predicate("at < now()") != predicate("at < now()", now=NOON + DAY)
    assert predicate(near, [QUERY]).columns == {"vector"}


def test_a_row_that_another_condition_decides_raises_no_error():
    payloads = [pack_payload({"n": n}) for n in (0, 1, 5)]
    source = RowsAtHand(range(3), lambda: payloads, lambda: VECTORS[:3])
    assert predicate("10 / n > 3 AND n <> 0").evaluate(source).tolist() == [False, True, False]
    assert predicate("n <> 0 AND (10 / n > 3 AND 10 % n = 0)").evaluate(source).tolist() == [False, True, False]
    assert predicate("n = 0 OR 10 / n > 3").evaluate(source).tolist() == [True, True, False]
    for where in ("10 / n > 3", "n < 5 AND 10 / n > 3", "NOT (n <> 0 OR 10 / n > 3)"):
        with pytest.raises(errors.RedDBError, match="division by zero in 10 / n"):
            predicate(where).evaluate(source)


# --- errors: expression, code, the beginning of the message, the text at the carets, a part of the hint --------

REFUSED = [
    ("year + title", "INVALID_VALUE", "year is INT and title is TEXT: + takes numbers", "year + title", "CAST(title"),
    ("title + title", "INVALID_VALUE", "title is TEXT and title is TEXT", "title + title", "concat(title, title)"),
    ("at * 2", "INVALID_VALUE", "at is TIMESTAMP and 2 is INT: * takes numbers", "at * 2", "INTERVAL '2 h'"),
    ("-title", "INVALID_VALUE", "title is TEXT and has no sign", "title", ""),
    ("1 / 0", "INVALID_VALUE", "division by zero in 1 / 0", "1 / 0", ""),
    ("9223372036854775807 + 1", "INVALID_VALUE", "integer overflow in", "9223372036854775807 + 1", ""),
    ("1e308 * 10", "INVALID_VALUE", "a number beyond the range of a 64-bit float", "1e308 * 10", ""),
    ("now() + INTERVAL '9000 weeks' * 2", "INVALID_VALUE", "an interval is added", "INTERVAL '9000 weeks'", "now() -"),
    ("at + INTERVAL '2 months'", "INVALID_VALUE", "'months' is no unit", "INTERVAL '2 months'", "INTERVAL '2 h'"),
    ("at + INTERVAL 'soon'", "INVALID_VALUE", "'soon' is no length of time", "INTERVAL 'soon'", ""),
    ("year + INTERVAL '2 h'", "INVALID_VALUE", "year is INT, and an interval is added to a TIMESTAMP", "year", ""),
    ("lenght(title)", "INVALID_VALUE", "there is no function lenght", "lenght(title)", "did you mean length?"),
    ("round(1, 2, 3)", "INVALID_VALUE", "round takes 1 or 2 arguments, not 3", "round(1, 2, 3)", "round(number"),
    ("now(1)", "INVALID_VALUE", "now takes no arguments, not 1", "now(1)", "now()"),
    ("lower(*)", "INVALID_VALUE", "lower takes 1 argument, not *", "lower(*)", "lower(text)"),
    ("lower(year)", "INVALID_VALUE", "lower takes TEXT, and year is INT", "year", "lower(text)"),
    ("abs(title)", "INVALID_VALUE", "abs takes FLOAT or INT, and title is TEXT", "title", "abs(number)"),
    ("round(price, year)", "INVALID_VALUE", "the digits to round to are a constant", "year", ""),
    ("concat(year)", "INVALID_VALUE", "concat takes TEXT, and year is INT", "year", "CAST(year AS TEXT)"),
    ("coalesce(title, 5)", "INVALID_VALUE", "title is TEXT and does not compare with 5", "5", ""),
    ("coalesce(vector, 1)", "INVALID_VALUE", "a vector stands in a distance only", "vector", ""),
    ("count(*) > 1", "INVALID_VALUE", "an aggregate stands in SELECT, HAVING or ORDER BY", "count(*)", ""),
    ("at::int", "INVALID_VALUE", "at is TIMESTAMP and does not become INT", "at::int", ""),
    ("year::integr", "INVALID_VALUE", "there is no conversion to INTEGR", "integr", "INT"),
    ("'abc'::int", "INVALID_VALUE", "'abc' does not become INT", "'abc'::int", ""),
    ("'soon'::timestamp", "INVALID_VALUE", "'soon' does not become TIMESTAMP", "'soon'::timestamp", "T12:00:00Z"),
    ("vector = [1, 2]", "INVALID_VALUE", "vector is a vector, and vectors do not", "vector", "compared by a distance"),
    ("vector <-> '[1, x]'", "INVALID_VALUE", "a vector is expected here, not '[1, x]'", "'[1, x]'", "'[1, 2.5, -3]'"),
    ("vector <-> [1, 2]", "INVALID_DIMENSION", "the collection has 5 dimensions, this vector has 2", "[1, 2]", ""),
    ("vector <-> vector", "INVALID_VALUE", "one side of a distance is a vector that is", "vector <-> vector", ""),
    ("title <-> [1, 2, 3, 4, 5]", "INVALID_VALUE", "a distance is between the column vector and", "title", ""),
    ("distance", "UNKNOWN_COLUMN", "there is no column distance here", "distance", ""),
    ("similarity()", "INVALID_VALUE", "no search gave these rows a score", "similarity()", "similarity(vector, $1)"),
    ("similarity(vector)", "INVALID_VALUE", "similarity takes 2 arguments or none", "similarity(vector)", ""),
    ("(year, title) < (1, 2)", "INVALID_VALUE", "title is TEXT and does not compare with 2", "2", ""),
    ("tags = ['a']", "INVALID_VALUE", "one value is expected here, not a list", "['a']", "'x' IN tags"),
]


@pytest.mark.parametrize(("expression", "name", "message", "place", "hint"), REFUSED)
def test_a_wrong_expression_is_refused_at_its_place(expression, name, message, place, hint):
    with pytest.raises(errors.RedDBError) as caught:
        bound(expression)
    error = caught.value
    assert error.name == name
    assert error.message.startswith(message)
    line, carets = str(error.detail["excerpt"]).split("\n")[-2:]
    assert line[carets.index("^") : carets.rindex("^") + 1] == place
    assert hint in error.detail.get("hint", "")


def test_a_value_of_a_row_that_does_not_fit_is_named():
    for expression, payload, message in [
        ("n::int", {"n": "12a"}, "'12a' does not become INT in CAST(n AS INT)"),
        ("n + 1", {"n": 2**63 - 1}, "integer overflow in n + 1"),
        ("at + INTERVAL '1 day'", {"at": datetime(9999, 12, 31, 1, tzinfo=UTC)}, "a timestamp beyond the years"),
    ]:
        with pytest.raises(errors.RedDBError) as caught:
            value(expression, payload)
        assert caught.value.name == "INVALID_VALUE"
        assert caught.value.message.startswith(message)


def test_every_function_is_told_and_known_by_all_its_names():
    names = [name for function in FUNCTIONS for name in (function.name, *function.aliases)]
    assert len(set(names)) == len(names)
    for function in FUNCTIONS:
        assert function.signature.startswith(f"{function.name}(")
        assert function.text
    assert value("char_length('abc')") == value("length('abc')") == 3
    assert value("ceiling(1.5)") == value("ceil(1.5)") == 2.0
