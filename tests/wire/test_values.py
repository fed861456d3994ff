"""Values on the wire: plain ones, vectors as extension 1, and what has no place there."""

from __future__ import annotations

import datetime
import random
import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, from_dtype

from reddb import errors, limits
from reddb.wire.values import decoded_bytes, pack, unpack, value_bytes

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def refused(data: bytes) -> errors.RedDBError:
    with pytest.raises(errors.RedDBError) as caught:
        unpack(data)
    assert caught.value.code is errors.PROTOCOL
    return caught.value


@given(PLAIN)
def test_plain_values_come_back(value):
    assert unpack(pack(value)) == value


ARRAYS = st.one_of(
    arrays(np.dtype(kind), st.integers(0, 5), elements=from_dtype(np.dtype(kind), allow_nan=False))
    for kind in ("<f4", ">f4", "f8", ">f8", "f2", "i8", ">i8", "i4", "i1", "u1", "u4", "u8", "q")
)


@given(ARRAYS)
def test_an_array_comes_back_with_its_numbers(array):
    found = unpack(pack([array]))[0]
    assert list(found) == array.tolist()


def test_a_vector_comes_back_as_a_vector():
    vector = unpack(pack([np.array([0.5, 2], "f4")]))[0]
    assert vector.dtype == np.float32
    assert vector.tolist() == [0.5, 2]


def test_an_array_that_is_longer_than_a_vector_is_a_list():
    assert unpack(pack([np.arange(limits.DIM_MAX + 1)])) == [list(range(limits.DIM_MAX + 1))]


def test_a_vector_is_raw_little_endian_float32_in_extension_1():
    assert pack(np.array([1.0, -2.0], "f4")) == b"\xd7\x01" + bytes.fromhex("0000803f 000000c0")


def test_a_view_with_steps_is_sent_in_its_own_order():
    assert unpack(pack(np.arange(8.0)[::-2])).tolist() == [7, 5, 3, 1]


def test_numpy_scalars_are_plain_numbers():
    assert unpack(pack([np.int64(-3), np.float32(0.5), np.bool_(True)])) == [-3, 0.5, True]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (np.zeros((2, 2)), "ndarray"),
        (np.array(["a"]), "ndarray"),
        (np.array([True]), "ndarray"),
        ({1, 2}, "set"),
        (object(), "object"),
        (1j, "complex"),
        (datetime.date(2024, 1, 1), "date"),
        (2**64, "int"),
        ("\ud800", "surrogates"),
    ],
)
def test_what_has_no_form_on_the_wire_is_refused_by_type(value, named):
    with pytest.raises(errors.RedDBError, match=named) as caught:
        pack([value])
    assert caught.value.code is errors.INVALID_VALUE


def test_a_value_that_holds_itself_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(errors.RedDBError) as caught:
        pack(loop)
    assert caught.value.code is errors.INVALID_VALUE


@pytest.mark.parametrize("code", [-128, -2, 0, 4, 127])
@pytest.mark.parametrize("size", [1, 4, 8, 12])
def test_every_other_extension_is_refused(code, size):
    refused(b"\xc7" + bytes([size, code & 0xFF]) + b"\0" * size)


@pytest.mark.parametrize("size", [1, 3, 5, 4 * limits.DIM_MAX + 4])
def test_a_vector_of_broken_length_is_refused(size):
    refused(msgpack.packb(msgpack.ExtType(1, b"\0" * size)))


def test_the_longest_vector_passes():
    assert len(unpack(msgpack.packb(msgpack.ExtType(1, b"\0" * (4 * limits.DIM_MAX))))) == limits.DIM_MAX


@pytest.mark.parametrize(
    "data", [b"", b"\x92\x01", b"\x01\x01", b"\xc1", b"\xa1\xff", b"\x81\x01\x02", b"\x81\x90\x01"]
)
def test_what_is_not_one_complete_value_is_refused(data):
    refused(data)


@pytest.mark.parametrize("depth", [1025, 100_000])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa0"])
def test_nesting_beyond_the_limit_is_refused(opening, depth):
    refused(opening * depth + b"\xc0")


def test_nesting_of_the_limit_passes():
    value = unpack(b"\x91" * 1000 + b"\xc0")
    for _ in range(1000):
        (value,) = value
    assert value is None


def test_an_announced_length_takes_no_memory():
    for huge in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"):
        refused(huge)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_value_or_a_protocol_error(data):
    try:
        value = unpack(data)
    except errors.RedDBError as error:
        value = error
    if isinstance(value, errors.RedDBError):
        assert value.code is errors.PROTOCOL
    else:
        # What came in can be sent on, in at most as many bytes but for numbers in a longer form than needed.
        assert len(pack(value)) <= len(data) * 2


@pytest.mark.parametrize("seconds", [2**62, -(2**62), 253_402_300_800, -62_135_596_801])
def test_an_instant_beyond_the_years_of_python_is_refused(seconds):
    assert "not valid MessagePack" in refused(msgpack.packb([msgpack.Timestamp(seconds, 0)])).message


@pytest.mark.parametrize(
    "value",
    [
        [[] for _ in range(50_000)],
        [{} for _ in range(50_000)],
        [[[[]]] for _ in range(20_000)],
        [f"{number:x}" for number in range(50_000)],
        [{f"k{number}": number} for number in range(20_000)],
        {f"k{number}": number for number in range(20_000)},
        [float(number) for number in range(60_000)],
        [1_000 + number for number in range(60_000)],
        [b"x" * 1_000] * 50,
        [np.zeros(4096, np.float32)] * 20,
        [None, True, -5, -100, -40_000, -(2**40), 2**63, 1.5, "x" * 40, "y" * 300, "z" * 70_000, b"b" * 300],
    ],
    ids=["lists", "maps", "nested", "texts", "small maps", "one map", "floats", "integers", "bytes", "arrays", "all"],
)
def test_what_a_value_takes_is_known_before_it_is_read_and_after(value):
    packed = pack(value)
    unpack(packed)  # keys are interned, and the interpreter's table of them grows by megabytes at a time
    tracemalloc.start()
    try:
        made = unpack(packed)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert decoded_bytes(packed) > 0.85 * taken
    assert value_bytes(made) > 0.85 * taken


def test_bytes_that_are_no_value_are_sized_without_an_error():
    rng = random.Random(7)
    for _ in range(2_000):
        assert decoded_bytes(rng.randbytes(rng.randrange(1, 200))) >= 0


@pytest.mark.parametrize(
    "begins", [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"], ids=["list", "map", "text", "bytes", "extension"]
)
def test_a_length_beyond_what_came_is_not_believed(begins):
    assert decoded_bytes(begins + b"\xff\xff\xff\xff" + bytes(10)) == 0
