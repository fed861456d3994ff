"""Checkpoints: the log gets shorter, codes come back, and neither ever knows more than the log did."""

from __future__ import annotations

import errno
from random import Random
from typing import Any

import numpy as np
import pytest

from reddb import errors, limits
from reddb.database import Database
from reddb.partition.checkpoint import CodesCheckpoint
from reddb.partition.code_snapshot import NAME
from reddb.partition.policy import can_checkpoint, log_is_long
from reddb.partition.publication import TombstoneCheckpoint
from reddb.types import SearchOptions
from reddb.wire.messages import Query
from tests.engine.partitions import FOLDER, Opened, collection, ids_of
from tests.oracle import nearest
from tests.storage.disks import MemoryDisk

DIM, ROWS, K = 32, 4000, 10
GENERATOR = np.random.default_rng(21)
VECTORS = GENERATOR.normal(size=(ROWS, DIM)).astype(np.float32)
QUERIES = GENERATOR.normal(size=(5, DIM)).astype(np.float32)


def turbo(**settings: Any) -> Any:
    return collection(dim=DIM, **settings)


def filled(disk: MemoryDisk, rows: int = ROWS, **settings: Any) -> Opened:
    opened = Opened(turbo(**settings), disk=disk)
    for first in range(0, rows, 500):
        opened.insert(np.arange(first, min(first + 500, rows)), VECTORS[first : min(first + 500, rows)])
    opened.encode()
    return opened


def again(opened: Opened, disk: MemoryDisk | None = None) -> Opened:
    opened.close()
    return Opened(opened.collection, disk=disk or opened.disk)


def searches_are_right(opened: Opened, rows: int) -> None:
    (right, _) = nearest("l2", VECTORS[:rows], QUERIES, K)
    found = opened.reader.search(QUERIES, SearchOptions(K))
    assert np.mean([len(np.intersect1d(ids_of(a), b)) / K for a, b in zip(found, right, strict=True)]) >= 0.95


# --- codes -------------------------------------------------------------------------------------------------


def test_codes_are_there_after_a_restart():
    opened = filled(MemoryDisk())
    before = opened.encoded_rows(), opened.codec_block().needed, opened.codec_bytes().tobytes()[16:]
    assert before[0] == ROWS
    CodesCheckpoint(opened.partition).write()
    opened = again(opened)
    assert (opened.encoded_rows(), opened.codec_block().needed, opened.codec_bytes().tobytes()[16:]) == before
    assert opened.partition.refused_caches == []
    assert opened.encode() == 0
    searches_are_right(opened, ROWS)
    opened.close()


def test_rows_that_came_after_it_are_found_and_encoded():
    opened = filled(MemoryDisk(), 2000)
    CodesCheckpoint(opened.partition).write()
    for first in range(2000, ROWS, 500):
        opened.insert(np.arange(first, first + 500), VECTORS[first : first + 500])
    opened.delete([1, 3999])
    opened = again(opened)
    assert opened.encoded_rows() == 2000 - 2000 % 32
    assert opened.reader.count() == ROWS - 2
    assert opened.encode() > 0
    assert opened.encoded_rows() == ROWS
    opened.close()


def test_codes_of_several_segments_come_back_where_these_begin_as_they_did():
    opened = filled(MemoryDisk(), seal_rows=1024)
    assert opened.states() == ["frozen", "frozen", "growing"]
    CodesCheckpoint(opened.partition).write()
    opened = again(opened)  # rows are replayed into as few segments as hold them
    assert opened.states() == ["growing"]
    assert opened.encoded_rows() == 1500 - 1500 % 32
    opened.encode()
    searches_are_right(opened, ROWS)
    opened.close()


def test_codes_that_belong_to_other_segments_are_removed():
    opened = filled(MemoryDisk())
    CodesCheckpoint(opened.partition).write()
    opened.seal()
    opened.insert([ROWS], VECTORS[:1])
    opened = again(opened)
    assert opened.partition.refused_caches == []
    assert NAME not in opened.disk.list_folder(FOLDER)
    assert opened.states() == ["sealed", "growing"]
    assert opened.codec_block(1).encoded == 0
    opened.close()


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied"])
def test_a_damaged_file_is_told_and_removed(damage):
    opened = filled(MemoryDisk())
    CodesCheckpoint(opened.partition).write()
    content = opened.disk.content(FOLDER / NAME)
    if damage == "flipped":
        content[len(content) // 2] ^= 4
    else:
        del content[len(content) // 2 if damage == "cut" else 0 :]
    opened = again(opened)
    (refused,) = opened.partition.refused_caches
    assert refused.code is errors.CORRUPT_DATA
    assert NAME in refused.message
    assert NAME not in opened.disk.list_folder(FOLDER)
    searches_are_right(opened, ROWS)
    assert opened.encode() > 0
    opened.close()


@pytest.mark.parametrize("damage", ["the newest file is missing", "the end looks torn", "only zeros are left"])
def test_a_log_that_ends_before_it_has_lost_rows(monkeypatch, damage):
    """Its rows were synced first: what was acknowledged may be answered by no rows, and by nobody else's later."""
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 300_000)
    opened = filled(MemoryDisk())
    CodesCheckpoint(opened.partition).write()
    opened.close()
    disk, wal = opened.disk, FOLDER / "wal"
    _, second = disk.list_folder(wal)
    if damage == "the newest file is missing":
        disk.remove_file(wal / second)
    elif damage == "the end looks torn":
        content = disk.content(wal / second)
        content[len(bytes(content).rstrip(b"\0")) - 1] ^= 1
    else:
        content = disk.content(wal / second)
        content[40:] = bytes(len(content) - 40)
    end = {"the end looks torn": 7}.get(damage, int(second[:20]) - 1)
    before = {name: bytes(disk.content(wal / name)) for name in disk.list_folder(wal)}
    for _ in range(2):
        with pytest.raises(errors.RedDBError, match=f"ends with LSN {end}, but 8 was stored") as caught:
            Opened(opened.collection, disk=disk)
        assert caught.value.code is errors.CORRUPT_DATA
        assert caught.value.detail["path"] == str(wal / disk.list_folder(wal)[-1])
        assert {name: bytes(disk.content(wal / name)) for name in disk.list_folder(wal)} == before
    assert NAME in disk.list_folder(FOLDER)


def test_there_is_none_without_a_log():
    """Its rows are lost with their core, and that is no damage."""
    opened = filled(MemoryDisk(), 2000, durability="none")
    CodesCheckpoint(opened.partition).write()
    assert NAME not in opened.disk.list_folder(FOLDER)
    opened = again(opened)
    assert (opened.reader.count(), opened.partition.refused_caches) == (0, [])
    opened.close()


def test_it_never_outlives_rows_that_the_power_took():
    """With durability flush a power cut takes acknowledged rows; their LSNs are given to other rows later."""
    for seed in range(12):
        disk = MemoryDisk()
        opened = filled(disk, 2000, durability="flush")
        CodesCheckpoint(opened.partition).write()  # which syncs the log
        opened.insert(np.arange(2000, 2500), VECTORS[2000:2500])
        opened.close()
        opened = Opened(opened.collection, disk=disk.power_loss(Random(seed)))
        assert opened.reader.count() in (2000, 2500)
        assert opened.encoded_rows() == 1984
        opened.close()


def test_codes_are_written_whole_or_not_at_all():
    opened = filled(MemoryDisk(), 2000)
    CodesCheckpoint(opened.partition).write()
    opened.insert(np.arange(2000, 3000), VECTORS[2000:3000])
    opened.encode()
    for action in ("open", "write", "sync", "rename"):
        opened.disk.fail_next(action, errno.ENOSPC if action == "write" else errno.EIO)
        if action == "sync":  # the first one is the log's
            with pytest.raises(errors.RedDBError, match="DISK_FAILED"):
                CodesCheckpoint(opened.partition).write()
            opened = again(opened)
            continue
        with pytest.raises(errors.RedDBError, match="DISK_F"):
            CodesCheckpoint(opened.partition).write()
    opened = again(opened)
    assert opened.encoded_rows() in (1984, 3000 - 3000 % 32)
    searches_are_right(opened, 3000)
    opened.close()


# --- deletes -----------------------------------------------------------------------------------------------


def log_files(opened: Opened) -> list[str]:
    return opened.disk.list_folder(FOLDER / "wal")


def test_deletes_alone_leave_no_log_behind(monkeypatch):
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 2000)
    opened = filled(MemoryDisk(), kind=collection(dim=2).kind)
    opened.seal()
    for first in range(0, 400, 10):
        opened.delete(list(range(first, first + 10)))
    assert len(log_files(opened)) > 2
    assert can_checkpoint(opened.partition)
    opened.finish(written(TombstoneCheckpoint(opened.partition)))
    assert log_files(opened) == [f"{opened.partition.lsn + 1:020d}.wal"]
    assert not can_checkpoint(opened.partition)
    assert opened.reader.count() == ROWS - 400
    opened = again(opened)
    assert opened.reader.count() == ROWS - 400
    opened.delete([ROWS - 1])
    opened = again(opened)
    assert opened.reader.view().get([0, 399, 400, ROWS - 1]).tolist()[2] >= 0
    assert (opened.reader.view().get([0, 399, ROWS - 1]) == -1).all()
    opened.close()


def written(change: TombstoneCheckpoint) -> TombstoneCheckpoint:
    change.prepare()
    change.write()
    return change


@pytest.mark.parametrize("step", ["prepared", "written", "completed", "cleaned"])
def test_power_fails_between_any_two_steps(step):
    for seed in range(6):
        disk = MemoryDisk()
        opened = filled(disk, 1500)
        opened.seal()
        opened.delete(list(range(100)))
        change = TombstoneCheckpoint(opened.partition)
        change.prepare()
        opened.delete(list(range(100, 150)))  # beside it
        for name, do in (("written", change.write), ("completed", change.complete), ("cleaned", change.clean)):
            if step == "prepared":
                break
            do()
            if step == name:
                break
        opened.close()
        opened = Opened(opened.collection, disk=disk.power_loss(Random(seed)))
        assert opened.reader.count() == 1500 - 150
        opened.close()


def test_rows_that_grow_forbid_it():
    opened = filled(MemoryDisk(), 1500)
    assert not can_checkpoint(opened.partition)
    opened.seal()
    assert not can_checkpoint(opened.partition)  # nothing has happened since
    opened.delete([1])
    assert can_checkpoint(opened.partition)
    opened.insert([5000], VECTORS[:1])
    assert not can_checkpoint(opened.partition)
    opened.close()


def test_a_long_log_is_made_shorter_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MIB", 1000)  # so that 128 of them are soon written
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 20_000)
    monkeypatch.setattr(limits, "WAL_PREALLOCATE_BYTES", 0)
    database = Database(tmp_path)
    ask = lambda text: database.request(Query(text, []))  # noqa: E731
    ask(f"CREATE COLLECTION c KIND vector DIM {DIM} WITH (checkpoint_wal_mib = 128)")
    for _ in range(60):  # the same rows again and again
        values = ", ".join(f"({n}, [{', '.join(['1'] * DIM)}])" for n in range(40))
        ask(f"UPSERT INTO c (id, vector) VALUES {values}")
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.wal")) < 128_000 + 20_000 + 10_000
    assert len(list(tmp_path.rglob("*.wal"))) <= 8
    database.close()
    database = Database(tmp_path)
    (result,) = database.request(Query("SELECT count(*) FROM c", []))
    assert result.rows == [[40]]
    database.close()


def test_how_long_a_log_is_counts_what_was_read_at_start():
    opened = filled(MemoryDisk(), 1000, kind=collection(dim=2).kind)
    size = opened.partition.wal.bytes
    assert size > 1000 * DIM * 4
    opened = again(opened)
    assert opened.partition.wal.bytes == size
    assert not log_is_long(opened.partition)
    opened.seal()
    assert opened.partition.wal.bytes == 40  # the header of the next file
    opened.close()


@pytest.mark.parametrize("durability", ["fsync", "flush", "none"])
def test_by_statement(tmp_path, durability):
    database = Database(tmp_path)
    ask = lambda text: database.request(Query(text, []))  # noqa: E731
    ask(f"CREATE COLLECTION c KIND vector.turbo DIM 2 WITH (durability = {durability})")
    ask("INSERT INTO c (id, vector) VALUES (1, [1, 2]), (2, [3, 4])")
    ask("ALTER COLLECTION c CHECKPOINT")
    ask("DELETE FROM c WHERE id = 1")
    ask("ALTER COLLECTION c CHECKPOINT")
    database.close()
    database = Database(tmp_path)
    (result,) = database.request(Query("SELECT id FROM c LIMIT 5", []))
    assert result.rows == [[2]]
    database.close()
