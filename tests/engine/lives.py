"""The life of a partition in single steps, beside a dict of what it must hold: for tests that come between the steps.

A `Life` is an owner, two readers (as two cores would have them) and the folder on a real disk. Every write goes to
the partition and to the dict `rows`, from which a row goes when the clock passes its `expires_at`. A `Course` is one
job from its beginning to its last step, each step a call of its own, so that a test can write or look in between.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from reddb.disk import OsDisk
from reddb.fields import unpack_payload
from reddb.grammar import parse
from reddb.partition.changes import prepare_change
from reddb.partition.clock import SteadyClock
from reddb.partition.jobs import Job, Workshop
from reddb.partition.operations import Operation
from reddb.partition.policy import can_checkpoint, compaction, due_job
from reddb.partition.publication import TombstoneCheckpoint, publication
from reddb.partition.reader import PartitionReader
from reddb.partition.search import Found, SearchReport
from reddb.partition.sweep import prepare_sweep
from reddb.partition.view import View
from reddb.partition.writer import Partition
from reddb.query.assignments import Assignment, Fixed
from reddb.query.plan import ChangePlan
from reddb.query.predicate import Predicate, bind_predicate
from reddb.query.values import Values
from reddb.query.write_plans import Asked
from reddb.rows import RowBatch, make_batch
from reddb.storage.manifest import begin_partition
from reddb.types import Collection, SearchOptions
from tests.engine.dying_disks import DyingDisk, Killed
from tests.engine.partitions import deletion
from tests.oracle import distances

faiss.omp_set_num_threads(1)  # as in a core

STEPS = ("run", "open", "prepare", "write", "complete", "clean", "retire")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ASKED = Asked("", (), EPOCH)  # nothing is bound again here
FOREVER = datetime.max.replace(tzinfo=UTC)
START_US = 1_800_000_000_000_000  # what a clock says first
TOLERANCE = 1e-9  # relative, of distances; absolute below 1

Row = tuple[np.ndarray[Any, Any], dict[str, Any]]
Rows = dict[Any, Row]


@dataclass(frozen=True)
class Where:
    """A filter twice: as the language has it, and as Python says which id and payload it is for."""

    text: str
    holds: Callable[[Any, dict[str, Any]], bool]

    def predicate(self, of: Collection) -> Predicate:
        text = f"SELECT id FROM docs WHERE {self.text} LIMIT 1"
        statement: Any = parse(text)
        return bind_predicate(statement.where, Values(text, statement, ()), of.fields)


class Life:
    """A partition in a folder, its readers, and what it must hold."""

    def __init__(self, of: Collection, folder: Path) -> None:
        self.collection = of
        self.folder = folder
        self.disk = OsDisk()
        self.rows: Rows = {}
        self.system_us = START_US
        self.clock = SteadyClock(lambda: self.system_us)
        if not folder.exists():
            begin_partition(self.disk, folder, of, 0, salt=7)
        self._open()

    def _open(self) -> None:
        self.owner = Partition.open(self.disk, self.folder, self.collection, 0, lambda: 7, now_us=self.clock)
        self.readers = [self.new_reader(), self.new_reader()]

    def new_reader(self) -> PartitionReader:
        return PartitionReader(self.disk, self.folder, self.collection, 0, self.owner.memory, self.clock)

    def close(self) -> None:
        self.owner.close()

    def restart(self) -> None:
        """As after a kill: nothing is settled, nothing is tidied up."""
        self.close()
        self._open()

    def twin(self, folder: Path) -> Life:
        """The same rows and files in another folder, opened as after a restart."""
        shutil.copytree(self.folder, folder)
        other = Life(self.collection, folder)
        other.rows = dict(self.rows)
        return other

    def change(self, **settings: Any) -> None:
        """ALTER COLLECTION … SET."""
        self.collection = self.collection.with_settings(settings)
        self.owner.change_collection(self.collection)
        for reader in self.readers:
            reader.change_collection(self.collection)

    def set_clock(self, system_us: int) -> None:
        """The system's clock says this from now on."""
        self.system_us = system_us
        self._expire()

    def instant(self, seconds: float) -> datetime:
        """So long after now."""
        return EPOCH + timedelta(microseconds=self.clock() + round(1e6 * seconds))

    def sweep(self) -> int:
        """Delete some of what has expired; how many."""
        prepared = prepare_sweep(self.owner)
        self._commit()
        return sum(item.result for item in prepared)

    def _expire(self) -> None:
        now = EPOCH + timedelta(microseconds=self.clock())
        for row_id in [key for key, (_, payload) in self.rows.items() if payload.get("expires_at", FOREVER) <= now]:
            del self.rows[row_id]

    # --- writes --------------------------------------------------------------------------------------------

    def insert(self, ids: Any, vectors: Any, payloads: Any = None) -> int:
        return self._write(Operation.INSERT, make_batch(ids, vectors, payloads), payloads)

    def upsert(self, ids: Any, vectors: Any, payloads: Any = None) -> int:
        return self._write(Operation.UPSERT, make_batch(ids, vectors, payloads), payloads)

    def delete(self, ids: Any) -> int:
        return self._write(Operation.DELETE, deletion(ids), None)

    def delete_where(self, where: Where) -> int:
        return self._change(where, ChangePlan(self.collection, ASKED, None, where.predicate(self.collection)), {})

    def update(self, where: Where, **values: Any) -> int:
        """UPDATE … SET: a value None takes the key away."""
        predicate = where.predicate(self.collection)
        assignments = tuple(Assignment(name, Fixed(value)) for name, value in values.items())
        return self._change(where, ChangePlan(self.collection, ASKED, None, predicate, assignments), values)

    def freeze(self) -> None:
        assert self.owner.freeze()

    def _write(self, operation: Operation, batch: RowBatch, payloads: Any) -> int:
        prepared = self.owner.prepare(operation, batch)
        self._commit()
        for row_id in batch.id_list():
            self.rows.pop(row_id, None)
        if operation is not Operation.DELETE:
            payloads = payloads or [{}] * len(batch)
            self.rows.update(zip(batch.id_list(), zip(batch.vectors, payloads, strict=True), strict=True))
            self._expire()
        return prepared.result

    def _change(self, where: Where, plan: ChangePlan, values: dict[str, Any]) -> int:
        change = prepare_change(self.owner, self.readers[0].view(), plan)
        self._commit()
        for row_id in [row_id for row_id, (_, payload) in self.rows.items() if where.holds(row_id, payload)]:
            vector, payload = self.rows.pop(row_id)
            if not plan.deletes:
                changed = {**payload, **values}
                self.rows[row_id] = vector, {name: value for name, value in changed.items() if value is not None}
        self._expire()
        return change.changed.count

    def _commit(self) -> None:
        group = self.owner.take_group()
        if group is not None:
            group.write(self.owner.wal)
            self.owner.complete(group)

    def churn(self, salt: int) -> None:
        """Delete, replace, bring back and change rows of every segment, by id and by filter; for payloads {n: 0…99}.

        Each salt is for one call.
        """
        generator = np.random.default_rng(salt)
        keys = list(self.rows)
        gone, replaced = keys[salt::97], keys[salt + 1 :: 89]
        self.delete(gone)
        self.upsert(replaced, generator.normal(size=(len(replaced), self.collection.dim)), [{"n": 50}] * len(replaced))
        self.insert([gone[0], f"new-{salt}"], generator.normal(size=(2, self.collection.dim)), [{"n": 60}, {"n": 70}])
        self.delete_where(Where(f"n = {salt}", lambda _, payload: payload["n"] == salt))
        self.update(Where(f"n = {salt + 10}", lambda _, payload: payload["n"] == salt + 10), n=salt + 30, mark="seen")

    # --- in the background ---------------------------------------------------------------------------------

    def due(self, unsettled: frozenset[int] = frozenset()) -> Course | None:
        """The next job that is due, begun."""
        job = due_job(self.owner, unsettled)
        return None if job is None else Course(self, job)

    def compaction(self) -> Course | None:
        job = compaction(self.owner)
        return None if job is None else Course(self, job)

    def settle(self) -> list[Job]:
        """Do all that is due; what it was."""
        jobs = []
        while (course := self.due()) is not None:
            course.finish()
            jobs.append(course.job)
        return jobs

    def seal(self) -> list[Job]:
        self.freeze()
        return self.settle()

    def checkpoint(self) -> None:
        """Let the files say who died by the log; no row grows."""
        change = TombstoneCheckpoint(self.owner)
        for step in (change.prepare, change.write, change.complete, change.clean):
            step()

    def compact(self) -> None:
        self.seal()
        if can_checkpoint(self.owner):
            self.checkpoint()
        while (course := self.compaction()) is not None:
            course.finish()

    def rebuild(self) -> None:
        unsettled = {segment.id for segment in self.owner.segments if segment.record is not None}
        while unsettled and (course := self.due(frozenset(unsettled))) is not None:
            course.finish()
            unsettled -= course.job.source_ids

    def encode(self) -> None:
        while self.owner.encode_step():
            continue

    # --- what is there -------------------------------------------------------------------------------------

    def states(self) -> list[str]:
        """Of each segment whether it grows, waits to be sealed or is sealed."""
        return [
            "frozen" if segment.is_frozen else "growing" if segment.record is None else "sealed"
            for segment in self.owner.segments
        ]

    def sizes(self) -> list[tuple[int, int]]:
        """Rows and dead rows of each segment."""
        return [(segment.count, segment.tombstones.count) for segment in self.owner.segments]

    def log_files(self) -> list[str]:
        return self.disk.list_folder(self.folder / "wal")

    def segment_files(self, segment_id: int) -> list[str]:
        return self.disk.list_folder(self.folder / "segments" / str(segment_id))

    def check(self) -> None:
        """Both readers see all rows, in the order they came, and find each by its id; nothing else."""
        for reader in self.readers:
            view = reader.view()
            assert_view_is(view, self.rows)
            assert view.row_ids(view.get(list(self.rows))) == list(self.rows)
            assert reader.count() == len(self.rows)

    def check_search(
        self, queries: np.ndarray[Any, Any], k: int, where: Where | None = None, *, exact: bool, **options: Any
    ) -> list[float]:
        """Both readers find rows that live and match, at the right distances; gives the recall of each query.

        Exact searches find the nearest.
        """
        shares: list[float] = []
        for reader in self.readers:
            found, _ = self.search(reader, queries, k, where, exact=exact, **options)
            shares += shares_found(self, queries, k, where, found)
        assert not exact or min(shares) == 1.0
        return shares

    def search(
        self, reader: PartitionReader, queries: Any, k: int, where: Where | None = None, **options: Any
    ) -> tuple[list[Found], SearchReport]:
        report = SearchReport()
        predicate = None if where is None else where.predicate(self.collection)
        return reader.search(np.asarray(queries, np.float32), SearchOptions(k, **options), predicate, report), report


class Course:
    """One job, step by step."""

    def __init__(self, life: Life, job: Job) -> None:
        self.job = job
        self._life = life
        self._change = publication(life.owner, job)
        self._result: dict[str, Any] = {}
        self._next = 0
        self.generation = 0

    @property
    def due_step(self) -> str:
        """The step that comes next, nothing after the last."""
        return (*STEPS, "")[self._next]

    def step(self) -> str:
        """Do the next step; its name, or nothing after the last."""
        name = self.due_step
        if not name:
            return ""
        self._next += 1
        change = self._change
        match name:
            case "run":
                self._result = self._workshop(self._life.disk).run(self.job, lambda rows: None)
            case "open":
                change.open(self._result)
            case "complete":
                self.generation = change.complete()
            case "clean":
                assert self.is_let_go()
                change.clean()
            case _:
                getattr(change, name)()
        return name

    def is_let_go(self) -> bool:
        """Whether no reader reads what was before the job was complete."""
        return all(reader.has_let_go(self.generation) for reader in self._life.readers)

    def upto(self, name: str) -> Course:
        """Do all steps to this one, with it."""
        while self._next <= STEPS.index(name):
            self.step()
        return self

    def finish(self) -> None:
        self.upto(STEPS[-1])

    def kill_builder(self, files: int) -> None:
        """Let the builder die when it has written so many files; they stay, and the job is forgotten."""
        assert not self._next
        try:
            self._workshop(DyingDisk(files)).run(self.job, lambda rows: None)
        except Killed:
            self._result = {}
        self._next = len(STEPS)

    def undo(self) -> None:
        """The manifest could not be written."""
        assert self.due_step == "write"
        self._change.undo()
        self._next = len(STEPS)

    def _workshop(self, disk: OsDisk) -> Workshop:
        owner = self._life.owner
        return Workshop(disk, owner.folder, owner.collection, owner.number, owner.memory)


def assert_view_is(view: View, rows: Rows) -> None:
    """The view has these rows in this order."""
    addresses = view.scan(len(rows) + 1)
    ids = view.row_ids(addresses)
    assert ids == list(rows)
    assert view.live_rows == view.count() == len(rows)
    if rows:
        assert np.array_equal(view.vectors(addresses), np.stack([vector for vector, _ in rows.values()]))
        assert list(map(unpack_payload, view.payloads(addresses))) == [payload for _, payload in rows.values()]


def shares_found(
    life: Life, queries: Any, k: int, where: Where | None, found: Sequence[Found], rows: Rows | None = None
) -> list[float]:
    """How much of the nearest each query found; of rows equally far any will do.

    Checks that there are as many rows as there can be, each once, nearest first, living, matching, at its distance.
    """
    rows = life.rows if rows is None else rows
    metric = str(life.collection.metric)
    ids = [row_id for row_id, (_, payload) in rows.items() if where is None or where.holds(row_id, payload)]
    base = np.array([rows[row_id][0] for row_id in ids], np.float32).reshape(len(ids), life.collection.dim)
    place = {row_id: number for number, row_id in enumerate(ids)}
    wanted = min(k, len(ids))
    shares = []
    for query, item in zip(np.asarray(queries, np.float32), found, strict=True):
        right = distances(metric, base, query)
        mine = item.view.row_ids(item.addresses)
        assert len(set(mine)) == len(mine) == wanted
        assert place.keys() >= set(mine)
        assert item.distances.tolist() == sorted(item.distances.tolist())
        np.testing.assert_allclose(item.distances, right[[place[row_id] for row_id in mine]], TOLERANCE, TOLERANCE)
        if wanted:
            last = np.partition(right, wanted - 1)[wanted - 1]
            shares.append(np.count_nonzero(item.distances <= last + TOLERANCE * max(1.0, abs(last))) / wanted)
    return shares or [1.0]
