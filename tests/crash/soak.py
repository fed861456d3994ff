"""A real server under a mixed load for minutes, struck all the while in every way: bounded, and right at the end.

    python -m tests.crash.soak [--minutes 10] [--seed 0]

Four writers (`soak_load.py`) change rows of four collections (one of three partitions, one of durability flush), make
and drop what is their own, and write rows that expire. Every few seconds a process is killed, stopped or short of
something, or the clock jumps (`soak_strikes.py`). Memory, descriptors and disk are sampled; the maximum of the last
third must not be above 1.25 times that of the first and a fixed slack. At the end everything is compared with what was
acknowledged, the server stops in order, and `reddb check` must find a sound folder. Ends with code 1 otherwise, and
keeps the folder, the log, the last operations.

Rule: the seed decides what is drawn, not what happens at the same time.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import click
import numpy as np

import reddb
from tests.crash.oracle import State, Violation, look
from tests.crash.soak_load import COLLECTIONS, FLEETING, WRITERS, Writer, create, waited
from tests.crash.soak_strikes import DECK, Clock, Strikes
from tests.server.harness import REDDB, Server, children, wait_for

_SETTLED_S = 60.0  # until all answers again when nothing is killed any more
_TICK_S = 0.1
_SAMPLE_S, _SAMPLES_MIN = 5.0, 12
_GROWTH_MAX, _SLACK = 1.25, {"memory": 64, "descriptors": 64, "disk": 128}


def _thirds(values: list[float]) -> tuple[float, float]:
    """The maximum of the first third, and of the last."""
    third = max(len(values) // 3, 1)
    return max(values[:third], default=0), max(values[-third:], default=0)


def growth(name: str, values: list[float]) -> list[str]:
    """What is wrong with these samples, nothing if they stay within bounds."""
    first, last = _thirds(values)
    bound = _GROWTH_MAX * first + _SLACK[name]
    return [f"{name} grew from {first:.0f} to {last:.0f}, beyond {bound:.0f}"] if last > bound else []


class Soak:
    """A server in a folder, its writers, and who is struck when."""

    def __init__(
        self,
        folder: Path,
        seconds: float,
        seed: int = 0,
        strike_s: float = 4.0,
        deck: dict[str, int] = DECK,
    ) -> None:
        """A strike comes about every `strike_s` seconds, each kind as often as the deck says."""
        self.operations = 0
        self.samples: dict[str, list[float]] = {name: [] for name in _SLACK}
        self.violations: list[str] = []
        self._folder, self._seconds, self._strike_s = folder, seconds, strike_s
        self._random = random.Random(f"soak {seed}")
        self._stop = threading.Event()
        self._server = Server(folder / "data", folder)
        clock = Clock(folder)
        self._strikes = Strikes(self._server, clock, self._random, deck)
        self._writers = [Writer(number, seed, self._server, clock, self._stop) for number in range(WRITERS)]

    @property
    def struck(self) -> Counter[str]:
        """How often each kind of strike came."""
        return self._strikes.struck

    def run(self) -> None:
        """Load and kill, then compare and stop in order."""
        try:
            self._strikes.start()
            with reddb.connect(self._server.url) as db:
                for name in (*COLLECTIONS, FLEETING):
                    db.execute(create(name))
            self._load()
            self._compare()
            self._end()
        except (Violation, reddb.RedDBError, AssertionError) as error:
            self.violations.append(str(error))
            lines = [f"writer {n}: {line}" for n, writer in enumerate(self._writers) for line in writer.history]
            (self._folder / "history.txt").write_text("\n".join(lines) + "\n")
        finally:
            self._server.close()
            self.operations = sum(writer.operations for writer in self._writers)

    def line(self) -> str:
        strikes = ", ".join(f"{count} {kind}" for kind, count in sorted(self.struck.items()))
        figures = []
        for name, values in self.samples.items():
            unit = "" if name == "descriptors" else " MiB"
            first, last = _thirds(values)
            most = f"{max(values, default=0):.0f}{unit}"
            figures.append(f"{name} at most {most} (first third {first:.0f}, last third {last:.0f})")
        return (
            f"soak {self._seconds / 60:.3g} min, {self.operations:,} operations, "
            f"{self.struck.total()} strikes ({strikes}), "
            f"{', '.join(figures)}, violations {len(self.violations)}"
        )

    def _load(self) -> None:
        began = time.monotonic()
        sample_s = min(_SAMPLE_S, self._seconds / _SAMPLES_MIN)
        next_sample, next_strike = began + sample_s, began + self._strike_s
        with ThreadPoolExecutor(WRITERS) as pool:
            rounds = [pool.submit(writer.run) for writer in self._writers]
            try:
                # Until the time is over, or a writer has seen a violation.
                while (now := time.monotonic()) < began + self._seconds and not any(done.done() for done in rounds):
                    if now >= next_sample:
                        self._sample()
                        next_sample = now + sample_s
                    self._strikes.undo()
                    if now >= next_strike and self._strikes.strike():
                        next_strike = now + self._strike_s * self._random.uniform(0.5, 1.5)
                    self._stop.wait(_TICK_S)
            finally:
                self._stop.set()
                self._strikes.undo(everything=True)
        for done in rounds:
            done.result()

    def _sample(self) -> None:
        cores = children(self._server.pid)
        pids = {self._server.pid, *cores, *(pid for core in cores for pid in children(core))}
        kib = descriptors = disk = 0
        for pid in pids:
            with suppress(OSError):  # it has ended
                status = (Path("/proc") / str(pid) / "status").read_text()
                kib += int(status.partition("RssAnon:")[2].partition("kB")[0] or 0)
                descriptors += len(os.listdir(f"/proc/{pid}/fd"))
        for folder, _, names in os.walk(self._server.data):
            for name in names:
                with suppress(FileNotFoundError):  # it has been replaced
                    disk += os.stat(os.path.join(folder, name)).st_blocks * 512
        for (_, values), value in zip(self.samples.items(), (kib / 1024, descriptors, disk / (1 << 20)), strict=True):
            values.append(value)

    def _compare(self) -> None:
        """Everything answers again, and is as the ledgers say. Raises Violation."""
        self._strikes.wait_hung_ended()
        seen = wait_for(self._look, "all rows to be readable again", _SETTLED_S)
        kept = {key: value for key, value in seen.items() if key[0] in ("collection", "row", "alias")}
        for name, (shape, *_) in COLLECTIONS.items():
            if kept.pop(("collection", name), None) != shape:
                raise Violation(f"{name} is not there, or not {shape}")
        for writer in self._writers:
            mine = {key: value for key, value in kept.items() if writer.owns(key, value)}
            kept = {key: value for key, value in kept.items() if key not in mine}
            writer.judge(mine)
        if kept:
            raise Violation(f"nobody made {len(kept)} things, such as {next(iter(kept))}")

    def _look(self) -> State:
        """All there is; nothing while something does not answer yet."""
        try:
            with reddb.connect(self._server.url) as db, reddb.connect(self._server.url) as other:
                db.execute(f"DROP COLLECTION IF EXISTS {FLEETING}")  # its rows come and go while it is read
                waited(db)
                return look(db, other, np.random.default_rng(0))
        except reddb.RedDBError as error:
            if not error.retryable:
                raise
            return {}

    def _end(self) -> None:
        self._strikes.stop()
        checked = subprocess.run([REDDB, "check", self._server.data], capture_output=True, text=True, check=False)
        if checked.returncode:
            raise Violation(f"reddb check gives {checked.returncode}: {checked.stdout}{checked.stderr}")


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long there is load.")
@click.option("--seed", default=0, show_default=True, help="Decides operations and strikes.")
def main(minutes: float, seed: int) -> None:
    """Load a server for minutes while its processes are killed, and compare."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # not without stopping the server
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    soak = Soak(folder, minutes * 60, seed)
    soak.run()
    grown = [text for name, values in soak.samples.items() for text in growth(name, values)]
    wrong = [f"VIOLATION {text}" for text in soak.violations] + grown
    click.echo("\n".join([*wrong, *([f"kept: {folder}"] if wrong else []), soak.line()]))
    if not wrong:
        shutil.rmtree(folder)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
