"""What a batch must be before anything of it is written: the first wrong row is named, with the reason."""

from __future__ import annotations

from datetime import UTC, datetime

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reddb import errors, limits
from reddb.checks import RESERVED_NAMES, check_batch, check_distinct
from reddb.fields import Field, FieldType, unpack_payload
from reddb.rows import PayloadColumn, RowBatch, make_batch
from tests.engine.partitions import collection

DOCS = collection(dim=2)


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def refused(batch: RowBatch) -> errors.RedDBError:
    with pytest.raises(errors.RedDBError) as caught:
        check_batch(DOCS, batch)
    return caught.value


def with_payload(content: bytes) -> RowBatch:
    """Two rows, the second with this payload as a client may send it."""
    column = PayloadColumn(np.array([0, len(content)], np.uint32), memoryview(content))
    return RowBatch(np.array([1, 2]), np.zeros((2, 2), np.float32), column)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.nan, "NaN, and a coordinate is a finite number"),
        (np.inf, "inf, beyond COORDINATE_MAX, which is 1e+15"),
        (-np.inf, "-inf, beyond COORDINATE_MAX, which is 1e+15"),
        (3.5e38, "3.5e+38, beyond COORDINATE_MAX, which is 1e+15"),
        (-1e300, "-1e+300, beyond COORDINATE_MAX, which is 1e+15"),
        (1e39, "1e+39, beyond COORDINATE_MAX, which is 1e+15"),
        (2e15, "2e+15, beyond COORDINATE_MAX, which is 1e+15"),
    ],
)
def test_a_wrong_coordinate_is_named_with_row_and_the_value_that_was_given(value, shown):
    vectors = np.zeros((3, 2))
    vectors[1, 1] = value
    with pytest.raises(errors.RedDBError) as caught:
        check_batch(DOCS, make_batch([1, 2, 3], vectors))
    error = caught.value
    assert error.code is errors.INVALID_VECTOR
    assert (error.detail["row"], error.detail["coordinate"]) == (1, 1)
    assert error.message == f"row 1: coordinate 1 of the vector is {shown}"


def test_a_vector_of_coordinates_that_are_too_small_is_named():
    error = refused(make_batch([1, 2], [[1, 1], [1e-16, -1e-20]]))
    assert error.message == (
        "row 1: the vector is not zero, and none of its coordinates reaches COORDINATE_MIN, which is 1e-15"
    )
    assert error.detail["row"] == 1


@pytest.mark.parametrize("dim", [0, 1, 3])
def test_vectors_of_another_dimension_are_refused(dim):
    error = refused(RowBatch(np.array([1]), np.zeros((1, dim), np.float32)))
    assert error.code is errors.INVALID_DIMENSION
    assert f"2 dimensions, the vector has {dim}" in error.message


@pytest.mark.parametrize(("row_id", "size"), [("", 0), ("x" * 256, 256), ("é" * 128, 256)])
def test_an_id_too_short_or_too_long_is_named(row_id, size):
    error = refused(make_batch(["a", row_id], np.zeros((2, 2))))
    assert error.code is errors.INVALID_ID
    assert error.detail == {"row": 1}
    assert f"not {size}" in error.message


def test_ids_of_the_longest_length_pass():
    check_batch(DOCS, make_batch(["x" * 255, "é" * 127 + "x", "😀" * 63], np.zeros((3, 2))))


def test_an_id_twice_in_a_batch_is_named_with_both_rows():
    with pytest.raises(errors.RedDBError) as caught:
        check_distinct([5, "5", 6, 5, 6])
    assert caught.value.code is errors.DUPLICATE_ID
    assert caught.value.message == "row 3: id 5 stands in row 0 too"
    assert caught.value.detail == {"row": 3}


def test_distinct_ids_pass():
    check_distinct([1, "1", -1, ""])


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_a_reserved_payload_key_is_named(name):
    error = refused(make_batch([1, 2], np.zeros((2, 2)), [{"fine": 1}, {name: 1}]))
    assert error.code is errors.INVALID_PAYLOAD
    assert error.message == f"row 1: the payload key {name!r} is reserved"


@pytest.mark.parametrize("name", ["ID", "Vector", "SCORE", "Distance"])
def test_a_key_that_is_reserved_but_for_its_case_is_named(name):
    """A name means the column whatever its case, so nothing could ever name the key."""
    error = refused(make_batch([1, 2], np.zeros((2, 2)), [{"fine": 1}, {name: 1}]))
    assert error.code is errors.INVALID_PAYLOAD
    assert error.message == f"row 1: the payload key {name!r} is reserved, as {name.lower()!r} is"


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        ({1: "a"}, errors.INVALID_PAYLOAD, "a payload key is a string of 1 to 63 bytes, not 1"),
        ({b"k": "a"}, errors.INVALID_PAYLOAD, "not b'k'"),
        ({None: "a"}, errors.INVALID_PAYLOAD, "a payload key is a string of 1 to 63 bytes, not None"),
        ({"": "a"}, errors.INVALID_PAYLOAD, "not ''"),
        ({"k" * 64: 1}, errors.INVALID_PAYLOAD, "1 to 63 bytes"),
        ({"é" * 32: 1}, errors.INVALID_PAYLOAD, "1 to 63 bytes"),
        ({"k": {1: 2}}, errors.INVALID_PAYLOAD, "the key 'k' holds a map with the key 1"),
        ({"k": {b"x": 2}}, errors.INVALID_PAYLOAD, "the key 'k' holds a map with the key b'x'"),
        ({"k": b"bytes"}, errors.INVALID_PAYLOAD, "the key 'k' holds a value of the type bytes"),
        ({"k": [{"x": b"bytes"}]}, errors.INVALID_PAYLOAD, "the key 'k[0].x' holds a value of the type bytes"),
        ({"k": nested(limits.PAYLOAD_DEPTH_MAX)}, errors.LIMIT_EXCEEDED, "nests deeper than 16"),
        ({"k": nested(400)}, errors.LIMIT_EXCEEDED, "nests deeper than 16"),
        ({f"k{i}": i for i in range(257)}, errors.LIMIT_EXCEEDED, "at most 256 keys"),
        ({"k": "x" * limits.PAYLOAD_BYTES_MAX}, errors.LIMIT_EXCEEDED, "at most 65536 bytes"),
    ],
    ids=lambda part: repr(part)[:30],
)
def test_a_wrong_payload_is_named_with_its_row(payload, code, reason):
    error = refused(make_batch([1, 2], np.zeros((2, 2)), [None, payload]))
    assert error.code is code
    assert error.message.startswith("row 1: ")
    assert reason in error.message


def test_payloads_at_their_limits_pass():
    payloads = [
        {"k": nested(limits.PAYLOAD_DEPTH_MAX - 1)},
        {"k" * 63: 1},
        {f"k{i}": i for i in range(256)},
        {"k": "x" * (limits.PAYLOAD_BYTES_MAX - 6)},
        {"k": [None, True, 1, 1.5, "x", {"deep": []}]},
        {"k": datetime(2024, 5, 1, tzinfo=UTC)},
    ]
    batch = make_batch(list(range(6)), np.zeros((6, 2)), payloads)
    assert check_batch(DOCS, batch) is batch


def test_declared_fields_are_normalised_and_defaults_put_in():
    fields = [Field("n", FieldType.FLOAT, default=2.0), Field("at", FieldType.TIMESTAMP)]
    batch = make_batch([1, 2], np.zeros((2, 2)), [{"n": 1, "free": "x"}, {"at": "2024-05-01T02:00:00+02:00"}])
    checked = check_batch(collection(dim=2, fields=fields), batch)
    assert [unpack_payload(content) for content in checked.payloads.split()] == [
        {"n": 1.0, "free": "x"},
        {"at": datetime(2024, 5, 1, tzinfo=UTC), "n": 2.0},
    ]
    assert checked.ids is batch.ids
    assert checked.vectors is batch.vectors


def test_defaults_come_to_rows_without_payloads_too():
    of = collection(dim=2, fields=[Field("n", FieldType.INT, not_null=True, default=7)])
    checked = check_batch(of, make_batch([1], np.zeros((1, 2))))
    assert [unpack_payload(content) for content in checked.payloads.split()] == [{"n": 7}]
    with pytest.raises(errors.RedDBError, match="row 0: the field 'n' is INT NOT NULL and has no value"):
        check_batch(of, make_batch([1], np.zeros((1, 2)), [{"n": None}]))


def test_a_payload_that_defaults_make_too_large_is_refused():
    of = collection(dim=2, fields=[Field(f"f{number}", FieldType.INT, default=1) for number in range(200)])
    wide = make_batch([1], np.zeros((1, 2)), [{f"k{number}": 1 for number in range(100)}])
    with pytest.raises(errors.RedDBError, match="row 0: a payload has at most 256 keys"):
        check_batch(of, wide)


@pytest.mark.parametrize(
    "content",
    [
        msgpack.packb([1]),
        msgpack.packb(None),
        b"\xc1",
        b"\x81",
        b"\x80\x80",
        b"\x81\xa1k\xa1\xff",
        b"\x81\x90\xc0",  # a list as a key
        b"\x81\x80\xc0",  # a map as a key
        b"\x81\xa1k\x81\x90\xc0",  # a list as a key of an inner map
        b"\x81\xa1k\xc7\x00\x05",  # an extension without bytes
        b"\x81\xa1k\xd6\x05\x00\x00\x00\x00",  # an extension that is no timestamp
        b"\x81\xa1k\xc7\x0d\xff" + bytes(13),  # a timestamp of a length that none has
        b"\x91" * 5000 + b"\xc0",
        b"\x81\xa1k" * 5000 + b"\xc0",
    ],
    ids=lambda content: content[:8].hex(),
)
def test_payload_bytes_that_are_no_map_of_plain_values_are_refused(content):
    error = refused(with_payload(content))
    assert error.code is errors.INVALID_PAYLOAD
    assert error.detail["row"] == 1


@given(st.binary(max_size=30))
def test_random_payload_bytes_pass_or_are_refused_by_row(content):
    try:
        check_batch(DOCS, with_payload(b"\x81\xa1k" + content))
    except errors.RedDBError as error:
        refusal = error
    else:
        return
    assert refusal.code in (errors.INVALID_PAYLOAD, errors.LIMIT_EXCEEDED)
    assert refusal.detail["row"] == 1


def test_more_rows_than_a_batch_may_have_are_refused():
    count = limits.BATCH_ROWS_MAX + 1
    error = refused(RowBatch(np.arange(count), np.zeros((count, 2), np.float32)))
    assert error.code is errors.LIMIT_EXCEEDED
    assert f"{limits.BATCH_ROWS_MAX} rows, not {count}" in error.message
