"""Rows that expire, by a clock in the test's hand: every read, in every state of a segment, at the very microsecond.

What must be there is the dict of `Life`, from which rows go by the clock alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from reddb import errors, limits
from reddb.expiry import NEVER_US
from reddb.partition import encoder, sweep
from reddb.partition.clock import SteadyClock
from reddb.partition.explain import explain_steps
from reddb.partition.figures import collection_figures, segment_rows, stats_rows
from reddb.partition.operations import Operation
from reddb.partition.reader import CollectionReader, PartitionReader
from reddb.query.execute import finish
from reddb.query.plan import CountPlan, ExplainPlan, Projection, SearchPlan
from reddb.query.views import VIEWS
from reddb.rows import make_batch
from reddb.types import Kind, SearchOptions
from tests.engine.lives import EPOCH, START_US, Life, Where
from tests.engine.partitions import Opened, collection, deletion
from tests.storage.disks import MemoryDisk

DIM, ROWS = 8, 1500
# Of a row of SHOW SEGMENTS without its collection.
LIVE, EXPIRED = (VIEWS["segments"].column_names.index(name) - 1 for name in ("live", "expired"))
GENERATOR = np.random.default_rng(11)
VECTORS = GENERATOR.normal(size=(ROWS, DIM)).astype(np.float32)
QUERIES = GENERATOR.normal(size=(4, DIM)).astype(np.float32)
FEW = Where("n < 30", lambda _, payload: payload["n"] < 30)
MANY = Where("n >= 5", lambda _, payload: payload["n"] >= 5)

KINDS = {
    "exact": {"kind": Kind.VECTOR, "index": "flat"},
    "codes": {"kind": Kind.TURBO, "index": "flat"},
    "graph": {"kind": Kind.TURBO, "index": "hnsw", "m": 8, "ef_construction": 32},
    "lists": {"kind": Kind.TURBO, "index": "ivf"},
}


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "FIT_ROWS", 128)
    monkeypatch.setattr(limits, "SCANNED_ROWS", 64)


@pytest.fixture
def life(tmp_path) -> Iterator[Life]:
    life = Life(collection(dim=DIM, seal_rows=1024), tmp_path / "partition")
    yield life
    life.close()


def payloads(life: Life, rows: int = ROWS) -> list[dict[str, Any]]:
    """Of ten rows, three expire after one second, two after two; the others stay."""
    seconds = {0: 1, 3: 1, 6: 1, 1: 2, 7: 2}
    return [
        {"n": n % 100, **({"expires_at": life.instant(seconds[n % 10])} if n % 10 in seconds else {})}
        for n in range(rows)
    ]


def check_everything(life: Life) -> None:
    life.check()
    for exact in (True, False):
        life.check_search(QUERIES, 10, exact=exact)
        life.check_search(QUERIES, ROWS, exact=exact)
        for where in (FEW, MANY):
            life.check_search(QUERIES, 10, where, exact=exact)
    for reader in life.readers:
        view = reader.view()
        for where in (FEW, MANY):
            ids = [key for key, (_, payload) in life.rows.items() if where.holds(key, payload)]
            predicate = where.predicate(life.collection)
            assert view.count(predicate) == len(ids)
            assert view.row_ids(view.scan(ROWS, 0, predicate)) == ids
        gone = [n for n in range(ROWS) if n not in life.rows]
        assert (view.get(gone) == -1).all()
        assert reader.count() == len(life.rows) == collection_figures(reader)["rows"]
        assert stats_rows([(None, "ready", part) for part in reader.parts])[0][3] == len(life.rows)
        assert sum(row[LIVE] for row in segment_rows(reader)) == len(life.rows)


@pytest.mark.parametrize("state", ["growing", "sealed", "merged", "restarted", "swept"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_gone_at_the_very_microsecond(tmp_path, kind, state):
    life = Life(collection(dim=DIM, seal_rows=1024, **KINDS[kind]), tmp_path / "partition")
    half = ROWS // 2
    given = payloads(life)
    life.insert(range(half), VECTORS[:half], given[:half])
    if state == "merged":
        life.seal()
    life.insert(range(half, ROWS), VECTORS[half:], given[half:])
    life.encode()
    if state == "sealed":
        life.seal()
    elif state == "merged":
        life.compact()
        assert len(life.owner.segments) == 1
    elif state == "restarted":
        life.restart()
    for second, left in ((1, ROWS - 450), (2, ROWS - 750)):
        instant_us = START_US + second * 1_000_000
        life.set_clock(instant_us - 1)
        life.readers[1] = life.new_reader()  # the other one keeps the view it has for as long as that is right
        check_everything(life)
        life.set_clock(instant_us)
        assert len(life.rows) == left
        check_everything(life)
        if state == "swept":
            assert life.sweep() == len(range(ROWS)) - left - (0 if second == 1 else 450)
            check_everything(life)
            assert life.sweep() == 0
    life.close()


def test_readers_that_come_later_see_the_same(life):
    life.insert(range(ROWS), VECTORS, payloads(life))
    life.set_clock(START_US + 1_000_000)
    life.readers = [life.new_reader(), life.new_reader()]
    check_everything(life)


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_k_rows_are_given_though_the_nearest_have_expired(tmp_path, kind, is_sealed):
    life = Life(collection(dim=DIM, seal_rows=1024, **KINDS[kind]), tmp_path / "partition")
    near = np.argsort(np.linalg.norm(VECTORS - QUERIES[0], axis=1))[: ROWS * 2 // 3]
    given: list[dict[str, Any]] = [{"n": n % 100} for n in range(ROWS)]
    for row in near.tolist():
        given[row]["expires_at"] = life.instant(1)
    life.insert(range(ROWS), VECTORS, given)
    life.encode()
    if is_sealed:
        life.seal()
    life.set_clock(START_US + 1_000_000)
    shares = life.check_search(QUERIES[:1], 20, exact=False)
    assert min(shares) >= 0.8
    life.check_search(QUERIES[:1], 20, MANY, exact=False)
    life.close()


# --- writes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_sealed", [False, True])
def test_an_expired_id_is_inserted_again_at_once(life, is_sealed):
    life.insert([1, 2, 3], VECTORS[:3], [{"expires_at": life.instant(1)}, {}, {"expires_at": life.instant(5)}])
    if is_sealed:
        life.seal()
    with pytest.raises(errors.RedDBError, match="id 1 exists already"):
        life.owner.prepare(Operation.INSERT, make_batch([1], VECTORS[:1]))
    life.set_clock(START_US + 1_000_000)
    with pytest.raises(errors.RedDBError, match="row 1: id 3 exists already"):
        life.owner.prepare(Operation.INSERT, make_batch([1, 3], VECTORS[:2]))
    assert life.insert([1], VECTORS[5:6], [{"new": True}]) == 1
    life.check()
    assert life.sweep() == 0  # the row that expired is gone by the insert
    assert sum(rows - dead for rows, dead in life.sizes()) == 3
    life.restart()
    life.check()
    life.compact()
    life.check()


def test_rows_that_expire_on_their_way_are_no_duplicates(life):
    past = [{"expires_at": life.instant(-1)}]
    owner = life.owner
    owner.prepare(Operation.INSERT, make_batch([1], VECTORS[:1], past))
    owner.prepare(Operation.INSERT, make_batch([1], VECTORS[1:2], [{"expires_at": life.instant(1)}]))
    with pytest.raises(errors.RedDBError, match="id 1 exists already"):
        owner.prepare(Operation.INSERT, make_batch([1], VECTORS[:1]))
    assert owner.prepare(Operation.DELETE, deletion([1, 2])).result == 1
    owner.prepare(Operation.INSERT, make_batch([1, 2], VECTORS[:2], [*past, {}]))
    assert owner.prepare(Operation.DELETE, deletion([1])).result == 0
    group = owner.take_group()
    group.write(owner.wal)
    owner.complete(group)
    life.rows = {2: (VECTORS[1], {})}
    for _ in range(2):
        life.check()
        life.restart()
    assert life.sweep() == 1
    life.check()
    assert life.sizes()[-1][0] - life.sizes()[-1][1] == 1


def test_an_upsert_replaces_an_expired_row(life):
    life.insert([1, 2], VECTORS[:2], [{"expires_at": life.instant(1)}] * 2)
    life.set_clock(START_US + 2_000_000)
    assert life.upsert([1], VECTORS[2:3], [{"n": 1}]) == 1
    life.check()
    assert life.sweep() == 1
    life.check()


def test_deletes_and_updates_pass_expired_rows_by(life):
    life.insert(range(ROWS), VECTORS, payloads(life))
    life.set_clock(START_US + 1_000_000)
    assert life.delete([0, 3, 2]) == 1
    expected = sum(FEW.holds(key, payload) for key, (_, payload) in life.rows.items())
    assert life.update(FEW, mark="seen") == expected
    life.check()
    expected = sum(MANY.holds(key, payload) for key, (_, payload) in life.rows.items())
    assert life.delete_where(MANY) == expected
    life.check()


def test_an_update_moves_the_instant_or_takes_it_away(life):
    life.insert(range(100), VECTORS[:100], [{"n": n, "expires_at": life.instant(1)} for n in range(100)])
    life.update(Where("n < 10", lambda _, payload: payload["n"] < 10), expires_at=None)
    life.update(Where("n >= 90", lambda _, payload: payload["n"] >= 90), expires_at=life.instant(3))
    assert life.update(Where("n = 50", lambda _, payload: payload["n"] == 50), expires_at=life.instant(0)) == 1
    assert len(life.rows) == 99
    life.check()
    for seconds, left in ((1, 20), (3, 10)):
        life.set_clock(START_US + seconds * 1_000_000)
        assert len(life.rows) == left
        life.check()


# --- the sweep ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_sweep_deletes_what_has_expired_and_is_replayed(life, is_sealed, monkeypatch):
    monkeypatch.setattr(sweep, "SWEEP_ROWS_MAX", 200)
    life.insert(range(ROWS), VECTORS, payloads(life))
    if is_sealed:
        life.seal()
    assert sweep.sweep_due_us(life.owner) == START_US + 1_000_000
    assert life.sweep() == 0
    life.set_clock(START_US + 1_000_000)
    assert sweep.sweep_due_us(life.owner) == START_US + 1_000_000
    assert [life.sweep() for _ in range(4)] == [200, 200, 50, 0]
    assert sum(dead for _, dead in life.sizes()) == 450
    assert sweep.sweep_due_us(life.owner) == START_US + 2_000_000
    life.check()
    life.restart()
    assert sum(dead for _, dead in life.sizes()) == 450
    life.check()
    life.compact()
    assert life.sizes() == [(ROWS - 450, 0)]
    life.set_clock(START_US + 2_000_000)
    while life.sweep():
        continue
    life.compact()
    assert life.sizes() == [(ROWS - 750, 0)]
    life.check()
    assert sweep.sweep_due_us(life.owner) == NEVER_US


def test_a_sweep_beside_a_merge_marks_both_sides(life):
    for first in range(0, 1200, 300):
        rows = range(first, first + 300)
        life.insert(rows, VECTORS[first : first + 300], [{"expires_at": life.instant(1 + n % 2)} for n in rows])
        life.freeze()
    life.settle()
    life.insert([2000], VECTORS[:1], [{"expires_at": life.instant(1)}])
    life.freeze()
    course = life.due()
    assert course is not None
    course.upto("prepare")
    life.set_clock(START_US + 1_000_000)
    life.check()
    while life.sweep():
        life.check()
    course.upto("complete")
    life.check()
    course.finish()
    life.restart()
    life.check()
    assert sum(rows - dead for rows, dead in life.sizes()) == len(life.rows) == 600


def test_a_row_that_took_the_place_of_an_expired_one_is_not_swept(life):
    life.insert([1], VECTORS[:1], [{"expires_at": life.instant(1)}])
    life.set_clock(START_US + 1_000_000)
    life.upsert([1], VECTORS[1:2], [{"expires_at": life.instant(1)}])
    assert life.sweep() == 0
    life.check()
    life.set_clock(START_US + 2_000_000)
    assert life.sweep() == 1
    assert life.rows == {}
    life.check()


def test_what_has_expired_is_shown_until_it_is_swept(life):
    life.insert(range(100), VECTORS[:100], payloads(life, 100))
    life.set_clock(START_US + 1_000_000)
    reader = life.readers[0]
    plan = SearchPlan(life.collection, QUERIES[:1], SearchOptions(3), 0, Projection(()))

    def seen() -> tuple[int, bool]:
        lines = finish(explain_steps(ExplainPlan(plan, analyze=False), reader)).rows
        return segment_rows(reader)[0][EXPIRED], "expired 30" in lines[-1][0]

    assert seen() == (30, True)
    counted = ExplainPlan(CountPlan(life.collection, None, "count"), analyze=True)
    assert finish(explain_steps(counted, reader)).rows[0][0].startswith("Count rows  [rows 70, ")
    life.sweep()
    assert seen() == (0, False)


# --- the clock ---------------------------------------------------------------------------------------------


def test_a_clock_that_steps_back_brings_no_row_back(life):
    life.insert(range(ROWS), VECTORS, payloads(life))
    life.set_clock(START_US + 1_000_000)
    check_everything(life)
    life.set_clock(START_US - 3_600_000_000)
    check_everything(life)
    assert life.insert([0], VECTORS[:1], [{"n": 0}]) == 1
    check_everything(life)
    life.set_clock(START_US + 2_000_000 - 1)
    check_everything(life)


def test_a_steady_clock_stands_still():
    times = iter([5, 9, 3, 4, 9, 10])
    clock = SteadyClock(lambda: next(times))
    assert [clock() for _ in range(6)] == [5, 9, 9, 9, 9, 10]


def test_a_view_keeps_its_time(life):
    life.insert(range(ROWS), VECTORS, payloads(life))
    view, rows = life.readers[0].view(), list(life.rows)
    life.set_clock(START_US + 1_000_000)
    assert view.row_ids(view.scan(ROWS)) == rows
    assert view.live_rows == ROWS
    assert life.readers[0].count() == ROWS - 450


def test_all_partitions_are_seen_at_one_time():
    times = iter(range(START_US, START_US + 10_000))
    parts = [Opened(collection(dim=DIM), disk=MemoryDisk(), now_us=lambda: next(times)) for _ in range(3)]
    instant = EPOCH + timedelta(microseconds=START_US + 5000)
    for part in parts:
        part.insert([1], VECTORS[:1], [{"expires_at": instant}])
    reader = CollectionReader([part.reader for part in parts])
    counts = [reader.count() for _ in range(6000)]
    assert set(counts) == {3, 0}
    assert counts == sorted(counts, reverse=True)
    for part in parts:
        part.close()


def test_nobody_looks_at_the_clock_where_no_row_expires(life):
    asked = []

    def clock() -> int:
        asked.append(1)
        return START_US

    life.insert(range(ROWS), VECTORS, [{"n": n, "note": "expires_at is a key"} for n in range(ROWS)])
    reader = PartitionReader(life.disk, life.folder, life.collection, 0, life.owner.memory, clock)
    for step in (life.encode, life.seal):
        reader.view()
        del asked[:]
        life.search(reader, QUERIES, 10)
        life.search(reader, QUERIES, 10, MANY)
        assert not asked
        view = reader.view()
        assert view.expired.rows == (0,) * len(view.segments)
        assert view.expired.until_us == NEVER_US
        step()


def test_a_slot_that_is_used_again_remembers_nothing(life):
    for _ in range(3):
        life.insert(range(50), VECTORS[:50], [{"n": 1, "expires_at": life.instant(1)}] * 50)
        life.seal()
        life.insert(range(50, 100), VECTORS[:50], [{"n": 2}] * 50)
        assert life.owner.segments[-1].rows.expiries.earliest_us == NEVER_US
        life.set_clock(life.system_us + 1_000_000)
        life.check()
        life.delete(range(50, 100))
        life.compact()
