"""One server for a folder, whatever becomes of its LOCK and its name: no acknowledged row is lost, and none strays."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import reddb
from reddb import errors
from tests.server.harness import REDDB, Server

ROWS = 50


def insert(db: reddb.Client, first: int) -> None:
    db.insert("docs", range(first, first + ROWS), np.ones((ROWS, 2), np.float32))


def ids_in(db: reddb.Client) -> list[int]:
    return sorted(row[0] for row in db.execute("SELECT id FROM docs"))


def create(db: reddb.Client) -> None:
    db.execute("CREATE COLLECTION docs KIND vector DIM 2 METRIC l2 WITH (partitions = 2)")
    insert(db, 0)


def refused_by_check(data: Path) -> bool:
    check = subprocess.run([REDDB, "check", data], capture_output=True, text=True, check=False)
    return check.returncode == 2 and "DATA_IN_USE" in check.stderr


def test_a_server_that_lost_its_lock_answers_and_writes_no_more(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", tmp_path).start()
    try:
        with reddb.connect(server.url) as db:
            create(db)
            (server.data / "LOCK").unlink()
            second = subprocess.run(
                [REDDB, "serve", "--data", server.data, "--port", "0"], capture_output=True, text=True, check=False
            )
            assert second.returncode != 0
            assert "DATA_IN_USE" in second.stderr
            assert refused_by_check(server.data)
            for first in (ROWS, 2 * ROWS):
                with pytest.raises(errors.RedDBError, match=r"^LOCK_LOST: "):
                    insert(db, first)
            for change in ("CREATE COLLECTION more KIND vector DIM 2 METRIC l2", "DROP COLLECTION docs"):
                with pytest.raises(errors.RedDBError, match=r"^LOCK_LOST: "):
                    db.execute(change)
            assert ids_in(db) == list(range(ROWS))
            assert len(db.search("docs", [1, 1], k=100).ids) == ROWS
        server.kill()
        server.start()
        with reddb.connect(server.url) as db:
            assert set(range(ROWS)) <= set(ids_in(db))
            insert(db, 5 * ROWS)
    finally:
        server.stop()
    assert "Traceback" not in server.stderr()


def test_a_renamed_folder_stays_its_servers(tmp_path: Path) -> None:
    server, other = (Server(tmp_path / "data", tmp_path / name) for name in ("a", "b"))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    server.start()
    try:
        with reddb.connect(server.url) as db:
            create(db)
            server.data.rename(tmp_path / "moved")
            insert(db, ROWS)
            other.start()
            with reddb.connect(other.url) as elsewhere:
                create(elsewhere)
                old = server.kill_core(0)
                server.wait_core_restarted(0, old)
                insert(db, 2 * ROWS)
                db.execute("ALTER COLLECTION docs SEAL")
                insert(db, 3 * ROWS)
                assert ids_in(elsewhere) == list(range(ROWS))
                assert ids_in(db) == list(range(4 * ROWS))
                shutil.rmtree(tmp_path / "moved")
                with pytest.raises(errors.RedDBError, match=r"^LOCK_LOST: "):
                    insert(db, 4 * ROWS)
                insert(elsewhere, ROWS)
                assert ids_in(db) == list(range(4 * ROWS))
    finally:
        server.stop()
        other.stop()
    assert subprocess.run([REDDB, "check", server.data], check=False).returncode == 0
    assert not (tmp_path / "moved").exists()
    assert "Traceback" not in server.stderr()
