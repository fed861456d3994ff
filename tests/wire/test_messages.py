"""Messages: every declared one comes back, every wrong one is refused by the name of its field."""

from __future__ import annotations

from dataclasses import fields

import msgpack
import numpy as np
import pytest

from reddb import errors
from reddb.wire import messages
from reddb.wire.messages import (
    MESSAGES,
    Cancel,
    Changed,
    Decide,
    Delete,
    Execute,
    Failure,
    Get,
    Hello,
    Hits,
    Holding,
    Insert,
    Message,
    Part,
    Ping,
    Pong,
    Prepare,
    Prepared,
    Query,
    Result,
    Rows,
    Search,
    Statement,
    Stop,
    Tell,
    Transact,
    Upsert,
    Welcome,
    Written,
    decode_message,
    encode_body,
)

EXAMPLES: list[Message] = [
    Hello("reddb", [1, 2], "test"),
    Ping(),
    Query("SELECT 1", []),
    Query("SELECT $1, 'ü'", [None, True, -(2**63), 2.5, "x", b"\0", [1], {"a": []}]),
    Query("SELECT :a", {"a": 1}),
    Insert("docs", b"\0\1\2"),
    Upsert("docs", b""),
    Delete("docs", b"ids"),
    Search("docs", 2, b"\0" * 8, 10, None, False, True, False, None, [], None, False),
    Search("docs", 2, b"\0" * 8, 10, 64, True, False, True, "a = $1", [1], 0.99, True),
    Get("docs", b"ids", True),
    Cancel(7),
    Prepare("SELECT id FROM docs WHERE id = $1"),
    Execute(2**63 - 1, [1]),
    Execute(0, {"a": None}),
    Prepared(2**63 - 1, ["$1", "$2"]),
    Tell("sessions"),
    Stop(64),
    Statement(7, "DELETE FROM docs WHERE id = $1", [1], 1_700_000_000_000_000),
    Transact(7, [[0x04, b"body"]]),
    Changed(3, None, b""),
    Changed(1, b"rows", b"places"),
    Part(3, True, 0x04, b"body"),
    Decide(2**40, False),
    Holding(1),
    Welcome(1, "0.1", 3),
    Pong(),
    Result(["id", "x"], [[1, "a"], [2, None]], None),
    Result([], [], 7),
    Written(2**40),
    Hits([2, 0], b"\0" * 16, b"batch", None),
    Rows(b"batch"),
    Failure(1001, "SYNTAX", "expected FROM", False, {"line": 1, "hint": "…"}),
]

# A value that each field cannot take, beside its name.
WRONG: list[tuple[type[Message], str, object]] = [
    (Hello, "magic", b"reddb"),
    (Hello, "versions", 1),
    (Hello, "client", None),
    (Query, "text", 1),
    (Query, "parameters", None),
    (Insert, "collection", b"docs"),
    (Insert, "batch", "text"),
    (Upsert, "batch", []),
    (Delete, "batch", None),
    (Search, "dim", True),
    (Search, "dim", 2.0),
    (Search, "queries", [1.0, 2.0]),
    (Search, "k", "10"),
    (Search, "ef", False),
    (Search, "exact", 1),
    (Search, "with_payloads", None),
    (Search, "with_vectors", 0),
    (Search, "where", 0),
    (Search, "parameters", "x"),
    (Get, "with_vectors", 1),
    (Part, "partition", None),
    (Part, "hold", 1),
    (Decide, "commit", 0),
    (Holding, "hold", "1"),
    (Welcome, "version", 1.0),
    (Result, "columns", {}),
    (Result, "rows", None),
    (Result, "affected", True),
    (Written, "count", None),
    (Hits, "counts", b""),
    (Failure, "retryable", 0),
    (Failure, "detail", []),
]


def example(kind: type[Message]) -> Message:
    return next(message for message in EXAMPLES if type(message) is kind)


def plain(message: Message) -> list[object]:
    return list(msgpack.unpackb(encode_body(message)))


def refused(kind: int, body: bytes) -> errors.RedDBError:
    with pytest.raises(errors.RedDBError) as caught:
        decode_message(kind, body)
    assert caught.value.code is errors.PROTOCOL
    return caught.value


def test_there_is_an_example_of_every_message_and_kinds_are_unique():
    declared = {item for item in vars(messages).values() if isinstance(item, type) and issubclass(item, Message)}
    declared -= {Message}
    assert {type(message) for message in EXAMPLES} == declared == set(MESSAGES.values())
    assert len({kind.KIND for kind in declared}) == len(declared)
    assert all(1 <= kind <= 0xFF for kind in MESSAGES)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back(message):
    assert decode_message(message.KIND, encode_body(message)) == message


@pytest.mark.parametrize("kind", list(MESSAGES.values()), ids=lambda kind: kind.__name__)
def test_a_field_too_many_or_too_few_is_refused(kind):
    values = plain(example(kind))
    for count in {len(values) + 1, len(values) - 1, 0} - {len(values), -1}:
        error = refused(kind.KIND, msgpack.packb([*values, None][:count]))
        assert error.message == f"{kind.__name__} is an array of {len(values)} fields"


@pytest.mark.parametrize("body", [{}, None, 1, "text", b"bytes"])
def test_a_body_that_is_no_array_is_refused(body):
    assert "array of 0 fields" in refused(Ping.KIND, msgpack.packb(body)).message


@pytest.mark.parametrize(("kind", "name", "value"), WRONG, ids=lambda part: getattr(part, "__name__", repr(part)))
def test_a_field_of_the_wrong_type_is_named(kind, name, value):
    values = plain(example(kind))
    values[[field.name for field in fields(kind)].index(name)] = value
    error = refused(kind.KIND, msgpack.packb(values))
    assert error.message.startswith(f"{kind.__name__}.{name} is ")
    assert error.message.endswith(f"not {type(value).__name__}")


@pytest.mark.parametrize("kind", [0, 0x0C, 0x7F, 0xFE])
def test_an_unknown_kind_is_refused_by_number(kind):
    assert f"{kind:#04x}" in refused(kind, b"\x90").message


def test_a_vector_parameter_stays_float32():
    (vector,) = decode_message(Query.KIND, encode_body(Query("…", [np.array([0.1, 2.0], "f4")]))).parameters
    assert vector.dtype == np.float32
    assert vector.tolist() == [float(np.float32(0.1)), 2.0]


@pytest.mark.parametrize("seconds", [0, 2**35, -1])  # 64 bits, 96 bits
@pytest.mark.parametrize("place", [lambda value: [value], lambda value: {"x": [1, {"y": value}]}])
def test_nanoseconds_of_a_parameter_are_not_cut(seconds, place):
    def sent(nanoseconds: int) -> bytes:
        return msgpack.packb(["SELECT $1", place(msgpack.Timestamp(seconds, nanoseconds))])

    assert decode_message(Query.KIND, sent(123_456_000)).text == "SELECT $1"
    with pytest.raises(errors.RedDBError, match="nanoseconds") as caught:
        decode_message(Query.KIND, sent(123_456_001))
    assert caught.value.code is errors.PROTOCOL


@pytest.mark.parametrize("code", errors.CATALOGUE.values(), ids=lambda code: code.name)
def test_every_error_crosses_the_wire(code):
    sent = code.error("what went wrong", row=3, hint="do this")
    failure = decode_message(Failure.KIND, encode_body(Failure.from_error(sent)))
    received = failure.to_error()
    assert received.code is code
    assert (received.message, received.detail) == ("what went wrong", {"row": 3, "hint": "do this"})
    assert str(received) == str(sent)


@pytest.mark.parametrize("retryable", [True, False])
def test_an_error_of_a_newer_server_keeps_its_name_and_text(retryable):
    error = Failure(7777, "BRAND_NEW", "text", retryable, {"row": 1}).to_error()
    assert (error.name, error.code.number, error.message) == ("BRAND_NEW", 7777, "text")
    assert error.retryable is retryable
    assert "BRAND_NEW" not in errors.CATALOGUE
    assert Failure.from_error(error) == Failure(7777, "BRAND_NEW", "text", retryable, {"row": 1})
