"""Numbers have one order, that of Python's exact comparison, in every clause and in every state of the rows."""

from __future__ import annotations

import itertools
import math
import operator
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reddb
from reddb.query import candidates, families
from reddb.query.evaluate import compare
from reddb.storage.payload_columns import families_of

OPERATORS = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
STATES = ("growing", "sealed", "indexed", "mixed")
INT_MIN, INT_MAX = -(2**63), 2**63 - 1


def near(center: int) -> list[int | float]:
    """Integers around it, and the floats that lie there."""
    integers = [number for number in range(center - 3, center + 4) if INT_MIN <= number <= INT_MAX]
    floats = [float(center), math.nextafter(center, math.inf), math.nextafter(center, -math.inf)]
    return [*integers, *floats]


EDGES = [sign * center for center in (2**53, 2**54, 2**62 + 1, 2**63) for sign in (1, -1)]
NUMBERS: list[int | float] = [
    *itertools.chain.from_iterable(map(near, [0, *EDGES])),
    *(INT_MAX, INT_MAX - 511, INT_MAX - 512, INT_MAX - 1024, INT_MIN, INT_MIN + 512),
    *(-0.0, 5e-324, -5e-324, 2.2e-308, 0.5, -0.5, 1e15 + 0.5, 1e300, -1e300, 1.7976931348623157e308),
]
numbers = st.sampled_from(NUMBERS) | st.integers(INT_MIN, INT_MAX) | st.floats(allow_nan=False, allow_infinity=False)


# --- over arrays -------------------------------------------------------------------------------------------


def values_of(given: list[int | float]) -> dict[str, Any]:
    return families_of(given)


def scalar_of(number: float) -> dict[str, Any]:
    return {"int" if type(number) is int else "float": pa.scalar(number)}


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
def test_columns_compare_as_their_numbers_do(pairs):
    left, right = values_of([pair[0] for pair in pairs]), values_of([pair[1] for pair in pairs])
    for sign, compares in OPERATORS.items():
        assert compare(sign, left, right).to_pylist() == [compares(*pair) for pair in pairs], sign


@given(st.lists(numbers, min_size=1, max_size=20), numbers)
def test_a_column_compares_with_a_constant_on_either_side(column, constant):
    values = values_of(column)
    for sign, compares in OPERATORS.items():
        assert compare(sign, values, scalar_of(constant)).to_pylist() == [compares(item, constant) for item in column]
        assert compare(sign, scalar_of(constant), values).to_pylist() == [compares(constant, item) for item in column]
        assert compare(sign, scalar_of(column[0]), scalar_of(constant)).as_py() == compares(column[0], constant)


@given(st.lists(numbers | st.none(), min_size=1, max_size=30))
def test_codes_have_the_order_and_the_equality_of_numbers(column):
    found = families.codes(families.arrays(values_of(column), len(column)), len(column)).tolist()
    ranks = {number: rank for rank, number in enumerate(sorted({item for item in column if item is not None}))}
    assert found == [-1 if item is None else ranks[item] for item in column]


# --- statements --------------------------------------------------------------------------------------------


class Filled(NamedTuple):
    """A database whose collections, one for each state, hold the rows: `a` and the declared `n` and `f` by id."""

    db: Any
    rows: dict[int, dict[str, Any]]

    def __repr__(self) -> str:
        return "<filled>"


def make_rows() -> dict[int, dict[str, Any]]:
    chosen = random.Random(3)
    shuffled = chosen.sample(NUMBERS + NUMBERS[::5], len(NUMBERS) + len(NUMBERS[::5]))
    integers = [number for number in NUMBERS if type(number) is int]
    floats = [number for number in NUMBERS if type(number) is float]
    return {
        row: {
            "a": number,
            "m": {"x": chosen.choice(NUMBERS)},
            "n": chosen.choice(integers),
            "f": chosen.choice(floats),
            "nums": chosen.sample(integers, 3),
        }
        for row, number in enumerate(shuffled)
    }


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    rows = make_rows()
    with pytest.MonkeyPatch.context() as patched:
        for name in ("_ROWS_MIN", "_CANDIDATE_ROWS", "_CONSTANT_ROWS"):  # indexes are used whatever they cost
            patched.setattr(candidates, name, 1)
        with reddb.connect(f"file:{tmp_path_factory.mktemp('numbers')}") as db:
            for state in STATES:
                fill(db, state, rows)
            yield Filled(db, rows)


def fill(db: Any, state: str, rows: dict[int, dict[str, Any]]) -> None:
    fields = "a JSON, m JSON, n INT, f FLOAT, nums INT[]"
    db.execute(f"CREATE COLLECTION {state} KIND vector DIM 2 METRIC l2 FIELDS ({fields})")
    if state == "indexed":
        for field in ("a", "n", "f", "m.x"):
            db.execute(f"CREATE INDEX ON {state} ({field})")
    half = len(rows) // 2
    for part in (list(rows)[:half], list(rows)[half:]):
        db.insert(state, part, np.ones((len(part), 2), np.float32), [rows[row] for row in part])
        if state in ("sealed", "indexed") or (state == "mixed" and part[0] == 0):
            db.execute(f"ALTER COLLECTION {state} SEAL")


def ids(filled: Filled, where: str, parameters: list[Any]) -> list[int]:
    """The rows in every state, which must be the same."""
    answers = [
        sorted(row[0] for row in filled.db.execute(f"SELECT id FROM {state} WHERE {where}", parameters))
        for state in STATES
    ]
    assert all(answer == answers[0] for answer in answers), where
    return answers[0]


quick = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(numbers)
def test_a_comparison_finds_what_it_says(filled, wanted):
    for sign, compares in OPERATORS.items():
        for column in "anf":
            right = [row for row, values in filled.rows.items() if compares(values[column], wanted)]
            assert ids(filled, f"{column} {sign} $1", [wanted]) == right, (column, sign)
        right = [row for row, values in filled.rows.items() if compares(values["m"]["x"], wanted)]
        assert ids(filled, f"m.x {sign} {wanted!r}", []) == right


@quick
@given(numbers, numbers, numbers)
def test_between_in_and_row_comparisons(filled, one, other, third):
    rows = filled.rows.items()
    assert ids(filled, "a BETWEEN $1 AND $2", [one, other]) == [row for row, v in rows if one <= v["a"] <= other]
    assert ids(filled, "a IN ($1, $2)", [one, other]) == [r for r, v in rows if v["a"] in (one, other)]
    assert ids(filled, "n IN $1", [[one, other]]) == [r for r, v in rows if v["n"] in (one, other)]
    assert ids(filled, "f NOT IN ($1, $2)", [one, other]) == [r for r, v in rows if v["f"] not in (one, other)]
    assert ids(filled, "(a, n) > ($1, $2)", [one, other]) == [r for r, v in rows if (v["a"], v["n"]) > (one, other)]
    assert ids(filled, "(f, id) <= ($1, 40)", [one]) == [r for r, v in rows if (v["f"], r) <= (one, 40)]
    assert ids(filled, "$1 IN nums", [one]) == [r for r, v in rows if one in v["nums"]]
    assert ids(filled, "nums && $1", [[one, other, third]]) == [
        r for r, v in rows if {one, other, third} & set(v["nums"])
    ]


def test_columns_beside_columns(filled):
    rows = filled.rows.items()
    for sign, compares in OPERATORS.items():
        assert ids(filled, f"n {sign} f", []) == [row for row, v in rows if compares(v["n"], v["f"])]
        assert ids(filled, f"a {sign} m.x", []) == [row for row, v in rows if compares(v["a"], v["m"]["x"])]
        assert ids(filled, f"a {sign} n", []) == [row for row, v in rows if compares(v["a"], v["n"])]
    assert ids(filled, "f IN nums", []) == [row for row, v in rows if v["f"] in v["nums"]]
    assert ids(filled, "nullif(n, f) IS NULL", []) == [row for row, v in rows if v["n"] == v["f"]]


@pytest.mark.parametrize("state", STATES)
def test_rows_are_ordered_by_their_numbers(filled, state):
    for direction, reverse in (("ASC", False), ("DESC", True)):
        found = filled.db.execute(f"SELECT id FROM {state} ORDER BY a {direction}, id")
        right = sorted(filled.rows, key=lambda row: filled.rows[row]["a"], reverse=reverse)
        assert [row[0] for row in found] == right


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("column", ["a", "n", "f"])
def test_keyset_pages_show_each_row_once(filled, state, column):
    right = sorted(filled.rows, key=lambda row: (filled.rows[row][column], row))
    seen: list[int] = []
    page = filled.db.execute(f"SELECT {column}, id FROM {state} ORDER BY {column}, id LIMIT 7")
    while page:
        seen += [row[1] for row in page]
        assert len(seen) <= len(right)
        page = filled.db.execute(
            f"SELECT {column}, id FROM {state} WHERE ({column}, id) > ($1, $2) ORDER BY {column}, id LIMIT 7",
            list(page[-1]),
        )
    assert seen == right


@pytest.mark.parametrize("state", STATES)
def test_groups_are_those_of_equal_numbers(filled, state):
    numbers = [values["a"] for values in filled.rows.values()]
    counts = filled.db.execute(f"SELECT a, count(*) FROM {state} GROUP BY a")
    assert sorted((number, count) for number, count in counts) == sorted(
        (number, numbers.count(number)) for number in set(numbers)
    )
    assert sorted(row[0] for row in filled.db.execute(f"SELECT DISTINCT a FROM {state}")) == sorted(set(numbers))
    ((distinct, least, most),) = filled.db.execute(f"SELECT count(DISTINCT a), min(a), max(a) FROM {state}")
    assert (distinct, least, most) == (len(set(numbers)), min(numbers), max(numbers))


@quick
@given(numbers, numbers, numbers)
def test_the_greatest_and_the_least_are_what_they_were(filled, one, other, third):
    given = [one, other, third]
    ((most, least),) = filled.db.execute("SELECT greatest($1, $2, $3), least($1, $2, $3)", given)
    assert (most, least) == (max(given), min(given))
    ((first, null, equal),) = filled.db.execute("SELECT coalesce(NULL, $1, $2), nullif($1, $2), $1 = $2", given[:2])
    assert (first, null, equal) == (one, None if one == other else one, one == other)


def test_what_is_chosen_beside_a_column_keeps_its_number(filled):
    found = filled.db.execute("SELECT id, greatest(n, f), least(f, n), coalesce(n, 0.5), greatest(a, n) FROM mixed")
    for row, most, least, first, free in found:
        values = filled.rows[row]
        assert (most, least) == (max(values["n"], values["f"]), min(values["n"], values["f"]))
        assert (first, free) == (values["n"], max(values["a"], values["n"]))


def test_two_zeros_are_one(filled):
    zeros = [row for row, values in filled.rows.items() if values["a"] == 0]
    assert len({str(filled.rows[row]["a"]) for row in zeros}) == 3  # 0, 0.0, -0.0
    for written in ("0", "0.0", "-0.0", "-0", "0e0"):
        assert ids(filled, f"a = {written}", []) == zeros
        assert ids(filled, f"a IN ({written})", []) == zeros
        assert ids(filled, f"a >= {written} AND a <= {written}", []) == zeros


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("where", "parameters", "right"),
    [
        ("id = 1.0", [], [1]),
        ("id = 1.5", [], []),
        ("id IN (1.0, 2, 2.5)", [], [1, 2]),
        ("id = $1", [2.0], [2]),
        ("id IN $1", [[1.0, 3]], [1, 3]),
        ("id = -0.0", [], [0]),
    ],
)
def test_an_id_equals_a_float_as_any_integer_does(filled, state, where, parameters, right):
    found = filled.db.execute(f"SELECT id FROM {state} WHERE {where} ORDER BY id", parameters)
    assert [row[0] for row in found] == right
