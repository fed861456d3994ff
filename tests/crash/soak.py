"""A real server under a mixed load for minutes, its processes killed all the while: bounded, and right at the end.

    python -m tests.crash.soak [--minutes 10] [--seed 0]

Four writers change rows of four collections (one of three partitions, one of durability flush), and make and drop a
fifth of their own. Every few seconds a builder or a core gets SIGKILL, or a core SIGSTOP, which the watchdog must see.
Memory, descriptors and disk are sampled; the maximum of the last third must not be above 1.25 times that of the first
and a fixed slack. At the end everything is compared with what was acknowledged, the server stops in order, and
`reddb check` must find a sound folder. Ends with code 1 otherwise, and keeps the folder, the log, the last operations.

Rules: a writer's ids are a fixed range, and it keeps a ledger (`oracle.py`) of them. After an unknown outcome it reads
all its rows, once nothing can be on its way, before it writes again. A batch for several partitions is one change for
each. The seed decides what is drawn, not what happens at the same time.
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
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np

import reddb
from reddb.partition.placement import partition_of
from tests.crash.oracle import Changes, Ledger, State, Violation, look
from tests.crash.sweep_load import Operation, creation
from tests.server.harness import REDDB, Server, children, is_alive, wait_for

COLLECTIONS = {  # kind, dim, metric; settings; partitions
    "plain": (("vector", 8, "l2"), "index = 'hnsw'", 1),
    "turbo": (("vector.turbo", 16, "cosine"), "oversample = 6", 1),
    "parted": (("vector.turbo", 8, "l2"), "partitions = 3", 3),
    "flushed": (("vector", 8, "ip"), "index = 'ivf', durability = 'flush'", 1),
}
_COMMON = "m = 4, ef_construction = 16, seal_idle_s = 3, checkpoint_s = 5"
_OWN = (("vector.turbo", 4, "l2"), "index = 'auto'", 1)
_WRITERS, _IDS = 4, 300  # ids of each in a collection
_REFUSALS = {reddb.errors.NOT_READY, reddb.errors.TOO_MANY_ROWS}  # nothing has happened
_TIMEOUT_S = 120.0  # what is being built waits for builders that are killed meanwhile
_SETTLED_S = 60.0  # until all answers again when nothing is killed any more
_TICK_S = 0.1
_SAMPLE_S, _SAMPLES_MIN = 5.0, 12
_DECK = ["builder"] * 6 + ["core"] * 2 + ["hang"]  # who is struck; a core that dies too often is started late
_GROWTH_MAX, _SLACK = 1.25, {"memory": 64, "descriptors": 64, "disk": 128}


class Writer:
    """A connection's worth of operations on rows of its own, one after another."""

    def __init__(self, number: int, seed: int, server: Server, stop: threading.Event) -> None:
        """`run` does them until `stop` is set."""
        self.operations = 0
        self.history: deque[str] = deque(maxlen=100)
        self.ledger = Ledger()
        self.own = f"own_{number}"
        self._number, self._server, self._stop = number, server, stop
        self._random = random.Random(f"soak {seed}, writer {number}")
        self._vectors = np.random.default_rng([seed, number])
        self._ids: list[int | str] = [i if i % 4 else f"id {i}" for i in range(number * _IDS, (number + 1) * _IDS)]

    def run(self) -> None:
        """Raises Violation."""
        while not self._stop.is_set():
            try:
                with reddb.connect(self._server.url, timeout_s=_TIMEOUT_S) as db:
                    self._settle(db)
                    while not self._stop.is_set() and self._do(db, self._draw()):
                        pass
            except reddb.RedDBError as error:
                self._must_be_retryable("connecting or looking", error)
            self._stop.wait(_TICK_S)

    def judge(self, seen: State) -> None:
        """Compare with all there is of this writer. Raises Violation."""
        if wrong := self.ledger.judge(seen):
            raise Violation(f"writer {self._number}: {'; '.join(wrong)}")

    def owns(self, key: Any, value: Any) -> bool:
        return key[1] == self.own if key[0] == "collection" else value[1]["who"] == self._number

    def _settle(self, db: reddb.Client) -> None:
        """Decide what is open, once nothing that a lost connection has asked for can still be on its way."""
        seen: State = {}
        for name, *shape, _ in _waited(db, {*COLLECTIONS, self.own}):
            if name == self.own:
                seen["collection", name] = tuple(shape)
            ids = [row[0] for row in db.execute(f"SELECT id FROM {name} WHERE who = {self._number} LIMIT {_IDS + 1}")]
            for row_id, row in zip(ids, db.get(name, ids, with_vectors=True) if ids else [], strict=True):
                seen["row", name, row_id] = None if row is None else (row.vector.tobytes(), row.payload)
        self.judge(seen)

    def _do(self, db: reddb.Client, operation: Operation) -> bool:
        """Send it and note the outcome; false if that is unknown."""
        self.history.append(operation.text)
        try:
            answer = operation.call(db)
        except reddb.RedDBError as error:
            self.history.append(f"    failed: {error}")
            if error.code in _REFUSALS:
                return True
            for part in _parts(operation.changes):
                self.ledger.leave_open(part)
            self._must_be_retryable(operation.text, error)
            return False
        affected = answer.affected if isinstance(answer, reddb.Result) else answer
        if affected != operation.count:
            raise Violation(f"writer {self._number}: {operation.text} gave {affected}, not {operation.count}")
        self.ledger.acknowledge(operation.changes)
        self.operations += 1
        return True

    def _must_be_retryable(self, what: str, error: reddb.RedDBError) -> None:
        if error.code is reddb.errors.TIMEOUT or not error.retryable:
            raise Violation(f"writer {self._number}: {what} failed: {error}") from error

    def _draw(self) -> Operation:
        names = [*COLLECTIONS, *([self.own] if self.ledger.get(("collection", self.own)) else [])]
        name = self._random.choice(names)
        rows = {key[2]: row for key, row in self.ledger.under("row", name).items()}
        weighted: list[tuple[int, Callable[[], Operation]]] = [
            (30, lambda: self._upsert(name)),
            (10, lambda: self._delete(name, rows)),
            (5, lambda: self._delete_where(name, rows, self._random.randint(1, 60))),
            (1, lambda: self._delete_where(name, rows, 100)),  # all of them
            (30, lambda: self._read(name, rows)),
            (1, lambda: self._work(name)),
            (1, self._create_or_drop),
        ]
        return self._random.choices([make for _, make in weighted], [weight for weight, _ in weighted])[0]()

    def _some(self, most: int) -> list[int | str]:
        return self._random.sample(self._ids, self._random.randint(1, most))

    def _draw_vectors(self, name: str, count: int) -> Any:
        return self._vectors.normal(size=(count, COLLECTIONS.get(name, _OWN)[0][1])).astype(np.float32)

    def _upsert(self, name: str) -> Operation:
        ids = self._some(60)
        vectors = self._draw_vectors(name, len(ids))
        payloads = [{"who": self._number, "n": self._random.randrange(100), "tag": f"tag {i}"} for i in range(len(ids))]
        changes = {
            ("row", name, row_id): (vector.tobytes(), payload)
            for row_id, vector, payload in zip(ids, vectors, payloads, strict=True)
        }
        return Operation(f"upsert {name} {ids}", lambda db: db.upsert(name, ids, vectors, payloads), changes, len(ids))

    def _delete(self, name: str, rows: dict[Any, Any]) -> Operation:
        ids = [row_id for row_id in self._some(30) if type(row_id) in set(map(type, rows))]  # others are an error
        changes = {("row", name, row_id): None for row_id in ids}
        there = sum(row_id in rows for row_id in ids)
        return Operation(f"delete {name} {ids}", lambda db: db.delete(name, ids) if ids else 0, changes, there)

    def _delete_where(self, name: str, rows: dict[Any, Any], n: int) -> Operation:
        changes = {("row", name, row_id): None for row_id, (_, payload) in rows.items() if payload["n"] < n}
        return _statement(f"DELETE FROM {name} WHERE who = {self._number} AND n < {n}", changes, len(changes))

    def _read(self, name: str, rows: dict[Any, Any]) -> Operation:
        """Rows by id are as they were acknowledged, on whatever core; a search gives distinct rows, nearest first."""
        ids = [row_id for row_id in self._some(30) if type(row_id) in set(map(type, rows))]  # others are an error
        (query,) = self._draw_vectors(name, 1)
        where = self._random.choice([None, f"who = {self._number}"])

        def read(db: reddb.Client) -> None:
            for row_id, row in zip(ids, db.get(name, ids, with_vectors=True) if ids else [], strict=True):
                found = None if row is None else (row.vector.tobytes(), row.payload)
                if found != rows.get(row_id):
                    raise Violation(f"{name}: {row_id!r} is {found}, not {rows.get(row_id)}")
            hits = db.search(name, query, k=10, where=where)
            if len(set(hits.ids)) != len(hits.ids) or list(hits.distances) != sorted(hits.distances):
                raise Violation(f"{name}: a search gives {hits.ids} at {hits.distances}")

        return Operation(f"read {name} {ids}", read, {})

    def _work(self, name: str) -> Operation:
        return _statement(
            f"ALTER COLLECTION {name} {self._random.choice(['SEAL', 'SEAL', 'CHECKPOINT', 'COMPACT'])}", {}
        )

    def _create_or_drop(self) -> Operation:
        key = ("collection", self.own)
        if self.ledger.get(key) is None:
            return _statement(_creation(self.own), {key: _OWN[0]})
        changes: Changes = {key: None, **dict.fromkeys(self.ledger.under("row", self.own))}
        return _statement(f"DROP COLLECTION {self.own}", changes)


def _statement(text: str, changes: Changes, count: int | None = None) -> Operation:
    return Operation(text, lambda db: db.execute(text), changes, count)


def _creation(name: str) -> str:
    shape, settings, _ = COLLECTIONS.get(name, _OWN)
    return creation(name, *shape, f"{_COMMON}, {settings}").text


def _parts(changes: Changes) -> list[Changes]:
    """What happens whole or not at all: everything, or the rows of each partition."""
    parts: defaultdict[int, Changes] = defaultdict(dict)
    for key, value in changes.items():
        partitions = COLLECTIONS.get(key[1], _OWN)[2]
        parts[int(partition_of([key[-1]], partitions)[0])][key] = value  # 0 where there is but one
    return list(parts.values())


def _waited(db: reddb.Client, names: Container[str] | None = None) -> list[Any]:
    """These collections, or all, once nothing that a lost connection has asked for can be on its way to them."""
    db.execute("DROP COLLECTION IF EXISTS nothing")
    collections = [row for row in db.execute("SHOW COLLECTIONS") if names is None or row[0] in names]
    for name, *_ in collections:
        db.execute(f"DELETE FROM {name} WHERE n = -1")
    return collections


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

    def __init__(self, folder: Path, seconds: float, seed: int = 0, strike_s: float = 4.0) -> None:
        """A strike comes about every `strike_s` seconds."""
        self.operations = 0
        self.kills: Counter[str] = Counter()
        self.samples: dict[str, list[float]] = {name: [] for name in _SLACK}
        self.violations: list[str] = []
        self._folder, self._seconds, self._strike_s = folder, seconds, strike_s
        self._random = random.Random(f"soak {seed}")
        self._deck: list[str] = []
        self._hung: list[int] = []
        self._stop = threading.Event()
        self._server = Server(folder / "data", folder)
        self._writers = [Writer(number, seed, self._server, self._stop) for number in range(_WRITERS)]

    def run(self) -> None:
        """Load and kill, then compare and stop in order."""
        try:
            self._server.start("--hung-after-s", "2")
            with reddb.connect(self._server.url) as db:
                for name in COLLECTIONS:
                    db.execute(_creation(name))
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
        kills = ", ".join(f"{count} {who}" for who, count in sorted(self.kills.items()))
        figures = []
        for name, values in self.samples.items():
            unit = "" if name == "descriptors" else " MiB"
            first, last = _thirds(values)
            most = f"{max(values, default=0):.0f}{unit}"
            figures.append(f"{name} at most {most} (first third {first:.0f}, last third {last:.0f})")
        return (
            f"soak {self._seconds / 60:.3g} min, {self.operations:,} operations, {self.kills.total()} kills ({kills}), "
            f"{', '.join(figures)}, violations {len(self.violations)}"
        )

    def _load(self) -> None:
        began = time.monotonic()
        sample_s = min(_SAMPLE_S, self._seconds / _SAMPLES_MIN)
        next_sample, next_strike = began + sample_s, began + self._strike_s
        with ThreadPoolExecutor(_WRITERS) as pool:
            rounds = [pool.submit(writer.run) for writer in self._writers]
            try:
                # Until the time is over, or a writer has seen a violation.
                while (now := time.monotonic()) < began + self._seconds and not any(done.done() for done in rounds):
                    if now >= next_sample:
                        self._sample()
                        next_sample = now + sample_s
                    if now >= next_strike and self._strike():
                        next_strike = now + self._strike_s * self._random.uniform(0.5, 1.5)
                    self._stop.wait(_TICK_S)
            finally:
                self._stop.set()
        for done in rounds:
            done.result()

    def _strike(self) -> bool:
        """Kill or stop whoever is next; false if there is no such process now."""
        self._deck = self._deck or self._random.sample(_DECK, len(_DECK))
        who = self._deck[-1]
        pids = sorted(self._server.core_pids().values())
        if who == "builder":
            pids = sorted(pid for core in pids for pid in children(core))
        if not pids:
            return False
        pid = self._random.choice(pids)
        with suppress(ProcessLookupError):  # it has just ended, as builders without a job do
            os.kill(pid, signal.SIGSTOP if who == "hang" else signal.SIGKILL)
            self._hung += [pid] if who == "hang" else []
            self.kills[self._deck.pop()] += 1
        return True

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
        for pid in self._hung:
            wait_for(lambda pid=pid: not is_alive(pid), "the watchdog to end a core that hangs")
        seen = wait_for(self._look, "all rows to be readable again", _SETTLED_S)
        kept = {key: value for key, value in seen.items() if key[0] in ("collection", "row")}
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
                _waited(db)
                return look(db, other, np.random.default_rng(0))
        except reddb.RedDBError as error:
            if not error.retryable:
                raise
            return {}

    def _end(self) -> None:
        os.kill(self._server.pid, signal.SIGTERM)
        code = self._server.wait_exit()
        text = self._server.stderr()
        if code or "Traceback" in text or '"exception"' in text:
            raise Violation(f"the server ended with code {code}\n{text}")
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
