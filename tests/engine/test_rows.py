"""Row batches: what is encoded comes back, and damaged bytes are refused or still make a consistent batch."""

from __future__ import annotations

import struct

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reddb import errors, limits
from reddb.rows import PayloadColumn, RowBatch, id_column, make_batch

INT_IDS = st.integers(limits.ID_INT_MIN, limits.ID_INT_MAX)
# 255 bytes at most: a character outside ASCII takes up to four.
TEXT_IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=63) | st.just("é" * 127 + "x")
PAYLOADS = st.none() | st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5),
    st.none()
    | st.booleans()
    | INT_IDS
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.floats(allow_nan=False),
    max_size=3,
)


def joined(batch: RowBatch) -> bytes:
    return b"".join(bytes(memoryview(part).cast("B")) if memoryview(part).nbytes else b"" for part in batch.encode())


def plain(batch: RowBatch) -> tuple[object, ...]:
    payloads = None if batch.payloads is None else batch.payloads.split()
    return batch.id_list(), batch.vectors.shape, batch.vectors.tobytes(), payloads


def example(ids: list[object], *, payloads: bool, dim: int = 3) -> RowBatch:
    vectors = np.arange(len(ids) * dim, dtype=np.float32).reshape(len(ids), dim)
    return make_batch(ids, vectors, [{"n": row} if row % 2 else None for row in range(len(ids))] if payloads else None)


EXAMPLES = {
    "integers": example([0, -1, limits.ID_INT_MAX, limits.ID_INT_MIN], payloads=False),
    "strings": example(["a", "é" * 127 + "x", "0"], payloads=True),
    "mixed": example([7, "seven", -7], payloads=True),
    "no vectors": RowBatch(np.array([1, 2]), np.empty((2, 0), np.float32)),
    "no rows": RowBatch(np.empty(0, np.int64), np.empty((0, 3), np.float32)),
}


@given(st.data())
def test_a_batch_comes_back(data):
    ids = data.draw(st.lists(data.draw(st.sampled_from([INT_IDS, TEXT_IDS, INT_IDS | TEXT_IDS])), max_size=6))
    dim = data.draw(st.integers(0, 5))
    numbers = data.draw(st.lists(st.floats(width=32), min_size=len(ids) * dim, max_size=len(ids) * dim))
    payloads = data.draw(st.none() | st.lists(PAYLOADS, min_size=len(ids), max_size=len(ids)))
    vectors = np.array(numbers, np.float32).reshape(len(ids), dim)
    batch = make_batch(ids, vectors, payloads)
    back = RowBatch.decode(joined(batch))
    assert back.id_list() == ids
    assert isinstance(back.ids, np.ndarray) == all(isinstance(row_id, int) for row_id in ids)
    assert back.vectors.shape == (len(ids), dim)
    assert back.vectors.tobytes() == vectors.tobytes()
    contents = (
        [] if back.payloads is None else [msgpack.unpackb(item) if item else None for item in back.payloads.split()]
    )
    assert (contents or [None] * len(ids)) == ([item or None for item in payloads] if payloads else [None] * len(ids))


def test_the_bytes_are_those_of_the_layout():
    batch = make_batch(["ab", 1], np.array([[1.0], [-2.0]]), [None, {"a": 1}])
    ids = b"\x92\xa2ab\x01"
    assert joined(batch) == (
        struct.pack("<BBHIIIQ", 1, 1, 0, 2, 1, len(ids), 12)
        + ids
        + b"\0" * 3
        + struct.pack("<ff", 1.0, -2.0)
        + struct.pack("<II", 0, 4)
        + b"\x81\xa1a\x01"
    )


def test_decoding_copies_nothing():
    data = bytearray(joined(EXAMPLES["integers"]))
    batch = RowBatch.decode(data)
    data[24:32] = struct.pack("<q", 42)
    data[-4:] = struct.pack("<f", 0.5)
    assert batch.id_list()[0] == 42
    assert batch.vectors[-1, -1] == 0.5


def test_string_ids_count_their_utf8_bytes():
    assert EXAMPLES["strings"].id_text_bytes() == 1 + 255 + 1
    assert EXAMPLES["mixed"].id_text_bytes() == 5
    assert EXAMPLES["integers"].id_text_bytes() == 0


def decode_or_error(data: bytes) -> RowBatch | errors.RedDBError:
    try:
        return RowBatch.decode(data)
    except errors.RedDBError as error:
        return error


def assert_refused_or_consistent(data: bytes) -> None:
    """Whatever else is wrong with the bytes, nobody who uses the batch meets a surprise."""
    batch = decode_or_error(data)
    if isinstance(batch, errors.RedDBError):
        assert batch.code in (errors.PROTOCOL, errors.INVALID_ID)
        return
    assert len(batch.id_list()) == len(batch) == len(batch.vectors)
    assert all(type(row_id) in (int, str) for row_id in batch.id_list())
    if batch.payloads is not None:
        parts = batch.payloads.split()
        assert len(parts) == len(batch)
        assert b"".join(parts) == bytes(batch.payloads.content)
    assert plain(RowBatch.decode(joined(batch))) == plain(batch)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_truncation_is_refused(name):
    data = joined(EXAMPLES[name])
    for size in range(len(data)):
        error = decode_or_error(data[:size])
        assert isinstance(error, errors.RedDBError), size
        assert error.code is errors.PROTOCOL
    assert isinstance(decode_or_error(data + b"\0"), errors.RedDBError)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_flipped_bit_is_refused_or_makes_a_consistent_batch(name):
    data = joined(EXAMPLES[name])
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            assert_refused_or_consistent(bytes(damaged))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_value_of_every_header_byte_is_refused_or_makes_a_consistent_batch(name):
    data = joined(EXAMPLES[name])
    for place in range(24):
        for value in range(256):
            assert_refused_or_consistent(data[:place] + bytes([value]) + data[place + 1 :])


@given(st.binary(max_size=80))
def test_random_bytes_are_refused_or_make_a_consistent_batch(data):
    assert_refused_or_consistent(data)


@given(st.integers(0, 4), st.integers(0, 1), st.binary(max_size=40))
def test_random_id_blocks_are_refused_or_make_a_consistent_batch(count, id_type, block):
    head = struct.pack("<BBHIIIQ", 1, id_type, 0, count, 0, len(block), 0)
    assert_refused_or_consistent(head + block + bytes(-len(block) % 4))


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [("version", 2, "version 2"), ("id type", 2, "id type 2"), ("zero", 1, "layout")],
)
def test_an_unknown_layout_is_named(field, value, named):
    place = {"version": 0, "id type": 1, "zero": 2}[field]
    data = bytearray(joined(EXAMPLES["integers"]))
    data[place] = value
    assert named in str(decode_or_error(bytes(data)))


WRONG_IDS = [
    (["a", None], 1, "not None"),
    ([True, 1], 0, "not True"),
    ([1, 2.0], 1, "not 2.0"),
    ([1, b"x"], 1, "not b'x'"),
    ([1, [2]], 1, "not [2]"),
    ([1, 2**63], 1, "does not fit in 64 bits"),
    ([1, -(2**63) - 1], 1, "does not fit in 64 bits"),
    (["a", 2**63], 1, "does not fit in 64 bits"),
    (np.array([1, 2**63], np.uint64), 1, "does not fit in 64 bits"),
    (np.array([True]), 0, "not True"),
    (np.array([1.5]), 0, "not 1.5"),
    (np.array([[1], [2]]), 0, "not [1]"),
    ([0, "\ud800"], 1, "surrogate"),
]


@pytest.mark.parametrize(("ids", "row", "reason"), WRONG_IDS, ids=lambda part: repr(part)[:30])
def test_a_wrong_id_is_named_with_its_row(ids, row, reason):
    with pytest.raises(errors.RedDBError) as caught:
        make_batch(ids, np.zeros((len(ids), 2)))
    assert caught.value.code is errors.INVALID_ID
    assert caught.value.detail["row"] == row
    assert f"row {row}: " in caught.value.message
    assert reason in caught.value.message


def test_integer_arrays_of_any_width_are_ids():
    for dtype in (np.int8, np.uint8, np.int32, np.uint64, np.int64):
        column = id_column(np.array([1, 2], dtype))
        assert isinstance(column, np.ndarray)
        assert (column.dtype, column.tolist()) == (np.int64, [1, 2])
    assert id_column(np.array(["a", "b"])) == ["a", "b"]
    assert id_column(np.arange(6)[::2]).tolist() == [0, 2, 4]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        ([1.0, 2.0], "two-dimensional"),
        ([[[1.0]]], "two-dimensional"),
        (5, "two-dimensional"),
        ([["a", "b"]], "numbers"),
        ([[True, False]], "numbers"),
        ([[None, 1.0]], "numbers"),
        ([[1j, 2.0]], "numbers"),
        ([[1.0], [1.0, 2.0]], "one length"),
        ([[1.0], [2.0]], "1 ids but 2 vectors"),
    ],
)
def test_vectors_that_are_no_rows_of_numbers_are_refused(vectors, reason):
    with pytest.raises(errors.RedDBError, match=reason) as caught:
        make_batch([1], vectors)
    assert caught.value.code is errors.INVALID_VECTOR


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ([1], "must be a dict, not list"),
        ("x", "must be a dict, not str"),
        ({"a": {1, 2}}, "row 1: the key 'a' holds a value of the type set, which has no form here"),
        ({"a": 2**64}, "the key 'a' holds 18446744073709551616, beyond 64 bits"),
        ({"a": "\ud800"}, "the key 'a' holds a text whose character 1 is half a surrogate pair"),
    ],
)
def test_a_payload_that_cannot_be_stored_is_named_with_its_row(payload, reason):
    with pytest.raises(errors.RedDBError, match=reason) as caught:
        make_batch([1, 2], np.zeros((2, 1)), [None, payload])
    assert caught.value.code is errors.INVALID_PAYLOAD
    assert caught.value.detail["row"] == 1


def test_payloads_must_be_as_many_as_vectors():
    with pytest.raises(errors.RedDBError, match="1 payloads but 2 vectors"):
        make_batch([1, 2], np.zeros((2, 1)), [None])


def test_payloads_split_at_their_lengths():
    column = PayloadColumn(np.array([0, 2, 0, 3], np.uint32), memoryview(b"abcde"))
    assert column.split() == [b"", b"ab", b"", b"cde"]
