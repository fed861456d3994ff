"""Writes, readers, failures and restarts between any two steps of what happens to a segment."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
import pytest

from reddb import limits
from reddb.partition import encoder, search
from reddb.partition.jobs import JobKind
from reddb.partition.operations import Operation
from reddb.partition.view import View
from reddb.rows import make_batch
from reddb.types import Kind, SearchOptions
from tests.engine.lives import STEPS, Life, Rows, Where, assert_view_is, shares_found
from tests.engine.partitions import collection, finish

DIM = 8
GENERATOR = np.random.default_rng(3)
QUERIES = GENERATOR.normal(size=(5, DIM)).astype(np.float32)
SMALL = Where("n < 40", lambda _, payload: payload["n"] < 40)
POINTS = ("begun", *STEPS)


@pytest.fixture(autouse=True)
def _codes_and_graphs_for_few_rows(monkeypatch):
    monkeypatch.setattr(limits, "SCANNED_ROWS", 100)
    monkeypatch.setattr(encoder, "FIT_ROWS", 128)


def vectors(count: int) -> np.ndarray:
    return GENERATOR.normal(size=(count, DIM)).astype(np.float32)


def insert(life: Life, first: int, last: int) -> None:
    life.insert(range(first, last), vectors(last - first), [{"n": n % 100} for n in range(first, last)])


def graphs(**settings: Any) -> Any:
    return collection(dim=DIM, **{"seal_rows": 1024, "index": "hnsw", "m": 8, "ef_construction": 32, **settings})


@pytest.fixture
def life(tmp_path):
    made = Life(graphs(), tmp_path / "partition")
    yield made
    made.close()


def everything_is_right(life: Life) -> None:
    life.check()
    life.check_search(QUERIES[:2], 10, exact=True)
    assert np.mean(life.check_search(QUERIES, 10, exact=False)) >= 0.9
    assert np.mean(life.check_search(QUERIES, 10, SMALL, exact=False)) >= 0.9


# --- jobs step by step -------------------------------------------------------------------------------------


def before_a_seal(life: Life) -> None:
    insert(life, 0, 300)
    life.seal()
    insert(life, 300, 700)


def before_a_build(life: Life) -> None:
    before_a_seal(life)
    life.freeze()
    life.due().finish()


def before_a_merge(life: Life) -> None:
    for number in range(3):
        insert(life, 200 * number, 200 * number + 200)
        life.churn(number)
        life.seal()
    insert(life, 600, 800)
    life.freeze()
    life.due().finish()


def before_a_cleaning(life: Life) -> None:
    """More than a fifth of the older segment is dead, which makes it due by itself."""
    insert(life, 0, 400)
    life.seal()
    life.delete(range(0, 400, 4))
    life.checkpoint()  # what is dead by the log alone is left out of no merge
    insert(life, 400, 500)


JOBS: dict[str, tuple[Callable[[Life], None], JobKind]] = {
    "seal": (before_a_seal, JobKind.SEAL),
    "build": (before_a_build, JobKind.BUILD),
    "merge": (before_a_merge, JobKind.MERGE),
    "cleaning": (before_a_cleaning, JobKind.MERGE),
}


@pytest.fixture(scope="module", params=JOBS)
def template(request, tmp_path_factory):
    """A partition that has this job to do, and the kind of the job."""
    prepare, kind = JOBS[request.param]
    made = Life(graphs(), tmp_path_factory.mktemp("template") / "partition")
    prepare(made)
    yield made, kind
    made.close()


@pytest.fixture
def due(template, tmp_path):
    """A copy of it with the job begun."""
    made, kind = template
    life = made.twin(tmp_path / "partition")
    if kind is JobKind.SEAL:
        life.freeze()
    course = life.due()
    assert course is not None
    assert course.job.kind is kind
    yield life, course
    life.close()


@pytest.mark.parametrize("point", POINTS)
def test_writes_at_any_point_of_a_job_survive(due, point):
    life, course = due
    if point != "begun":
        course.upto(point)
    life.churn(5)
    everything_is_right(life)
    while course.step():
        life.check()
    everything_is_right(life)
    life.restart()
    everything_is_right(life)
    life.settle()
    everything_is_right(life)


def test_writes_at_every_point_of_a_job_survive(due):
    life, course = due
    for salt, _ in enumerate(POINTS, 3):
        life.churn(salt)
        life.check()
        course.step()
    everything_is_right(life)
    life.restart()
    everything_is_right(life)


@pytest.mark.parametrize("point", POINTS)
def test_a_restart_at_any_point_of_a_job_loses_nothing(due, point):
    life, course = due
    life.churn(3)
    if point != "begun":
        course.upto(point)
    life.churn(6)
    life.restart()
    everything_is_right(life)
    life.churn(9)
    life.compact()
    everything_is_right(life)
    assert life.states() == ["sealed"]
    life.restart()
    everything_is_right(life)


@pytest.mark.parametrize("files", [0, 1, 3, 5, 99])
@pytest.mark.parametrize("restarts", [False, True])
def test_what_a_killed_builder_left_harms_nobody(due, files, restarts):
    life, course = due
    course.kill_builder(files)
    life.churn(4)
    everything_is_right(life)
    if restarts:
        life.restart()
        everything_is_right(life)
    life.compact()
    everything_is_right(life)
    kept = [str(segment.id) for segment in life.owner.segments if segment.record is not None]
    assert life.disk.list_folder(life.folder / "segments") == kept


def test_a_builder_killed_at_the_very_first_segment_harms_nobody(tmp_path):
    life = Life(graphs(), tmp_path / "partition")
    insert(life, 0, 200)
    life.freeze()
    life.due().upto("run")
    life.close()
    again = life.twin(tmp_path / "other")
    everything_is_right(again)
    again.close()


def test_a_publication_that_fails_changes_nothing(due):
    life, course = due
    states = life.states()
    course.upto("prepare")
    life.churn(4)
    course.undo()
    life.churn(6)
    everything_is_right(life)
    assert life.states()[: len(states)] == states
    again = life.due()
    assert again is not None
    assert (again.job.kind, again.job.source_ids) == (course.job.kind, course.job.source_ids)
    again.finish()
    everything_is_right(life)


# --- readers that look at what was -------------------------------------------------------------------------


def assert_answers_stay(life: Life, view: View, rows: Rows) -> None:
    """A view of these rows, listed and searched."""
    assert_view_is(view, rows)
    for exact in (False, True):
        found = finish(search.search_steps(view, QUERIES, SearchOptions(10, exact=exact)))
        assert min(shares_found(life, QUERIES, 10, None, found, rows)) >= (1.0 if exact else 0.5)
    predicate = SMALL.predicate(life.collection)
    ids = [row_id for row_id, (_, payload) in rows.items() if SMALL.holds(row_id, payload)]
    assert view.row_ids(view.scan(len(rows), 0, predicate)) == ids
    assert view.count(predicate) == len(ids)


def test_an_old_view_stays_as_it_was_until_it_is_let_go(due):
    life, course = due
    holder, other = life.readers
    life.churn(3)
    view, rows = holder.view(), dict(life.rows)
    for salt, _ in enumerate(STEPS[: STEPS.index("complete") + 1], 4):
        life.churn(salt)
        course.step()
        assert_answers_stay(life, view, rows)
        everything_is_right(life)
    life.churn(12)
    assert_answers_stay(life, view, rows)
    assert other.has_let_go(course.generation)
    assert not holder.has_let_go(course.generation)
    del view
    assert holder.has_let_go(course.generation)
    course.finish()
    everything_is_right(life)


def test_a_search_that_began_before_a_publication_ends_as_it_began(due):
    life, course = due
    rows = dict(life.rows)
    steps = life.readers[0].search_steps(QUERIES, SearchOptions(10, exact=True))
    course.upto("write")
    life.churn(4)
    next(steps)
    course.upto("complete")
    life.churn(5)
    assert not life.readers[0].has_let_go(course.generation)
    assert shares_found(life, QUERIES, 10, None, finish(steps), rows) == [1.0] * len(QUERIES)


def test_an_old_view_finds_by_id_what_it_had(life):
    insert(life, 0, 200)
    view = life.readers[0].view()
    before = view.get([5, "later", 199]).tolist()
    life.churn(5)
    life.insert(["later"], vectors(1), [{"n": 1}])
    life.check()
    assert view.get([5, "later", 199]).tolist() == before == [5, -1, 199]


# --- what segments become ----------------------------------------------------------------------------------


def test_a_merge_leaves_the_dead_out_and_keeps_who_dies_meanwhile(life):
    before_a_merge(life)
    dead = sum(dead for _, dead in life.sizes())
    rows = sum(rows for rows, _ in life.sizes())
    assert dead > 0
    course = life.due().upto("run")
    doomed = list(life.rows)[::7]
    life.delete(doomed)
    course.finish()
    assert life.sizes() == [(rows - dead, len(doomed))]
    life.check()
    life.restart()
    assert life.sizes() == [(rows - dead, len(doomed))]
    life.check()
    life.compact()
    assert life.sizes() == [(rows - dead - len(doomed), 0)]
    everything_is_right(life)


@pytest.mark.parametrize("others", [False, True])
def test_a_segment_whose_rows_are_all_dead_vanishes(life, others):
    insert(life, 0, 300)
    life.seal()
    if others:
        insert(life, 300, 400)
    life.delete(range(300))
    assert life.settle() == []  # the files are to be what they were
    if others:
        assert [job.kind for job in life.seal()][:2] == [JobKind.SEAL, JobKind.MERGE]
        assert life.sizes() == [(100, 0)]
    else:
        life.checkpoint()
        assert [job.kind for job in life.settle()] == [JobKind.MERGE]
        assert life.sizes() == []
        assert life.disk.list_folder(life.folder / "segments") == []
    life.check()
    life.restart()
    life.check()
    insert(life, 0, 300)
    life.seal()
    everything_is_right(life)


def test_there_is_nothing_to_seal_where_no_row_is(life):
    assert life.seal() == []
    life.compact()
    life.rebuild()
    life.check()
    insert(life, 0, 10)
    life.delete(range(10))
    life.compact()
    assert life.sizes() == []
    life.restart()
    assert life.seal() == []
    life.check()


def test_rows_that_come_while_a_segment_is_frozen_go_to_the_next(life):
    insert(life, 0, 100)
    life.owner.prepare(Operation.UPSERT, make_batch([5, 100], vectors(2)))
    assert not life.owner.freeze()
    life.owner.prepare(Operation.INSERT, make_batch([101], vectors(1)))
    group = life.owner.take_group()
    group.write(life.owner.wal)
    life.owner.complete(group)
    assert life.states() == ["frozen", "growing"]
    assert life.sizes() == [(102, 1), (1, 0)]
    life.settle()
    life.restart()
    assert life.states() == ["sealed", "growing"]
    assert life.sizes() == [(102, 1), (1, 0)]


def test_the_log_is_cut_behind_what_is_sealed(life, monkeypatch):
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 4096)
    for first in range(0, 500, 50):
        insert(life, first, first + 50)
    assert len(life.log_files()) > 3
    life.freeze()
    insert(life, 500, 600)
    kept = life.log_files()[-1]
    life.settle()
    assert life.log_files() == [kept]
    life.restart()
    life.check()
    life.seal()
    (empty,) = life.log_files()  # for a log without a file has lost it
    assert empty != kept
    life.restart()
    life.churn(3)
    life.restart()
    everything_is_right(life)


def under_load(life: Life, counts: list[int], deletes: int = 0) -> int:
    """Insert so many rows at a time, delete some of them, and settle; the rows that merges wrote."""
    first = merged = 0
    for count in counts:
        insert(life, first, first + count)
        life.delete(range(first, first + deletes))
        merged += sum(job.rows for job in life.settle() if job.kind is JobKind.MERGE)
        first += count
        assert life.states().count("sealed") <= 4 * max(0.0, log(first / 1024, 4)) + 4
    life.check()
    return merged


@pytest.fixture
def plain(tmp_path):
    made = Life(graphs(kind=Kind.VECTOR, index="flat", segment_rows_max=12_288), tmp_path / "partition")
    yield made
    made.close()


def test_there_are_few_segments_under_a_steady_load(plain):
    under_load(plain, [1024] * 24, deletes=90)


def test_a_row_is_written_once_for_each_size_its_segment_grows_to(plain):
    plain.change(segment_rows_max=1_048_576)
    assert under_load(plain, [1024] * 32) <= 32 * 1024 * log(32, 4)


def test_large_segments_do_not_keep_small_ones_from_being_merged(plain):
    under_load(plain, [7168, 7168, *[3072] * 20])
