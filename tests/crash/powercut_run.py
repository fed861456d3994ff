"""One run of the power-cut model: a partition lives on a disk that dies again and again, beside a dict of its rows.

    run        up to six lives, each ended by a power cut or a kill; then one more, which ends well
    life       open, which may die; then any row of steps: writes, freezes, jobs one step after another, reads, restarts

What must be there after a crash is one of `allowed`: the rows after the last acknowledged operation, or after any
number of the operations that were being written, in order, each with its LSN. Where durability is flush, a power cut
may also leave one of `unsynced`: the rows at the last sync or after any operation since; so may a disk whose calls
failed. What was read once stays: after each opening `allowed` is the one state that was seen. What an orderly stop
notes of the log's end refuses no log that lost nothing synced. Errors of the disk are part of the game; any other
exception, and any answer that is not in the model, is a violation.

Everything is drawn from the seed, so a run is the same whenever it is repeated.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from reddb import errors
from reddb.partition.checkpoint import CodesCheckpoint, note_end
from reddb.partition.jobs import Workshop
from reddb.partition.operations import Operation
from reddb.partition.policy import can_checkpoint, compaction, due_job
from reddb.partition.publication import Publication, TombstoneCheckpoint, publication
from reddb.partition.reader import PartitionReader
from reddb.partition.writer import Partition
from reddb.rows import make_batch
from reddb.storage.manifest import begin_partition
from tests.crash.powercut_disk import BuilderDied, CrashDisk, Died
from tests.crash.powercut_model import (
    OF_JOBS,
    OF_THE_LOG,
    Operations,
    Row,
    State,
    Violation,
    differences,
    draw_collection,
    draw_limits,
    draw_operation,
)
from tests.crash.powercut_reads import check_reads, rows_of
from tests.engine.partitions import deletion

_LIVES_MAX = 6
PARTITION = Path("/collections/1/0")
_JOB_STEPS_MAX = 50
_OPENINGS_MAX = 20  # attempts on a disk whose calls fail; the last ones on one that works


class Run:
    """One seed. `crashes` counts power cuts and kills; `go` raises what the partition must not do."""

    def __init__(self, seed: int, say: Callable[[str], None] | None = None) -> None:
        self.crashes = 0
        self._random = Random(seed)
        self._say = say
        self._collection = draw_collection(self._random)
        self._limits = draw_limits(self._random)
        self._places = self._random.choice([OF_THE_LOG, ()])  # the same for all lives, or drawn for each
        self._only_writes = False
        self._disk = CrashDisk(self._random, say)
        self._state = State()
        self._allowed = [self._state]
        self._unsynced: list[State] = []  # acknowledged, and older than the state
        self._partition: Partition
        self._reader: PartitionReader
        self._has_begun = False
        self._forget()
        self._version = 0
        self._lost: Operations = []  # prepared and not acknowledged
        self._retries: Operations = []  # the same of the life before

    def go(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for (module, name), value in self._limits.items():
                patch.setattr(module, name, value)
            self._go()

    def _go(self) -> None:
        for _ in range(self._random.randint(1, _LIVES_MAX)):
            self._live()
            self._crash()
        self._open()
        if self._random.random() < 0.2:
            self._settle()
        self._restart(power_cut=True)
        self._partition.close()

    # --- lives ---------------------------------------------------------------------------------------------

    def _live(self) -> None:
        random = self._random
        places = self._places or random.choice([OF_THE_LOG, OF_JOBS, ("",)])
        self._only_writes = places is OF_THE_LOG and random.random() < 0.8
        calls = random.choice([30, 300] if places == ("",) else [2, 10])
        end = random.randint(1, calls), random.choice(places)
        failing = random.choice(OF_THE_LOG + OF_JOBS if places == ("",) else places)
        troubles = random.choice([(0.0, ""), (0.02, ""), (0.2, failing), (0.5, failing)])
        dies_early = random.random() < 0.3
        if dies_early:
            self._disk.fail(*troubles)
            self._disk.die_in(*end)
        with suppress(Died):  # which is what the run is about
            self._open()
            if not dies_early:
                self._disk.fail(*troubles)
                self._disk.die_in(*end)
            self._retry()
            for _ in range(random.randint(0, random.choice([2, 15] if places is OF_THE_LOG else [5, 60]))):
                self._step()
                if self._wants_restart:
                    self._restart()

    def _crash(self) -> None:
        self.crashes += 1
        self._leave(power_cut=self._random.random() < 0.5)

    def _restart(self, *, power_cut: bool = False) -> None:
        """The process ends between two calls and comes again: nothing that was read may change."""
        self._leave(power_cut=power_cut)
        self._open()

    def _leave(self, *, power_cut: bool) -> None:
        self._tell("power cut" if power_cut else "kill")
        if power_cut or self._disk.failures:
            self._lose_unsynced()
        self._disk = self._disk.after_power_cut() if power_cut else self._disk.after_kill()
        if self._is_open:
            self._partition.memory.close()
        self._forget()

    def _lose_unsynced(self) -> None:
        self._allowed = self._unsynced + self._allowed
        self._unsynced = []

    def _forget(self) -> None:
        """What no process remembers."""
        self._is_open = False
        self._wants_restart = False
        self._coming: list[State] = []
        self._course: Publication | None = None
        self._stage = ""
        self._unsettled: set[int] = set()

    def _open(self) -> None:
        for attempt in range(_OPENINGS_MAX):
            if attempt == _OPENINGS_MAX - 2:
                self._disk.fail(0.0)
            failures = self._disk.failures
            try:
                of = self._disk, PARTITION, self._collection, 0
                if not self._has_begun:
                    begin_partition(*of, self._random.getrandbits(32))
                    self._has_begun = True
                self._partition = Partition.open(*of, lambda: self._random.getrandbits(32))
                break
            except errors.RedDBError as error:
                self._must_be_of_the_disk(error, failures)
                self._lose_unsynced()  # after a sync that failed, the page cache may have lost what a kill had left
        else:
            raise Violation("it does not open")
        self._is_open = True
        self._reader = PartitionReader(*of, self._partition.memory, self._partition.now_us)
        if self._partition.refused_caches:
            raise self._partition.refused_caches[0]
        lsn, rows = self._partition.lsn, rows_of(self._reader)
        self._tell(f"opened at LSN {lsn} with {len(rows)} rows")
        seen = [state for state in self._allowed if state.lsn == lsn and list(state.rows.items()) == list(rows.items())]
        if not seen:
            raise Violation(f"found LSN {lsn}, {differences(self._allowed, rows)}")
        self._state = seen[0]
        self._allowed = [self._state]
        self._unsynced = []  # what is served was synced
        self._retries, self._lost = self._lost, []
        self._check()

    # --- steps ---------------------------------------------------------------------------------------------

    def _step(self) -> None:
        draw = self._random.random()
        if draw < 0.36 or self._only_writes:
            self._write()
        elif draw < 0.72:
            for _ in range(self._random.choice([1, 2, 6])):
                self._settle_step(self._random.choice([0.0, 0.0, 0.05]))
        elif draw < 0.78:
            self._partition.freeze()
        elif draw < 0.81:
            self._settle()
        elif draw < 0.84:
            self._check()
        elif draw < 0.845:
            self._sync()
        elif draw < 0.85 and self._partition.is_quiet:  # an orderly stop, or all of it but the end
            self._sync()
            note_end(self._partition)
        elif draw < 0.87:
            self._partition.encode_step()
        elif draw < 0.91:
            self._checkpoint()
        elif draw < 0.98:  # what ALTER COLLECTION … REBUILD does
            self._unsettled = {segment.id for segment in self._partition.segments if segment.record is not None}
        elif self._partition.is_quiet:
            self._restart()

    def _write(self) -> None:
        for _ in range(self._random.choice([1, 2, 4])):
            self._prepare(*draw_operation(self._random, self._state), self._state)
        self._commit()

    def _retry(self) -> None:
        """What clients do that got no answer before the crash: some of it again."""
        for operation in self._retries[: self._random.choice([0, 1, 1, 3])]:
            self._prepare(*operation, self._state)
        self._commit()

    def _prepare(self, operation: Operation, keys: list[Any], text: int, under_way: State) -> None:
        before = self._coming[-1] if self._coming else under_way
        rows = {key: self._make_row(text) for key in keys}
        known = [key for key in keys if key in before.rows]
        gone = known[: len(known) // 2] if operation is Operation.TRANSACTION else []
        for key in gone:
            del rows[key]
        affected = len(known) if operation is Operation.DELETE else len(keys)
        try:
            if operation is Operation.DELETE:
                prepared = self._partition.prepare(operation, deletion(keys))
            else:
                batch = make_batch(list(rows), *zip(*rows.values(), strict=True))
                if operation is Operation.TRANSACTION:
                    prepared = self._partition.prepare_transaction(gone, batch, affected)
                else:
                    prepared = self._partition.prepare(operation, batch)
        except errors.RedDBError as error:
            if error.code is not errors.DUPLICATE_ID or operation is not Operation.INSERT or not known:
                raise
            return
        if prepared.result != affected or (operation is Operation.INSERT and known):
            raise Violation(f"{operation.name} of {keys} affects {prepared.result} rows; there were {known}")
        if prepared.ids:
            self._coming.append(before.after(operation, rows, gone))
            self._lost.append((operation, keys, text))
            self._tell(f"{operation.name} {keys} will be LSN {self._coming[-1].lsn}")

    def _commit(self) -> None:
        """Store what is coming; now and then more is prepared meanwhile, and waits for the next time."""
        group = self._partition.take_group()
        if group is None:
            return
        states, self._coming = self._coming, []
        before, self._allowed = self._allowed, self._allowed + states
        if self._random.random() < 0.1:
            self._prepare(*draw_operation(self._random, states[-1]), states[-1])
        try:
            group.write(self._partition.wal)
        except errors.RedDBError as error:
            self._must_be_of_the_disk(error, 0)
            self._partition.abort(group)
            self._coming, self._lost = [], []
            if error.code is errors.DISK_FULL:  # nothing has happened
                self._allowed = before
            else:
                self._wants_restart = self._random.random() < 0.7
            return
        self._partition.complete(group)
        self._lost = self._lost[len(states) :]
        if self._collection.settings["durability"] == "flush":
            self._unsynced += [self._state, *states[:-1]]
        self._state = states[-1]
        self._allowed = [self._state]

    def _sync(self) -> None:
        """What happens some time after a write where durability is flush."""
        try:
            self._partition.sync()
            self._unsynced = []
        except errors.RedDBError as error:
            self._must_be_of_the_disk(error, 0)

    # --- jobs ----------------------------------------------------------------------------------------------

    def _settle_step(self, beside: float) -> None:
        """The next step of the job under way, or of one that is due, in the order that the server takes."""
        change = self._course
        try:
            match self._stage:
                case "":
                    self._begin_job(beside)
                case "prepare":
                    self._stage = "write"
                    change.prepare()
                case "write":
                    self._stage = "complete"
                    change.write()
                    self._unsynced = []
                case "complete":
                    self._stage = "clean"
                    assert self._reader.has_let_go(change.complete())
                case "clean":
                    self._stage = "retire"
                    change.clean()
                case "retire":
                    self._course, self._stage = None, ""
                    change.retire()
        except errors.RedDBError as error:
            self._must_be_of_the_disk(error, 0)
            if self._stage == "complete":
                change.undo()
                self._course, self._stage = None, ""
            self._wants_restart |= self._random.random() < 0.2

    def _settle(self) -> None:
        """Do all that is due, as far as the disk lets."""
        self._partition.freeze()
        for _ in range(_JOB_STEPS_MAX):
            if self._course is None and due_job(self._partition, frozenset()) is None:
                break
            self._settle_step(beside=0.0)
        self._check()

    def _begin_job(self, beside: float) -> None:
        """Let the builder work and open what it made, while rows are written now and then."""
        partition, random = self._partition, self._random
        job = due_job(partition, frozenset(self._unsettled))
        if job is None and random.random() < 0.3 and not partition.manifest_is_unknown:
            job = compaction(partition)
        if job is None:
            return
        self._tell(f"job {job}")
        self._unsettled -= job.source_ids
        change = publication(partition, job)
        workshop = Workshop(self._disk, PARTITION, self._collection, 0, partition.memory)
        self._disk.beside, self._disk.beside_share = self._write, beside
        if random.random() < 0.05:
            self._disk.kill_builder_in(random.randint(1, 40))
        try:
            result = workshop.run(job, lambda rows: None)
            self._disk.kill_builder_in(0)
            change.open(result)
        except BuilderDied:
            self._tell("the builder died")
        else:
            self._course, self._stage = change, "prepare"
        finally:
            self._disk.beside = None
            self._disk.kill_builder_in(0)

    def _checkpoint(self) -> None:
        """Begin to put into files what only the log knows, if nothing else is under way."""
        if self._course is None and can_checkpoint(self._partition):
            self._course, self._stage = TombstoneCheckpoint(self._partition), "write"
            self._course.prepare()  # at once: rows that come from now on are for the next time
        elif self._course is None:
            while self._partition.encode_step():
                continue
            try:
                CodesCheckpoint(self._partition).write()
                self._unsynced = []
            except errors.RedDBError as error:
                self._must_be_of_the_disk(error, 0)

    # -------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        check_reads(self._reader, self._state, str(self._collection.metric), self._random)

    def _make_row(self, text: int) -> Row:
        """A row that never was before."""
        self._version += 1
        return (float(self._version), 1.0), {"n": self._version, "text": "x" * text} if text else None

    def _must_be_of_the_disk(self, error: errors.RedDBError, failures: int) -> None:
        """Raise the error unless it is what became of a call that failed after so many others."""
        is_of_the_disk = error.code in (errors.DISK_FULL, errors.DISK_FAILED) and self._disk.failures > failures
        if not is_of_the_disk or os.strerror(errno.ENOENT) in error.message:  # no disk loses a file while it runs
            raise error
        self._tell(f"error {error.message}")
        if self._random.random() < 0.3:  # troubles seldom come alone
            self._disk.die_in(self._random.randint(1, 40))

    def _tell(self, what: str) -> None:
        if self._say is not None:
            self._say(what)
