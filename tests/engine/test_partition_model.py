"""A partition against a dict: any row of writes, failures, crashes and reopenings, then every way of reading.

The model is a dict from id to (vector, payload). A write that was acknowledged is in it; a write whose sync failed, or
that was under way when the power went, may be there or not, but only whole and in order.
"""

from __future__ import annotations

import errno
from random import Random
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reddb import errors, limits
from reddb.partition import encoder
from reddb.partition.operations import Group, Operation
from reddb.rows import make_batch
from reddb.types import SearchOptions
from tests.engine.partitions import Opened, collection, deletion, ids_of
from tests.oracle import distances, nearest
from tests.storage.disks import MemoryDisk

DIM = 3
IDS = [*range(-3, 40), "", *(f"row-{n}" for n in range(20)), "é" * 127]
KEYS = st.sampled_from([item for item in IDS if item != ""])
# Few different numbers, so that equal vectors and equal distances are common.
NUMBERS = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0, 1e3])
VECTORS = st.lists(NUMBERS, min_size=DIM, max_size=DIM)
PAYLOADS = st.none() | st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 9) | st.text(max_size=9), max_size=2)
ROWS = st.lists(st.tuples(KEYS, VECTORS, PAYLOADS), min_size=1, max_size=8, unique_by=lambda row: row[0])

Model = dict[Any, tuple[tuple[float, ...], Any]]
Write = tuple[Operation, list[tuple[Any, list[float], Any]]]

WRITES = st.tuples(st.sampled_from(list(Operation)), ROWS)


def applied(model: Model, write: Write) -> Model | None:
    """The model after a write, or None if it must be refused."""
    operation, rows = write
    if operation is Operation.DELETE:
        gone = {key for key, _, _ in rows}
        return {key: row for key, row in model.items() if key not in gone}
    if operation is Operation.TRANSACTION:
        gone = {key for key, _, payload in rows if is_deleted(model, key, payload)}
        kept = {key: row for key, row in model.items() if key not in gone}
        return applied(kept, (Operation.UPSERT, [row for row in rows if row[0] not in gone]))
    if operation is Operation.INSERT and any(key in model for key, _, _ in rows):
        return None
    # A replaced row comes last, as rows are read in the order they came.
    kept = {key: row for key, row in model.items() if key not in {key for key, _, _ in rows}}
    return kept | {key: (tuple(vector), payload or None) for key, vector, payload in rows}


def is_deleted(model: Model, key: Any, payload: Any) -> bool:
    """What a transaction does with a row: one that is there goes, if nothing shall be put in its place."""
    return key in model and payload is None


class PartitionMachine(RuleBasedStateMachine):
    """The partition and its model, side by side."""

    @initialize(metric=st.sampled_from(["l2", "cosine", "ip"]), seed=st.integers(0, 99))
    def open(self, metric: str, seed: int) -> None:
        # Segments that a run can fill several of, and merge.
        small = {"seal_rows": 96, "segment_rows_max": 400}
        self.collection = collection(dim=DIM, metric=metric, oversample=1000).with_settings(small)
        self.random = Random(seed)
        self.disk = MemoryDisk()
        self.opened = Opened(self.collection, disk=self.disk)
        self.model: Model = {}

    def teardown(self) -> None:
        if hasattr(self, "opened"):
            self.opened.close()

    def prepare(self, write: Write, model: Model) -> None:
        operation, rows = write
        if operation is Operation.TRANSACTION:
            gone = [key for key, _, payload in rows if is_deleted(model, key, payload)]
            kept = [row for row in rows if row[0] not in gone]
            vectors = np.array([vector for _, vector, _ in kept], np.float32).reshape(-1, DIM)
            batch = make_batch([row[0] for row in kept], vectors, [row[2] for row in kept])
            self.opened.partition.prepare_transaction(gone, batch, len(rows))
            return
        ids = [key for key, _, _ in rows]
        vectors, payloads = [vector for _, vector, _ in rows], [payload for _, _, payload in rows]
        batch = deletion(ids) if operation is Operation.DELETE else make_batch(ids, vectors, payloads)
        self.opened.partition.prepare(operation, batch)

    def prepare_all(self, writes: list[Write]) -> tuple[list[Model], Group | None]:
        """Prepare the writes as one group; the states of the model after each of them."""
        states = [self.model]
        for write in writes:
            after = applied(states[-1], write)
            if after is None:
                with pytest.raises(errors.RedDBError, match="DUPLICATE_ID"):
                    self.prepare(write, states[-1])
            else:
                self.prepare(write, states[-1])
                states.append(after)
        return states, self.opened.partition.take_group()

    @rule(writes=st.lists(WRITES, min_size=1, max_size=4))
    def write(self, writes: list[Write]) -> None:
        states, group = self.prepare_all(writes)
        if group is not None:
            group.write(self.opened.partition.wal)
            self.opened.partition.complete(group)
        self.model = states[-1]

    @rule(count=st.integers(60, 120), first=st.integers(1000, 1200))
    def write_many(self, count: int, first: int) -> None:
        numbers = range(first, first + count)
        rows = [(number, [float(number % 7), float(number % 5), 1.0], None) for number in numbers]
        self.write([(Operation.UPSERT, rows)])

    @rule(writes=st.lists(WRITES, min_size=1, max_size=3), written=st.integers(0, 200))
    def write_to_a_full_disk(self, writes: list[Write], written: int) -> None:
        _, group = self.prepare_all(writes)
        if group is not None:
            self.disk.fail_next("write", errno.ENOSPC, written)
            with pytest.raises(errors.RedDBError, match="DISK_FULL"):
                group.write(self.opened.partition.wal)
            self.opened.partition.abort(group)

    @rule(writes=st.lists(WRITES, min_size=1, max_size=3))
    def write_while_the_disk_fails(self, writes: list[Write]) -> None:
        states, group = self.prepare_all(writes)
        if group is not None:
            self.disk.fail_next("sync", errno.EIO)
            with pytest.raises(errors.RedDBError, match="DISK_FAILED"):
                group.write(self.opened.partition.wal)
            self.opened.partition.abort(group)
            self.everything_is_as_in_the_model()
            self.reopen_as_one_of(states)

    @rule(writes=st.lists(WRITES, min_size=1, max_size=4), is_synced=st.booleans())
    def lose_power_during_a_write(self, writes: list[Write], is_synced: bool) -> None:
        states, group = self.prepare_all(writes)
        if group is not None:
            wal = self.opened.partition.wal
            wal.append([(item.operation, item.encode()) for item in group.operations])
            if is_synced:
                wal.sync()
            self.opened.partition.abort(group)  # nobody hears of it
        self.disk = self.disk.power_loss(self.random)
        self.reopen_as_one_of(states[-1:] if is_synced else states)

    @rule()
    def reopen(self) -> None:
        self.reopen_as_one_of([self.model])
        assert self.opened.partition.wal.torn_tail is None

    def reopen_as_one_of(self, states: list[Model]) -> None:
        self.opened.close()
        self.opened = Opened(self.collection, disk=self.disk, salt=self.random.getrandbits(32))
        contents = self.contents()
        assert contents in states
        self.model = contents

    @rule()
    def encode(self) -> None:
        self.opened.partition.encode_step()

    @rule()
    def encode_all(self) -> None:
        self.opened.encode()

    # --- segments ------------------------------------------------------------------------------------------

    @rule()
    def settle(self) -> None:
        self.opened.settle()
        assert "frozen" not in self.opened.states()

    @rule()
    def seal(self) -> None:
        self.opened.seal()
        assert "growing" not in self.opened.states()

    @rule()
    def compact(self) -> None:
        self.opened.compact()
        assert all(segment.tombstones.count == 0 for segment in self.opened.partition.segments)

    @rule(writes=st.lists(st.lists(WRITES, min_size=1, max_size=2), min_size=3, max_size=3), data=st.data())
    def write_beside_a_publication(self, writes: list[list[Write]], data: st.DataObject) -> None:
        """Rows come and die before, while and after the manifest is written; then it succeeds, or fails."""
        self.opened.partition.freeze()
        job = self.opened.due()
        if job is None:
            return
        change = self.opened.begin(job)
        self.write(writes[0])
        change.prepare()
        self.write(writes[1])
        failure = data.draw(st.sampled_from([None, ("write", errno.ENOSPC), ("rename", errno.EIO)]))
        if failure is not None:
            self.disk.fail_next(*failure)
            with pytest.raises(errors.RedDBError, match="DISK_F"):
                change.write()
            change.undo()
        else:
            change.write()
            self.write(writes[2])
            self.opened.finish(change)
        # A manifest that could not be put in place keeps segments as they are until a restart.
        if data.draw(st.booleans()) or self.opened.partition.manifest_is_unknown:
            self.reopen_as_one_of([self.model])

    @rule(steps=st.integers(0, 4))
    def lose_power_during_a_publication(self, steps: int) -> None:
        self.opened.partition.freeze()
        job = self.opened.due()
        if job is None:
            return
        change = self.opened.begin(job)
        for step in [change.prepare, change.write, change.complete, change.clean][:steps]:
            step()
        self.disk = self.disk.power_loss(self.random)
        self.reopen_as_one_of([self.model])

    # --- reads ---------------------------------------------------------------------------------------------

    @rule(keys=st.lists(KEYS, max_size=5))
    def get(self, keys: list[Any]) -> None:
        view = self.opened.reader.view()
        addresses = view.get(keys)
        found = [None if item < 0 else view.row_ids(addresses[[place]])[0] for place, item in enumerate(addresses)]
        assert found == [key if key in self.model else None for key in keys]

    @rule(query=VECTORS, k=st.integers(0, 12), exact=st.booleans())
    def search(self, query: list[float], k: int, exact: bool) -> None:
        metric = str(self.collection.metric)
        (found,) = self.opened.reader.search(np.array([query], np.float32), SearchOptions(k, exact=exact))
        base = np.array([vector for vector, _ in self.model.values()]).reshape(-1, DIM)
        (_, (right,)) = nearest(metric, base, np.array([query]), k)
        # Oversampling is so large that codes leave nothing out: both kinds of search must find the nearest.
        assert found.distances == pytest.approx(right, abs=1e-9, rel=1e-9)
        ids = ids_of(found)
        assert len(set(ids)) == len(ids) == min(k, len(self.model))
        own = np.array([self.model[key][0] for key in ids]).reshape(-1, DIM)
        assert found.distances == pytest.approx(distances(metric, own, np.array(query)), abs=1e-9, rel=1e-9)

    @rule(query=VECTORS, k=st.integers(1, 5))
    @precondition(lambda self: len(self.model) > 40)
    def search_among_codes(self, query: list[float], k: int) -> None:
        """With few candidates the codes decide: which rows is open, but not that they live and how far they are."""
        (found,) = self.opened.reader.search(np.array([query], np.float32), SearchOptions(k, ef=k))
        ids = ids_of(found)
        assert len(set(ids)) == len(ids) == k
        own = np.array([self.model[key][0] for key in ids])
        expected = distances(str(self.collection.metric), own, np.array(query))
        assert found.distances == pytest.approx(expected, abs=1e-9, rel=1e-9)

    def contents(self) -> Model:
        view = self.opened.reader.view()
        rows = view.scan(limits.SCAN_ROWS_MAX)
        payloads = [msgpack.unpackb(content) if content else None for content in view.payloads(rows)]
        vectors = [tuple(vector) for vector in view.vectors(rows).tolist()]
        return dict(zip(view.row_ids(rows), zip(vectors, payloads, strict=True), strict=True))

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        if hasattr(self, "opened"):
            contents = self.contents()
            assert contents == self.model
            assert list(contents) == list(self.model)
            assert self.opened.reader.count() == len(self.model)


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "WAL_PREALLOCATE_BYTES", 256)
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 4096)
    monkeypatch.setattr(encoder, "FIT_ROWS", 64)
    monkeypatch.setattr(limits, "SCANNED_ROWS", 32)


PartitionMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=30)


@pytest.mark.usefixtures("_small_bounds")
class TestPartitionAgainstADict(PartitionMachine.TestCase):
    """What the machine above found in many runs."""
