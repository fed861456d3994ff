"""Real servers for tests: a process on a free loopback port, its cores by /proc, and a client that knows its core.

Rules: every wait has a deadline and names what it waited for; a process is ended by its own id.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import reddb
from reddb.wire.connection import Broken, Received, WireConnection, encode
from reddb.wire.messages import MAGIC, VERSION, Failure, Hello, Message, Welcome

REDDB = Path(sys.executable).with_name("reddb")
READY = re.compile(r"RedDB (\S+) is ready: address ([0-9.]+):(\d+), cores (\d+), data (\S+), pid (\d+)\n")
START_S = 60.0  # a machine that does other work beside may need long
STOP_S = 15.0

T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str, seconds: float = 10.0) -> T:
    """Poll until the condition is true and return its value; fail naming `what` after the deadline."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        pause.wait(0.01)
    return value


def children(pid: int) -> dict[int, list[str]]:
    """Command lines of the living children of a process, by their ids."""
    found = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # it ended while we looked
            if not entry.name.isdigit():
                continue
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if parent == pid and any(words):  # a zombie has no command line
                found[int(entry.name)] = [word.decode() for word in words if word]
    return found


class Server:
    """A server process over one data folder; `start` may follow `stop` or `kill`."""

    def __init__(self, data: Path, logs: Path, cores: int = 2, command: Sequence[str | Path] = (REDDB,)) -> None:
        """Nothing runs before `start`. `logs` is a folder for what the process writes to stderr."""
        self.data = data
        self.cores = cores
        self.port = 0
        self.pid = 0
        self.ready_line = ""
        self._command = [str(word) for word in command]
        self._logs = logs
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    @property
    def url(self) -> str:
        return f"red://127.0.0.1:{self.port}"

    def start(self, *more: str, **popen: Any) -> Server:
        """Start and wait for the ready line. `more` are words of the command line, the others go to Popen."""
        process = self.spawn(*more, **popen)
        assert process.stdout is not None
        line = b""
        deadline = time.monotonic() + START_S
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, f"no ready line within {START_S:g} s\n{self.stderr()}"
            piece = os.read(process.stdout.fileno(), 4096)
            assert piece, f"the server ended with code {process.wait(STOP_S)}\n{self.stderr()}"
            line += piece
        self.ready_line = line.decode()
        match = READY.fullmatch(self.ready_line)
        assert match is not None, self.ready_line
        self.port, self.pid = int(match[3]), int(match[6])
        return self

    def spawn(self, *more: str, **popen: Any) -> subprocess.Popen[bytes]:
        """Start without waiting; `more` are further words of the command line."""
        assert self._process is None, "it runs already"
        self._starts += 1
        words = ["serve", "--data", str(self.data), "--cores", str(self.cores), "--port", str(self.port), *more]
        with self._log().open("wb") as stderr:
            self._process = subprocess.Popen(
                self._command + words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, **popen
            )
        return self._process

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to stop; it must end with code 0, in time and without a traceback."""
        assert self._process is not None
        self._process.send_signal(number)
        self.wait_stopped()

    def wait_stopped(self) -> None:
        assert self.wait_exit() == 0, self.stderr()
        self.assert_no_traceback()

    def wait_exit(self, seconds: float = STOP_S) -> int:
        """The exit code, once the process has ended."""
        assert self._process is not None
        code = self._process.wait(seconds)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        return code

    def kill(self) -> None:
        """SIGKILL to the supervisor and every core, and wait until all are gone."""
        cores = list(self.core_pids().values())
        assert self._process is not None
        for pid in [self.pid, *cores]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait_exit()
        wait_for(lambda: not any(map(is_alive, cores)), "the end of the cores")

    def close(self) -> None:
        """Leave nothing behind, whatever a test did."""
        if self._process is not None:
            if self._process.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGCONT)
                self.pid = self._process.pid
                self.kill()
            else:
                self.wait_exit()

    def core_pids(self) -> dict[int, int]:
        """The processes of the cores that run now, by core."""
        return {
            json.loads(words[-1])["core"]: pid
            for pid, words in children(self.pid).items()
            if words[-3:-1] == ["-m", "reddb.server.core"]
        }

    def memory_mib(self) -> float:
        """Anonymous memory of the supervisor, the cores and their builders."""
        waiting, kib = [self.pid], 0
        while waiting:
            pid = waiting.pop()
            with suppress(OSError):  # it has ended
                status = Path(f"/proc/{pid}/status").read_text()
                kib += int(status.partition("RssAnon:")[2].partition("kB")[0] or 0)
                waiting += children(pid)
        return kib / 1024

    def kill_core(self, core: int) -> int:
        """SIGKILL one core; returns the process that it was."""
        pid = self.core_pids()[core]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_core_restarted(self, core: int, old: int) -> int:
        """The process that took the place of `old`."""
        return wait_for(
            lambda: next((pid for at, pid in self.core_pids().items() if at == core and pid != old), 0),
            f"the restart of core {core}",
        )

    def stderr(self) -> str:
        return self._log().read_text()

    def assert_no_traceback(self) -> None:
        text = self.stderr()
        # "exception" is how structlog names a traceback in a JSON line.
        assert "Traceback" not in text, text
        assert '"exception"' not in text, text

    def _log(self) -> Path:
        return self._logs / f"stderr-{self._starts}.txt"


def is_alive(pid: int) -> bool:
    """Whether any thread of it runs: the first may be a zombie while others still hold what is open."""
    with suppress(OSError):
        tasks = list((Path("/proc") / str(pid) / "task").iterdir())
        return any(_is_running(task) for task in tasks)
    return False


def _is_running(task: Path) -> bool:
    with suppress(OSError):
        return (task / "stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


class Peer:
    """A raw connection: sends any bytes, and reads what the server says as messages."""

    def __init__(self, port: int, timeout_s: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._wire = WireConnection(expects_hello=False)
        self._events: list[Received] = []
        self._correlation = 0
        self.turn = threading.Lock()

    def session(self) -> Peer:
        raise NotImplementedError

    def greet(self) -> int:
        """Say Hello; returns the core that serves this connection."""
        (welcome,) = self.request(Hello(MAGIC, [VERSION], "test"))
        assert isinstance(welcome, Welcome)
        return welcome.core

    def send(self, content: bytes | Message) -> None:
        if isinstance(content, Message):
            self._correlation += 1
            content = encode(content, self._correlation)
        self.socket.sendall(content)

    def next(self) -> Received | None:
        """The next message, None when the server has closed the connection."""
        while not self._events:
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionError:
                return None
            if not data:
                return None
            for event in self._wire.receive_data(data):
                assert not isinstance(event, Broken), event.error
                self._events.append(event)
        return self._events.pop(0)

    def request(self, message: Message, timeout_s: float | None = None) -> list[Message]:
        """All parts of the answer. Raises what the server raised, or a retryable CONNECTION_LOST."""
        parts = []
        try:
            self.send(message)
        except ConnectionError as error:
            raise reddb.errors.CONNECTION_LOST.error(str(error)) from error
        while True:
            event = self.next()
            if event is None:
                raise reddb.errors.CONNECTION_LOST.error("the server closed the connection")
            assert event.correlation == self._correlation or (event.correlation, type(event.message)) == (0, Failure)
            if isinstance(event.message, Failure):
                raise event.message.to_error()
            parts.append(event.message)
            if not event.more:
                return parts

    def close(self) -> None:
        self.socket.close()


@contextmanager
def client_on(server: Server, core: int) -> Iterator[reddb.Session]:
    """A session over a connection that a certain core serves."""
    peers: list[Peer] = []

    def connect() -> bool:
        peers.append(Peer(server.port))
        try:
            return peers[-1].greet() == core
        except reddb.RedDBError as error:  # its core died before it answered
            if not error.retryable:
                raise
            return False

    try:
        # The supervisor evens out the connections, so every core that is ready has its turn.
        wait_for(connect, f"a connection to core {core}")
        close_all(peers[:-1])
        yield reddb.Session(peers[-1], None)
    finally:
        close_all(peers)


def close_all(things: Iterable[Any]) -> None:
    for thing in things:
        thing.close()


def until_done(work: Callable[[], T], seconds: float = 10.0) -> T:
    """Repeat what fails with a retryable error, up to a deadline; any other error is the caller's."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        try:
            return work()
        except reddb.RedDBError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
        pause.wait(0.02)
