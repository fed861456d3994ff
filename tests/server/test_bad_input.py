"""Peers that break the protocol: their own connection ends with a reason, and nobody else notices."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

import reddb
from reddb.client import calls
from reddb.client.demo.sample import load
from reddb.wire.connection import encode
from reddb.wire.frames import encode_frame
from reddb.wire.messages import MAGIC, VERSION, Failure, Insert, Message, Ping, Pong, Query, Search
from tests.server.harness import Peer, Server, client_on

SAMPLE = load()
HELLO, QUERY, INSERT, SEARCH, GET = 0x01, 0x03, 0x04, 0x07, 0x08
HEADER = struct.Struct("<IBBHQ")  # of a frame: length, kind, flags, stream, correlation
BATCH_HEADER = struct.Struct("<BBHIIIQ")  # version, id type, 0, rows, dim, id bytes, payload bytes
FOUR_GIB = 2**32 - 1


def frame(kind: int, *fields: Any) -> bytes:
    return encode_frame(kind, 7, msgpack.packb(list(fields)))


def search_frame(k: object, exact: object) -> bytes:
    """A search whose k and exact are of whatever type."""
    return frame(SEARCH, "safe", 384, b"", k, None, exact, True, False, None, [], None, False)


@pytest.fixture(scope="module")
def safe(server: Server) -> Iterator[str]:
    """The sample in a collection that every test finds as it was."""
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION safe KIND vector.turbo DIM 384")
        db.insert("safe", SAMPLE.ids, SAMPLE.vectors)
        yield "safe"
        assert db.execute("SELECT count(*) FROM safe")[0] == (5000,)


@pytest.fixture(autouse=True)
def bystanders(server: Server, safe: str) -> Iterator[None]:
    """Clients on both cores that work before and after, on connections that were never lost."""
    cores = server.core_pids()
    with ExitStack() as stack:
        clients = [stack.enter_context(client_on(server, core)) for core in cores]
        yield
        for client in clients:
            assert client.search(safe, SAMPLE.vectors[5], k=1).ids == [SAMPLE.ids[5]]
    assert server.core_pids() == cores
    server.assert_no_traceback()


@pytest.fixture
def stranger(server: Server) -> Iterator[Peer]:
    with closing(Peer(server.port)) as peer:
        yield peer


@pytest.fixture
def peer(stranger: Peer) -> Peer:
    """A peer that said Hello."""
    stranger.greet()
    return stranger


def assert_ends_with_failure(peer: Peer, words: str = "") -> None:
    event = peer.next()
    assert event is not None, "the connection ended without a word"
    assert isinstance(event.message, Failure), event.message
    assert (event.message.name, event.message.retryable) == ("PROTOCOL", False)
    assert words in event.message.message
    assert peer.next() is None


# --- before Hello -----------------------------------------------------------------------------------------

STRANGERS = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "exceeds the limit"),
    "TLS": (bytes.fromhex("1603010200010001fc0303") + bytes(64), "exceeds the limit"),
    "text": (b"hello, hello, hello, hello", "exceeds the limit"),
    "zeros": (bytes(64), "begins with Hello"),
    "ones": (b"\xff" * 64, "exceeds the limit"),
    "unknown flags": (HEADER.pack(10, HELLO, 0x80, 0, 1) + bytes(10), "flags"),
    "unknown stream": (HEADER.pack(10, HELLO, 0, 9, 1) + bytes(10), "stream"),
    "4 GiB": (HEADER.pack(FOUR_GIB, HELLO, 0, 0, 1), "exceeds the limit of 4096"),
    "4 KiB and one byte": (HEADER.pack(4097, HELLO, 0, 0, 1), "exceeds the limit of 4096"),
    "Ping first": (frame(0x02), "begins with Hello"),
    "Query first": (frame(QUERY, "SHOW COLLECTIONS", []), "begins with Hello"),
    "another version": (frame(HELLO, MAGIC, [99], "test"), f"version {VERSION}"),
    "no version": (frame(HELLO, MAGIC, [], "test"), f"version {VERSION}"),
    "another magic": (frame(HELLO, "mysql", [VERSION], "test"), "reddb protocol"),
    "versions of text": (frame(HELLO, MAGIC, ["1"], "test"), ""),
    "too few fields": (frame(HELLO, MAGIC, [VERSION]), "array of 3 fields"),
    "wrong types": (frame(HELLO, 5, [VERSION], "test"), "Hello.magic is str, not int"),
    "no MessagePack": (encode_frame(HELLO, 7, b"\xc1\xc1\xc1"), "MessagePack"),
    "half a MessagePack": (encode_frame(HELLO, 7, b"\x93\xa5red"), "MessagePack"),
    "deep MessagePack": (encode_frame(HELLO, 7, b"\x91" * 4000), "MessagePack"),
    "a long array": (encode_frame(HELLO, 7, b"\xdd\xff\xff\xff\xff"), "MessagePack"),
}


@pytest.mark.parametrize(("content", "words"), STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_is_told_and_closed(stranger: Peer, content: bytes, words: str) -> None:
    stranger.send(content)
    assert_ends_with_failure(stranger, words)


def test_hello_in_single_bytes(stranger: Peer) -> None:
    for byte in frame(HELLO, MAGIC, [3, VERSION], "slow"):
        stranger.send(bytes([byte]))
    event = stranger.next()
    assert event is not None
    assert type(event.message).__name__ == "Welcome"
    assert event.correlation == 7


@pytest.mark.parametrize("length", [0, 1, 15, 16, 20])
def test_a_stranger_who_leaves_in_the_middle(server: Server, length: int) -> None:
    with closing(Peer(server.port)) as peer:
        peer.send(frame(HELLO, MAGIC, [VERSION], "x" * 40)[:length])


# --- after Hello ------------------------------------------------------------------------------------------

PEERS = {
    "4 GiB": (HEADER.pack(FOUR_GIB, QUERY, 0, 0, 1), "exceeds the limit"),
    "garbage": (b"\xfe" * 100, "exceeds the limit"),
    "unknown kind": (frame(0x55, 1), "0x55"),
    "Hello again": (frame(HELLO, MAGIC, [VERSION], "test"), "already"),
    "an answer": (encode_frame(Pong.KIND, 7, msgpack.packb([])), "not for a server"),
    "a failure": (frame(0xFF, 1, "SYNTAX", "", False, {}), "not for a server"),
    "no array": (encode_frame(QUERY, 7, msgpack.packb({"text": "SHOW COLLECTIONS"})), "array of 2 fields"),
    "an empty body": (encode_frame(QUERY, 7, b""), "MessagePack"),
    "two values": (encode_frame(QUERY, 7, msgpack.packb(["SHOW COLLECTIONS", []]) + b"\x00"), "MessagePack"),
    "text as bytes": (frame(QUERY, b"SHOW COLLECTIONS", []), "Query.text is str, not bytes"),
    "text that is not UTF-8": (encode_frame(QUERY, 7, b"\x92\xa2\xff\xff\x90"), "MessagePack"),
    "parameters of None": (frame(QUERY, "SHOW COLLECTIONS", None), "Query.parameters is list or dict"),
    "too many fields": (frame(QUERY, "SHOW COLLECTIONS", [], 1), "array of 2 fields"),
    "k as text": (search_frame("1", False), "Search.k is int, not str"),
    "exact as 1": (search_frame(1, 1), "Search.exact is bool, not int"),
    "k as true": (search_frame(True, False), "Search.k is int"),
    "deep MessagePack": (encode_frame(QUERY, 7, b"\x91" * 1_000_000), "MessagePack"),
    "a deep parameter": (encode_frame(QUERY, 7, b"\x92\xa1x" + b"\x91" * 5000 + b"\xc0"), "MessagePack"),
    "a huge array": (encode_frame(QUERY, 7, b"\xdd\xff\xff\xff\xff" + bytes(100)), "MessagePack"),
    "a huge text": (encode_frame(QUERY, 7, b"\x92\xdb\xff\xff\xff\xffabc"), "MessagePack"),
    "keys that are no text": (frame(QUERY, "SHOW COLLECTIONS", {1: 2}), "MessagePack"),
    "an unknown extension": (frame(QUERY, "x", [msgpack.ExtType(9, b"abcd")]), "extension"),
    "a vector of 5 bytes": (frame(QUERY, "x", [msgpack.ExtType(1, b"abcde")]), "extension"),
}


@pytest.mark.parametrize(("content", "words"), PEERS.values(), ids=PEERS)
def test_a_peer_is_told_and_closed(peer: Peer, content: bytes, words: str) -> None:
    peer.send(content)
    assert_ends_with_failure(peer, words)


def lying_batches() -> dict[str, bytes]:
    """Batches whose header promises what the bytes do not hold."""
    whole = calls.rows_bytes([1, 2], np.zeros((2, 384), np.float32), [{"a": 1}, None])
    texts = calls.rows_bytes(["a", "b"], np.zeros((2, 384), np.float32), None)
    payload = msgpack.packb({"a": 1})
    payload_bytes = 8 + len(payload)
    vectors_only = whole[:-payload_bytes]

    def changed(content: bytes, **new: int) -> bytes:
        names = ["version", "id_type", "zero", "rows", "dim", "id_bytes", "payload_bytes"]
        header = dict(zip(names, BATCH_HEADER.unpack_from(content), strict=True))
        return BATCH_HEADER.pack(*{**header, **new}.values()) + content[BATCH_HEADER.size :]

    return {
        "nothing": b"",
        "half a header": whole[:20],
        "only a header": whole[:24],
        "one byte less": whole[:-1],
        "one byte more": whole + b"\0",
        "version 2": changed(whole, version=2),
        "id type 7": changed(whole, id_type=7),
        "not zero": changed(whole, zero=1),
        "more rows": changed(whole, rows=3),
        "all rows": changed(whole, rows=FOUR_GIB),
        "all dimensions": changed(whole, dim=FOUR_GIB),
        "rows times dimensions overflow": changed(whole, rows=2**31, dim=2**31, id_bytes=0, payload_bytes=0),
        "other dimensions, same bytes": changed(whole, rows=384, dim=2),
        "fewer id bytes": changed(whole, id_bytes=8, payload_bytes=payload_bytes + 8),
        "all id bytes": changed(whole, id_bytes=FOUR_GIB),
        "all payload bytes": changed(whole, payload_bytes=2**64 - 1),
        "payload lengths that do not add up": whole[:-payload_bytes]
        + struct.pack("<II", 1, 1)
        + whole[-payload_bytes + 8 :],
        "payload lengths that wrap": vectors_only + struct.pack("<II", FOUR_GIB, len(payload) + 1) + payload,
        "texts as integers": changed(texts, id_type=0),
        "integers as texts": changed(whole, id_type=1),
        "too many texts": changed(texts, rows=1, payload_bytes=4 * 384),
        "a list of lists": changed(texts, id_bytes=5)[:24] + b"\x92\x91\x01\x91\x01" + bytes(3) + bytes(8 * 384),
    }


@pytest.mark.parametrize("batch", lying_batches().values(), ids=lying_batches())
@pytest.mark.parametrize("message", ["Insert", "Upsert", "Delete"])
def test_a_batch_with_lying_lengths(peer: Peer, message: str, batch: bytes) -> None:
    kind = {"Insert": 0x04, "Upsert": 0x05, "Delete": 0x06}[message]
    peer.send(frame(kind, "safe", batch))
    event = peer.next()
    assert event is not None
    assert isinstance(event.message, Failure), event.message
    assert event.message.name in ("PROTOCOL", "INVALID_ID")
    if event.message.name == "PROTOCOL":
        assert peer.next() is None


def test_a_get_with_lying_lengths(peer: Peer) -> None:
    peer.send(frame(GET, "safe", b"\x01\x00\x00\x00\xff\xff", False))
    assert_ends_with_failure(peer)


def search(**new: Any) -> Search:
    fields = {
        "collection": "safe",
        "dim": 384,
        "queries": SAMPLE.vectors[0].tobytes(),
        "k": 1,
        "ef": None,
        "exact": False,
        "with_payloads": True,
        "with_vectors": False,
        "where": None,
        "parameters": [],
        "recall": None,
        "with_report": False,
    }
    return Search(**{**fields, **new})


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


def insert_with(value: Any) -> Query:
    return Query("INSERT INTO safe (id, vector, a) VALUES (1, $1, $2)", [[0.0] * 384, value])


def nearest_to(value: Any) -> Query:
    return Query("SELECT id FROM safe ORDER BY vector <=> $1", [value])


WRONG_REQUESTS: dict[str, tuple[Message, str]] = {
    "half a vector": (search(queries=b"abc"), "INVALID_VECTOR"),
    "no dimensions": (search(dim=0), "INVALID_VECTOR"),
    "negative dimensions": (search(dim=-384), "INVALID_VECTOR"),
    "another dimension": (search(dim=96), "INVALID_DIMENSION"),
    "all dimensions": (search(dim=2**63 - 1), "INVALID_VECTOR"),
    "negative k": (search(k=-1), "LIMIT_EXCEEDED"),
    "huge k": (search(k=2**63 - 1), "LIMIT_EXCEEDED"),
    "huge ef": (search(ef=2**63 - 1), "LIMIT_EXCEEDED"),
    "a batch without vectors": (Insert("safe", calls.delete("safe", [1], None, ()).batch), "INVALID_DIMENSION"),
    "a deep statement": (Query("SELECT id FROM safe WHERE " + "(" * 10_000, []), "LIMIT_EXCEEDED"),
    "nested lists": (insert_with(nested(20)), "LIMIT_EXCEEDED"),
    "bytes in a payload": (insert_with(b"x"), "INVALID_PAYLOAD"),
    "a vector for an id": (Query("SELECT id FROM safe WHERE id = $1", [np.zeros(3, np.float32)]), "INVALID_ID"),
    "a map for a vector": (nearest_to({"a": 1}), "INVALID_VALUE"),
    "text for a vector": (
        Query("SELECT id FROM safe ORDER BY vector <=> $1", [["1"] * 384]),
        "INVALID_VALUE or INVALID_VECTOR",
    ),
    "NULL for a coordinate": (
        Query("SELECT id FROM safe ORDER BY vector <=> $1", [[None] * 384]),
        "INVALID_VALUE or INVALID_VECTOR",
    ),
}


@pytest.mark.parametrize(("message", "error"), WRONG_REQUESTS.values(), ids=WRONG_REQUESTS)
def test_a_wrong_request_leaves_the_connection_open(peer: Peer, message: Message, error: str) -> None:
    with pytest.raises(reddb.RedDBError) as caught:
        peer.request(message)
    assert caught.value.name in error.split()
    assert isinstance(peer.request(Ping())[0], Pong)


# --- peers that are slow, silent or greedy ----------------------------------------------------------------


def test_a_truncated_frame_and_then_the_end(peer: Peer, server: Server, safe: str) -> None:
    whole = frame(INSERT, safe, calls.rows_bytes([-5], SAMPLE.vectors[:1], None))
    peer.send(whole[:-10])
    peer.close()
    with reddb.connect(server.url) as db:
        assert db.get(safe, -5) == [None]


def test_what_follows_a_broken_frame_is_not_done(peer: Peer, server: Server, name: str) -> None:
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 384")
        insert = frame(INSERT, name, calls.rows_bytes([-6], SAMPLE.vectors[:1], None))
        peer.send(frame(HELLO, MAGIC, [VERSION], "again") + insert)
        assert_ends_with_failure(peer, "already")
        db.insert(name, [1], SAMPLE.vectors[:1])  # behind whatever was on its way
        assert db.get(name, -6) == [None]


def test_silent_peers_disturb_nobody(server: Server, safe: str) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(closing(Peer(server.port)))
        with reddb.connect(server.url) as db:
            assert db.search(safe, SAMPLE.vectors[9], k=1).ids == [SAMPLE.ids[9]]


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_a_client_that_never_reads(server: Server, stranger: Peer, safe: str) -> None:
    """Its answers pile up to a bound, and others are answered as ever."""
    core = server.core_pids()[stranger.greet()]
    before = resident_bytes(core)
    request = Query(f"SELECT * FROM {safe} LIMIT 5000", [])  # an answer of 8 MB
    stranger.send(b"".join(encode(request, number) for number in range(60)))
    with reddb.connect(server.url) as one, reddb.connect(server.url) as other:
        for number in range(200):
            for db in (one, other):
                assert db.search(safe, SAMPLE.vectors[number], k=1).ids == [SAMPLE.ids[number]]
    grown = resident_bytes(core) - before
    assert grown < 150_000_000, f"{grown:,} bytes of answers that nobody reads"
    # When it does read, every answer is there.
    parts = 0
    for _ in range(60):
        while True:
            event = stranger.next()
            assert event is not None
            assert not isinstance(event.message, Failure)
            parts += 1
            if not event.more:
                break
    assert parts == 60 * 5
