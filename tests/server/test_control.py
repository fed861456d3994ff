"""The channel between processes: messages of any size, descriptors, what passes and what does not."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest

import reddb
from reddb import errors, limits
from reddb.server.control import BlockingChannel, ControlChannel, ControlMessage, control_pair, encode
from tests.server.conftest import NewServer

SIZES = [0, 1, 65_000, 65_536, 1_000_000, 9_000_000]


def test_messages_of_any_size_arrive_in_order_with_their_descriptors() -> None:
    async def work() -> list[tuple[ControlMessage, int | None]]:
        ours, theirs = control_pair()
        arrived: list[tuple[ControlMessage, int | None]] = []
        all_there = asyncio.Event()

        def received(message: ControlMessage, descriptor: int | None) -> None:
            arrived.append((message, descriptor))
            if len(arrived) == len(SIZES):
                all_there.set()

        sender = ControlChannel(ours, received, lambda _: None)
        receiver = ControlChannel(theirs, received, lambda _: None)
        for number, size in enumerate(SIZES):
            descriptor = os.memfd_create(str(number)) if number % 2 else None
            if descriptor is not None:
                os.write(descriptor, str(number).encode())
            sender.send({"number": number, "text": "x" * size}, descriptor)
        await asyncio.wait_for(all_there.wait(), 20)
        sender.close()
        receiver.close()
        return arrived

    arrived = asyncio.run(work())
    assert [(message["number"], len(message["text"])) for message, _ in arrived] == list(enumerate(SIZES))
    for number, (_, descriptor) in enumerate(arrived):
        assert (descriptor is not None) == bool(number % 2)
        if descriptor is not None:
            assert os.pread(descriptor, 9, 0) == str(number).encode()
            os.close(descriptor)


@pytest.mark.parametrize("garbage", [b"\xff" * 64, encode({"a": 1})[:-1] + b"\xc1", encode({}, has_descriptor=True)])
def test_garbage_ends_the_channel(garbage: bytes) -> None:
    async def work() -> str | None:
        ours, theirs = control_pair()
        why = asyncio.get_running_loop().create_future()
        ControlChannel(ours, lambda message, descriptor: None, why.set_result)
        theirs.sendall(garbage)
        told: str | None = await asyncio.wait_for(why, 20)
        theirs.close()
        return told

    assert asyncio.run(work()) is not None


def test_what_is_too_large_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(errors.RedDBError) as refused:
        encode({"text": "x" * limits.CONTROL_FRAME_BYTES_MAX})
    assert refused.value.code is errors.LIMIT_EXCEEDED


# More descriptors of a user in flight than RLIMIT_NOFILE are ETOOMANYREFS for whoever lacks privileges.
_IN_FLIGHT = """
import asyncio, os, resource, socket
from reddb.server.control import ControlChannel, control_pair
os.setuid(54321)
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
async def main():
    full, other = socket.socketpair()
    full.setblocking(False)
    try:
        while True:
            socket.send_fds(full, [b"x"], [0] * 8)
    except OSError as error:
        assert error.errno == 109, error
    ours, theirs = control_pair()
    arrived = asyncio.get_running_loop().create_future()
    def received(message, descriptor):
        arrived.set_result((message, descriptor))
    ended = []
    sender = ControlChannel(ours, received, ended.append)
    receiver = ControlChannel(theirs, received, ended.append)
    sender.send({"after": "the flood"}, os.dup(0))
    await asyncio.sleep(0.1)
    assert not arrived.done() and not ended
    full.close(); other.close()
    message, descriptor = await asyncio.wait_for(arrived, 10)
    assert message == {"after": "the flood"} and descriptor is not None and not ended
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user, of whom nothing is in flight")
def test_descriptors_that_cannot_be_in_flight_are_sent_later() -> None:
    ended = subprocess.run([sys.executable, "-c", _IN_FLIGHT], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_blocking_end_reads_several_at_once() -> None:
    ours, theirs = control_pair()
    with ours, theirs:
        ours.sendall(encode({"n": 1}) + encode({"n": 2}))
        end = BlockingChannel(theirs)
        assert [end.receive(), end.receive()] == [({"n": 1}, None), ({"n": 2}, None)]
        ours.shutdown(socket.SHUT_WR)
        assert end.receive() is None


def test_long_definitions_and_many_aliases_outlive_a_restart(new_server: NewServer) -> None:
    long = "x" * 65_150
    fields = ", ".join(f"f{number} TEXT DEFAULT '{long}'" for number in range(5))
    server = new_server().start()
    with reddb.connect(server.url) as db:
        db.execute(f"CREATE COLLECTION one KIND vector DIM 2 FIELDS (a TEXT DEFAULT '{long}')")
        db.execute(f"CREATE COLLECTION many KIND vector DIM 2 FIELDS ({fields})")
        for number in range(40):
            db.execute(f"CREATE ALIAS a{number:062} FOR one")
        db.insert("one", [1, 2], [[0.0, 1.0], [1.0, 0.0]], [{"a": "b"}, {}])
        db.execute("ALTER COLLECTION one SEAL")
        segments = db.execute("SHOW SEGMENTS FOR one")
        assert [row[2] for row in segments] == ["sealed"], list(segments)
    server.stop()
    with reddb.connect(new_server().start().url) as db:
        assert {row[0] for row in db.execute("SHOW COLLECTIONS")} >= {"one", "many"}
        assert db.execute(f"SELECT count(*) FROM a{39:062}")[0][0] == 2
        db.execute("DROP COLLECTION many")
