"""Filters that are refused: expression, parameters, code, how the message begins, the text that the carets point at."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from reddb import errors
from reddb.fields import Field, Fields, FieldType
from reddb.grammar import parse
from reddb.query.predicate import bind_predicate
from reddb.query.values import Values

TYPES = {"title": "TEXT", "year": "INT", "ok": "BOOL", "at": "TIMESTAMP", "tags": "TEXT[]", "nums": "INT[]"}
FIELDS = Fields(tuple(Field(name, FieldType(word)) for name, word in {**TYPES, "extra": "JSON"}.items()))

REFUSED = [
    ("year = '5'", (), "INVALID_VALUE", "year is INT and does not compare with '5', which is TEXT", "'5'"),
    ("'5' = year", (), "INVALID_VALUE", "year is INT and does not compare with '5', which is TEXT", "'5'"),
    ("ok = 1", (), "INVALID_VALUE", "ok is BOOL and does not compare with 1, which is INT", "1"),
    ("title IN ('a', 3)", (), "INVALID_VALUE", "title is TEXT and does not compare with 3, which is INT", "3"),
    ("title = year", (), "INVALID_VALUE", "title is TEXT and does not compare with year, which is INT", "year"),
    ("tags = 'a'", (), "INVALID_VALUE", "tags is TEXT[] and does not compare with 'a'", "'a'"),
    ("id = TRUE", (), "INVALID_VALUE", "id is an integer or a string and does not compare", "TRUE"),
    ("at = 'soon'", (), "INVALID_VALUE", "'soon' is no timestamp with a time zone", "'soon'"),
    ("at = '2024-05-01'", (), "INVALID_VALUE", "'2024-05-01' is no timestamp with a time zone", "'2024-05-01'"),
    ("at = $1", [datetime(2024, 5, 1)], "INVALID_VALUE", "a timestamp has a time zone", "$1"),  # noqa: DTZ001
    ("at > 5", (), "INVALID_VALUE", "at is TIMESTAMP and does not compare with 5", "5"),
    ("free = $1", [2**63], "INVALID_VALUE", "a number is a 64-bit integer or a finite float", "$1"),
    ("free = $1", [float("nan")], "INVALID_VALUE", "a number is a 64-bit integer or a finite float", "$1"),
    ("free = $1", ["\ud800"], "INVALID_VALUE", "the string is not valid Unicode", "$1"),
    ("free = $1", [[1]], "INVALID_VALUE", "one value is expected here, not a list", "$1"),
    ("free = $1", [b"x"], "INVALID_VALUE", "one value is expected here, not a bytes", "$1"),
    ("free IN $1", [5], "INVALID_VALUE", "a list is expected here", "$1"),
    ("free = $1", (), "INVALID_PARAMETER", "no value is given for $1", "$1"),
    ("'a' IN year", (), "INVALID_VALUE", "an array column is expected here, and this is INT", "year"),
    ("3 IN tags", (), "INVALID_VALUE", "tags is TEXT[] and does not compare with 3", "3"),
    ("tags && ['a', 3]", (), "INVALID_VALUE", "tags is TEXT[] and does not compare with 3", "3"),
    ("title && ['a']", (), "INVALID_VALUE", "an array column is expected here, and this is TEXT", "title"),
    ("nums && [99999999999999999999]", (), "INVALID_VALUE", "an integer does not fit", "[99999999999999999999]"),
    ("year LIKE 'a%'", (), "INVALID_VALUE", "LIKE compares texts, and this is INT", "year"),
    ("title LIKE 5", (), "INVALID_VALUE", "a pattern is a string, and this is INT", "5"),
    ("title LIKE free", (), "NOT_SUPPORTED", "a pattern is a string or a parameter", "free"),
    ("title LIKE 'a\\'", (), "INVALID_VALUE", "the pattern ends with a backslash", "'a\\'"),
    ("year", (), "INVALID_VALUE", "a condition is true or false, and this is INT", "year"),
    ("ok AND 'x'", (), "INVALID_VALUE", "a condition is true or false, and this is TEXT", "'x'"),
    ("vector IS NULL", (), "UNKNOWN_COLUMN", "there is no column vector here", "vector"),
    ("distance < 0.5", (), "UNKNOWN_COLUMN", "there is no column distance here", "distance"),
    ("score > 1", (), "UNKNOWN_COLUMN", "there is no column score here", "score"),
    ("id.x = 1", (), "UNKNOWN_COLUMN", "there is no column id.x here", "id.x"),
    ("vector <-> [1, 2] < 0.5", (), "UNKNOWN_COLUMN", "there is no column vector here", "vector"),
]


@pytest.mark.parametrize(("where", "parameters", "name", "message", "place"), REFUSED)
def test_a_wrong_expression_is_refused_at_its_place(where, parameters, name, message, place):
    text = f"SELECT id FROM docs WHERE {where} LIMIT 1"
    statement: Any = parse(text)
    with pytest.raises(errors.RedDBError) as caught:
        bind_predicate(statement.where, Values(text, statement, parameters), FIELDS)
    error = caught.value
    assert error.name == name
    assert error.message.startswith(message)
    line, carets = str(error.detail["excerpt"]).split("\n")[-2:]
    assert line[carets.index("^") : carets.rindex("^") + 1] == place
