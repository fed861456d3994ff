"""Declared fields: what each type takes and makes of it, what is refused by row, and payloads as bytes."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reddb import errors
from reddb.fields import Field, Fields, FieldType, check_default, check_row, pack_payload, unpack_payload

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
NAIVE = datetime(2024, 5, 1, 12)  # noqa: DTZ001
INT_MAX = 2**63 - 1


def stored(word: str, value: object) -> object:
    """What becomes of the value in a field of this type."""
    return check_row(Fields((Field("f", FieldType(word)),)), {"f": value}, 0)["f"]


@pytest.mark.parametrize(
    ("word", "value", "expected"),
    [
        ("TEXT", "", ""),
        ("INT", -(2**63), -(2**63)),
        ("INT", INT_MAX, INT_MAX),
        ("FLOAT", 3, 3.0),
        ("FLOAT", -0.5, -0.5),
        ("BOOL", False, False),
        ("TIMESTAMP", NOON, NOON),
        ("TIMESTAMP", NOON.astimezone(timezone(timedelta(hours=2))), NOON),
        ("TIMESTAMP", "2024-05-01T12:00:00Z", NOON),
        ("TIMESTAMP", "2024-05-01T14:00:00.000001+02:00", NOON + timedelta(microseconds=1)),
        ("TIMESTAMP", "2024-05-01T12:00:00.123456000Z", NOON + timedelta(microseconds=123456)),
        ("TEXT[]", [], []),
        ("TEXT[]", ["a", ""], ["a", ""]),
        ("INT[]", [1, INT_MAX], [1, INT_MAX]),
        ("JSON", {"a": [1, None, "x"]}, {"a": [1, None, "x"]}),
        ("JSON", 5, 5),
    ],
)
def test_a_value_of_the_type_is_stored_in_its_form(word, value, expected):
    result = stored(word, value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize("word", list(FieldType))
def test_null_is_a_value_of_every_type(word):
    assert stored(word, None) is None


@pytest.mark.parametrize(
    ("word", "value", "message"),
    [
        ("TEXT", 5, "TEXT: a string, not 5"),
        ("TEXT", b"x", "TEXT: a string, not b'x'"),
        ("TEXT", ["x" * 200], "TEXT: a string, not ['" + "x" * 98 + "…"),
        ("INT", True, "INT: an integer of 64 bits, not True"),
        ("INT", 1.0, "INT: an integer of 64 bits, not 1.0"),
        ("INT", 2**63, "INT: an integer of 64 bits, not 9223372036854775808"),
        ("INT", -(2**63) - 1, "INT: an integer of 64 bits, not -9223372036854775809"),
        ("FLOAT", True, "FLOAT: a finite number that 64 bits hold exactly, not True"),
        ("FLOAT", math.nan, "FLOAT: a finite number that 64 bits hold exactly, not nan"),
        ("FLOAT", -math.inf, "FLOAT: a finite number that 64 bits hold exactly, not -inf"),
        ("FLOAT", 10**400, "FLOAT: a finite number that 64 bits hold exactly, not 1000"),
        ("FLOAT", "1", "FLOAT: a finite number that 64 bits hold exactly, not '1'"),
        ("BOOL", 1, "BOOL: true or false, not 1"),
        ("TIMESTAMP", "soon", "TIMESTAMP: an instant with a time zone, to the microsecond, not 'soon'"),
        ("TIMESTAMP", "2024-05-01", "TIMESTAMP: an instant with a time zone, to the microsecond, not '2024-05-01'"),
        ("TIMESTAMP", NAIVE, "TIMESTAMP: an instant with a time zone, to the microsecond, not datetime"),
        ("TIMESTAMP", 1714564800, "TIMESTAMP: an instant with a time zone, to the microsecond, not 1714564800"),
        (
            "TIMESTAMP",
            "0001-01-01T00:00:00+14:00",
            "TIMESTAMP: an instant with a time zone, to the microsecond, not '0001",
        ),
        ("TEXT[]", "a", "TEXT[]: a list of strings, not 'a'"),
        ("TEXT[]", ["a", None], "TEXT[]: a list of strings, not ['a', None]"),
        ("INT[]", [1, True], "INT[]: a list of integers of 64 bits, not [1, True]"),
        ("INT[]", [2**63], "INT[]: a list of integers of 64 bits, not [9223372036854775808]"),
        ("INT[]", [1.0], "INT[]: a list of integers of 64 bits, not [1.0]"),
    ],
)
def test_a_value_of_another_type_is_refused_by_row_and_field(word, value, message):
    with pytest.raises(errors.RedDBError) as caught:
        check_row(Fields((Field("f", FieldType(word)),)), {"f": value}, 7)
    error = caught.value
    assert error.code is errors.INVALID_PAYLOAD
    assert error.message.startswith(f"row 7: the field 'f' is {message}")
    assert (error.detail["row"], error.detail["field"]) == (7, "f")
    assert ("hint" in error.detail) is (word == "TIMESTAMP")


@pytest.mark.parametrize("payload", [{}, {"f": None}])
def test_not_null_needs_a_value(payload):
    with pytest.raises(errors.RedDBError) as caught:
        check_row(Fields((Field("f", FieldType.INT, not_null=True),)), payload, 3)
    assert caught.value.code is errors.INVALID_PAYLOAD
    assert caught.value.message == "row 3: the field 'f' is INT NOT NULL and has no value"


def test_a_default_stands_in_for_a_missing_key_and_not_for_null():
    fields = Fields((Field("f", FieldType.FLOAT, default=0.5),))
    assert check_row(fields, {"free": 1}, 0) == {"free": 1, "f": 0.5}
    assert check_row(fields, {"f": None}, 0) == {"f": None}
    assert check_row(fields, {"f": 2}, 0) == {"f": 2.0}


def test_a_default_satisfies_not_null_and_null_does_not():
    fields = Fields((Field("f", FieldType.INT, not_null=True, default=0),))
    assert check_row(fields, {}, 0) == {"f": 0}
    with pytest.raises(errors.RedDBError, match="NOT NULL"):
        check_row(fields, {"f": None}, 0)


def test_the_given_payload_stays_as_it_is():
    payload = {"f": 1}
    assert check_row(Fields((Field("f", FieldType.FLOAT),)), payload, 0) == {"f": 1.0}
    assert payload == {"f": 1}
    assert type(payload["f"]) is int


def test_free_keys_are_not_looked_at():
    assert check_row(Fields((Field("f", FieldType.INT),)), {"g": object}, 0) == {"g": object}
    assert check_row(Fields(), {"g": object}, 0) == {"g": object}


def test_a_wrong_default_is_refused():
    with pytest.raises(errors.RedDBError) as caught:
        check_default(Field("at", FieldType.TIMESTAMP, default="noon"))
    assert caught.value.code is errors.INVALID_VALUE
    assert (
        caught.value.message
        == "the default of 'at' is TIMESTAMP: an instant with a time zone, to the microsecond, not 'noon'"
    )
    assert caught.value.detail["field"] == "at"
    assert "2024-05-01T12:00:00Z" in caught.value.detail["hint"]


@pytest.mark.parametrize(
    "field",
    [
        Field("f", FieldType.TEXTS, not_null=True, default=["a"]),
        Field("f", FieldType.FLOAT, default=1),
        Field("f", FieldType.TIMESTAMP, default="2024-05-01T14:00:00+02:00"),
        Field("f", FieldType.JSON),
    ],
    ids=lambda field: field.type,
)
def test_a_field_comes_back_from_its_plain_form(field):
    checked = check_default(field)
    plain = checked.to_plain()
    assert Field.from_plain(json.loads(json.dumps(plain))) == checked
    assert Field.from_plain(msgpack.unpackb(msgpack.packb(plain))) == checked


def test_fields_are_found_by_name_and_keep_their_order():
    one, two = Field("b", FieldType.INT), Field("a", FieldType.TEXT)
    fields = Fields((one, two))
    assert list(fields) == [one, two]
    assert len(fields) == 2
    assert fields.get("a") is two
    assert fields.get("c") is None


moments = st.datetimes(timezones=st.just(UTC))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), INT_MAX) | st.floats(allow_nan=False) | st.text() | moments,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=5))
def test_a_payload_comes_back_from_its_bytes(payload):
    content = pack_payload(payload)
    assert unpack_payload(content) == payload
    assert unpack_payload(memoryview(content)) == payload
    assert (content == b"") is (not payload)


@pytest.mark.parametrize("value", [object(), 2**64, "\ud800", NAIVE, {1, 2}])
def test_what_has_no_form_is_refused_by_row(value):
    with pytest.raises(errors.RedDBError, match="row 4: the key 'k' holds ") as caught:
        pack_payload({"k": value}, 4)
    assert caught.value.code is errors.INVALID_PAYLOAD
    assert (caught.value.detail["row"], caught.value.detail["field"]) == (4, "k")
    assert caught.value.detail["hint"]


@pytest.mark.parametrize(
    "content",
    [
        msgpack.packb([1]),
        b"\xc1",
        b"\x81",
        b"\x80\x80",
        b"\x81\xa1k\xa1\xff",
        b"\x81\xa1k\xc7\x00\x05",  # another extension
        b"\x81\xa1k\xc7\x00\xff",  # a timestamp without bytes
        b"\x81\xa1k\xc7\x0c\xff" + b"\xff" * 12,
        b"\x81\xa1k" + msgpack.packb(msgpack.Timestamp(2**50, 0)),  # beyond the year 9999
        b"\x91" * 5000 + b"\xc0",
    ],
    ids=lambda content: content[:8].hex(),
)
def test_bytes_that_are_no_payload_are_refused_by_row(content):
    with pytest.raises(errors.RedDBError) as caught:
        unpack_payload(content, 5)
    assert caught.value.code is errors.INVALID_PAYLOAD
    assert caught.value.message.startswith("row 5: ")


@given(st.binary(max_size=40))
def test_random_bytes_are_a_payload_or_are_refused(content):
    try:
        assert isinstance(unpack_payload(b"\x81\xa1k" + content), dict)
    except errors.RedDBError as error:
        refusal = error
    else:
        return
    assert refusal.code is errors.INVALID_PAYLOAD
