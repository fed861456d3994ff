"""One writer of a folder, whatever becomes of its LOCK, its name, or the process that opened it."""

from __future__ import annotations

import os
import shutil
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import reddb
from reddb import errors
from reddb.check.command import SOUND, run_check
from reddb.database import Database
from reddb.wire.messages import Query

ROWS = 50


@contextmanager
def opened(path: Path) -> Iterator[reddb.Client]:
    with reddb.connect(f"file:{path}") as db:
        if not list(db.execute("SHOW COLLECTIONS")):
            db.execute("CREATE COLLECTION docs KIND vector DIM 2 METRIC l2")
            insert(db, 0)
        yield db


def insert(db: reddb.Client, first: int) -> None:
    db.insert("docs", range(first, first + ROWS), np.ones((ROWS, 2), np.float32))


def ids_in(path: Path) -> list[int]:
    with reddb.connect(f"file:{path}") as db:
        return sorted(row[0] for row in db.execute("SELECT id FROM docs"))


def refused(code: errors.ErrorCode) -> pytest.RaisesExc[errors.RedDBError]:
    return pytest.raises(errors.RedDBError, match=f"^{code.name}: ")


def is_sound(path: Path) -> bool:
    return run_check(path, lambda line: None) == SOUND


def test_a_second_opener_is_refused_by_whatever_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, link, mount = tmp_path / "data", tmp_path / "link", tmp_path / "mount"
    link.symlink_to(data)
    monkeypatch.chdir(tmp_path)
    with opened(data):
        paths = [data, link, Path("data"), tmp_path / "x" / ".." / "data"]
        (tmp_path / "x").mkdir()
        mount.mkdir()
        is_mounted = subprocess.run(["mount", "--bind", data, mount], capture_output=True, check=False).returncode == 0
        try:
            for path in [*paths, *([mount] if is_mounted else [])]:
                with refused(errors.DATA_IN_USE):
                    reddb.connect(f"file:{path}")
                with refused(errors.DATA_IN_USE):
                    run_check(path, lambda line: None)
        finally:
            if is_mounted:
                subprocess.run(["umount", mount], check=True)
    assert ids_in(link) == list(range(ROWS))


@contextmanager
def ended_here() -> Iterator[None]:
    """The whole of a forked process, which must not come back into the tests."""
    try:
        yield
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def removed(lock: Path) -> None:
    lock.unlink()


def replaced(lock: Path) -> None:
    lock.with_name("new").write_text("pid 1 on nowhere\n")
    lock.with_name("new").rename(lock)


def linked(lock: Path) -> None:
    lock.rename(lock.with_name("old"))
    lock.symlink_to("old")


@pytest.mark.parametrize("lose", [removed, replaced, linked])
def test_who_has_lost_its_lock_writes_no_more(tmp_path: Path, lose: Callable[[Path], None]) -> None:
    data = tmp_path / "data"
    with opened(data) as db:
        lose(data / "LOCK")
        with pytest.raises(errors.RedDBError, match=r"^(DATA_IN_USE|CORRUPT_DATA): "):
            reddb.connect(f"file:{data}")
        for _ in range(2):
            with refused(errors.LOCK_LOST):
                insert(db, 1000)
        for change in ("CREATE COLLECTION more KIND vector DIM 2 METRIC l2", "ALTER COLLECTION docs SEAL"):
            with refused(errors.LOCK_LOST):
                db.execute(change)
        assert len(db.search("docs", [1, 1], k=100).ids) == ROWS
        assert db.get("docs", [3]) != []
    (data / "LOCK").unlink(missing_ok=True)
    assert ids_in(data) == list(range(ROWS))
    assert is_sound(data)


def test_a_folder_that_was_renamed_takes_its_writer_along(tmp_path: Path) -> None:
    data, moved = tmp_path / "data", tmp_path / "moved"
    with opened(data) as db:
        data.rename(moved)
        insert(db, ROWS)
        with opened(data) as other:  # in its place, another folder
            insert(db, 2 * ROWS)
            insert(other, 500)
            db.execute("ALTER COLLECTION docs SEAL")
            insert(db, 3 * ROWS)
            db.execute("ALTER COLLECTION docs CHECKPOINT")
            with refused(errors.DISK_FAILED):
                db.execute("CREATE COLLECTION more KIND vector DIM 2 METRIC l2")
            other.execute("CREATE COLLECTION more KIND vector DIM 2 METRIC l2")
            insert(db, 4 * ROWS)
    assert ids_in(moved) == list(range(5 * ROWS))
    assert ids_in(data) == [*range(ROWS), *range(500, 500 + ROWS)]
    assert is_sound(moved)
    assert is_sound(data)


def test_a_folder_that_was_removed_is_written_to_no_more(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with opened(data) as db:
        shutil.rmtree(data)
        with refused(errors.LOCK_LOST):
            insert(db, ROWS)
        with refused(errors.LOCK_LOST):
            db.execute("DROP COLLECTION docs")
        assert len(db.search("docs", [1, 1], k=100).ids) == ROWS
    assert not data.exists()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_nothing_of_the_engine_writes_in_a_fork_of_its_process(tmp_path: Path) -> None:
    """Whatever was kept: the database itself knows no client that would tell it."""
    data = tmp_path / "data"
    with opened(data):
        pass
    database = Database(data)
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    pid = os.fork()
    if not pid:
        with ended_here():
            codes = []
            for statement in (
                "INSERT INTO docs (id, vector) VALUES (777, [1, 1])",
                "DELETE FROM docs WHERE id = 1",
                "CREATE COLLECTION more KIND vector DIM 2 METRIC l2",
                "ALTER COLLECTION docs SEAL",
            ):
                try:
                    database.request(Query(statement, []))
                    codes.append("none")
                except errors.RedDBError as error:
                    codes.append(error.name)
            assert codes == ["OTHER_PROCESS"] * 4
            database.leave_to_parent()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    with refused(errors.DATA_IN_USE):
        Database(data)
    database.request(Query("INSERT INTO docs (id, vector) VALUES (777, [1, 1])", []))
    database.close()
    assert ids_in(data) == [*range(ROWS), 777]


def test_a_lock_that_is_no_file_of_the_folder_alone_is_not_written_to(tmp_path: Path) -> None:
    data, stranger = tmp_path / "data", tmp_path / "stranger"
    stranger.write_text("mine")
    makers: list[Callable[[Path], None]] = [
        lambda lock: lock.symlink_to(stranger),
        lambda lock: lock.hardlink_to(stranger),
        lambda lock: os.mkfifo(lock),
        lambda lock: lock.mkdir(),
    ]
    for make in makers:
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        make(data / "LOCK")
        with refused(errors.CORRUPT_DATA):
            reddb.connect(f"file:{data}")
    assert stranger.read_text() == "mine"
