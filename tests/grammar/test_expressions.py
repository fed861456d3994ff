"""Expressions: what binds tighter, whose sign it is, and every operator's node."""

from __future__ import annotations

import pytest

from reddb.grammar import ast, parse_condition
from reddb.grammar.ast import Column, Comparison, Identifier, Literal, Parameter

A, B, C = (Comparison("=", Column((name,)), Literal(1)) for name in "abc")
B_IN_C = ast.Member(Column(("b",)), Column(("c",)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1 OR b = 1 AND c = 1", ast.Or((A, ast.And((B, C))))),
        ("a = 1 AND b = 1 AND c = 1", ast.And((A, B, C))),
        ("a = 1 AND (b = 1 AND c = 1)", ast.And((A, ast.And((B, C))))),
        ("NOT a = 1 AND b = 1", ast.And((ast.Not(A), B))),
        ("NOT NOT a = 1", ast.Not(ast.Not(A))),
        ("NOT (a = 1 AND b = 1)", ast.Not(ast.And((A, B)))),
        ("((a)) = (1)", A),
        ("a != -1", Comparison("<>", Column(("a",)), Literal(-1))),
        ("a<-1", Comparison("<", Column(("a",)), Literal(-1))),
        ("a <-> 1 < .5", Comparison("<", ast.Distance("<->", Column(("a",)), Literal(1)), Literal(0.5))),
        ("a BETWEEN 1 AND 2 AND b = 1", ast.And((ast.Between(Column(("a",)), Literal(1), Literal(2)), B))),
        ("a NOT BETWEEN 1 AND 2", ast.Between(Column(("a",)), Literal(1), Literal(2), negated=True)),
        ("a NOT IN ('x', $1)", ast.InList(Column(("a",)), (Literal("x"), Parameter(1)), negated=True)),
        ("'x' IN a", ast.Member(Literal("x"), Column(("a",)))),
        ("$1 NOT IN a.b", ast.Member(Parameter(1), Column(("a", "b")), negated=True)),
        ("a IN $1", ast.Member(Column(("a",)), Parameter(1))),
        ("a NOT IN :ids", ast.Member(Column(("a",)), Parameter("ids"), negated=True)),
        ("a && ['x']", ast.Overlap(Column(("a",)), ast.ListLiteral((Literal("x"),)))),
        ("a && []", ast.Overlap(Column(("a",)), ast.ListLiteral(()))),
        ("a && [2]", ast.Overlap(Column(("a",)), ast.VectorLiteral(b"\0\0\0\x40"))),
        ("a&&$1 AND NOT b IN c", ast.And((ast.Overlap(Column(("a",)), Parameter(1)), ast.Not(B_IN_C)))),
        ("ok AND NOT hidden", ast.And((Column(("ok",)), ast.Not(Column(("hidden",)))))),
        ("a ILIKE 'x'", ast.Like(Column(("a",)), Literal("x"), case_insensitive=True)),
        ("a NOT LIKE 'x'", ast.Like(Column(("a",)), Literal("x"), negated=True)),
        ("a IS NOT NULL", ast.IsNull(Column(("a",)), negated=True)),
        ("ok", Column(("ok",))),
    ],
)
def test_expressions(text: str, expected: ast.Expression) -> None:
    assert parse_condition(text) == expected


def arithmetic(operator: str, left: ast.Expression, right: ast.Expression) -> ast.Arithmetic:
    return ast.Arithmetic(operator, left, right)


COLUMN_A, COLUMN_B, COLUMN_K = (Column((name,)) for name in "abk")
ONE, FIVE = Literal(1), Literal(5)
INT = Identifier("INT")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + 1 * 5", arithmetic("+", COLUMN_A, arithmetic("*", ONE, FIVE))),
        ("(a + 1) * 5", arithmetic("*", arithmetic("+", COLUMN_A, ONE), FIVE)),
        ("a - 1 - 5", arithmetic("-", arithmetic("-", COLUMN_A, ONE), FIVE)),
        ("a - (1 - 5)", arithmetic("-", COLUMN_A, arithmetic("-", ONE, FIVE))),
        # A sign before a number is a part of it, unless something stands before that could be an operand.
        ("a -5", arithmetic("-", COLUMN_A, FIVE)),
        ("a-5", arithmetic("-", COLUMN_A, FIVE)),
        ("k -5", arithmetic("-", COLUMN_K, FIVE)),
        ("1-5", arithmetic("-", ONE, FIVE)),
        ("$1 -5", arithmetic("-", Parameter(1), FIVE)),
        ("f() -5", arithmetic("-", ast.Call("f"), FIVE)),
        ("NULL -5", arithmetic("-", Literal(None), FIVE)),
        ("a - -5", arithmetic("-", COLUMN_A, Literal(-5))),
        ("- - 5", FIVE),
        ("-(5)", Literal(-5)),
        ("-(-5)", FIVE),
        ("+a", COLUMN_A),
        ("-a", ast.Negative(COLUMN_A)),
        ("-a * b", arithmetic("*", ast.Negative(COLUMN_A), COLUMN_B)),
        ("-a <-> b", ast.Negative(ast.Distance("<->", COLUMN_A, COLUMN_B))),
        ("-a::INT", ast.Negative(ast.Cast(COLUMN_A, INT))),
        ("-5::INT", ast.Cast(Literal(-5), INT)),
        ("1 + a <-> b", arithmetic("+", ONE, ast.Distance("<->", COLUMN_A, COLUMN_B))),
        ("CAST(a + 1 AS int)", ast.Cast(arithmetic("+", COLUMN_A, ONE), INT)),
        ("a::int[]", ast.Cast(COLUMN_A, Identifier("INT[]"))),
        ("count(*)", ast.Call("count", star=True)),
        ("COUNT(DISTINCT a)", ast.Call("count", (COLUMN_A,), distinct=True)),
        ("f(a, 1)", ast.Call("f", (COLUMN_A, ONE))),
        ("k(a = 1)", ast.Call("k", (A,))),
        ("INTERVAL '2 h'", ast.Interval("2 h")),
        ("interval", Column(("interval",))),
        ("a NEAR $1", ast.Near(COLUMN_A, Parameter(1))),
        ("(a, b) >= (1, 5)", ast.RowComparison(">=", (COLUMN_A, COLUMN_B), (ONE, FIVE))),
        ("a CONTAINS 5", ast.Member(FIVE, COLUMN_A)),
        ("a IN (b)", ast.InList(COLUMN_A, (COLUMN_B,))),
        ("a && ARRAY[5]", ast.Overlap(COLUMN_A, ast.VectorLiteral(b"\0\0\xa0\x40"))),
    ],
)
def test_arithmetic_and_calls(text: str, expected: ast.Expression) -> None:
    assert parse_condition(text) == expected
    assert repr(parse_condition(text)) == repr(expected)  # equality alone takes 5 and 5.0 for one
