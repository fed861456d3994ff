"""Planted bugs: small sabotages of the engine or the disk, each of which the power-cut model must find.

Each plant breaks one rule that the storage stands on, for as long as a `MonkeyPatch` holds. A plant that is not found
shows that the model is too weak.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reddb import errors
from reddb.checksum import crc32c
from reddb.disk import AppendFile
from reddb.partition import publication
from reddb.partition.checkpoint import CodesCheckpoint
from reddb.partition.operations import Operation
from reddb.partition.publication import Publication
from reddb.partition.segments import Succession
from reddb.partition.writer import Partition
from reddb.storage import manifest, sealed, wal_file
from reddb.storage.wal import Wal
from reddb.storage.wal_file import Record
from tests.crash.powercut_run import PARTITION
from tests.storage.disks import MemoryAppendFile, MemoryDisk

Patch = pytest.MonkeyPatch
PLANTS: dict[str, Callable[[Patch], None]] = {}
_WAL = PARTITION / "wal"


def plant(name: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    def add(sabotage: Callable[[Patch], None]) -> Callable[[Patch], None]:
        PLANTS[name] = sabotage
        return sabotage

    return add


# --- what the disk is told ---------------------------------------------------------------------------------


def _unsynced_files(patch: Patch, of: Callable[[Path], bool]) -> None:
    """Syncs of these files do nothing."""
    sync = MemoryAppendFile.sync

    def lie(file: MemoryAppendFile) -> None:
        if not of(file._path):
            sync(file)

    patch.setattr(MemoryAppendFile, "sync", lie)


def _unsynced_folders(patch: Patch, of: Callable[[Path], bool], while_in: tuple[Any, str] | None = None) -> None:
    """Syncs of these folders do nothing, or only while that method runs."""
    sync, inside = MemoryDisk.sync_folder, [while_in is None]

    def lie(disk: MemoryDisk, path: Path) -> None:
        if not (inside[0] and of(path)):
            sync(disk, path)

    patch.setattr(MemoryDisk, "sync_folder", lie)
    if while_in is not None:
        _mark_while(patch, while_in, inside)


def _mark_while(patch: Patch, where: tuple[Any, str], inside: list[bool]) -> None:
    """`inside` is true while that method runs."""
    owner, name = where
    method = getattr(owner, name)

    def marked(*arguments: Any, **more: Any) -> Any:
        inside[0] = True
        try:
            return method(*arguments, **more)
        finally:
            inside[0] = False

    patch.setattr(owner, name, staticmethod(marked) if name == "open" else marked)


@plant("no folder is synced")
def _(patch: Patch) -> None:
    _unsynced_folders(patch, lambda path: True)


@plant("the log's folder is not synced when a file is begun")
def _(patch: Patch) -> None:
    _unsynced_folders(patch, lambda path: path == _WAL, (Wal, "_begin_file"))


@plant("writes are acknowledged before the log is synced")
def _(patch: Patch) -> None:
    patch.setattr(Wal, "sync", lambda log: setattr(log, "_durable_lsn", log.next_lsn - 1))


@plant("files of a segment are not synced")
def _(patch: Patch) -> None:
    _unsynced_files(patch, lambda path: path.name in (sealed.VECTORS, sealed.IDS, sealed.PAYLOADS, sealed.FILTERS))


@plant("the folder of a segment is not synced")
def _(patch: Patch) -> None:
    _unsynced_folders(patch, lambda path: path.parent.name == "segments")


@plant("an index is not synced")
def _(patch: Patch) -> None:
    _unsynced_files(patch, lambda path: path.name.startswith("index."))


@plant("codes of growing rows are not synced")
def _(patch: Patch) -> None:
    _unsynced_files(patch, lambda path: path.name == "growing.tv.tmp")


@plant("codes are kept of rows that were not synced")
def _(patch: Patch) -> None:
    sync, inside = Partition.sync, [False]
    patch.setattr(Partition, "sync", lambda partition: None if inside[0] else sync(partition))
    _mark_while(patch, (CodesCheckpoint, "write"), inside)


@plant("a live file is not synced")
def _(patch: Patch) -> None:
    _unsynced_files(patch, lambda path: path.name.startswith("live."))


@plant("the folder of a live file is not synced")
def _(patch: Patch) -> None:
    _unsynced_folders(patch, lambda path: path.parent.name == "segments", (publication, "write_live"))


@plant("the manifest is renamed before its content is synced")
def _(patch: Patch) -> None:
    _unsynced_files(patch, lambda path: path.name == "MANIFEST.tmp")


@plant("the manifest's folder is not synced after the rename")
def _(patch: Patch) -> None:
    _unsynced_folders(patch, lambda path: path == PARTITION, (publication, "put_manifest"))


# --- recovery ----------------------------------------------------------------------------------------------


@plant("recovery does not sync the log")
def _(patch: Patch) -> None:
    inside = [False]
    _unsynced_files(patch, lambda path: inside[0] and path.parent == _WAL)
    _mark_while(patch, (Wal, "_read_file"), inside)


@plant("recovery does not sync the log's folder")
def _(patch: Patch) -> None:
    _unsynced_folders(patch, lambda path: path == _WAL, (Wal, "open"))


@plant("recovery does not sync the folder of the manifest")
def _(patch: Patch) -> None:
    sync, inside = MemoryDisk.sync_folder, [False]

    def lie(disk: MemoryDisk, path: Path) -> None:
        is_new = _WAL not in disk._safe_folders
        if is_new or path != PARTITION or not inside[0]:
            sync(disk, path)

    patch.setattr(MemoryDisk, "sync_folder", lie)
    _mark_while(patch, (Partition, "open"), inside)


@plant("a folder that is there already is not synced")
def _(patch: Patch) -> None:
    make = MemoryDisk.make_folder

    def make_if_missing(disk: MemoryDisk, path: Path) -> None:
        if path not in disk._folders:
            make(disk, path)

    patch.setattr(MemoryDisk, "make_folder", make_if_missing)


@plant("deletes are not replayed")
def _(patch: Patch) -> None:
    replay = Partition._replay

    def without_deletes(partition: Partition, record: Record) -> None:
        if record.operation != Operation.DELETE:
            replay(partition, record)

    patch.setattr(Partition, "_replay", without_deletes)


@plant("the checksum of a record is not looked at")
def _(patch: Patch) -> None:
    record_at = wal_file._record_at

    def with_any_checksum(content: memoryview, salt: int, offset: int) -> tuple[int, Record] | None:
        mended = bytearray(content)
        length = int.from_bytes(mended[offset : offset + 4], "little")
        covered = mended[offset + 8 : offset + 32], mended[offset : offset + 4], mended[offset + 32 :][:length]
        mended[offset + 4 : offset + 8] = crc32c([bytes(part) for part in covered], salt).to_bytes(4, "little")
        return record_at(memoryview(bytes(mended)), salt, offset)

    patch.setattr(wal_file, "_record_at", with_any_checksum)


@plant("a torn tail is not cut")
def _(patch: Patch) -> None:
    open_append = MemoryDisk.open_append

    def open_uncut(disk: MemoryDisk, path: Path, size: int) -> MemoryAppendFile:
        if path.parent != _WAL or not size:
            return open_append(disk, path, size)
        file = open_append(disk, path, len(disk.content(path)))
        file._size = size
        return file

    patch.setattr(MemoryDisk, "open_append", open_uncut)


@plant("any later record proves that a torn one was acknowledged")
def _(patch: Patch) -> None:
    def refuse_any(path: Path, content: bytes, lsn: int, end: int, stored_lsn: int | None) -> None:
        if stored_lsn is None or any(wal_file.records_behind(content, lsn + 1, end + 8)):
            raise errors.CORRUPT_DATA.error(f"{path.name}: a record before another one is damaged")

    patch.setattr(wal_file, "_refuse_corruption", refuse_any)


# --- the log -----------------------------------------------------------------------------------------------


@plant("the log is released before the manifest is in place")
def _(patch: Patch) -> None:
    write = Publication.write

    def release_and_write(change: Publication) -> None:
        change._partition.wal.release(change._manifest.sealed_lsn)
        write(change)

    patch.setattr(Publication, "write", release_and_write)


@plant("the manifest says one record too much is sealed")
def _(patch: Patch) -> None:
    decide = Publication._decide

    def decide_more(change: Publication, records: Any, last_lsn: int) -> None:
        decide(change, records, last_lsn + 1 if 0 < last_lsn < change._partition.lsn else last_lsn)

    patch.setattr(Publication, "_decide", decide_more)


@plant("the manifest says that the log was synced where it was only written")
def _(patch: Patch) -> None:
    patch.setattr(Wal, "durable_lsn", property(lambda wal: wal.next_lsn - 1))


@plant("the newest file of the log is removed when nothing of it is needed")
def _(patch: Patch) -> None:
    release = Wal.release

    def release_all(log: Wal, lsn: int) -> None:
        release(log, lsn)
        if log.next_lsn - 1 <= lsn:
            log.close()
            log._remove(log._disk.list_folder(log._folder))

    patch.setattr(Wal, "release", release_all)


@plant("a file of the log has its name before its header is on the device")
def _(patch: Patch) -> None:
    sync = MemoryAppendFile.sync

    def lie(file: MemoryAppendFile) -> None:
        if file._path.parent != _WAL or file.size != 40:
            sync(file)

    patch.setattr(MemoryAppendFile, "sync", lie)


@plant("after a file could not be begun the one before goes on")
def _(patch: Patch) -> None:
    begin = Wal._begin_file

    def begin_or_go_on(log: Wal) -> AppendFile:
        name, size, file = log._name, log._file and log._file.size, log._file
        try:
            return begin(log)
        except errors.RedDBError:
            if file is not None and log._file is None and log._poison is None:
                log._file = log._disk.open_append(log._folder / name, size)
            raise

    patch.setattr(Wal, "_begin_file", begin_or_go_on)


@plant("after a failed write the log is not cut back")
def _(patch: Patch) -> None:
    patch.setattr(Wal, "_take_back", lambda *arguments: None)


@plant("after a failed sync the log goes on")
def _(patch: Patch) -> None:
    patch.setattr(Wal, "_refuse_if_poisoned", lambda log: None)


# --- segments ----------------------------------------------------------------------------------------------


@plant("files of old segments are removed before the manifest is in place")
def _(patch: Patch) -> None:
    write = Publication.write

    def remove_and_write(change: Publication) -> None:
        manifest.remove_garbage(change._partition.disk, change._partition.folder, change._manifest)
        write(change)

    patch.setattr(Publication, "write", remove_and_write)


@plant("deletes beside a merge are not marked in the new segment")
def _(patch: Patch) -> None:
    patch.setattr(Succession, "mirror", lambda *arguments: None)


@plant("deletes since a merge began are not copied")
def _(patch: Patch) -> None:
    patch.setattr(Succession, "copy_tombstones", lambda succession: None)


@plant("deletes from sealed segments are in no live file")
def _(patch: Patch) -> None:
    patch.setattr(Publication, "_note_live", lambda change, segment, record, sealed_lsn: record)


@plant("a live file is written over")
def _(patch: Patch) -> None:
    note = Publication._note_live

    def note_one(
        change: Publication, segment: Any, record: manifest.SegmentRecord, sealed_lsn: int
    ) -> manifest.SegmentRecord:
        noted = note(change, segment, record, sealed_lsn)
        if noted is record:
            return record
        noted = replace(noted, dead=1)
        change._live_files[-1] = replace(change._live_files[-1], record=noted)
        return noted

    patch.setattr(Publication, "_note_live", note_one)


@plant("numbers of segments are given again after a restart")
def _(patch: Patch) -> None:
    decide = Publication._decide

    def forget_number(change: Publication, records: Any, last_lsn: int) -> None:
        decide(change, records, last_lsn)
        change._manifest = replace(change._manifest, next_segment=1)

    patch.setattr(Publication, "_decide", forget_number)


@plant("after a failed manifest settling goes on")
def _(patch: Patch) -> None:
    ignored = property(lambda partition: False, lambda partition, value: None)
    patch.setattr(Partition, "manifest_is_unknown", ignored, raising=False)
