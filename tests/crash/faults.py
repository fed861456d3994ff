"""Lets each call to the operating system fail, one after another, and checks what is left of a database.

    python -m tests.crash.faults      each call in every way; the tests take one way of each, once and for ever

    Faults      stands between the engine and the operating system: the n-th call within a folder fails, or all that may
                fail in this way from the n-th on, or a write writes half of what it was given
    Step        something a user does to a database that holds a known state, and the rows before and after it
    outcome_of  does a step with one fault, then goes on as a user would: reads, tries again, writes, opens anew

What must hold, whichever call fails:

    * the error names a path and says what lacks: DISK_FULL where there is no room, TOO_MANY_FILES where there is no
      descriptor, DISK_FAILED for anything else
    * a step that failed has not happened for any reader, and all reads go on
    * when the fault is over, the same step succeeds and writes go on, unless a sync or a rename failed: then what
      depends on it is refused until the database was opened anew, which shows the step whole or not at all
    * what was acknowledged is there after opening anew

Syncs that do not fail do nothing: whether data survives a power cut is not asked here.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import structlog

import reddb
from reddb import errors, limits

SHORT = -1  # in place of an error number: half is written, and no error given
SYNCS = ("fdatasync", "fsync", "open folder")  # a folder is opened to be synced, and for every name in it
_NO_ROOM, _BROKEN, _NO_DESCRIPTOR, _INTERRUPTED = errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EINTR
# Python itself calls again after EINTR, but for the few that cannot be interrupted on a local disk.
ERRORS: dict[str, tuple[int, ...]] = {
    "pwritev": (_NO_ROOM, _BROKEN, SHORT),
    "posix_fallocate": (_NO_ROOM, _BROKEN),
    "ftruncate": (_BROKEN,),
    "fdatasync": (_NO_ROOM, _BROKEN),
    "fsync": (_NO_ROOM, _BROKEN),
    "replace": (_NO_ROOM, _BROKEN, _INTERRUPTED),
    "open": (_NO_ROOM, _BROKEN, _NO_DESCRIPTOR),
    "open folder": (_BROKEN, _NO_DESCRIPTOR),
    "unlink": (_BROKEN, _INTERRUPTED),
    "mkdir": (_NO_ROOM, _BROKEN),
    "rmdir": (_BROKEN,),
    "read": (_BROKEN, _NO_DESCRIPTOR),  # the opening of a file to be read or mapped
}
_DIM = 4
_PROBE = 1001
Rows = dict[Any, tuple[list[float], int]]  # vector and n by id


def temporary_folder() -> Path:
    """In memory where that can be had: nothing here waits for a disk to be told that it failed."""
    return Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))


class Fault(NamedTuple):
    """The n-th call fails with an error number, or each from there on that may."""

    call: int
    number: int
    for_ever: bool


class Faults:
    """Counts the calls that touch a folder, by name, and lets some of them fail."""

    def __init__(self, folder: Path, fault: Fault | None = None) -> None:
        self.calls: list[str] = []
        self.failed: list[str] = []
        self._folder = str(folder)
        self._fault = fault
        self._counts = False

    @contextmanager
    def counted(self) -> Iterator[None]:
        """What is called meanwhile counts and may fail."""
        self._counts = True
        yield
        self._counts = False

    @contextmanager
    def patched(self) -> Iterator[Faults]:
        """The engine's calls go through here."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(io, "open", self._guarded("read", io.open))
            for name in ERRORS.keys() - {"read", "open folder"}:
                patch.setattr(os, name, self._guarded(name, getattr(os, name)))
            yield self

    def _guarded(self, function: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *rest: Any, **named: Any) -> Any:
            if not self._is_inside(first, named.get("dir_fd", named.get("src_dir_fd"))):
                return real(first, *rest, **named)
            name = _opening(rest[0]) if function == "open" else function
            if self._counts:
                self.calls.append(name)
            if self._fails(name):
                self.failed.append(name)
                assert self._fault is not None
                if self._fault.number != SHORT:
                    raise OSError(self._fault.number, os.strerror(self._fault.number), str(first))
                whole = b"".join(rest[0])
                return real(first, [whole[: max(len(whole) // 2, 1)]], rest[1])
            return None if name in ("fdatasync", "fsync") else real(first, *rest, **named)

        return call

    def _fails(self, name: str) -> bool:
        if not self._counts or self._fault is None or self._fault.number not in ERRORS[name]:
            return False
        here = len(self.calls) - 1
        return here >= self._fault.call if self._fault.for_ever else here == self._fault.call

    def _is_inside(self, first: Any, folder: int | None) -> bool:
        descriptor = first if isinstance(first, int) else folder
        path = os.fspath(first) if descriptor is None else os.readlink(f"/proc/self/fd/{descriptor}")
        return path.startswith(self._folder)


def _opening(flags: int) -> str:
    """The name of a call of `os.open`."""
    if flags & os.O_DIRECTORY:
        return "open folder"
    return "open" if flags & (os.O_WRONLY | os.O_RDWR) else "read"


# --- what is done ------------------------------------------------------------------------------------------


def _insert(first: int, last: int) -> Callable[[reddb.Client], None]:
    rows = made(first, last)

    def act(db: reddb.Client) -> None:
        db.insert("docs", list(rows), [vector for vector, _ in rows.values()], [{"n": n} for _, n in rows.values()])

    return act


def _said(*statements: str) -> Callable[[reddb.Client], None]:
    def act(db: reddb.Client) -> None:
        for statement in statements:
            db.execute(statement)

    return act


def made(first: int, last: int) -> Rows:
    """Rows by their numbers, each the same whenever it is made."""
    vectors = np.random.default_rng(first).normal(size=(last - first, _DIM)).astype(np.float32)
    return {
        n if n % 2 else f"row {n}": (vector.tolist(), n) for n, vector in zip(range(first, last), vectors, strict=True)
    }


def _without(rows: Rows, low: int, high: int) -> Rows:
    return {row_id: row for row_id, row in rows.items() if not low <= row[1] < high}


def _without_some(rows: Rows) -> Rows:
    return {row_id: row for row_id, row in rows.items() if row[1] <= 47 and row[1] != 9}


class Step(NamedTuple):
    """`changes` gives the rows after it of those before; None for no collection."""

    name: str
    act: Callable[[reddb.Client], None]
    changes: Callable[[Rows], Rows | None] = dict
    writes: bool = False


_CREATE = f"CREATE COLLECTION docs KIND vector.turbo DIM {_DIM} METRIC l2 FIELDS (n INT, *) WITH (index = hnsw)"
STEPS = (
    Step("create", _said(_CREATE, "CREATE INDEX ON docs (n)"), lambda rows: {}),
    Step("insert the first rows", _insert(0, 20), lambda rows: made(0, 20), writes=True),
    Step("insert", _insert(20, 30), lambda rows: rows | made(20, 30), writes=True),
    Step("seal", _said("ALTER COLLECTION docs SEAL")),
    Step("delete", _said("DELETE FROM docs WHERE n < 2"), lambda rows: _without(rows, 0, 2), writes=True),
    Step("insert behind a segment", _insert(30, 50), lambda rows: rows | made(30, 50), writes=True),
    Step("delete of all segments", _said("DELETE FROM docs WHERE n > 47 OR n = 9"), _without_some, writes=True),
    Step("merge", _said("ALTER COLLECTION docs COMPACT")),
    Step("insert the last", _insert(50, 60), lambda rows: rows | made(50, 60), writes=True),
    Step("drop", _said("DROP COLLECTION docs"), lambda rows: None),
)


@dataclass(frozen=True)
class State:
    """A folder, closed, the rows in it, and the step that comes next."""

    folder: Path
    rows: Rows | None
    step: Step

    @property
    def after(self) -> Rows | None:
        return self.step.changes(self.rows or {})


def states(folder: Path) -> list[State]:
    """What there is before each step."""
    found: list[State] = []
    rows: Rows | None = None
    current = folder / "now"
    for number, step in enumerate(STEPS):
        with reddb.connect(f"file:{current}"):
            pass  # a folder with nothing to do but the step
        found.append(State(Path(shutil.copytree(current, folder / str(number))), rows, step))
        with reddb.connect(f"file:{current}") as db:
            step.act(db)
            rows = found[-1].after
            check(db, rows)
    return found


# --- what must be there ------------------------------------------------------------------------------------


def check(db: reddb.Client, *allowed: Rows | None) -> Rows | None:
    """All reads work and give one of these; which."""
    if not list(db.execute("SHOW COLLECTIONS")):
        assert None in allowed, "the collection is gone"
        return None
    found = list(db.execute("SELECT id, n, vector FROM docs LIMIT 1000"))
    rows = {row_id: (vector.tolist(), n) for row_id, n, vector in found}
    assert rows in allowed, f"there are {sorted(rows, key=str)}"
    assert list(db.execute("SELECT count(*) FROM docs")) == [(len(rows),)]
    assert [row and row.id for row in db.get("docs", list(rows))] == list(rows)
    query = np.ones(_DIM, np.float32)
    right = sorted(rows, key=lambda row_id: float(np.linalg.norm(np.float64(rows[row_id][0]) - query)))
    assert list(db.search("docs", query, k=5, exact=True).ids) == right[:5]
    return rows


def _error_of(act: Callable[[], Any]) -> errors.RedDBError | None:
    try:
        act()
    except errors.RedDBError as error:
        return error
    return None


CODES = {errno.ENOSPC: errors.DISK_FULL, errno.EMFILE: errors.TOO_MANY_FILES}


def _check_error(error: errors.RedDBError, fault: Fault, failed: list[str]) -> None:
    assert "/" in error.message, error
    expected = CODES.get(fault.number, errors.DISK_FAILED)
    # Nobody knows what a sync has done that failed, whatever the reason.
    assert error.code is expected or (error.code is errors.DISK_FAILED and set(failed) & {*SYNCS}), error


def calls_of(state: State, folder: Path) -> list[str]:
    """The calls of its step, without a fault."""
    copy = Path(shutil.copytree(state.folder, folder))
    with Faults(copy).patched() as faults, reddb.connect(f"file:{copy}") as db:
        check(db, state.rows)
        with faults.counted():
            state.step.act(db)
            check(db, state.after)
    shutil.rmtree(copy)
    return faults.calls


def faults_of(calls: list[str]) -> Iterator[Fault]:
    """Every call fails once and for ever; in what way changes from one to the next of its name."""
    ways = {name: cycle(ERRORS[name]) for name in ERRORS}
    for number, name in enumerate(calls):
        for for_ever in (False, True):
            yield Fault(number, next(ways[name]), for_ever)
        if len(ERRORS[name]) % 2 == 0:  # or each number would always come with the same of both
            next(ways[name])


def all_faults_of(calls: list[str]) -> Iterator[Fault]:
    """Every call fails in every way, once and for ever."""
    for number, name in enumerate(calls):
        for error in ERRORS[name]:
            yield Fault(number, error, for_ever=False)
            yield Fault(number, error, for_ever=True)


def outcome_of(state: State, fault: Fault, folder: Path) -> errors.RedDBError | None:
    """Do the step with the fault in a copy of the folder, and check all that follows; gives the error of the step."""
    copy = Path(shutil.copytree(state.folder, folder))
    with Faults(copy, fault).patched() as faults:
        with reddb.connect(f"file:{copy}") as db:
            check(db, state.rows)
            with faults.counted():
                error = _error_of(lambda: state.step.act(db))
                if not {"read", "open folder"} & {*faults.failed}:  # else what is new cannot be read before it is over
                    check(db, state.after if error is None else state.rows)
            assert faults.failed
            if error is None:
                assert _write(db, state.after) is None
                allowed = (_with_probe(state.after),)
            else:
                _check_error(error, fault, faults.failed)
                allowed = _try_again(db, state, faults)
        _open_anew(copy, allowed)
    shutil.rmtree(copy)
    return error


def _try_again(db: reddb.Client, state: State, faults: Faults) -> tuple[Rows | None, ...]:
    """The fault is over: the step succeeds and writes go on, or are refused until a restart. Gives what it may find."""
    again = _error_of(lambda: state.step.act(db))
    if again is None:
        check(db, state.after)
        assert _write(db, state.after) is None
        return (_with_probe(state.after),)
    assert again.code is errors.DISK_FAILED, again
    assert "restart" in again.message, again
    # A log that can be cut back no more is as one that could not be synced.
    assert set(faults.failed) & {*SYNCS, "replace", "ftruncate"}, f"{faults.failed[-1]} failed, and: {again}"
    check(db, state.rows)
    refused = _write(db, state.rows)
    if refused is None:  # a manifest failed, not the log
        assert not state.step.writes
        return (_with_probe(state.rows),)
    assert refused.code is errors.DISK_FAILED, refused
    assert set(faults.failed) & {*SYNCS, "ftruncate"}, f"{faults.failed[-1]} failed, and: {refused}"
    return state.rows, state.after


def _write(db: reddb.Client, rows: Rows | None, first: int = _PROBE) -> errors.RedDBError | None:
    """One more row, where there is a collection."""
    return None if rows is None else _error_of(lambda: _insert(first, first + 1)(db))


def _with_probe(rows: Rows | None) -> Rows | None:
    return None if rows is None else rows | made(_PROBE, _PROBE + 1)


def _open_anew(folder: Path, allowed: tuple[Rows | None, ...]) -> None:
    """What is seen once stays, and writes go on."""
    with reddb.connect(f"file:{folder}") as db:
        seen = check(db, *allowed)
    if len(allowed) > 1:
        with reddb.connect(f"file:{folder}") as db:
            check(db, seen)
            assert _write(db, seen, _PROBE + 1) is None


def violations(state: State, folder: Path, *, every_way: bool) -> tuple[int, list[str]]:
    """How many faults there were in the step, and what was not as it must be."""
    folder.mkdir()
    calls = calls_of(state, folder / "whole")
    faults = list((all_faults_of if every_way else faults_of)(calls))
    found = []
    for number, fault in enumerate(faults):
        try:
            outcome_of(state, fault, folder / str(number))
        except (AssertionError, errors.RedDBError) as error:
            found.append(f"{state.step.name}: {calls[fault.call]}, {fault}: {error}")
    return len(faults), found


def main() -> None:
    """Print what was tried and what went wrong; exit with 1 if anything did."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))  # errors are expected
    limits.WAL_PREALLOCATE_BYTES = 512
    folder = temporary_folder()
    try:
        results = [violations(state, folder / state.step.name, every_way=True) for state in states(folder)]
    finally:
        shutil.rmtree(folder)
    bad = [line for _, found in results for line in found]
    sys.stdout.writelines(line + "\n" for line in bad)
    sys.stdout.write(f"faults {sum(count for count, _ in results)}, violations {len(bad)}\n")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
