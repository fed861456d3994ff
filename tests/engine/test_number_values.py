"""What is a number as a literal, a text and a sum, and what is refused: nothing is rounded or cut without a word."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reddb

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
Select = Callable[..., Any]


@pytest.fixture(scope="module")
def select(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Select]:
    """The value of an expression without columns."""
    with reddb.connect(f"file:{tmp_path_factory.mktemp('values')}") as db:
        db.execute("CREATE COLLECTION docs KIND vector DIM 1 METRIC l2")
        yield lambda expression, *parameters: db.execute(f"SELECT {expression}", list(parameters))[0][0]


TEXTS: list[tuple[str, str, Any]] = [
    ("1", "INT", 1),
    (" \t\n\r\v\f-7 ", "INT", -7),
    ("+5", "INT", 5),
    ("0" * 200 + "1", "INT", 1),
    (str(INT_MAX), "INT", INT_MAX),
    (str(INT_MIN), "INT", INT_MIN),
    ("9007199254740993", "FLOAT", 9007199254740992.0),
    ("1.", "FLOAT", 1.0),
    (".5", "FLOAT", 0.5),
    (" -1e3 ", "FLOAT", -1000.0),
    ("5e-324", "FLOAT", 5e-324),
    ("-0", "FLOAT", 0.0),
    ("0e-999", "FLOAT", 0.0),
]


@pytest.mark.parametrize(("text", "kind", "right"), TEXTS)
def test_a_text_becomes_the_number_that_it_says(select, text, kind, right):
    found = select(f"'{text}'::{kind}")
    assert (type(found), found) == (type(right), right)
    assert select(f"$1::{kind}", text) == right


NO_NUMBERS = [
    "1_000",
    "1_0.5",
    "١",
    "１",
    "²",
    "\u00a01",
    "1\u2003",
    "",
    " ",
    "+",
    "+ 5",
    "--5",
    "1,5",
    "0x1A",
    "0b1",
    "1 2",
    "5\0",
]
NO_INTEGERS = ["1e3", "1.0", str(INT_MAX + 1), str(INT_MIN - 1), "9" * 5000, "NaN"]
NO_FLOATS = [
    "1e400",
    "-1e400",
    "1e-400",
    "-0.1e-400",
    "NaN",
    "Infinity",
    "inf",
    "-inf",
    "1e",
    "e5",
    ".",
    "1e5_0",
    "9" * 400,
]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (text, kind)
        for kind, texts in (("INT", NO_NUMBERS + NO_INTEGERS), ("FLOAT", NO_NUMBERS + NO_FLOATS))
        for text in texts
    ],
)
def test_a_text_that_is_no_such_number_is_refused(select, text, kind):
    with pytest.raises(reddb.RedDBError, match=f"does not become {kind}") as caught:
        select(f"$1::{kind}", text)
    assert caught.value.code is reddb.errors.INVALID_VALUE


@pytest.mark.parametrize("text", [" true", "TRUE\t", "on", "1"])
def test_a_text_becomes_a_truth(select, text):
    assert select("$1::BOOL", text) is True


@pytest.mark.parametrize("text", ["\u00a0true", "tr ue", "2", "", "ｔrue"])
def test_a_text_that_is_no_truth_is_refused(select, text):
    with pytest.raises(reddb.RedDBError, match="does not become BOOL"):
        select("$1::BOOL", text)


@pytest.mark.parametrize("number", [2**53 + 1, 2**53 + 3, INT_MAX, INT_MIN, INT_MAX - 512, 3])
def test_a_cast_to_float_rounds_and_one_back_does_not_guess(select, number):
    assert select(f"{number}::FLOAT") == select("$1::FLOAT", number) == float(number)
    if float(number) < 2.0**63:
        assert select("$1::INT", float(number)) == int(float(number))
    else:
        with pytest.raises(reddb.RedDBError, match="does not become INT"):
            select("$1::INT", float(number))


@pytest.mark.parametrize(
    "literal", ["1e400", "-1e400", "1e-400", "99999999999999999999", "9223372036854775808", "-9223372036854775809"]
)
def test_a_literal_beyond_the_range_is_refused(select, literal):
    for written in (literal, f"coalesce({literal}, 1)", f"1 IN ({literal})"):
        with pytest.raises(reddb.RedDBError, match="64") as caught:
            select(written)
        assert caught.value.code is reddb.errors.INVALID_VALUE
        assert "^" in caught.value.detail["excerpt"]


@pytest.mark.parametrize("parameter", [2**63, 2**64 - 1, 2**64, INT_MIN - 1, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("expression", ["$1", "$1 + 1", "1 IN ($1)", "1 = $1", "$1::TEXT"])
def test_a_parameter_that_is_no_number_of_64_bits_is_refused(select, parameter, expression):
    with pytest.raises(reddb.RedDBError, match=r"64-bit integer or a finite float|beyond 64 bits") as caught:
        select(expression, parameter)
    assert caught.value.code is reddb.errors.INVALID_VALUE


@pytest.mark.parametrize("literal", ["1_000", "1_0.5", "1.0e5_0", "0x10", "١", "1e٣"])
def test_what_is_no_literal_of_a_number_is_refused(select, literal):
    with pytest.raises(reddb.RedDBError) as caught:
        select(literal)
    assert caught.value.code is reddb.errors.SYNTAX


# --- arithmetic --------------------------------------------------------------------------------------------

integers = st.sampled_from([0, 1, -1, 2, 2**31, 2**32 + 1, 2**53 + 1, INT_MAX, INT_MIN, INT_MIN + 1]) | st.integers(
    INT_MIN, INT_MAX
)


def in_64_bits(number: int) -> bool:
    return INT_MIN <= number <= INT_MAX


def divided(one: int, other: int) -> int:
    return abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(integers, integers)
def test_integers_are_exact_or_refused(select, one, other):
    right = {"+": one + other, "-": one - other, "*": one * other}
    if other:
        right |= {"/": divided(one, other), "%": one - other * divided(one, other)}
    for sign, exact in right.items():
        if in_64_bits(exact):
            assert select(f"$1 {sign} $2", one, other) == exact
        else:
            with pytest.raises(reddb.RedDBError, match="integer overflow"):
                select(f"$1 {sign} $2", one, other)


# --- sums --------------------------------------------------------------------------------------------------

summed = st.lists(integers | st.sampled_from([0.5, -0.25, 2.0**53, 1e17]), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with reddb.connect(f"file:{tmp_path_factory.mktemp('sums')}") as db:
        db.execute("CREATE COLLECTION docs KIND vector DIM 1 METRIC l2")
        yield db


def aggregate(db: Any, name: str, numbers: list[Any]) -> Any:
    ids = list(range(len(numbers)))
    db.execute("DELETE FROM docs WHERE id >= 0")
    db.insert("docs", ids, [[1.0]] * len(ids), [{"a": number} for number in numbers])
    ((found,),) = db.execute(f"SELECT {name}(a) FROM docs")
    return found


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(summed)
def test_sums_and_means_of_integers_are_exact_and_of_others_near(table, numbers):
    whole = sum(number for number in numbers if type(number) is int)
    floats = [number for number in numbers if type(number) is float]
    exact = whole + sum(map(Fraction, floats), Fraction(0))
    if floats:
        assert aggregate(table, "sum", numbers) == pytest.approx(float(exact), rel=1e-15, abs=0)
        assert aggregate(table, "avg", numbers) == pytest.approx(float(exact / len(numbers)), rel=1e-15, abs=0)
        return
    if in_64_bits(whole):
        assert aggregate(table, "sum", numbers) == whole
    else:
        with pytest.raises(reddb.RedDBError, match="the sum does not fit 64 bits"):
            aggregate(table, "sum", numbers)
    assert aggregate(table, "avg", numbers) == float(exact / len(numbers))


@pytest.mark.parametrize("name", ["sum", "avg"])
def test_a_sum_beyond_the_range_of_a_float_is_refused(table, name):
    with pytest.raises(reddb.RedDBError, match="the sum is not within the range of a 64-bit float"):
        aggregate(table, name, [1e308, 1e308])
