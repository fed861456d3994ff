"""Queries over one table give what SQLite gives; and what the scripts of sqllogictest mean is read as it is meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.suites.dialect import NotApplicable, query
from tests.suites.random_queries import script
from tests.suites.scripts import Query, Statement, agree, records, sorted_values
from tests.suites.sqllogic import SAMPLE, Report, run

COLUMNS = {"t": ["a", "b"]}


def asked(text: str, folder: Path, *, seal: bool = False) -> Report:
    report = Report()
    run(text, "script", folder / "data", report, seal=seal)
    return report


def test_the_sample(tmp_path: Path) -> None:
    report = asked(SAMPLE.read_text(), tmp_path)
    assert report.wrong == []
    assert (report.right, report.not_applicable.total()) == (1000, 0)


@pytest.mark.parametrize(("seed", "seal"), [(1, False), (2, True)], ids=["growing", "sealed"])
def test_random_queries_give_what_sqlite_gives(tmp_path: Path, seed: int, seal: bool) -> None:
    report = asked(script(300, seed, rows=60), tmp_path, seal=seal)
    assert report.wrong == []
    assert (report.right, report.not_applicable.total()) == (300, 0)


def test_a_wrong_value_is_seen(tmp_path: Path) -> None:
    """The sample with one digit of an answer changed, wherever there is one."""
    text = script(40, seed=3)
    planted, plants = re.subn(r"(?<=----\n)-?\d+(?=\n)", "12345", text)
    assert plants > 3
    assert len(asked(planted, tmp_path).wrong) == plants


def test_a_refusal_is_wrong_unless_its_reason_is_known(tmp_path: Path) -> None:
    text = """
statement ok
CREATE TABLE t(a INTEGER, b TEXT)

statement ok
INSERT INTO t VALUES(1, 'x')

query I nosort
SELECT a / 0 FROM t
----
NULL

query I nosort
SELECT strange(a) FROM t
----
1

query I nosort
SELECT a FROM t JOIN u
----
1

statement error
INSERT INTO t VALUES('one', 'x')

statement ok
INSERT INTO t SELECT a + 1, b FROM t

query IT rowsort
SELECT * FROM t
----
1
x
2
x
"""
    report = asked(text, tmp_path)
    assert report.not_applicable == {"division by zero, there NULL": 1, "join": 1}
    assert [wrong.splitlines()[0] for wrong in report.wrong] == ["script:13: SELECT strange(a) FROM t"]
    assert (report.right, report.statements) == (1, 4)


def test_a_script_is_read() -> None:
    text = """# a comment
hash-threshold 8

statement ok
CREATE TABLE t(a INTEGER)

skipif mysql # not compatible
statement error
INSERT INTO t
VALUES(1)

onlyif mssql
halt

onlyif mysql
query I
SELECT 1 DIV 2
----
0

query IT rowsort label-1
SELECT a, 'x'
FROM t
----
4 values hashing to b1946ac92492d2347c6235b4d2611184

halt

query I nosort
SELECT 2
----
2
"""
    assert list(records(text)) == [
        Statement(4, "CREATE TABLE t(a INTEGER)", True, False),
        Statement(7, "INSERT INTO t\nVALUES(1)", False, False),
        Query(15, "SELECT 1 DIV 2", "I", "nosort", ("0",), True),
        Query(
            *(21, "SELECT a, 'x'\nFROM t", "IT", "rowsort"),
            *(("4 values hashing to b1946ac92492d2347c6235b4d2611184",), False),
        ),
    ]
    with pytest.raises(ValueError, match="line 3: a record is"):
        list(records("\n\nsurprise\n"))


def test_values_are_compared_as_scripts_write_them() -> None:
    rows = [[2, None, ""], [10, 1.5, "a\tb"], [True, 2, "x"]]
    assert sorted_values(rows, "IRT", "nosort")[:6] == ["2", "NULL", "(empty)", "10", "1.500", "a@b"]
    assert sorted_values(rows, "IRT", "rowsort")[:6] == ["1", "2.000", "x", "10", "1.500", "a@b"]
    assert sorted_values(rows, "IRT", "valuesort")[:4] == ["(empty)", "1", "1.500", "10"]
    assert sorted_values([[-1.9], ["12 apples"]], "I", "nosort") == ["-1", "12"]
    assert agree(["1", "2", "3"], ["3 values hashing to 4c2b6d2f1ab8e3b1d7ae5d5d8d1a9c2c"]) is False
    assert agree(["1", "2", "3"], ["3 values hashing to c0710d6b4f15dfa88f600b0e6b624077"])
    assert agree([], [])
    assert not agree(["1"], ["2"])


@pytest.mark.parametrize(
    ("sql", "translated"),
    [
        ("SELECT ALL * FROM t", "SELECT a, b FROM t"),
        ("SELECT DISTINCT x.* FROM t AS x", "SELECT DISTINCT x.a, x.b FROM t AS x"),
        ("SELECT x.a FROM t x WHERE x.b = 1", "SELECT x.a FROM t AS x WHERE x.b = 1"),
        ("SELECT a c, COUNT(ALL b) FROM t", "SELECT a AS c, COUNT ( b ) FROM t"),
        ("SELECT - a FROM t ORDER BY 1, b DESC", "SELECT - a FROM t ORDER BY 1 NULLS FIRST, b DESC NULLS LAST"),
        ("SELECT CAST(t.a AS REAL) FROM t", "SELECT CAST ( t.a AS FLOAT ) FROM t"),
        ("SELECT 1 WHERE 'it''s' LIKE 'I%' LIMIT 1", "SELECT 1 WHERE 'it''s' ILIKE 'I%' LIMIT 1"),
    ],
)
def test_words_are_translated(sql: str, translated: str) -> None:
    assert query(sql, COLUMNS) == translated


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT a FROM t, u", "join"),
        ("SELECT a FROM t WHERE a = (SELECT max(a) FROM t)", "subquery"),
        ("SELECT a FROM t UNION SELECT b FROM t", "set operation"),
        ("SELECT CASE a WHEN 1 THEN 2 END FROM t", "CASE"),
        ("SELECT a FROM elsewhere", "table that could not be made here"),
    ],
)
def test_what_does_not_apply_says_why(sql: str, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        query(sql, COLUMNS)
