"""Frames out of a stream: every cut, every wrong header."""

from __future__ import annotations

import itertools
import struct

import pytest

from reddb import errors
from reddb.wire.frames import FrameReader, encode_frame

Plain = tuple[int, bool, int, bytes]

FRAMES: list[Plain] = [
    (1, False, 0, b""),
    (2, True, 1, b"a"),
    (0xFF, False, 2**64 - 1, b"0123456789abcdef0123"),  # longer than a header
    (0, True, 2**32, b"\0" * 16),
]
STREAM = b"".join(encode_frame(kind, correlation, body, more=more) for kind, more, correlation, body in FRAMES)


def feed(reader: FrameReader, data: bytes) -> list[Plain]:
    return [(frame.kind, frame.more, frame.correlation, bytes(frame.body)) for frame in reader.feed(data)]


def header(length: int = 0, kind: int = 1, flags: int = 0, stream: int = 0, correlation: int = 0) -> bytes:
    return struct.pack("<IBBHQ", length, kind, flags, stream, correlation)


def test_the_bytes_of_a_frame_are_those_of_the_layout():
    assert encode_frame(0x83, 0x0102030405060708, b"xyz", more=True) == bytes.fromhex(
        "03000000 83 01 0000 0807060504030201 78797a"
    )


def test_any_two_cuts_of_a_stream_give_the_same_frames():
    for first, second in itertools.combinations_with_replacement(range(len(STREAM) + 1), 2):
        reader = FrameReader(64)
        pieces = [STREAM[:first], STREAM[first:second], STREAM[second:]]
        assert [frame for piece in pieces for frame in feed(reader, piece)] == FRAMES, (first, second)


def test_byte_by_byte_each_frame_comes_with_its_last_byte():
    reader = FrameReader(64)
    ends = list(itertools.accumulate(16 + len(frame[3]) for frame in FRAMES))
    came = [place for place in range(len(STREAM)) for _ in feed(reader, STREAM[place : place + 1])]
    assert came == [end - 1 for end in ends]


def test_bodies_stay_as_they_were_when_more_bytes_come():
    reader = FrameReader(64)
    (first,) = list(reader.feed(encode_frame(1, 0, b"first") + b"\x05"))
    (second,) = list(reader.feed(encode_frame(1, 0, b"other")[1:]))
    assert (bytes(first.body), bytes(second.body)) == (b"first", b"other")


@pytest.mark.parametrize("cut", range(16, 20))
def test_a_frame_too_long_is_refused_at_its_header(cut):
    reader = FrameReader(100)
    data = header(101) + b"body"
    with pytest.raises(errors.RedDBError) as caught:
        list(reader.feed(data[:cut]))
    assert caught.value.code is errors.PROTOCOL
    assert "101" in caught.value.message
    assert "100" in caught.value.message


def test_a_frame_too_long_is_refused_when_its_header_comes_in_pieces():
    reader = FrameReader(100)
    data = header(2**32 - 1)
    for place in range(15):
        assert list(reader.feed(data[place : place + 1])) == []
    with pytest.raises(errors.RedDBError, match="PROTOCOL"):
        list(reader.feed(data[15:]))


def test_a_frame_of_exactly_the_limit_passes():
    assert feed(FrameReader(100), header(100) + b"x" * 100) == [(1, False, 0, b"x" * 100)]


def test_a_raised_limit_holds_from_the_next_bytes_on():
    reader = FrameReader(1)
    assert feed(reader, header(1) + b"x") == [(1, False, 0, b"x")]
    reader.body_bytes_max = 2
    assert feed(reader, header(2) + b"xy") == [(1, False, 0, b"xy")]


@pytest.mark.parametrize("flags", [2, 3, 4, 0x80, 0xFF])
def test_unknown_flags_are_refused(flags):
    with pytest.raises(errors.RedDBError, match="flags"):
        list(FrameReader(100).feed(header(flags=flags)))


def test_a_stream_number_is_refused():
    with pytest.raises(errors.RedDBError, match="stream 1"):
        list(FrameReader(100).feed(header(stream=1)))


def test_a_frame_that_nobody_wants_is_skipped_wherever_it_is_cut():
    stream = encode_frame(1, 7, b"unwanted" * 4) + encode_frame(2, 8, b"wanted")
    for first in range(17, 48):
        for second in range(first, len(stream)):
            reader = FrameReader(100)
            assert feed(reader, stream[:first]) == []
            half = reader.half
            assert half is not None
            assert (half.correlation, half.size, reader.held) == (7, 48, first)
            reader.skip()
            assert (reader.half, reader.held) == (None, 0)
            came = feed(reader, stream[first:second]) + feed(reader, stream[second:])
            assert came == [(2, False, 8, b"wanted")], (first, second)


def test_each_half_frame_is_an_object_of_its_own():
    reader, frame = FrameReader(100), encode_frame(1, 7, b"alike" * 4)
    feed(reader, frame[:20])
    first = reader.half
    assert reader.half is first
    feed(reader, frame[20:] + frame[:20])
    assert (reader.half, reader.half is first) == (first, False)
    feed(reader, frame[20:])
    assert reader.half is None
