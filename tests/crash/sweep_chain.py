"""One data folder that lives through many crashes: each restart is run with the next crash planned already.

    arm the plan ──► start, if nothing runs ──► look and compare ──► load until the strike ──► wait for the dead
                     (may be struck)            (may be struck)

Where only a core or a builder dies, the server lives on, and the next look is at that one.

Before a look, nothing that a lost connection has asked for may still be on its way: a change of the catalog waits
behind all others, and a change by predicate waits until nothing is being written.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import reddb
from tests.crash.oracle import Ledger, Violation, look
from tests.crash.sweep_control import Control, Plan, Victim, cell_name
from tests.crash.sweep_load import MAIN, WRITERS, Operation, Writer, creation
from tests.server.harness import Server, is_alive, wait_for

_CORES = 2
_OPERATIONS = 12  # of each writer in a round
_RECOVERY_S = 30.0  # until everything answers again
_TIMEOUT_S = 30.0


class _Died(Exception):
    """The server was struck meanwhile."""


class Chain:
    """A folder, its servers one after another, its writers, and what it must hold."""

    def __init__(self, folder: Path, control: Control, seed: str) -> None:
        """`folder` is empty; `seed` decides what the writers do."""
        self.folder = folder
        self.control = control
        self.server = Server(folder / "data", folder, _CORES)
        self.is_running = False
        self.calls_of_recovery = 0
        self.history: list[str] = []  # of everything that was done, and how it ended
        self._ledger = Ledger()
        self._writers = [Writer(number, seed, self._ledger, control, self.history) for number in range(WRITERS)]
        self._maker = Writer(WRITERS, seed, self._ledger, control, self.history)  # of the collections that all share
        self._queries = np.random.default_rng(0)

    def crash(self, plan: Plan) -> None:
        """Go on until the plan has struck, and see that all was well before. Raises Violation."""
        self.history.append(f"planned: {plan}")
        self.control.arm(plan)
        try:
            self.compare()
            self.load()
            if self.control.struck is None:  # it made fewer calls of that kind than the run that was measured
                self.control.strike_next()
                self.load()
            wait_for(lambda: self.control.struck is not None, "the strike")  # a call to strike after may be under way
        except _Died:
            self.history.append("died while it started or was looked at")
        assert self.control.struck is not None
        self.history.append(f"struck: {cell_name(self.control.struck)} by a {self.control.role}")
        if self.is_running and (plan.victim is Victim.SERVER or self.control.pid == self.server.pid):
            wait_for(lambda: not is_alive(self.server.pid), "the end of what was struck")
            self._bury()

    def live(self) -> None:
        """Start, compare, load for a round, and stop in order."""
        self.compare()
        self.calls_of_recovery = self.control.calls
        self.load()
        self.stop()

    def compare(self) -> None:
        """Start if need be; then everything is as the ledger says, once it answers. Raises Violation, or _Died."""
        if not self.is_running:
            self._start()
        deadline = time.monotonic() + _RECOVERY_S
        pause = threading.Event()
        while True:
            try:
                with self._connections() as (db, other):
                    self._compare(db, other)
                return
            except reddb.RedDBError as error:
                if not is_alive(self.server.pid):
                    self._bury()
                    if self.control.struck is None:
                        raise Violation(f"the server died by itself\n{self.server.stderr()}") from error
                    raise _Died from error
                if not error.retryable or time.monotonic() > deadline:
                    raise Violation(f"a look at what is stored fails: {error}") from error
            pause.wait(0.05)

    def load(self) -> None:
        """Let every writer work until something is struck, or for a round."""
        if self.control.struck is None:
            with ThreadPoolExecutor(WRITERS) as pool:
                rounds = [pool.submit(writer.run, self.server.url, _OPERATIONS) for writer in self._writers]
            for done in rounds:
                done.result()
            self._raise_what_writers_saw()

    def do(self, operation: Operation) -> None:
        """One operation, outside of the load. Raises Violation."""
        with reddb.connect(self.server.url, timeout_s=_TIMEOUT_S) as db:
            self._maker.do(db, operation)
        self._raise_what_writers_saw()

    def stop(self) -> None:
        """Stop in order. Raises Violation."""
        try:
            self.server.stop()
        except AssertionError as error:
            raise Violation(f"the server does not stop in order: {error}") from error
        self.is_running = False

    def close(self) -> None:
        self.server.close()

    # --- its parts -----------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.server.port = 0  # the one before may be another's by now
        environment = self.control.environment(self.server.data)
        try:
            self.server.start(env=environment, start_new_session=True)
        except AssertionError as error:
            if self.control.struck is None:
                raise Violation(f"the server does not start: {error}") from error
            self._bury()
            raise _Died from error
        self.is_running = True

    def _bury(self) -> None:
        """Wait until no process of the server is left, and look into its log."""
        self.server.close()
        self.is_running = False
        lock = os.open(self.server.data / "LOCK", os.O_RDWR | os.O_CREAT)
        try:
            wait_for(lambda: _can_lock(lock), "the end of every core")
        finally:
            os.close(lock)
        text = self.server.stderr()
        if "Traceback" in text or '"exception"' in text:
            raise Violation(f"an exception that nobody foresaw\n{text}")

    @contextmanager
    def _connections(self) -> Iterator[tuple[reddb.Client, reddb.Client]]:
        """Two, so that each core has one when both live."""
        with (
            reddb.connect(self.server.url, timeout_s=_TIMEOUT_S) as db,
            reddb.connect(self.server.url, timeout_s=_TIMEOUT_S) as other,
        ):
            yield db, other

    def _compare(self, db: reddb.Client, other: reddb.Client) -> None:
        db.execute("DROP COLLECTION IF EXISTS nothing")
        for name, *_ in db.execute("SHOW COLLECTIONS"):
            db.execute(f"DELETE FROM {name} WHERE n = -1")
        seen = look(db, other, self._queries)
        wrong = self._ledger.judge(seen)
        folders = len(list((self.server.data / "collections").glob("*")))
        collections = sum(key[0] == "collection" for key in seen)
        if folders != collections:
            wrong.append(f"there are {collections} collections in {folders} folders")
        if wrong:
            raise Violation("; ".join(wrong))
        for name, shape in MAIN.items():
            if ("collection", name) not in seen and not self._maker.do(db, creation(name, *shape)):
                self._raise_what_writers_saw()
                raise reddb.errors.CONNECTION_LOST.error(f"creating {name} was cut short")

    def _raise_what_writers_saw(self) -> None:
        found = [text for writer in [self._maker, *self._writers] for text in writer.violations]
        if found:
            raise Violation("; ".join(found))


def _can_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
