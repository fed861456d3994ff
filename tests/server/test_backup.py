"""`reddb backup` and `reddb restore` as processes, beside a server that writers keep busy, is killed, and archives."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

import reddb
from tests.engine.backups import Course, Rows, create, of_partition, rows_of
from tests.server.conftest import NewServer
from tests.server.harness import REDDB, Server, wait_for

PARTITIONS = 2


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([REDDB, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    return done


def done(*words: str | Path) -> list[str]:
    """The lines of a command that must succeed."""
    ended = run(*words)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    return ended.stdout.splitlines()


class Writer:
    """Writes without end to a collection of its own, and counts what was acknowledged."""

    def __init__(self, server: Server, name: str, seed: int) -> None:
        self.course = Course(seed)
        self.name = name
        self.acknowledged = 0
        self._server = server

    def run(self, last: threading.Event) -> None:
        with reddb.connect(self._server.url) as db:
            while not last.is_set():
                try:
                    self.course.write(db, self.name)
                except reddb.RedDBError:
                    if last.is_set():  # the server was killed: the outcome is unknown
                        return
                    raise
                self.acknowledged += 1

    def assert_prefix(self, found: Rows, acknowledged: int) -> None:
        """Each partition is as it was after some prefix that holds all that was acknowledged."""
        for partition in range(PARTITIONS):
            prefixes = self.course.prefixes(of_partition(found, partition, PARTITIONS), partition, PARTITIONS)
            assert prefixes, f"partition {partition} of {self.name} is no prefix of the writes"
            assert max(prefixes) >= acknowledged


@contextmanager
def writing(server: Server, last: threading.Event) -> Iterator[list[Writer]]:
    """Two writers at work until `last` is set."""
    with reddb.connect(server.url) as db:
        for name in ("docs", "more"):
            create(db, partitions=PARTITIONS, name=name)
    writers = [Writer(server, "docs", 11), Writer(server, "more", 12)]
    with ThreadPoolExecutor(len(writers)) as pool:
        running = [pool.submit(writer.run, last) for writer in writers]
        try:
            yield writers
        finally:
            last.set()
        for writer in running:
            writer.result()


def test_backups_beside_writers_and_a_kill_hold_what_was_acknowledged_before(
    new_server: NewServer, tmp_path: Path
) -> None:
    server, last = new_server().start(), threading.Event()
    acknowledged: list[list[int]] = []
    with writing(server, last) as writers:
        for number in range(3):
            wait_for(lambda n=number: min(writer.acknowledged for writer in writers) >= 25 * n, "writes", 60)
            acknowledged.append([writer.acknowledged for writer in writers])
            base = ["--base", tmp_path / str(number - 1)] if number else []
            lines = done("backup", server.data, tmp_path / str(number), *base)
            assert [line.split(":")[0] for line in lines[:-1]] == ["docs/0", "docs/1", "more/0", "more/1"]
        last.set()
        server.kill()
    lines = done("backup", server.data, tmp_path / "3")  # of a folder that nobody has open, as the kill left it
    acknowledged.append([writer.acknowledged for writer in writers])
    assert not lines[0].startswith("docs/0: sealed up to LSN 0,"), "nothing was sealed"
    for number, before in enumerate(acknowledged):
        lines = done("restore", tmp_path / str(number), tmp_path / "restored" / str(number))
        assert lines[-1].endswith("every one looked at")
        restored = new_server(data=f"restored/{number}").start()
        with reddb.connect(restored.url) as db:
            for writer, count in zip(writers, before, strict=True):
                writer.assert_prefix(rows_of(db, writer.name), count)
            db.upsert("docs", ids=[1], vectors=[[0.0] * 4], payloads=[{"n": 0}])
        restored.stop()
    for number in (0, 3):  # what the servers did to their folders has not reached the backups
        done("restore", tmp_path / str(number), tmp_path / "again" / str(number))


def test_an_archive_brings_a_backup_up_to_any_moment(new_server: NewServer, tmp_path: Path) -> None:
    server = new_server().start("--archive-dir", str(tmp_path / "archive"))
    course, times = Course(3), []
    with reddb.connect(server.url) as db:
        create(db)
        for _ in range(10):
            course.write(db)
        done("backup", server.data, tmp_path / "backup")
        for _ in range(20):
            course.write(db)
            times.append(datetime.now(UTC).isoformat())
        db.execute("ALTER COLLECTION docs SEAL")
        for _ in range(5):
            course.write(db)
        server.kill()
    server.start("--archive-dir", str(tmp_path / "archive"))
    with reddb.connect(server.url) as db:
        db.execute("ALTER COLLECTION docs SEAL")
    server.stop()
    states = list(course.states(0, 1))
    wanted = {
        "all": ([], len(states) - 1),
        "lsn": (["--to-lsn", "13"], 13),
        "named": (["--to-lsn", "docs/0:27"], 27),
        "time": (["--to-time", times[11]], 22),
    }
    for name, (words, count) in wanted.items():
        done("restore", tmp_path / "backup", tmp_path / name, "--archive", tmp_path / "archive", *words)
        with reddb.connect(f"file:{tmp_path / name}") as db:
            assert rows_of(db) == states[count], name


def test_an_archive_that_cannot_be_written_is_told_and_the_log_stays(new_server: NewServer, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    server = new_server(1).start("--archive-dir", str(archive))
    archive.write_text("in the way")
    wal = server.data / "collections/1/0/wal"
    with reddb.connect(server.url) as db:
        create(db)
        course = Course(4)
        course.write(db)
        db.execute("ALTER COLLECTION docs SEAL")
        wait_for(lambda: "files that nobody needs are left" in server.stderr(), "the line in the log")
        assert min(path.name for path in wal.iterdir()) == f"{1:020d}.wal"
        archive.unlink()
        course.write(db)
        db.execute("ALTER COLLECTION docs SEAL")
        wait_for(lambda: [path.stat().st_size for path in wal.iterdir()] == [40], "the end of the log")
        assert len(list(archive.rglob("*.wal"))) == 2
        assert course.prefixes(rows_of(db))[-1] == 2
    server.stop()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["backup", "data", "backup"], 2, "is there already; a backup is made new"),
        (["backup", "backup/collections", "new"], 2, "is no data folder"),
        (["backup", "missing", "new"], 2, "does not exist"),
        (["restore", "backup", "data"], 2, "is there already; a data folder is made new"),
        (["restore", "data", "new"], 2, "is no backup"),
        (["restore", "backup", "new", "--to-lsn", "1", "--to-time", "2026-01-01T00:00:00Z"], 2, "exclude each other"),
        (["restore", "backup", "new", "--to-time", "yesterday"], 2, "Invalid isoformat"),
        (["restore", "backup", "new", "--to-time", "2026-01-01T00:00:00"], 2, "has no zone"),
        (["restore", "backup", "new", "--to-lsn", "99"], 2, "docs/0 ends with LSN 1; 99 is not there"),
        (["restore", "damaged", "new"], 1, "collections/1/0/MANIFEST is not what was backed up"),
    ],
)
def test_the_exit_code_says_whether_the_call_was_wrong_or_the_files_are(
    tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    with reddb.connect(f"file:{tmp_path / 'data'}") as db:
        create(db)
        Course(1).write(db)
    for name in ("backup", "damaged"):
        done("backup", tmp_path / "data", tmp_path / name)
    manifest = tmp_path / "damaged/collections/1/0/MANIFEST"
    content = bytearray(manifest.read_bytes())
    content[5] ^= 1
    manifest.write_bytes(content)
    places = [tmp_path / word if number in (1, 2) else word for number, word in enumerate(words)]
    ended = run(*places)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert said in ended.stderr
    assert not (tmp_path / "new").exists()
