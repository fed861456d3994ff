"""One connection's receiving half: the greeting, the limits, and whatever bytes a stranger sends."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reddb import errors, limits
from reddb.wire.connection import Broken, Received, WireConnection, encode
from reddb.wire.frames import encode_frame
from reddb.wire.messages import (
    MESSAGES,
    VERSION,
    Failure,
    Get,
    Hello,
    Insert,
    Message,
    Ping,
    Pong,
    Query,
    Welcome,
)

HELLO = Hello("reddb", [VERSION], "test")


def server() -> WireConnection:
    return WireConnection(expects_hello=True)


def greeted() -> WireConnection:
    connection = server()
    assert connection.receive_data(encode(HELLO, 1)) == [Received(1, HELLO, False)]
    return connection


def breaks(connection: WireConnection, data: bytes) -> Broken:
    """The one event that wrong bytes give; after it nothing more comes, not even for right ones."""
    (event,) = connection.receive_data(data)
    assert isinstance(event, Broken)
    assert event.error.code is errors.PROTOCOL
    assert connection.receive_data(encode(HELLO, 1)) == []
    assert connection.receive_data(b"\xff" * 100) == []
    return event


def test_hello_opens_the_connection():
    connection = server()
    assert connection.receive_data(encode(HELLO, 9)) == [Received(9, HELLO, False)]
    assert connection.receive_data(encode(Ping(), 10)) == [Received(10, Ping(), False)]


def test_a_client_takes_answers_at_once_and_in_parts():
    connection = WireConnection(expects_hello=False)
    data = encode(Welcome(1, "x", 0), 1) + encode(Pong(), 7, more=True) + encode(Pong(), 7)
    assert connection.receive_data(data) == [
        Received(1, Welcome(1, "x", 0), False),
        Received(7, Pong(), True),
        Received(7, Pong(), False),
    ]


@pytest.mark.parametrize("kind", sorted(MESSAGES.keys() - {Hello.KIND}))
def test_nothing_but_hello_comes_first(kind):
    connection = server()
    event = breaks(connection, encode_frame(kind, 5, b"\x90"))
    assert event.correlation == 5
    assert "begins with Hello" in event.error.message


@pytest.mark.parametrize(
    "hello",
    [
        Hello("redis", [VERSION], "x"),
        Hello("", [VERSION], "x"),
        Hello("reddb", [], "x"),
        Hello("reddb", [VERSION + 1], "x"),
        Hello("reddb", ["1"], "x"),  # type: ignore[list-item]
        Hello("reddb", [None, [1]], "x"),  # type: ignore[list-item]
    ],
)
def test_a_hello_of_another_protocol_or_version_is_refused(hello):
    assert f"speaks version {VERSION}" in breaks(server(), encode(hello, 1)).error.message


def test_a_hello_that_speaks_several_versions_is_taken():
    assert server().receive_data(encode(Hello("reddb", [7, VERSION], "x"), 1))[0].message.versions == [7, VERSION]


def test_vectors_among_the_versions_break_the_connection_and_nothing_else():
    body = msgpack.packb(["reddb", [msgpack.ExtType(1, b"\0" * 8)], "x"])
    breaks(server(), encode_frame(Hello.KIND, 1, body))


def test_a_frame_larger_than_a_greeting_is_refused_at_its_header():
    data = encode(Hello("reddb", [VERSION], "x" * limits.FRAME_BYTES_MAX_BEFORE_HELLO), 1)
    assert str(limits.FRAME_BYTES_MAX_BEFORE_HELLO) in breaks(server(), data[:16]).error.message


def test_after_hello_a_large_frame_passes():
    insert = Insert("docs", b"\0" * 100_000)
    assert greeted().receive_data(encode(insert, 2)) == [Received(2, insert, False)]


def test_how_the_bytes_are_cut_decides_nothing():
    """A client need not wait for Welcome, and whether the system joins its writes is not in its hands."""
    messages: list[Message] = [HELLO, Insert("docs", b"\0" * (2 * limits.FRAME_BYTES_MAX_BEFORE_HELLO)), Ping()]
    data = b"".join(encode(message, number) for number, message in enumerate(messages))
    end_of_hello = len(encode(HELLO, 0))
    expected = [Received(number, message, False) for number, message in enumerate(messages)]
    for cut in (1, end_of_hello, end_of_hello + 1, end_of_hello + 16, len(data) - 1, len(data)):
        connection = server()
        assert connection.receive_data(data[:cut]) + connection.receive_data(data[cut:]) == expected, cut


def test_messages_before_the_broken_one_count_however_the_bytes_are_cut():
    bad = encode_frame(0x7E, 3, b"\x90"), b"\xff" * 16, encode_frame(Ping.KIND, 3, b"\xc1")
    for wrong in bad:
        good = encode(Ping(), 1) + encode(Ping(), 2)
        for cut in range(len(good + wrong) + 1):
            connection = greeted()
            events = connection.receive_data((good + wrong)[:cut]) + connection.receive_data((good + wrong)[cut:])
            assert events[:2] == [Received(1, Ping(), False), Received(2, Ping(), False)], cut
            assert [type(event) for event in events[2:]] == [Broken], cut


def test_the_error_carries_the_correlation_of_its_frame():
    event = breaks(greeted(), encode_frame(Get.KIND, 77, b"\x90"))
    assert event.correlation == 77
    assert decode(encode(Failure.from_error(event.error), event.correlation)).correlation == 77


def decode(data: bytes) -> Received:
    (event,) = WireConnection(expects_hello=False).receive_data(data)
    assert isinstance(event, Received)
    return event


def test_a_truncated_frame_waits():
    data = encode(Query("SHOW COLLECTIONS", []), 4)
    for cut in range(len(data)):
        connection = greeted()
        assert connection.receive_data(data[:cut]) == []
        assert connection.receive_data(data[cut:]) == [Received(4, Query("SHOW COLLECTIONS", []), False)]


@pytest.mark.parametrize("depth", [2000, 200_000])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1x"])
def test_deep_nesting_breaks_the_connection(opening, depth):
    breaks(greeted(), encode_frame(Query.KIND, 1, b"\x92\xa1x" + opening * depth + b"\xc0"))


@given(st.lists(st.binary(max_size=40), max_size=6), st.booleans())
def test_random_bytes_never_raise(pieces, expects_hello):
    connection = WireConnection(expects_hello=expects_hello)
    events = [event for piece in pieces for event in connection.receive_data(piece)]
    assert all(isinstance(event, Received) for event in events[:-1])


@given(st.sampled_from(sorted(MESSAGES)), st.binary(max_size=60), st.booleans())
def test_random_bodies_never_raise(kind, body, is_greeted):
    connection = greeted() if is_greeted else server()
    (event,) = connection.receive_data(encode_frame(kind, 3, body))
    assert event.correlation == 3
    assert isinstance(event, Received) or event.error.code is errors.PROTOCOL


_ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.just("reddb")
    | st.binary(max_size=3)
    | st.just(msgpack.ExtType(1, b"\0" * 8)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=8,
)


@given(st.sampled_from(sorted(MESSAGES)), st.lists(_ANY, max_size=10), st.booleans())
def test_well_formed_values_in_wrong_places_never_raise(kind, fields, is_greeted):
    connection = greeted() if is_greeted else server()
    (event,) = connection.receive_data(encode_frame(kind, 3, msgpack.packb(fields)))
    assert isinstance(event, Received) or event.error.code is errors.PROTOCOL


@given(st.data())
def test_flipped_bytes_of_a_stream_never_raise(data):
    stream = bytearray(b"".join(encode(message, 1) for message in (HELLO, Query("a", [1]), Ping())))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    events = server().receive_data(bytes(stream))
    assert all(isinstance(event, Received) for event in events[:-1])
