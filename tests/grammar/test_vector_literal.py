"""Vector literals: every float32 survives a round trip bit by bit, everything beyond can still be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reddb.grammar import ast, parse, render, written_coordinates, written_numbers

FLOAT32 = np.finfo(np.float32)
TARGET = "VECTOR SEARCH docs SIMILAR TO "


def vector(literal: str) -> ast.VectorLiteral:
    search = parse(TARGET + literal)
    assert isinstance(search, ast.VectorSearch)
    assert isinstance(search.target, ast.VectorLiteral)
    return search.target


def round_trip(array: np.ndarray) -> bytes:
    node = ast.VectorLiteral(array.astype("<f4").tobytes())
    return vector(render(ast.VectorSearch(ast.Identifier("docs"), node)).removeprefix(TARGET)).data


@pytest.mark.parametrize(
    "value",
    [0.0, -0.0, 0.1, 1 / 3, 1e10, 16777217.0, FLOAT32.max, -FLOAT32.max, FLOAT32.tiny, FLOAT32.smallest_subnormal],
)
def test_round_trip_of_corner_values(value: float) -> None:
    array = np.array([value], "<f4")
    assert round_trip(array) == array.tobytes()


def test_round_trip_of_denormals() -> None:
    denormals = np.random.default_rng(7).integers(1, 1 << 23, 2_000, dtype=np.uint32).view("<f4")
    assert (np.abs(denormals) < FLOAT32.tiny).all()
    assert round_trip(denormals) == denormals.tobytes()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_round_trip_of_any_float32(values: list[float]) -> None:
    array = np.array(values, "<f4")
    assert round_trip(array) == array.tobytes()


def test_round_trip_of_random_bits() -> None:
    bits = np.random.default_rng(1).integers(0, 1 << 32, 20_000, dtype=np.uint32).view("<f4")
    finite = bits[np.isfinite(bits)]
    assert len(finite) > 19_000
    assert round_trip(finite) == finite.tobytes()


@pytest.mark.parametrize("text", ["[1,2,3]", "[ 1 , 2 , 3 ]", "[1.0,\n\t2.,\r\n3e0]", "[+1, /* two */ 2, -- \n 3]"])
def test_spellings(text: str) -> None:
    assert vector(text).array.tolist() == [1.0, 2.0, 3.0]


def test_the_array_is_read_only() -> None:
    array = vector("[1, 2]").array
    assert array.dtype == np.dtype("<f4")
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 5


@pytest.mark.parametrize("separator", [", ", ",", " ,\n ", ", /* a comment */ "])
@pytest.mark.parametrize("number", ["1e39", "-1e39", "3.5e38", "1e308"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_number_beyond_float32_is_an_infinity_that_can_be_read_where_it_stands(
    separator: str, number: str, position: int
) -> None:
    numbers = ["0.5", "0.5", "0.5"]
    numbers[position] = number
    text = f"{TARGET}[{separator.join(numbers)}]"
    statement: Any = parse(text)
    assert np.isinf(statement.target.array).tolist() == [place == position for place in range(3)]
    written, span = written_coordinates(text, statement.target.span)[position]
    assert written == text[span.start : span.end] == number
    assert written_numbers(text[statement.target.span.start : statement.target.span.end])[position] == float(number)


def test_numbers_below_float32_are_zero() -> None:
    assert vector("[1e-60, -1e-60, 1e-999]").data == np.array([0.0, -0.0, 0.0], "<f4").tobytes()
