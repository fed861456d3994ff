"""What happens to the processes of a server during a soak, one strike after another.

    builder      SIGKILL to a builder
    core         SIGKILL to a core
    hang         SIGSTOP to a core, which the watchdog must end
    pause        SIGSTOP to a core, a builder or the supervisor, for less than the watchdog waits
    supervisor   SIGKILL to the supervisor, with which the cores end; then a start
    stop         SIGTERM, an orderly stop; then a start
    descriptors  a core or the supervisor can open hardly any file for two seconds
    memory       a core can have hardly any more address space for two seconds
    clock        the time of day jumps by hours, forward or back again

Each stands in the deck as often as it is to come among the others.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.crash.oracle import Violation
from tests.server.harness import Server, children, is_alive, wait_for

# A core that dies too often is started late, so builders are struck more often.
DECK = {
    "builder": 6,
    "core": 2,
    "hang": 1,
    "pause": 2,
    "supervisor": 1,
    "stop": 1,
    "descriptors": 2,
    "memory": 1,
    "clock": 2,
}
HUNG_AFTER_S = "2"
_SHORTAGE_S, _PAUSE_S = 2.0, 0.5
_JUMP_NS = 3 * 3600 * 10**9
_SPARE_BYTES = 8 << 20
_SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """The time of day of a server that is started with `environment`."""

    def __init__(self, folder: Path) -> None:
        """Needs `cc`."""
        self.jumps = 0
        self._file = folder / "clock"
        self._file.write_bytes(bytes(8))
        library = folder / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"], check=True)
        self.environment = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self._file)}

    def jump(self) -> None:
        """Hours forward, the next time back."""
        self.jumps += 1
        with self._file.open("r+b") as file:
            file.write(struct.pack("<q", _JUMP_NS * (self.jumps % 2)))


class Strikes:
    """Draws who is struck next, and strikes."""

    def __init__(self, server: Server, clock: Clock, rng: random.Random, deck: dict[str, int]) -> None:
        self.struck: Counter[str] = Counter()
        self._server, self._clock, self._random = server, clock, rng
        self._cards = [name for name, count in deck.items() for _ in range(count)]
        self._deck: list[str] = []
        self._hung: list[int] = []
        self._undo: list[tuple[float, Callable[[], None]]] = []
        self._kinds: dict[str, Callable[[], bool]] = {
            "builder": lambda: self._signal(self._builders(), signal.SIGKILL),
            "core": lambda: self._signal(self._cores(), signal.SIGKILL),
            "hang": self._hang,
            "pause": self._pause,
            "supervisor": self._kill_supervisor,
            "stop": self._stop,
            "descriptors": self._no_descriptors,
            "memory": self._no_memory,
            "clock": self._jump,
        }

    def start(self) -> None:
        """Start the server, or start it again."""
        self._server.start("--hung-after-s", HUNG_AFTER_S, env=self._clock.environment)

    def strike(self) -> bool:
        """The next of the deck; false if there is no such process now."""
        self._deck = self._deck or self._random.sample(self._cards, len(self._cards))
        if not self._kinds[self._deck[-1]]():
            return False
        self.struck[self._deck.pop()] += 1
        return True

    def undo(self, *, everything: bool = False) -> None:
        """Give back what was taken for a while, once that is over."""
        now = time.monotonic()
        due = [item for item in self._undo if everything or item[0] <= now]
        self._undo = [item for item in self._undo if item not in due]
        for _, give_back in due:
            with suppress(ProcessLookupError):
                give_back()

    def wait_hung_ended(self) -> None:
        for pid in self._hung:
            wait_for(lambda pid=pid: not is_alive(pid), "the watchdog to end a core that hangs")  # type: ignore[misc]

    def stop(self) -> None:
        """An orderly stop. Raises Violation if it is none."""
        os.kill(self._server.pid, signal.SIGTERM)
        code = self._server.wait_exit(60)
        self._check_log(f"the server ended with code {code}" if code else "")

    def _check_log(self, wrong: str) -> None:
        text = self._server.stderr()
        if wrong or "Traceback" in text or '"exception"' in text:
            raise Violation(f"{wrong}\n{text}")

    def _cores(self) -> list[int]:
        return sorted(self._server.core_pids().values())

    def _builders(self) -> list[int]:
        return sorted(pid for core in self._cores() for pid in children(core))

    def _signal(self, pids: list[int], number: signal.Signals) -> bool:
        if not pids:
            return False
        with suppress(ProcessLookupError):  # it has just ended, as builders without a job do
            os.kill(self._random.choice(pids), number)
            return True
        return False

    def _hang(self) -> bool:
        pids = self._cores()
        if not pids:
            return False
        pid = self._random.choice(pids)
        self._hung.append(pid)
        return self._signal([pid], signal.SIGSTOP)

    def _pause(self) -> bool:
        pid = self._random.choice([self._server.pid, *self._cores(), *self._builders()])
        self._later(_PAUSE_S, lambda: os.kill(pid, signal.SIGCONT))
        return self._signal([pid], signal.SIGSTOP)

    def _kill_supervisor(self) -> bool:
        self.undo(everything=True)
        processes = [*self._cores(), *self._builders()]
        os.kill(self._server.pid, signal.SIGKILL)
        self._server.wait_exit()
        wait_for(lambda: not any(map(is_alive, processes)), "the end of the cores", 30)
        self._check_log("")
        self.start()
        return True

    def _stop(self) -> bool:
        self.undo(everything=True)
        self.wait_hung_ended()
        self.stop()
        self.start()
        return True

    def _no_descriptors(self) -> bool:
        pid = self._random.choice([self._server.pid, *self._cores()])
        with suppress(OSError):
            spare = self._random.randrange(8)
            self._limit(pid, resource.RLIMIT_NOFILE, len(os.listdir(f"/proc/{pid}/fd")) + spare)
            return True
        return False

    def _no_memory(self) -> bool:
        with suppress(OSError, IndexError):
            pid = self._random.choice(self._cores())
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
            self._limit(pid, resource.RLIMIT_AS, pages * resource.getpagesize() + _SPARE_BYTES)
            return True
        return False

    def _limit(self, pid: int, what: int, value: int) -> None:
        soft, hard = resource.prlimit(pid, what)
        resource.prlimit(pid, what, (value, hard))
        self._later(_SHORTAGE_S, lambda: resource.prlimit(pid, what, (soft, hard)) and None)

    def _later(self, seconds: float, give_back: Callable[[], None]) -> None:
        self._undo.append((time.monotonic() + seconds, give_back))

    def _jump(self) -> bool:
        self._clock.jump()
        return True
