"""What only the embedded database has: its lock, its end, and the folder it leaves."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

import reddb


def test_a_folder_is_opened_once(tmp_path: Path) -> None:
    with reddb.connect(f"file:{tmp_path}"):
        with pytest.raises(reddb.RedDBError) as caught:
            reddb.connect(f"file:{tmp_path}")
        assert caught.value.name == "DATA_IN_USE"
        assert f"pid {os.getpid()}" in caught.value.message
    with reddb.connect(f"file:{tmp_path}") as db:
        assert list(db.execute("SHOW COLLECTIONS")) == []


def test_closing_twice_is_no_error(tmp_path: Path) -> None:
    db = reddb.connect(f"file:{tmp_path}")
    db.close()
    # A second close must not end a file that took the old lock's number in the meantime.
    with (tmp_path / "other").open("w") as other:
        db.close()
        assert os.fstat(other.fileno()).st_size == 0


def test_after_close_nothing_answers(tmp_path: Path) -> None:
    db = reddb.connect(f"file:{tmp_path}")
    db.execute("CREATE COLLECTION c KIND vector.turbo DIM 2")
    db.close()
    with pytest.raises(reddb.RedDBError) as caught:
        db.execute("SHOW COLLECTIONS")
    assert caught.value.name == "CONNECTION_LOST"


def test_rows_and_settings_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "there"
    with reddb.connect(f"file:{path}") as db:
        db.execute("CREATE COLLECTION c KIND vector.turbo DIM 2 METRIC ip WITH (oversample = 9)")
        db.execute("CREATE COLLECTION gone KIND vector.turbo DIM 2")
        db.insert("c", [1, 2, "x"], np.eye(3, 2, dtype=np.float32), [{"n": n} for n in range(3)])
        db.upsert("c", [2], [[7, 7]], [{"n": "new"}])
        db.delete("c", [1])
        db.insert("gone", [1], [[1, 1]])
        db.execute("DROP COLLECTION gone")
    with reddb.connect(f"file:{path}") as db:
        assert list(db.execute("SHOW COLLECTIONS")) == [("c", "vector.turbo", 2, "ip", 2)]
        assert dict(db.execute("SHOW COLLECTION c"))["oversample"] == 9
        assert [row and row.payload for row in db.get("c", [1, 2, "x"])] == [None, {"n": "new"}, {"n": 2}]
        assert db.search("c", [1, 1], k=5).ids == [2, "x"]
    assert sorted(entry.name for entry in (path / "collections").iterdir()) == ["1"]


def test_nothing_of_the_folder_stays_open_when_it_is_closed(tmp_path: Path) -> None:
    gc.disable()  # what is freed by the collector alone stays open for as long as it pleases
    try:
        with reddb.connect(f"file:{tmp_path}") as db:
            db.execute("CREATE COLLECTION c KIND vector.turbo DIM 2 METRIC l2 FIELDS (n INT)")
            db.insert("c", range(2000), np.ones((2000, 2)), [{"n": n} for n in range(2000)])
            db.execute("ALTER COLLECTION c SEAL")
            assert len(db.search("c", [1, 1], k=5, where="n > 3")) == 5
            assert len(db.execute("SELECT n FROM c ORDER BY n DESC LIMIT 5")) == 5
            assert str(tmp_path) in Path("/proc/self/maps").read_text()
        assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    finally:
        gc.enable()
