"""Every value that MessagePack, a client or a statement can bring is kept and comes back, or is refused by its key."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

import reddb
from reddb import errors
from reddb.database import Database
from reddb.rows import PayloadColumn, RowBatch
from reddb.wire.messages import Insert, Query
from tests.compat.make import unpack
from tests.engine.folders import opened
from tests.engine.test_database import encoded

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
# A folder of the first build, which took these values: OLD as the keys a and j of `growing` and, sealed, of `sealed`.
UNCHECKED = Path(__file__).parents[1] / "compat" / "unchecked-values.tar.gz"


# --- what is kept ------------------------------------------------------------------------------------------

SINGLE: list[Any] = [
    *(True, False, 0, -1, INT_MIN, INT_MAX, 2**53 + 1),
    *(0.0, -0.0, 1.5, 5e-324, -1.7976931348623157e308, 9007199254740992.0),
    *("", "a", "\0", "a\0b", "é", "😀", "\uffff", "'", "x" * 60_000, "NaN", "\ud7ff\ue000"),
    *(FIRST, LAST, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)),
    datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=-14, minutes=1))),
]
NESTED: list[Any] = [
    *([], [1], [INT_MIN, INT_MAX], ["a", ""], [1, 2.5, None, "x", True], [[1], []], [FIRST]),
    *({}, {"": 1}, {"x": {"y": [INT_MIN, {"z": 1e300}]}}, {"a.b": 1, "a": {"b": 2}}, {"\0": "\0"}, {"k" * 100: 1}),
]


@pytest.fixture(params=["growing", "sealed"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with opened(tmp_path / "data") as opened_:
        opened_.execute("CREATE COLLECTION docs KIND vector DIM 2 METRIC l2")
        opened_.execute("CREATE INDEX ON docs (a)")
        values = SINGLE + NESTED
        opened_.insert("docs", list(range(len(values))), np.ones((len(values), 2)), [{"a": item} for item in values])
        if request.param == "sealed":
            opened_.execute("ALTER COLLECTION docs SEAL")
        yield opened_


def same(one: Any, other: Any) -> bool:
    return (
        type(one) is type(other)
        and one == other
        and math.copysign(1, one if type(one) is float else 1)
        == (math.copysign(1, other if type(other) is float else 1))
    )


def test_what_is_kept_comes_back_in_every_way(db):
    values = SINGLE + NESTED
    shown = dict(db.execute("SELECT id, a FROM docs"))
    hits = db.search("docs", [1.0, 1.0], k=len(values))
    found = dict(zip(hits.ids, hits.payloads, strict=True))
    for row, value in enumerate(values):
        assert same(shown[row], value), value
        assert same(found[row]["a"], value), value
        assert same(db.get("docs", [row])[0].payload["a"], value), value


@pytest.mark.parametrize("value", SINGLE, ids=lambda value: f"{value!r:.20}")
def test_a_single_value_is_found_by_itself_and_can_be_written_again(db, value):
    equal = [row for row, item in enumerate(SINGLE) if item == value and (type(item) is bool) == (type(value) is bool)]
    assert sorted(row[0] for row in db.execute("SELECT id FROM docs WHERE a = $1", [value])) == equal
    assert sorted(row[0] for row in db.execute("SELECT id FROM docs WHERE a IN ($1)", [value])) == equal
    assert sorted(row[0] for row in db.execute("SELECT id FROM docs WHERE a >= $1 AND a <= $1", [value])) == equal
    db.execute("UPDATE docs SET j = a, a = $1 WHERE id = 0", [value])
    assert same(db.get("docs", [0])[0].payload["a"], value)
    db.execute("INSERT INTO docs (id, vector, a) VALUES (1000, [1, 1], $1)", [value])
    assert same(db.execute("SELECT a FROM docs WHERE id = 1000")[0][0], value)


def test_all_single_values_have_an_order(db):
    ids = [row[0] for row in db.execute("SELECT id FROM docs ORDER BY a, id")]
    assert sorted(ids) == list(range(len(SINGLE + NESTED)))
    numbers = [SINGLE[row] for row in ids if row < len(SINGLE) and type(SINGLE[row]) in (int, float)]
    assert numbers == sorted(numbers)
    instants = [SINGLE[row] for row in ids if row < len(SINGLE) and isinstance(SINGLE[row], datetime)]
    assert instants == sorted(instants)


# --- what is refused, as bytes of a client that is not ours ------------------------------------------------


def nested(depth: int) -> bytes:
    return b"\x81\xa1a" + b"\x91" * depth + b"\x01"


def instant(seconds: int, nanoseconds: int = 0) -> bytes:
    return msgpack.packb(msgpack.Timestamp(seconds, nanoseconds))


BYTES: list[tuple[bytes, str, str]] = [
    (b"\x81\xa1a" + msgpack.packb(2**63), "a", "beyond 64 bits"),
    (msgpack.packb({"m": {"x": [1, 2**64 - 1]}}), "m.x[1]", "beyond 64 bits"),
    (msgpack.packb({"a": math.nan}), "a", "no finite number"),
    (msgpack.packb({"a": [1.5, {"b": math.inf}]}), "a[1].b", "no finite number"),
    (b"\x81\xa1a\xca\xff\x80\x00\x00", "a", "no finite number"),  # minus infinity as float32
    (msgpack.packb({"a": b"x"}), "a", "type bytes"),
    (msgpack.packb({"a": [[b""]]}), "a[0][0]", "type bytes"),
    (msgpack.packb({"a": msgpack.ExtType(5, b"abc")}), "a", "extension 5"),
    (msgpack.packb({"a": msgpack.ExtType(1, b"abcd")}), "a", "extension 1"),
    (b"\x81\xa1a" + instant(0, 1), "a", "nanoseconds"),
    (b"\x81\xa1a\x91" + instant(1_700_000_000, 123_456_001), "a[0]", "nanoseconds"),
    (b"\x81\xa1a" + instant(-(2**40)), "a", "years 1 to 9999"),
    (b"\x81\xa1a" + instant(2**62), "a", "years 1 to 9999"),
    (b"\x82\xa1a\x01\xa1a\x01", "a", "twice"),
    (b"\x81\xa1m\x82\xa1b\x01\xa1b\x02", "m.b", "twice"),
    (b"\x81\xa1m\x81\x05\x01", "m", "the key 5"),
    (b"\x81\xa1m\x81\xc0\x01", "m", "the key None"),
    (b"\x81\xa1m\x81\x91\x01\x01", "m", "a map with the key"),
    (b"\x81\xa1a\xa1\xff", "a", "no valid UTF-8"),
    (b"\x81\xa1a\xa3\xed\xa0\x80", "a", "no valid UTF-8"),  # half a surrogate pair
    (b"\x81\xa1m\x81\xa1\xff\x01", "m", "a key that is no valid UTF-8"),
]


@pytest.fixture(params=["", "FIELDS (a JSON, n INT, *)"], ids=["free", "declared"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    opened_ = Database(tmp_path / "data")
    opened_.request(Query(f"CREATE COLLECTION docs KIND vector DIM 1 METRIC l2 {request.param}", []))
    yield opened_
    opened_.close()


def insert(database: Database, content: bytes) -> None:
    lengths = np.array([0, len(content)], np.uint32)
    batch = RowBatch(np.array([1, 2]), np.ones((2, 1), np.float32), PayloadColumn(lengths, memoryview(content)))
    database.request(Insert("docs", encoded(batch)))


@pytest.mark.parametrize(("content", "key", "said"), BYTES)
def test_bytes_that_cannot_be_kept_are_refused_by_row_and_key(database, content, key, said):
    with pytest.raises(errors.RedDBError) as caught:
        insert(database, content)
    error = caught.value
    assert error.code is errors.INVALID_PAYLOAD
    assert error.message.startswith(f"row 1: the key '{key}' holds ")
    assert said in error.message
    assert (error.detail["row"], error.detail["field"]) == (1, key)
    assert error.detail["hint"]
    assert database.request(Query("SELECT count(*) FROM docs", []))[0].rows == [[0]]  # type: ignore[attr-defined]


def test_other_spellings_of_the_same_value_are_kept(database):
    insert(database, b"\x82\xa1a\xd3" + bytes(7) + b"\x05\xa1n\xcd\x00\x07")  # long forms of 5 and 7
    assert database.request(Query("SELECT a, n FROM docs WHERE a = 5 AND n = 7", []))[0].rows == [[5, 7]]  # type: ignore[attr-defined]


@pytest.mark.parametrize("depth", [16, 100, 900])
def test_what_nests_too_deep_is_refused_by_its_key(database, depth):
    with pytest.raises(errors.RedDBError, match="row 1: 'a' nests deeper than 16") as caught:
        insert(database, nested(depth))
    assert caught.value.code is errors.LIMIT_EXCEEDED


# --- what is refused, of Python and of statements ----------------------------------------------------------

WRONG: list[tuple[Any, str]] = [
    *((number, "beyond 64 bits") for number in (2**63, 2**64 - 1, 2**64, INT_MIN - 1, 10**5000)),
    *((number, "no finite number") for number in (math.nan, math.inf, -math.inf, np.float64("nan"), np.float32("inf"))),
    ("\ud800", "half a surrogate pair"),
    (b"x", "type bytes"),
    ({1, 2}, "type set"),
    ({1: 2}, "the key 1"),
    ([1, {"x": math.nan}], "no finite number"),
    (LAST.replace(tzinfo=None), "no zone"),
    (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), "beyond the years 1 to 9999"),
    (timedelta(1), "type timedelta"),
    (object(), "type object"),
]


@pytest.mark.parametrize(("value", "said"), WRONG, ids=lambda value: f"{type(value).__name__}")
def test_a_value_that_cannot_be_kept_is_refused_by_row_and_key(tmp_path, value, said):
    with opened(tmp_path / "data") as db:
        db.execute("CREATE COLLECTION docs KIND vector DIM 1 METRIC l2")
        db.insert("docs", [7], [[1.0]])
        with pytest.raises(reddb.RedDBError, match=said) as caught:
            db.insert("docs", [1, 2], [[1.0], [1.0]], [{"a": 1}, {"m": {"a": value}}])
        assert caught.value.code is errors.INVALID_PAYLOAD
        assert caught.value.message.startswith("row 1: the key 'm.a")
        assert caught.value.detail["hint"]
        for statement in (
            "INSERT INTO docs (id, vector, a) VALUES (1, [1], $1)",
            "UPDATE docs SET a = $1 WHERE id = 7",
        ):
            with pytest.raises(reddb.RedDBError) as caught:
                db.execute(statement, [value])
            assert caught.value.code in (errors.INVALID_PAYLOAD, errors.INVALID_VALUE)
            assert "'a" in caught.value.message or "$1" in caught.value.message
            assert caught.value.detail["hint"]
        assert db.execute("SELECT count(*) FROM docs")[0][0] == 1


@pytest.mark.parametrize("text", ["2024-05-01T12:00:00.1234567Z", "2024-05-01T12:00:00.000000001+02:00"])
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO docs (id, vector, at) VALUES (1, [1], $1)",
        "INSERT INTO docs (id, vector, expires_at) VALUES (1, [1], $1)",
        "INSERT INTO docs (id, vector) VALUES (1, [1]) WITH EXPIRES AT $1",
        "SELECT id FROM docs WHERE at < $1",
        "SELECT $1::TIMESTAMP",
        "UPDATE docs SET at = $1 WHERE id = 7",
    ],
)
def test_nanoseconds_are_not_cut(tmp_path, text, statement):
    with opened(tmp_path / "data") as db:
        db.execute("CREATE COLLECTION docs KIND vector DIM 1 METRIC l2 FIELDS (at TIMESTAMP)")
        db.insert("docs", [7], [[1.0]])
        for written, parameters in ((statement, [text]), (statement.replace("$1", f"'{text}'"), [])):
            with pytest.raises(reddb.RedDBError) as caught:
                db.execute(written, parameters)
            assert "at most 6 digits" in caught.value.detail["hint"]
        db.execute(statement, ["2030-05-01T12:00:00.123456000Z"])


@pytest.mark.parametrize(
    "text", ["2024-05-01x12:00:00Z", "2024-05-01\u200912:00:00Z", "٢٠٢٤-05-01T00:00:00Z", "2024-05-01"]
)
def test_what_is_no_instant_is_refused(tmp_path, text):
    with opened(tmp_path / "data") as db, pytest.raises(reddb.RedDBError, match="TIMESTAMP"):
        db.execute("SELECT $1::TIMESTAMP", [text])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": {"x": 1, "x": 1}}', "the key 'x' stands twice"),
        ("[18446744073709551616]", "64 bits"),
        ('{"a": 9223372036854775808}', "64 bits"),
        ("9" * 5000, "64 bits"),
        ("[1e400]", "1e400 is beyond the range"),
        ("1e-400", "1e-400 is beyond the range"),
        ("[NaN]", "NaN is no finite number"),
    ],
)
def test_a_text_of_json_loses_nothing(tmp_path, text, said):
    with opened(tmp_path / "data") as db:
        db.execute("CREATE COLLECTION docs KIND vector DIM 1 METRIC l2 FIELDS (j JSON)")
        for statement in ("INSERT INTO docs (id, vector, j) VALUES (1, [1], $1)", "SELECT CAST($1 AS JSON)"):
            with pytest.raises(reddb.RedDBError, match=said) as caught:
                db.execute(statement, [text])
            assert caught.value.code is errors.INVALID_VALUE


def test_a_float_field_takes_an_integer_that_it_holds_exactly(tmp_path):
    with opened(tmp_path / "data") as db:
        db.execute("CREATE COLLECTION docs KIND vector DIM 1 METRIC l2 FIELDS (f FLOAT)")
        db.insert("docs", [1, 2], [[1.0]] * 2, [{"f": 2**53}, {"f": 2**60}])
        with pytest.raises(reddb.RedDBError, match=r"row 0: the field 'f' is FLOAT: .*, not 9007199254740993"):
            db.insert("docs", [3], [[1.0]], [{"f": 2**53 + 1}])
        db.execute("INSERT INTO docs (id, vector, f) VALUES (3, [1], 9007199254740993::FLOAT)")
        assert dict(db.execute("SELECT id, f FROM docs")) == {1: 2.0**53, 2: 2.0**60, 3: 9007199254740992.0}


# --- folders of builds that took them ----------------------------------------------------------------------

OLD: list[Any] = [math.nan, math.inf, -math.inf, 2**63, 2**64 - 1, 1, 2.5, [math.nan, 1.0], [2**64 - 1]]
OLD += [{"x": math.inf}, {"x": 2**63}, "a\0b"]


@pytest.mark.parametrize("state", ["growing", "sealed"])
def test_values_that_an_earlier_build_took_are_read_and_written_anew_only_without_them(tmp_path, state):
    unpack(UNCHECKED, tmp_path / "data")
    for _ in range(2):  # the second time as this build has left it
        with opened(tmp_path / "data") as db:
            found = dict(db.execute(f"SELECT id, a FROM {state} WHERE id < 100"))
            assert [repr(found[row]) for row in range(len(OLD))] == list(map(repr, OLD))
            assert sorted(row[0] for row in db.execute(f"SELECT id FROM {state} WHERE a > 0 AND id < 100")) == [1, 5, 6]
            assert len(db.execute(f"SELECT id FROM {state} WHERE id < 100 ORDER BY a, id")) == len(OLD)
            db.execute(f"SELECT a, count(*) FROM {state} WHERE id < 3 GROUP BY a")
            for expression in ("sum(a)", "avg(a)"):
                with pytest.raises(reddb.RedDBError, match="the sum is not within the range"):
                    db.execute(f"SELECT {expression} FROM {state} WHERE id IN (0, 1, 5)")
            with pytest.raises(reddb.RedDBError, match="does not become INT"):
                db.execute(f"SELECT a::INT FROM {state} WHERE id = 1")
            with pytest.raises(reddb.RedDBError, match="row 0: the key 'a' holds nan, which is no finite number"):
                db.execute(f"UPDATE {state} SET b = 1 WHERE id = 0")
            for work in ("SEAL", "COMPACT", "REBUILD"):
                db.execute(f"ALTER COLLECTION {state} {work}")
    with opened(tmp_path / "data") as db:
        db.execute(f"UPDATE {state} SET a = NULL, j = NULL, b = 1 WHERE id = 0")
        assert db.execute(f"SELECT b FROM {state} WHERE id = 0")[0][0] == 1
