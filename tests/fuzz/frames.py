"""Frames of every kind, right, wrong and torn, sent to a real server by strangers, while a light client goes on.

    python -m tests.fuzz.frames [--frames 1000000] [--seed 0]

A connection sends some dozens of frames: messages of declared types, of other types, of damaged bytes, headers that
lie, kinds that only cores send, before a Hello or behind it, whole or in pieces. The sans-IO half of a connection
reads the same bytes and says which requests the server has seen. Then each of them must be answered, or the connection
closed behind an error that says why. Violations:

    hang      an answer that does not come within a minute
    silence   a connection closed without a word, or an answer to nothing that was asked
    bug       INTERNAL, a traceback in the log
    death     a core that is another process at the end
    growth    memory above that of the first tenth by more than a fixed slack
    neighbour the light client waits for longer than a second, or gets another answer

What is sent depends on the seed alone.
"""

from __future__ import annotations

import itertools
import random
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import msgpack
import numpy as np

import reddb
from reddb import errors
from reddb.rows import PayloadColumn, RowBatch
from reddb.wire.connection import Broken, WireConnection, encode
from reddb.wire.frames import encode_frame
from reddb.wire.messages import (
    MAGIC,
    MESSAGES,
    VERSION,
    Cancel,
    Delete,
    Execute,
    Failure,
    Get,
    Hello,
    Insert,
    Message,
    Ping,
    Prepare,
    Query,
    Search,
    Upsert,
    encode_body,
)
from tests.fuzz.material import CORPUS, EXTREMES, fill, mutated
from tests.server.harness import Peer, Server

_FRAMES_OF_A_CONNECTION = 48
_WRONG_SHARE = 1 / 30
_ANSWER_S = 60.0
_LIGHT, _LIGHT_S = "light", 1.0
_GROWTH_MIB = 64  # in all processes: caches fill, and the allocator keeps what was let go
_PLAIN = [None, True, -1, 0, 7, 2**63, 2**64 - 1, 0.5, float("nan"), "", "docs", "x" * 70_000, b"", b"\0" * 8]
_NESTED = [[], {}, [1, [2, [3]]], {"a": {"b": 1}}, [[]] * 300, {1: 2}, msgpack.ExtType(1, b"\0\0\xc0\x7f")]
_NAMES = ["docs", "books", "items", "Docs", "nowhere", "red", "", "\0", "é", "a" * 300]
_WHERES = [None, "year > $1", "year >", "title LIKE '%%%%a%%%_'", "id = 1", "(" * 100, "nosuch = 1", "year IN $1"]
_PARAMETERS: list[Any] = [[], [1], [[1, 2, 3]], {"a": 1}, ["x" * 1000], [None] * 100, [[[]]], [2**64 - 1], [b"x"]]


@dataclass
class Tally:
    """What came of it."""

    frames: int = 0
    connections: int = 0
    answers: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)
    light_s: float = 0.0

    def line(self) -> str:
        first, last = self.memory_mib[0], self.memory_mib[-1]
        return (
            f"frames {self.frames}, connections {self.connections}, answers {self.answers}, "
            f"refused {self.refused.total()}, memory {first:.0f} to {last:.0f} MiB, "
            f"light client at most {1000 * self.light_s:.0f} ms, violations {len(self.violations)}"
        )


# --- what is sent ------------------------------------------------------------------------------------------


def batch(rng: random.Random, dim: int) -> bytes:
    """Rows as bytes; often right, sometimes damaged."""
    count = rng.choice([0, 1, 2, 5, 40])
    ids: Any = np.array([rng.randrange(100) for _ in range(count)], np.int64)
    if rng.random() < 0.3:
        ids = [rng.choice([1, "a", "é" * 100, -5]) for _ in range(count)]
    vectors = np.array([[rng.choice([0.0, 1.0, -2.5, 1e30, float("nan")]) for _ in range(dim)]] * count, np.float32)
    payloads = None
    if dim and count and rng.random() < 0.5:
        packed = [msgpack.packb({"title": "t", "year": rng.randrange(9)}) for _ in range(count)]
        lengths = np.array([len(item) for item in packed], np.uint32)
        payloads = PayloadColumn(lengths, memoryview(b"".join(packed)))
    content = b"".join(RowBatch(ids, vectors.reshape(count, dim), payloads).encode())
    return damaged(rng, content) if rng.random() < 0.3 else content


def damaged(rng: random.Random, content: bytes) -> bytes:
    """A few bytes other, fewer or more."""
    copy = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(copy) + 1)
        match rng.randrange(3):
            case 0 if at < len(copy):
                copy[at] ^= 1 << rng.randrange(8)
            case 1:
                del copy[at : at + rng.randint(1, 9)]
            case _:
                copy[at:at] = rng.randbytes(rng.randint(1, 9))
    return bytes(copy)


def request(rng: random.Random) -> Message:
    """A message of declared types, with contents that are right as often as not."""
    name, dim = rng.choice(_NAMES[:3] if rng.random() < 0.8 else _NAMES), 2 if rng.random() < 0.9 else rng.randrange(5)
    parameters = rng.choice(_PARAMETERS)
    text = rng.choice(CORPUS) if rng.random() < 0.3 else mutated(rng, rng.choice([*CORPUS, *EXTREMES]))
    text = text.encode(errors="replace").decode()
    kind = rng.choice([Query, Query, Search, Search, Get, Insert, Upsert, Delete, Prepare, Execute, Ping, Cancel])
    if kind is Query:
        return Query(text, parameters)
    if kind is Search:
        queries = np.array([rng.choice([1.0, -3.0, 0.0, 1e20])] * dim * rng.choice([1, 1, 2, 50]), np.float32).tobytes()
        k, ef = rng.choice([0, 1, 10, 10_000, 10_001, -1, 2**40]), rng.choice([None, None, 0, 50, 100_000, 2**40])
        recall = rng.choice([None, None, 0.5, 0.99, 2.0, float("nan")])
        flags = [rng.random() < 0.5 for _ in range(4)]
        where = rng.choice(_WHERES)
        return Search(name, dim, queries, k, ef, flags[0], flags[1], flags[2], where, parameters, recall, flags[3])
    if kind is Get:
        return Get(name, batch(rng, 0), rng.random() < 0.5)
    if kind is Delete:
        return Delete(name, batch(rng, 0))
    if kind in (Insert, Upsert):
        return kind(name, batch(rng, dim))
    if kind is Prepare:
        return Prepare(text)
    if kind is Execute:
        return Execute(rng.choice([0, 1, 2, 5, -1, 2**62]), parameters)
    return Ping() if kind is Ping else Cancel(rng.randrange(60))


def _of_other_types(rng: random.Random) -> bytes:
    """The body of a message, with fields of any type, or more or fewer of them."""
    fields = msgpack.unpackb(encode_body(request(rng)), strict_map_key=False)
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(fields) + 1)
        fields[at : at + 1] = [rng.choice(_PLAIN + _NESTED)] * rng.choice([0, 1, 1, 1, 2])
    return bytes(msgpack.packb(fields))


def frame(rng: random.Random, correlation: int) -> bytes:
    """One frame; one in thirty is wrong, for what stands behind it is not read."""
    if rng.random() > _WRONG_SHARE:
        return encode(request(rng), correlation)
    kind = rng.choice([*MESSAGES, rng.randrange(256)])
    match rng.randrange(6):
        case 0:
            return encode_frame(request(rng).KIND, correlation, _of_other_types(rng))
        case 1:
            return encode_frame(kind, correlation, _of_other_types(rng))
        case 2:
            return encode_frame(kind, correlation, rng.randbytes(rng.choice([0, 1, 7, 300])))
        case 3:
            return encode_frame(request(rng).KIND, correlation, damaged(rng, encode_body(request(rng))))
        case 4:
            length = rng.choice([0, 1, 2**16, 2**28, 2**28 + 1, 2**32 - 1])
            return struct.pack("<IBBHQ", length, kind, rng.choice([0, 0, 1, 255]), rng.choice([0, 0, 3]), correlation)
    return encode(request(rng), rng.randrange(4))  # a number that is in use, or was


def conversation(rng: random.Random) -> bytes:
    """What one connection sends."""
    first = rng.random()
    hello = encode(Hello(MAGIC, [VERSION], "fuzz"), 0)
    pieces = [hello if first < 0.9 else damaged(rng, hello) if first < 0.95 else frame(rng, 0)]
    pieces += [frame(rng, number) for number in range(1, _FRAMES_OF_A_CONNECTION)]
    return b"".join(pieces)


# --- what comes back ---------------------------------------------------------------------------------------


def seen_by_server(content: bytes) -> tuple[int, list[int], bool]:
    """How many frames are read, the numbers of those that want an answer, whether the last breaks the protocol."""
    events = WireConnection(expects_hello=True).receive_data(content)
    wanted = [item.correlation for item in events if not isinstance(item, Broken) and type(item.message) is not Cancel]
    return len(events), wanted, bool(events) and isinstance(events[-1], Broken)


def converse(port: int, rng: random.Random, tally: Tally) -> None:
    """One connection, until all is answered or it is closed."""
    content = conversation(rng)
    frames, wanted, is_broken = seen_by_server(content)
    peer = Peer(port, _ANSWER_S)
    cuts = sorted(rng.randrange(len(content)) for _ in range(rng.choice([0, 0, 1, 5])))
    pieces = [content[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(content)])]
    sender = threading.Thread(target=_send, args=(peer, pieces))
    sender.start()
    tally.frames += frames
    tally.connections += 1
    open_requests = Counter(wanted)
    failure: Failure | None = None
    try:
        while open_requests or is_broken:
            event = peer.next()
            if event is None:
                if failure is None or failure.name != errors.PROTOCOL.name:
                    tally.violations.append(f"silence: closed with {len(open_requests)} unanswered, said {failure}")
                return
            tally.answers += 1
            if isinstance(event.message, Failure):
                failure = event.message
                tally.refused[failure.name] += 1
                if failure.name == errors.INTERNAL.name:
                    tally.violations.append(f"bug: {failure.message[:300]}")
            if not event.more:
                open_requests -= Counter([event.correlation])
    except TimeoutError:
        tally.violations.append(f"hang: {sorted(open_requests)[:5]} of {len(wanted)} are not answered")
    finally:
        peer.close()
        sender.join()


def _send(peer: Peer, pieces: list[bytes]) -> None:
    with suppress(OSError):  # the server closes what breaks the protocol, and need not have read it to its end
        for piece in pieces:
            peer.socket.sendall(piece)


class LightClient(threading.Thread):
    """Asks for one row again and again, and notes the longest time that took."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.most_s = 0.0
        self.wrong: list[str] = []
        self._url = url
        self._ended = threading.Event()

    def run(self) -> None:
        with reddb.connect(self._url) as db:
            while not self._ended.wait(0.02):
                began = time.monotonic()
                (row,) = db.get(_LIGHT, [7])
                self.most_s = max(self.most_s, time.monotonic() - began)
                if row is None or row.payload != {"name": "seven"}:
                    self.wrong.append(f"neighbour: {row}")

    def end(self) -> None:
        self._ended.set()
        self.join()


def run(folder: Path, frames: int, seed: int) -> Tally:
    """Send so many frames to a server in this folder."""
    tally, rng = Tally(), random.Random(seed)
    server = Server(folder / "data", folder).start()
    try:
        before = server.core_pids()
        with reddb.connect(server.url) as db:
            fill(db)
            db.execute(f"CREATE COLLECTION {_LIGHT} KIND vector DIM 2 FIELDS (name TEXT)")
            db.insert(_LIGHT, [7], [[1, 2]], [{"name": "seven"}])
            light = LightClient(server.url)
            light.start()
            told = time.monotonic()
            while tally.frames < frames:
                converse(server.port, rng, tally)
                if len(tally.memory_mib) < 10 * tally.frames // frames:
                    tally.memory_mib.append(server.memory_mib())
                    fill(db, but=_LIGHT)  # what was sent may have dropped them
                if time.monotonic() - told > 30:
                    told = time.monotonic()
                    click.echo(tally.line() if tally.memory_mib else f"frames {tally.frames}", err=True)
        light.end()
        tally.light_s = light.most_s
        tally.violations += light.wrong
        if light.most_s > _LIGHT_S:
            tally.violations.append(f"neighbour: the light client waited for {light.most_s:.1f} s")
        if server.core_pids() != before:
            tally.violations.append(f"death: the cores were {before}, and are {server.core_pids()}")
        if tally.memory_mib[-1] > tally.memory_mib[0] + _GROWTH_MIB:
            tally.violations.append(f"growth: {tally.memory_mib}")
        server.stop()
    finally:
        server.close()
    return tally


@click.command()
@click.option("--frames", default=1_000_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(frames: int, seed: int) -> None:
    """Send any frames to a server."""
    with tempfile.TemporaryDirectory() as folder:
        tally = run(Path(folder), frames, seed)
    for violation in tally.violations:
        click.echo(violation)
    click.echo(f"refused: {', '.join(f'{name} {count}' for name, count in tally.refused.most_common())}")
    click.echo(tally.line())
    sys.exit(bool(tally.violations))


if __name__ == "__main__":
    main()
