"""What the binder refuses: each clause that cannot be done, by name, with the place it points at."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest

from reddb import errors
from reddb.grammar import parse
from reddb.query.binder import bind
from reddb.query.plan import Plan
from tests.engine.partitions import collection

CATALOG = {
    "docs": collection(dim=2, metric="cosine"),
    "points": collection(dim=2, metric="l2"),
    "dots": collection(dim=2, metric="ip"),
}
VECTOR = [1.0, 2.0]
SEARCH = "SELECT id FROM docs ORDER BY vector <=> $1 LIMIT 3"


def plan(text: str, parameters: Any = ()) -> Plan:
    return bind(parse(text), text, parameters, CATALOG)


# Statement, parameters, code, the beginning of the message, the text that the carets point at.
REFUSED = [
    # collections
    ("SELECT id FROM dcs LIMIT 1", (), "UNKNOWN_COLLECTION", "there is no collection 'dcs'", "dcs"),
    ("DELETE FROM nope WHERE id = 1", (), "UNKNOWN_COLLECTION", "there is no collection 'nope'", "nope"),
    ("SHOW COLLECTION nope", (), "UNKNOWN_COLLECTION", "there is no collection 'nope'", "nope"),
    ("VECTOR SEARCH nope SIMILAR TO [1, 2]", (), "UNKNOWN_COLLECTION", "there is no collection 'nope'", "nope"),
    ("INSERT INTO nope (id, vector) VALUES (1, [1, 2])", (), "UNKNOWN_COLLECTION", "there is no", "nope"),
    # CREATE
    ("CREATE COLLECTION c KIND vector.turbo DIM 0", (), "INVALID_VALUE", "DIM is an integer from 1 to 8192", "0"),
    ("CREATE COLLECTION c KIND vector.turbo DIM 8193", (), "LIMIT_EXCEEDED", "DIM is at most 8192, not 8193", "8193"),
    (
        "CREATE COLLECTION c KIND vector.tubro DIM 2",
        (),
        "INVALID_VALUE",
        "there is no kind 'vector.tubro'",
        "vector.tubro",
    ),
    (
        "CREATE COLLECTION c KIND vector.turbo DIM 2 METRIC hamming",
        (),
        "NOT_SUPPORTED",
        "turbo codes cannot estimate the metric hamming, only cosine, ip, l2, pearson",
        "hamming",
    ),
    ("CREATE COLLECTION c KIND vector DIM 2 FIELDS (a INTT)", (), "INVALID_VALUE", "there is no type", "INTT"),
    ("CREATE COLLECTION c KIND vector DIM 2 FIELDS (id INT)", (), "INVALID_NAME", "id is a column", "id"),
    ("CREATE COLLECTION c KIND vector DIM 2 FIELDS (a INT DEFAULT 'x')", (), "INVALID_VALUE", "the default of", "'x'"),
    ("CREATE COLLECTION c KIND vector DIM 2 FIELDS (a INT, a TEXT)", (), "SYNTAX", "field a is given twice", "a"),
    ("CREATE COLLECTION c KIND vector.turbo DIM 2 METRIC l3", (), "INVALID_VALUE", "there is no metric 'l3'", "l3"),
    (
        "CREATE COLLECTION c KIND vector.turbo DIM 2 WITH (bits = 3)",
        (),
        "INVALID_SETTING",
        "bits must be 2 or 4, not 3",
        "bits = 3",
    ),
    (
        "CREATE COLLECTION c KIND vector.turbo DIM 2 WITH (bit = 4)",
        (),
        "INVALID_SETTING",
        "unknown setting 'bit'",
        "bit = 4",
    ),
    (
        "CREATE COLLECTION c KIND vector.turbo DIM 2 WITH (bits = '4')",
        (),
        "INVALID_SETTING",
        "bits must be",
        "bits = '4'",
    ),
    (
        'CREATE COLLECTION "a\nb" KIND vector.turbo DIM 2',
        (),
        "INVALID_NAME",
        "a name has printable characters only",
        '"a',
    ),
    # INSERT
    ("INSERT INTO docs (vector) VALUES ([1, 2])", (), "UNKNOWN_COLUMN", "INSERT needs the column id", "docs"),
    ("INSERT INTO docs (id) VALUES (1)", (), "UNKNOWN_COLUMN", "INSERT needs the column vector", "docs"),
    (
        "INSERT INTO docs (id, vector, score) VALUES (1, [1, 2], 3)",
        (),
        "UNKNOWN_COLUMN",
        "the column score is computed",
        "score",
    ),
    (
        "UPSERT INTO docs (id, vector, distance) VALUES (1, [1, 2], 3)",
        (),
        "UNKNOWN_COLUMN",
        "the column distance",
        "distance",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (1, [1, 2]), (2, [1, 2, 3])",
        (),
        "INVALID_DIMENSION",
        "the collection has 2 dimensions, this vector has 3",
        "[1, 2, 3]",
    ),
    ("INSERT INTO docs (id, vector) VALUES (1, 'x')", (), "INVALID_VALUE", "a vector is expected here, not 'x'", "'x'"),
    (
        "INSERT INTO docs (id, vector) VALUES (1, NULL)",
        (),
        "INVALID_VALUE",
        "a vector is expected here, not NULL",
        "NULL",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (1, ['a', 'b'])",
        (),
        "INVALID_VALUE",
        "a vector is expected here, not a list",
        "['a', 'b']",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (1, $1)",
        ([1.0, np.nan],),
        "INVALID_VECTOR",
        "coordinate 1 of the vector is NaN",
        "$1",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (1, $1)",
        ([1e39, 0],),
        "INVALID_VECTOR",
        "coordinate 0 of the vector is 1e+39, beyond COORDINATE_MAX, which is 1e+15",
        "$1",
    ),
    ("INSERT INTO docs (id, vector) VALUES (1, $1)", ([10**400, 0],), "INVALID_V", "", "$1"),
    (
        "INSERT INTO docs (id, vector) VALUES (1, [0, 1e39])",
        (),
        "INVALID_VECTOR",
        "coordinate 1 of the vector is 1e39, beyond",
        "1e39",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (1, [/* 7 */ -2e15, 0])",
        (),
        "INVALID_VECTOR",
        "coordinate 0 of the vector is -2e15",
        "-2e15",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (1, [1e999, 0])",
        (),
        "INVALID_VECTOR",
        "coordinate 0 of the vector is 1e999",
        "1e999",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (1, '[0, 1e39]')",
        (),
        "INVALID_VECTOR",
        "coordinate 1 of the vector is 1e39",
        "'[0, 1e39]'",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (1, '[0, 1e-20]')",
        (),
        "INVALID_VECTOR",
        "the vector is not zero",
        "'[0, 1e-20]'",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (1, '[1_0, 2]')",
        (),
        "INVALID_VALUE",
        "a vector is expected here",
        "'[1_0, 2]'",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (1, '[١, 2]')",
        (),
        "INVALID_VALUE",
        "a vector is expected here",
        "'[١, 2]'",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (1, '[nan, 2]')",
        (),
        "INVALID_VALUE",
        "a vector is expected here",
        "'[nan, 2]'",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (1, $1)",
        (["1", "2"],),
        "INVALID_VALUE",
        "a vector is expected here, not a list",
        "$1",
    ),
    ("INSERT INTO docs (id, vector) VALUES (1, $1)", ([[1, 2]],), "INVALID_VALUE", "a vector is expected here", "$1"),
    ("INSERT INTO docs (id, vector) VALUES (1, $1)", ({"a": 1},), "INVALID_VALUE", "a vector is expected here", "$1"),
    (
        "INSERT INTO docs (id, vector) VALUES (1, $1)",
        (b"12345678",),
        "INVALID_VALUE",
        "a vector is expected here",
        "$1",
    ),
    (
        "INSERT INTO docs (id, vector) VALUES (TRUE, [1, 2])",
        (),
        "INVALID_ID",
        "an id is a 64-bit integer or a string",
        "TRUE",
    ),
    ("INSERT INTO docs (id, vector) VALUES (1.5, [1, 2])", (), "INVALID_ID", "an id is a 64-bit integer", "1.5"),
    ("INSERT INTO docs (id, vector) VALUES ('', [1, 2])", (), "INVALID_ID", "an id is a 64-bit integer", "''"),
    (
        "INSERT INTO docs (id, vector) VALUES ($1, [1, 2])",
        ("x" * 256,),
        "INVALID_ID",
        "an id is a 64-bit integer",
        "$1",
    ),
    ("INSERT INTO docs (id, vector) VALUES ($1, [1, 2])", (2**63,), "INVALID_ID", "an id is a 64-bit integer", "$1"),
    ("INSERT INTO docs (id, vector) VALUES ($1, [1, 2])", ("\ud800",), "INVALID_ID", "", "$1"),
    # DELETE
    ("DELETE FROM docs", (), "NOT_SUPPORTED", "DELETE needs a WHERE", "docs"),
    ("DELETE FROM docs WHERE id = NULL", (), "INVALID_ID", "an id is a 64-bit integer", "NULL"),
    ("DELETE FROM docs WHERE id IN (1, TRUE)", (), "INVALID_ID", "an id is a 64-bit integer", "TRUE"),
    ("DELETE FROM docs WHERE id IN ($1)", ([1, None],), "INVALID_ID", "an id is a 64-bit integer", "$1"),
    # SELECT
    ("SELECT id FROM docs LIMIT 10001", (), "LIMIT_EXCEEDED", "LIMIT is at most 10000, not 10001", "10001"),
    ("SELECT id FROM docs LIMIT $1", (-1,), "INVALID_VALUE", "LIMIT is an integer from 0, not -1", "$1"),
    ("SELECT id FROM docs LIMIT $1", ("5",), "INVALID_VALUE", "LIMIT is an integer from 0, not '5'", "$1"),
    ("SELECT id FROM docs LIMIT $1", (True,), "INVALID_VALUE", "LIMIT is an integer from 0, not True", "$1"),
    ("SELECT id FROM docs LIMIT 1 OFFSET $1", (None,), "INVALID_VALUE", "OFFSET is an integer from 0, not NULL", "$1"),
    ("SELECT id FROM docs LIMIT 1 OFFSET 10001", (), "LIMIT_EXCEEDED", "OFFSET is at most 10000", "10001"),
    ("SELECT distance FROM docs LIMIT 1", (), "UNKNOWN_COLUMN", "there is no column distance here", "distance"),
    ("SELECT score FROM docs LIMIT 1", (), "UNKNOWN_COLUMN", "there is no column score here", "score"),
    (
        "SELECT id FROM docs LIMIT 1 WITH (ef = 5)",
        (),
        "INVALID_SETTING",
        "WITH belongs to a search by vector",
        "ef = 5",
    ),
    (
        "SELECT id FROM docs WHERE id = 1 WITH (exact = true)",
        (),
        "INVALID_SETTING",
        "WITH belongs to a search",
        "exact = true",
    ),
    # searches
    (
        "SELECT id FROM docs ORDER BY other <=> $1",
        (VECTOR,),
        "UNKNOWN_COLUMN",
        "one side of a distance is the column vector",
        "other <=> $1",
    ),
    (
        "SELECT id FROM docs ORDER BY $1 <=> $2",
        (VECTOR, VECTOR),
        "UNKNOWN_COLUMN",
        "one side of a distance is",
        "$1 <=> $2",
    ),
    (
        "SELECT id FROM docs ORDER BY vector <=> vector",
        (),
        "INVALID_VALUE",
        "the other side of a distance is a vector",
        "vector",
    ),
    ("SELECT id FROM docs ORDER BY vector <=> 5", (), "INVALID_VALUE", "the other side of a distance is a vector", "5"),
    (SEARCH, ([1.0],), "INVALID_DIMENSION", "the collection has 2 dimensions, this vector has 1", "$1"),
    (SEARCH, (np.array([1.0, np.inf], np.float32),), "INVALID_VECTOR", "coordinate 1 of the vector is inf", "$1"),
    (SEARCH, (np.zeros((1, 2)),), "INVALID_VALUE", "a vector is expected here", "$1"),
    (SEARCH + " WITH (eff = 5)", (VECTOR,), "INVALID_SETTING", "a search has no setting 'eff'", "eff = 5"),
    (SEARCH + " WITH (ef = -1)", (VECTOR,), "INVALID_VALUE", "ef is an integer", "-1"),
    (SEARCH + " WITH (ef = 100001)", (VECTOR,), "LIMIT_EXCEEDED", "ef is at most 100000, not 100001", "100001"),
    (SEARCH + " WITH (exact = 1)", (VECTOR,), "INVALID_SETTING", "exact is true or false", "exact = 1"),
    (SEARCH + " WITH (recall = 0)", (VECTOR,), "INVALID_SETTING", "recall is a number above 0", "recall = 0"),
    (SEARCH + " WITH (recall = 1.1)", (VECTOR,), "INVALID_SETTING", "recall is a number above 0", "recall = 1.1"),
    (SEARCH + " WITH (recall = 'x')", (VECTOR,), "INVALID_SETTING", "recall is a number above 0", "recall = 'x'"),
    (SEARCH + " WITH (ef = 9, recall = 0.9)", (VECTOR,), "INVALID_SETTING", "ef and recall say the same thing", None),
    (SEARCH + " WITH (exact = yes)", (VECTOR,), "INVALID_SETTING", "exact is true or false", "exact = yes"),
    ("SELECT id FROM docs ORDER BY vector <=> $1 LIMIT 10 OFFSET 9991", (VECTOR,), "LIMIT_EXCEEDED", "", None),
    ("VECTOR SEARCH docs SIMILAR TO [1, 2] LIMIT 10001", (), "LIMIT_EXCEEDED", "LIMIT is at most 10000", "10001"),
    (
        "VECTOR SEARCH docs SIMILAR TO [1, 2, 3]",
        (),
        "INVALID_DIMENSION",
        "the collection has 2 dimensions",
        "[1, 2, 3]",
    ),
    ("VECTOR SEARCH docs SIMILAR TO ID $1", (2.5,), "INVALID_ID", "an id is a 64-bit integer", "$1"),
    ("VECTOR SEARCH docs SIMILAR TO ID ($1)", ([float("inf")],), "INVALID_ID", "an id is a 64-bit integer", "$1"),
    # filters
    (
        "DELETE FROM docs WHERE vector = 1",
        (),
        "INVALID_VALUE",
        "vector is a vector, and vectors do not compare",
        "vector",
    ),
    ("SELECT count(*) FROM docs WHERE score > 1", (), "UNKNOWN_COLUMN", "there is no column score here", "score"),
    ("SELECT id FROM docs WHERE a LIKE 5 LIMIT 1", (), "INVALID_VALUE", "a pattern is a string", "5"),
    ("VECTOR SEARCH docs SIMILAR TO [1, 2] WHERE a = $1", (), "INVALID_PARAMETER", "no value is given for $1", "$1"),
    # UPDATE
    ("UPDATE docs SET a = 1", (), "NOT_SUPPORTED", "UPDATE needs a WHERE", "docs"),
    ("UPDATE docs SET id = 1 WHERE id = 2", (), "UNKNOWN_COLUMN", "the column id cannot be set", "id"),
    ("UPDATE docs SET score = 1 WHERE id = 2", (), "UNKNOWN_COLUMN", "the column score cannot be set", "score"),
    ("UPDATE docs SET vector = [1] WHERE id = 2", (), "INVALID_DIMENSION", "the collection has 2 dimensions", "[1]"),
    # ALTER, SHOW, EXPLAIN
    ("ALTER COLLECTION nope SEAL", (), "UNKNOWN_COLLECTION", "there is no collection 'nope'", "nope"),
    ("ALTER COLLECTION docs SET (bits = 4)", (), "INVALID_SETTING", "bits is fixed when", "bits = 4"),
    ("ALTER COLLECTION docs SET (ef = 0)", (), "INVALID_SETTING", "ef must be an integer from 1", "ef = 0"),
    ("ALTER COLLECTION docs REBUILD WITH (bits = 4)", (), "INVALID_SETTING", "bits is fixed when", "bits = 4"),
    ("SHOW SEGMENTS FOR nope", (), "UNKNOWN_COLLECTION", "there is no collection 'nope'", "nope"),
    (
        "EXPLAIN SHOW COLLECTIONS",
        (),
        "NOT_SUPPORTED",
        "only statements that read or write rows are explained",
        None,
    ),
    # parameters
    (SEARCH, (), "INVALID_PARAMETER", "no value is given for $1", "$1"),
    ("SELECT id FROM docs LIMIT :n", {}, "INVALID_PARAMETER", "no value is given for :n", ":n"),
    ("SELECT id FROM docs LIMIT :n", (5,), "INVALID_PARAMETER", "the statement does not use the parameter $1", None),
    (
        "SELECT id FROM docs LIMIT $1",
        (5, 6, 7),
        "INVALID_PARAMETER",
        "the statement does not use the parameter $2, $3",
        None,
    ),
    (
        "SELECT id FROM docs LIMIT :n",
        {"n": 1, "m": 2},
        "INVALID_PARAMETER",
        "the statement does not use the parameter :m",
        None,
    ),
    ("SHOW COLLECTIONS", (1,), "INVALID_PARAMETER", "the statement does not use the parameter $1", None),
]


@pytest.mark.parametrize(
    ("text", "parameters", "code", "message", "place"), REFUSED, ids=[row[0][:70] for row in REFUSED]
)
def test_what_cannot_be_done_is_refused_by_name(text, parameters, code, message, place):
    with pytest.raises(errors.RedDBError) as caught:
        plan(text, parameters)
    assert caught.value.name.startswith(code)
    assert caught.value.message.startswith(message)
    if place is not None:
        source, carets = caught.value.detail["excerpt"].splitlines()[:2]
        assert source[carets.index("^") : carets.rindex("^") + 1] == place


@pytest.mark.parametrize(
    ("written", "numbers"),
    [
        ("[0.1, 16777217, -9007199254740993]", [0.1, 16777217, -9007199254740993]),
        ("[1.0, +2, -0, 1e3, .5]", [1.0, 2, 0, 1000.0, 0.5]),
        (f"[{'0' * 5_000}7, -{'0' * 5_000}8]", [7, -8]),
        ("[1, /* 5, */ 2, -- 6\n 3]", [1, 2, 3]),
        ("ARRAY[1, 2]", [1, 2]),
    ],
)
def test_the_numbers_of_a_list_are_those_that_are_written(written, numbers):
    bound = plan(f"INSERT INTO docs (id, vector, a) VALUES (1, [1, 2], {written})")
    (payload,) = bound.batch.payloads.split()
    kept = msgpack.unpackb(payload)["a"]
    assert kept == numbers
    assert [type(number) for number in kept] == [type(number) for number in numbers]
