"""A client process that only asks: searches made before the clock starts, a few under way at once.

    python -m tests.bench.load HOST:PORT COLLECTION QUERIES DIM SECONDS DEPTH

QUERIES is a file of float32. It waits for a line on stdin, asks for SECONDS, and prints how many answers came. It
keeps its own cost small, for clients share the processors with the server they measure: frames are made once, answers
are counted, not decoded (the first one is, to see that it is an answer).
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import numpy as np

from reddb.wire.connection import WireConnection, encode
from reddb.wire.frames import FrameReader
from reddb.wire.messages import MAGIC, VERSION, Hello, Hits, Search, decode_message

_RECEIVE_BYTES = 256 * 1024


def main() -> None:
    """Run one client."""
    address, collection, path, dim, seconds, depth = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    queries = np.frombuffer(Path(path).read_bytes(), np.float32).reshape(-1, int(dim))
    options = (10, None, False, False, False, None, [], None, False)
    frames = [encode(Search(collection, queries.shape[1], query.tobytes(), *options), 1) for query in queries]
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _greet(connection)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        sys.stdout.write(f"{_ask(connection, frames, float(seconds), int(depth))}\n")


def _greet(connection: socket.socket) -> None:
    connection.sendall(encode(Hello(MAGIC, [VERSION], "bench"), 1))
    wire = WireConnection(expects_hello=False)
    while not wire.receive_data(connection.recv(_RECEIVE_BYTES)):
        pass


def _ask(connection: socket.socket, frames: list[bytes], seconds: float, depth: int) -> int:
    reader = FrameReader(1 << 20)
    sent = depth
    answers = 0
    connection.sendall(b"".join(frames[:depth]))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        received = list(reader.feed(connection.recv(_RECEIVE_BYTES)))
        if received and not answers:
            first = decode_message(received[0].kind, received[0].body)
            assert isinstance(first, Hits), first
            assert first.counts == [10], first
        answers += len(received)
        more = [frames[(sent + number) % len(frames)] for number in range(len(received))]
        sent += len(received)
        if more:
            connection.sendall(b"".join(more))
    return answers


if __name__ == "__main__":
    main()
