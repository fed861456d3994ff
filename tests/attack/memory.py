"""Inputs that would take memory without bound, against a real server: the peak of each beside what the pools may hold.

    python -m tests.attack.memory       prints a table; exit code 1 if anything exceeded its bound

A light client asks beside each of them. The server runs under `ulimit -d`, from which its pools are made, so that a
small input shows what a large one would do to a large machine.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

import reddb
from reddb import limits
from reddb.accountant import core_limit
from reddb.rows import RowBatch
from reddb.wire.messages import Failure, Query, Result, Upsert
from tests.server.harness import Peer, Server, wait_for

CORES = 2
MACHINE_BYTES = 2 * limits.GIB
SLACK_BYTES = 96 * limits.MIB  # of one core: what messages take while they are copied, and the allocator's own
BOUND_BYTES = core_limit(MACHINE_BYTES, CORES) + SLACK_BYTES

_HEADER = struct.Struct("<IBBHQ")


def header(size: int, correlation: int = 7) -> bytes:
    """Of an upsert whose body has so many bytes."""
    return _HEADER.pack(size, Upsert.KIND, 0, 0, correlation)


@contextmanager
def bounded_server(folder: Path) -> Iterator[Server]:
    """A server that takes the machine for one of MACHINE_BYTES."""
    server = Server(folder / "data", folder, CORES)
    try:
        yield server.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MACHINE_BYTES, MACHINE_BYTES)))
    finally:
        server.close()


@dataclass
class Watch:
    """What an input did to the cores, and to a client beside it."""

    server: Server
    grown: list[int] = field(default_factory=list)  # bytes, of each core
    waited_s: list[float] = field(default_factory=list)  # of the light client's requests

    @contextmanager
    def during(self) -> Iterator[None]:
        """Measure the peaks from here to the end."""
        pids = [pid for _, pid in sorted(self.server.core_pids().items())]
        before = [_status(pid, "VmRSS") for pid in pids]
        for pid in pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        is_over = threading.Event()
        light = threading.Thread(target=self._ask, args=(is_over,))
        light.start()
        try:
            yield
        finally:
            is_over.set()
            light.join()
            self.grown = [_status(pid, "VmHWM") - old for pid, old in zip(pids, before, strict=True)]

    def _ask(self, is_over: threading.Event) -> None:
        with reddb.connect(self.server.url) as database:
            while not self.waited_s or not is_over.wait(0.02):
                began = time.monotonic()
                database.ping()
                self.waited_s.append(time.monotonic() - began)


def half_frames(server: Server) -> None:
    """Many connections announce large frames, and send the half of each as it is taken."""
    with _peers(server, 24) as peers:
        _run([threading.Thread(target=_send_half, args=(peer, 24 * limits.MIB)) for peer in peers])


def largest_frames(server: Server) -> None:
    """The largest that a header can announce."""
    with _peers(server, 8) as peers:
        _run([threading.Thread(target=_send_half, args=(peer, limits.FRAME_BYTES_MAX)) for peer in peers])


def slow_frames(server: Server) -> None:
    """Connections begin frames that would fit, fill the pool with them, and send no more."""
    size = 8 * limits.MIB
    with _peers(server, 40) as peers:
        for peer in peers:
            peer.send(header(size) + bytes(limits.SMALL_FRAME_BYTES))
        with reddb.connect(server.url) as database:
            wait_for(lambda: _used(database, "frames") > 4 * size, "frames that hold the pool")


def stopped_owner(server: Server) -> None:
    """Large batches for a core that is stopped pile up in the one that passes them on."""
    with _peers(server, 30) as peers, reddb.connect(server.url) as database:
        _create(database, "stopped")
        (owner,) = database.execute("SELECT core FROM red.stats WHERE collection = 'stopped'")[0]
        away = [peer for peer, core in zip(peers, map(_core, peers), strict=True) if core != owner]
        pid = server.core_pids()[owner]
        os.kill(pid, signal.SIGSTOP)
        try:
            for number, peer in enumerate(away):
                peer.send(Upsert("stopped", _batch(number, 4096, 512)))
            answered = [peer for peer in away if _is_readable(peer)]
            assert answered, "some were refused while the owner was stopped"
        finally:
            os.kill(pid, signal.SIGCONT)
        assert {_answer(peer) for peer in away} <= {"Written", "BUSY", "TOO_LARGE"}


def big_transactions(server: Server) -> None:
    """Parameters of UPDATEs that wait for COMMIT, in many sessions."""
    with reddb.connect(server.url) as database:
        _create(database, "updated")
        database.execute("INSERT INTO updated (id, vector) VALUES (1, $1)", [[0.0] * 512])
    with _peers(server, 8) as peers:
        for peer in peers:
            peer.request(Query("BEGIN", []))
        told = set()
        for _ in range(8):
            for peer in peers:
                try:
                    peer.request(Query("UPDATE updated SET t = $1 WHERE id = 1", ["x" * 4 * limits.MIB]))
                except reddb.RedDBError as error:
                    told.add(error.name)
        assert told, "some were refused"
        assert told <= {"BUSY", "TOO_LARGE", "LIMIT_EXCEEDED", "TRANSACTION_ABORTED", "INVALID_PAYLOAD"}


def unread_answers(server: Server) -> None:
    """Large answers that nobody reads."""
    with reddb.connect(server.url) as database:
        _create(database, "unread")
        database.upsert("unread", list(range(2000)), np.ones((2000, 512), np.float32))
    with _peers(server, 12) as peers:
        for peer in peers:
            for _ in range(3):
                peer.send(Query("SELECT id, vector FROM unread LIMIT 2000", []))
        with reddb.connect(server.url) as database:
            wait_for(lambda: _used(database, "results") > 4 * limits.MIB, "answers that nobody reads", 60)


def many_filters(server: Server) -> None:
    """Filters with long lists, none like another."""
    with reddb.connect(server.url) as database:
        _create(database, "filtered")
        database.upsert("filtered", list(range(3000)), np.ones((3000, 512), np.float32), [{"n": 1}] * 3000)
        for number in range(30):
            values = list(range(number * 100_000, number * 100_000 + 16_000))
            database.search("filtered", [1.0] * 512, k=1, where="n IN $1", params=[values])


def many_groups(server: Server) -> None:
    """Groups for every row, in many queries at once."""
    with reddb.connect(server.url) as database:
        _create(database, "grouped")
        for first in range(0, 45_000, 15_000):
            payloads = [{"t": f"{number:>200}", "n": number} for number in range(first, first + 15_000)]
            database.upsert("grouped", list(range(first, first + 15_000)), np.ones((15_000, 512), "f4"), payloads)
    with _peers(server, 16) as peers:
        for peer in peers:
            peer.send(Query("SELECT t, count(*), max(n) FROM grouped GROUP BY t ORDER BY t LIMIT 5", []))
        assert {_answer(peer) for peer in peers} <= {"Result", "BUSY", "TOO_LARGE"}


def containers(server: Server) -> None:
    """Parameters of which each byte becomes an empty list."""
    lists: list[list[object]] = [[] for _ in range(1 << 20)]
    with _peers(server, 10) as peers:
        for peer in peers:
            peer.send(Query("SHOW ERRORS", [b"", lists]))
        assert {_answer(peer) for peer in peers} <= {"INVALID_PARAMETER", "BUSY", "TOO_LARGE", "LIMIT_EXCEEDED"}


INPUTS: list[Callable[[Server], None]] = [
    *(half_frames, largest_frames, slow_frames, containers),
    *(stopped_owner, big_transactions, unread_answers, many_filters, many_groups),
]


def used(server: Server) -> dict[str, int]:
    """What all cores have taken, by pool, but for what is kept to be used again."""
    with reddb.connect(server.url) as database:
        rows = database.execute("SELECT pool, used FROM red.memory WHERE core >= 0")
        taken: dict[str, int] = {}
        for pool, size in rows:
            taken[pool] = taken.get(pool, 0) + size
        taken["requests"] -= limits.REQUEST_BYTES  # this one's
    return {pool: size for pool, size in taken.items() if size > limits.KIB and pool not in KEPT}


KEPT = {"filters", "parsed"}


def _used(database: reddb.Client, pool: str) -> int:
    return sum(row[0] for row in database.execute("SELECT used FROM red.memory WHERE pool = $1", [pool]))


def _create(database: reddb.Client, name: str) -> None:
    database.execute(f"CREATE COLLECTION {name} KIND vector DIM 512 METRIC l2")


def _batch(number: int, rows: int, dim: int) -> bytes:
    ids = np.arange(number * rows, (number + 1) * rows)
    return b"".join(RowBatch(ids, np.ones((rows, dim), np.float32)).encode())


def _core(peer: Peer) -> int:
    """Which core serves it."""
    (pong,) = peer.request(Query("SELECT core FROM red.sessions WHERE state = 'active'", []))
    assert isinstance(pong, Result)
    return int(pong.rows[0][0])


def _is_readable(peer: Peer) -> bool:
    return bool(select.select([peer.socket], [], [], 0.05)[0])


def _answer(peer: Peer) -> str:
    """What the next answer is called: its message, or its error."""
    event = peer.next()
    assert event is not None
    while event.more:
        event = peer.next()
        assert event is not None
    return event.message.name if isinstance(event.message, Failure) else type(event.message).__name__


@contextmanager
def _peers(server: Server, count: int) -> Iterator[list[Peer]]:
    peers: list[Peer] = []
    try:
        for _ in range(count):
            peers.append(Peer(server.port, timeout_s=30.0))
            peers[-1].greet()
        yield peers
    finally:
        for peer in peers:
            peer.close()


def _send_half(peer: Peer, size: int) -> None:
    peer.send(header(size))
    piece = bytes(limits.MIB)
    for _ in range(size // len(piece) // 2):
        peer.send(piece)


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _status(pid: int, name: str) -> int:
    """A figure of /proc/…/status, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * limits.KIB
    raise AssertionError(f"no {name} of {pid}")


def main() -> int:
    """Run every input; 1 if a bound did not hold."""
    failed = False
    click.echo(f"{'input':24} {'peak of a core':>14} {'bound':>10} {'light client, longest':>22}")
    for attack in [item for item in INPUTS if item.__name__ in (sys.argv[1:] or item.__name__)]:
        with tempfile.TemporaryDirectory() as folder, bounded_server(Path(folder)) as server:
            watch = Watch(server)
            with watch.during():
                attack(server)
            wait_for(lambda server=server: not used(server), f"empty pools: {used(server)}", 60)
            is_over = max(watch.grown) > BOUND_BYTES
            failed |= is_over
            click.echo(
                f"{attack.__name__:24} {max(watch.grown) / limits.MIB:10.0f} MiB {BOUND_BYTES / limits.MIB:6.0f} MiB"
                f" {1000 * max(watch.waited_s):18.0f} ms{'  EXCEEDED' if is_over else ''}"
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
