"""A disk that fails or fills up: nothing acknowledged is lost, nothing is half done, and it goes on when it can."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

import reddb
from reddb import errors, limits
from tests.crash.faults import ERRORS, STEPS, calls_of, check, states, temporary_folder, violations

BATCH = 100
DIM = 64


@pytest.fixture(autouse=True, scope="module")
def _little_is_reserved():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "WAL_PREALLOCATE_BYTES", 512)
        yield


@pytest.fixture(scope="module")
def folder():
    made = temporary_folder()
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def before(folder, _little_is_reserved):
    """What there is before each step, by its name."""
    return {state.step.name: state for state in states(folder)}


@pytest.mark.parametrize("name", [step.name for step in STEPS])
def test_a_step_in_which_any_call_fails(before, folder, name):
    _, found = violations(before[name], folder / name, every_way=False)
    assert not found, "\n".join(found)


def test_every_kind_of_call_is_made_by_some_step(before, folder):
    made = [calls_of(state, folder / "whole") for state in before.values()]
    assert {name for calls in made for name in calls} == set(ERRORS)


def test_signals_at_any_moment_interrupt_nothing(tmp_path):
    """Python calls again what a signal interrupted."""
    came = []
    usual = signal.signal(signal.SIGALRM, lambda number, frame: came.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        with reddb.connect(f"file:{tmp_path}") as db:
            rows = {}
            for step in STEPS[:-1]:
                step.act(db)
                rows = step.changes(rows)
            check(db, rows)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert came
    with reddb.connect(f"file:{tmp_path}") as db:
        check(db, rows)


# --- a disk that is really full ----------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB."""
    if os.geteuid():
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class Model:
    """What a database on a disk that is too small acknowledged."""

    def __init__(self, db: reddb.Client) -> None:
        self.db = db
        self.vectors: list[np.ndarray] = []

    def insert(self) -> None:
        vectors = np.random.default_rng(len(self.vectors)).normal(size=(BATCH, DIM)).astype(np.float32)
        first = BATCH * len(self.vectors)
        self.db.insert("docs", range(first, first + BATCH), vectors)
        self.vectors.append(vectors)

    def fill(self) -> None:
        """Insert until there is no room."""
        with pytest.raises(reddb.RedDBError) as caught:
            self._insert_for_ever()
        assert caught.value.code is errors.DISK_FULL
        assert caught.value.retryable

    def _insert_for_ever(self) -> None:
        while True:
            self.insert()

    def check(self) -> None:
        count = BATCH * len(self.vectors)
        assert list(self.db.execute("SELECT count(*) FROM docs")) == [(count,)]
        rows = self.db.get("docs", range(count), with_vectors=True)
        assert np.array_equal([row.vector for row in rows], np.concatenate(self.vectors))
        for place in (0, count - 1):
            (hit,) = self.db.search("docs", rows[place].vector, k=1)
            assert hit.id == place


@pytest.mark.parametrize("index", ["flat", "hnsw", "ivf"])
def test_a_full_disk_is_read_and_takes_writes_again_when_there_is_room(small_disk, index):
    ballast: Path = small_disk / "ballast"
    ballast.write_bytes(bytes(1_400_000))
    url = f"file:{small_disk / 'data'}"
    with reddb.connect(url) as db:
        db.execute(f"CREATE COLLECTION docs KIND vector.turbo DIM {DIM} METRIC l2 WITH (index = {index})")
        model = Model(db)
        model.insert()
        model.fill()
        model.check()
        with pytest.raises(reddb.RedDBError) as caught:
            db.execute("ALTER COLLECTION docs SEAL")
        assert caught.value.code is errors.DISK_FULL
        model.check()
    with reddb.connect(url) as model.db:
        model.check()
        ballast.unlink()
        for _ in range(3):
            model.insert()
        model.db.execute("ALTER COLLECTION docs SEAL")
        model.check()
        model.fill()
        model.check()
    with reddb.connect(url) as model.db:
        model.check()
