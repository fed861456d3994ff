"""Large statements: rows and lists that are written out are one token and read as others; limits by their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reddb import limits
from reddb.errors import RedDBError
from reddb.grammar import ast, parse, parse_script

VALUES = ["1", "-2", "+007", "1.5", "-.5", "1e3", "''", "'it''s, (no)'", "'[1]'", "NULL", "true", "False"]
LISTS = ["[1, 2]", "[ -1.5 ]", "['a', 'b,]']", "[]", "[ ]", "['it''s']"]


def insert(*rows: str) -> ast.Insert:
    statement = parse("INSERT INTO docs (id, a) VALUES " + ", ".join(rows))
    assert isinstance(statement, ast.Insert)
    return statement


def literals(node: Any) -> Iterator[ast.Literal | ast.Parameter | ast.VectorLiteral]:
    if isinstance(node, ast.Literal | ast.Parameter | ast.VectorLiteral):
        yield node
    elif isinstance(node, ast.ListLiteral):
        yield from literals(node.items)
    elif isinstance(node, tuple):
        for item in node:
            yield from literals(item)


@pytest.mark.parametrize("value", [*VALUES, *LISTS, "$1", ":name", "?"])
def test_written_rows_read_as_those_with_a_comment(value: str) -> None:
    rows = insert(f"(1,{value})", f"( 2 ,\n {value} )")
    assert rows == insert(f"(1,{value}/**/)", f"( 2 ,\n {value} /* here */)")
    assert rows == insert(f"(1,{value})", f"( 2 ,\n {value} --\n)")


@pytest.mark.parametrize("value", [*VALUES, "$1", ":name"])
def test_a_written_list_reads_as_one_with_a_comment(value: str) -> None:
    written = parse(f"DELETE FROM docs WHERE a NOT in({value}, 2 )")
    assert written == parse(f"DELETE FROM docs WHERE a NOT in({value}, 2 /**/)")


def test_each_written_value_knows_its_place() -> None:
    text = "  INSERT INTO docs (id, a) VALUES (1, -2.5), ( 'two' ,['x', 'y']), ($3, [1, 2]) "
    statement = parse_script(f"SELECT 1;{text}")[1]
    assert isinstance(statement, ast.Insert)
    script = f"SELECT 1;{text}"
    places = [script[node.span.start : node.span.end] for node in literals(statement.rows)]
    assert places == ["1", "-2.5", "'two'", "'x'", "'y'", "$3", "[1, 2]"]


def test_computed_rows_may_follow_written_ones() -> None:
    assert len(insert("(1, 2)", "(1 + 1, 2)", "(3, 4)").rows) == 3
    assert len(insert("(1 + 1, 2)", "(3, 4)").rows) == 2


def test_question_marks_are_numbered_from_left_to_right() -> None:
    rows = insert("(?, ?)", "(?, 1 + ?)", "(?, ?)").rows
    assert [node.key for node in literals(rows) if isinstance(node, ast.Parameter)] == [1, 2, 3, 5, 6]


@pytest.mark.parametrize(
    ("limit", "most", "fits", "is_too_much"),
    [
        ("STATEMENT_BYTES_MAX", 20, "SHOW COLLECTION aaaa", "SHOW COLLECTION aaaaa"),
        ("STATEMENT_BYTES_MAX", 20, "SHOW COLLECTION a", 'SHOW COLLECTION "üü"'),
        ("STATEMENT_TOKENS_MAX", 6, "SELECT a, b, c", "SELECT a, b, c, d"),
        ("STATEMENT_TOKENS_MAX", 2, "SELECT /**/ --\n 'a  b' /* a b c */", "SELECT - -5"),
        ("STATEMENT_VALUES_MAX", 3, "SELECT a IN (1, 'b', NULL)", "SELECT a IN (1, 'b', NULL, 4)"),
        ("STATEMENT_VALUES_MAX", 3, "SELECT a IN (1, 2), b IN (3)", "SELECT a IN (1, 2), b IN (3, 4)"),
        ("STATEMENT_VALUES_MAX", 3, "SELECT a IN (1, ['b'])", "SELECT a IN (1, ['b', 'c'])"),
        ("STATEMENT_NUMBERS_MAX", 3, "SELECT [1, 2], [3]", "SELECT [1, 2], [3, 4]"),
    ],
)
def test_limit(monkeypatch: pytest.MonkeyPatch, limit: str, most: int, fits: str, is_too_much: str) -> None:
    monkeypatch.setattr(limits, limit, most)
    parse(fits)
    with pytest.raises(RedDBError) as caught:
        parse(is_too_much)
    assert caught.value.name == "LIMIT_EXCEEDED"
    assert limit in caught.value.message
    assert str(most) in caught.value.message


def test_the_limits_are_those_of_each_statement_of_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("BYTES", "TOKENS", "VALUES", "NUMBERS"):
        monkeypatch.setattr(limits, f"STATEMENT_{limit}_MAX", 30)
    assert len(parse_script("SELECT a IN (1, 2), [1, 2];" * 20)) == 20


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO docs (id) VALUES " + ", ".join(["(1)"] * 5_000),
        "INSERT INTO docs (id, tags) VALUES (1, [" + ", ".join(["'x'"] * 5_000) + "])",
        "DELETE FROM docs WHERE id IN (" + ", ".join(["1"] * 5_000) + ")",
        "VECTOR SEARCH docs SIMILAR TO [" + ", ".join(["1"] * 300_000) + "]",
        "SELECT " + "a, " * 5_000 + "a",
    ],
    ids=["rows", "strings", "list", "numbers", "names"],
)
def test_what_is_too_much_is_refused_whatever_it_is(text: str) -> None:
    with pytest.raises(RedDBError) as caught:
        parse(text)
    assert caught.value.name == "LIMIT_EXCEEDED"
    assert caught.value.detail["hint"]


def test_a_row_of_the_largest_dimension_fits() -> None:
    rows = ", ".join(f"({n}, [{', '.join(['0.123456'] * limits.DIM_MAX)}])" for n in range(8))
    assert [len(row[1].data) // 4 for row in insert(rows).rows] == [limits.DIM_MAX] * 8


@pytest.mark.parametrize("length", [limits.STATEMENT_DEPTH_MAX, limits.STATEMENT_DEPTH_MAX + 1, 300])
def test_rows_that_are_compared_are_as_long_as_a_condition_is_deep(length: int) -> None:
    text = f"SELECT id FROM docs WHERE ({', '.join(['a'] * length)}) > ({', '.join(['1'] * length)})"
    if length == limits.STATEMENT_DEPTH_MAX:
        assert len(parse(text).where.left) == length
        return
    with pytest.raises(RedDBError, match=f"at most {limits.STATEMENT_DEPTH_MAX} values, not {length}") as caught:
        parse(text)
    assert caught.value.name == "LIMIT_EXCEEDED"
