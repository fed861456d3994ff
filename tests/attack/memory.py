"""Inputs that would take memory without bound, against a real server: the peak of each beside what the pools may hold.

    python -m tests.attack.memory       prints a table; exit code 1 if anything exceeded its bound

A light client asks beside each of them. The server runs under `ulimit -d`, from which its pools are made, so that a
small input shows what a large one would do to a large machine.
"""

from __future__ import annotations

import resource
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

import reddb
from reddb import limits
from reddb.accountant import core_limit
from reddb.wire.messages import Upsert
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


INPUTS: list[Callable[[Server], None]] = [half_frames, largest_frames, slow_frames]


def used(server: Server) -> dict[str, int]:
    """What all cores have taken, by pool, but for what is kept to be used again."""
    with reddb.connect(server.url) as database:
        rows = database.execute("SELECT pool, used FROM red.memory WHERE core >= 0")
        taken: dict[str, int] = {}
        for pool, size in rows:
            taken[pool] = taken.get(pool, 0) + size
        taken["requests"] -= limits.REQUEST_BYTES  # this one's
    return {pool: size for pool, size in taken.items() if size > limits.KIB and pool not in KEPT}


KEPT = {"filters", "statements"}


def _used(database: reddb.Client, pool: str) -> int:
    return sum(row[0] for row in database.execute("SELECT used FROM red.memory WHERE pool = $1", [pool]))


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
    for attack in INPUTS:
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
