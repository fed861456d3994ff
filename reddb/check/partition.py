"""One partition, looked at: its manifest, the files of its segments, its log, and whether they fit together.

First each file by itself: trailer, checksum, whose it is, and how many rows. Where all are sound, the partition is
opened as its owner opens it, on a disk that does not write: then every row is counted, every id must live once, be
found by its key and belong to this partition.

Invariant: files are read by the engine's own readers; no format is written down here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reddb import errors
from reddb.check.findings import Finding, Report, Status, damage_of
from reddb.check.log import Damage, Log, check_log
from reddb.check.read_only import ReadOnlyDisk
from reddb.partition import code_snapshot
from reddb.partition.code_snapshot import read_codes
from reddb.partition.kinds import codec_of
from reddb.partition.placement import partition_of
from reddb.partition.segments import OwnedSegment
from reddb.partition.settled import open_index
from reddb.partition.writer import Partition
from reddb.rows import id_column
from reddb.storage import manifest as manifests
from reddb.storage.field_index import index_file, open_field_indexes
from reddb.storage.folder import partition_folder
from reddb.storage.manifest import Manifest, SegmentRecord, find_garbage, live_path, read_live, read_manifest
from reddb.storage.sealed import FILES, SealedSegment, keys_of, open_file, segment_folder
from reddb.storage.wal_file import WalIdentity
from reddb.types import Collection, RowId
from reddb.wording import counted

INDEX_STEMS = ("index", "codes", "graph", "rows", "lists")


@dataclass(slots=True)
class SegmentState:
    """What of a segment is damaged: names of files, by what it takes to go on without them."""

    record: SegmentRecord
    truth: list[str] = field(default_factory=list)
    live: bool = False
    index: bool = False
    fields: bool = False
    live_rows: int = 0


@dataclass(slots=True)
class PartitionState:
    """What is known of a partition; `codes` says that its growing.tv is damaged, `codes_lsn` up to where it knows rows.
    Without a manifest nothing is known but that it `is_missing`, which is no guess.
    """

    collection: Collection
    number: int
    folder: Path
    is_missing: bool = False
    manifest: Manifest | None = None
    segments: list[SegmentState] = field(default_factory=list)
    log_damage: Damage | None = None
    codes: bool = False
    codes_lsn: int = 0
    rows: int = 0

    @property
    def log(self) -> Log:
        assert self.manifest is not None
        identity, is_logged = WalIdentity(self.collection.id, self.number), self.collection.is_logged
        stored_lsn = max(self.manifest.durable_lsn, self.codes_lsn) if is_logged else 0
        of = identity, self.manifest.sealed_lsn, stored_lsn, is_logged, self.collection
        return Log(self.folder / "wal", *of)


def check_partition(
    disk: ReadOnlyDisk, data: Path, collection: Collection, number: int, report: Report
) -> PartitionState:
    """Look at every file of a partition. Raises what keeps it from being looked at."""
    check = _PartitionCheck(disk, data, collection, number, report)
    check.run()
    return check.state


class _PartitionCheck:
    def __init__(self, disk: ReadOnlyDisk, data: Path, collection: Collection, number: int, report: Report) -> None:
        self._disk = disk
        self._collection = collection
        self._number = number
        self._folder = partition_folder(data, collection.id, number)
        self._report = report
        self._is_sound = True
        self._garbage_files: set[Path] = set()
        self.state = PartitionState(collection, number, self._folder)

    def run(self) -> None:
        names = self._disk.list_folder(self._folder)
        if self._folder.name not in self._disk.list_folder(self._folder.parent):
            self.state.is_missing = True
            self._damaged(self._folder, "the folder is missing, and with it all rows that it held")
            return
        if not self._read_manifest(names):
            return
        self._find_strangers(names)
        assert self.state.manifest is not None
        for record in self.state.manifest.segments:
            self._check_segment(record)
        self._check_log()
        if self._is_sound and manifests.NAME in names:
            self._check_rows()

    def _note(self, finding: Finding) -> None:
        self._is_sound &= finding.status is not Status.DAMAGED
        self._report(finding)

    def _ok(self, path: Path, text: str) -> None:
        self._note(Finding(Status.OK, path, f"{self._disk.file_bytes(path):,} bytes, {text}"))

    def _damaged(self, path: Path, text: str) -> None:
        self._note(Finding(Status.DAMAGED, path, text))

    def _unknown(self, path: Path, text: str = "nobody knows this file; it is left alone") -> None:
        self._note(Finding(Status.UNKNOWN, path, text))

    def _garbage(self, path: Path, text: str = "no manifest names it; the next start removes it") -> None:
        self._note(Finding(Status.GARBAGE, path, text))

    # --- the partition's own files -------------------------------------------------------------------------

    def _read_manifest(self, names: list[str]) -> bool:
        """Whether there is one that can be read."""
        path = self._folder / manifests.NAME
        if path.name not in names:
            self._damaged(path, "is missing; nothing else of the folder was looked at")
            return False
        try:
            manifest = read_manifest(self._disk, self._folder, self._collection, self._number)
        except errors.RedDBError as error:
            _, reason = damage_of(self._disk, error)
            self._damaged(path, f"{reason}; nothing else of the folder was looked at")
            return False
        sealed = f"{counted(len(manifest.segments), 'segment')}, sealed up to LSN {manifest.sealed_lsn}"
        self._ok(path, f"generation {manifest.generation}, {sealed}")
        self.state.manifest = manifest
        return True

    def _find_strangers(self, names: list[str]) -> None:
        """What no manifest names, and what is no file of ours."""
        assert self.state.manifest is not None
        for name in names:
            if name == f"{manifests.NAME}.tmp":
                self._garbage(self._folder / name, "was never put in place; the next manifest is written over it")
            elif name == code_snapshot.NAME:
                self._check_codes(self._folder / name)
            elif name == f"{code_snapshot.NAME}.tmp":
                self._garbage(self._folder / name, "was never put in place; the next start removes it")
            elif name not in (manifests.NAME, "segments", "wal"):
                self._unknown(self._folder / name)
        for name in self._disk.list_folder(self._folder / "wal"):
            if name.endswith(".wal.tmp"):
                self._garbage(self._folder / "wal" / name, "was never begun; the next start removes it")
            elif not name.endswith(".wal"):
                self._unknown(self._folder / "wal" / name)
        folders, files = find_garbage(self._disk, self._folder, self.state.manifest)
        self._garbage_files = set(files)
        for path in [*folders, *files]:
            self._garbage(path)

    def _check_codes(self, path: Path) -> None:
        """The codes of growing rows: a cache, of which a start uses what belongs to the rows it finds."""
        codec = codec_of(self._collection)
        if codec is None:
            self._unknown(path)
            return
        try:
            found = read_codes(self._disk, self._folder, self._collection, self._number, codec)
        except errors.RedDBError as error:
            self.state.codes = True
            self._damaged(*damage_of(self._disk, error))
            return
        if found is None:
            self._ok(path, "codes of an earlier build, which are made anew")
            return
        moment, segments = found
        if self._collection.is_logged:
            self.state.codes_lsn = moment.lsn
        self._ok(path, f"codes of {counted(sum(item.rows for item in segments), 'row')} at LSN {moment.lsn}")

    def _check_log(self) -> None:
        self.state.log_damage = check_log(self._disk, self.state.log, self._note)

    # --- segments ------------------------------------------------------------------------------------------

    def _check_segment(self, record: SegmentRecord) -> None:
        folder = segment_folder(self._folder, record.id)
        state = SegmentState(record)
        self.state.segments.append(state)
        names = self._disk.list_folder(folder)
        of = self._disk, folder, self._collection, self._number, record.id, record.rows
        rows = counted(record.rows, "row")
        for name in FILES:
            try:
                open_file(*of, name)
            except errors.RedDBError as error:
                state.truth.append(name)
                self._damaged(*damage_of(self._disk, error))
            else:
                self._ok(folder / name, rows)
        self._check_live(state)
        index_names = [name for name in names if self._is_of_index(name, record.index)]
        self._check_index(state, index_names)
        fields = index_file(record.index)
        if fields in names:
            self._check_fields(state, folder / fields)
        known = {*FILES, fields, live_path(folder, record).name if record.dead else "", *index_names}
        for name in names:
            if name not in known and folder / name not in self._garbage_files:
                self._unknown(folder / name)

    @staticmethod
    def _is_of_index(name: str, number: int) -> bool:
        stem, *rest = name.split(".")
        return stem in INDEX_STEMS and rest[:1] == [str(number)]

    def _check_live(self, state: SegmentState) -> None:
        record = state.record
        try:
            live = read_live(self._disk, self._folder, self._collection, self._number, record)
        except errors.RedDBError as error:
            state.live = True
            self._damaged(*damage_of(self._disk, error))
            return
        state.live_rows = int(live.sum())
        if record.dead:
            self._ok(live_path(self._folder, record), f"{state.live_rows:,} of {counted(record.rows, 'row')} live")

    def _check_index(self, state: SegmentState, names: list[str]) -> None:
        """The files of the index: which there must be, only the description says."""
        record, folder = state.record, segment_folder(self._folder, state.record.id)
        of = self._disk, folder, self._collection, self._number, record.id, record.rows
        try:
            index = open_index(*of, record.index, verify=True)
        except errors.RedDBError as error:
            state.index = True
            damaged, reason = damage_of(self._disk, error)
            self._damaged(damaged, reason)
            for name in names:
                if name != damaged.name:
                    self._unknown(folder / name, f"is of no use without {damaged.name}, and was not looked at")
            return
        for name in names:
            self._ok(folder / name, f"{index.description.kind}, {counted(record.rows, 'row')}")

    def _check_fields(self, state: SegmentState, path: Path) -> None:
        record = state.record
        of = self._disk, path.parent, self._collection, self._number, record.id, record.rows
        try:
            indexes = open_field_indexes(*of, record.index)
        except errors.RedDBError as error:
            state.fields = True
            self._damaged(*damage_of(self._disk, error))
        else:
            self._ok(path, f"{counted(len(indexes), 'path')}, {counted(record.rows, 'row')}")

    # --- all rows together ---------------------------------------------------------------------------------

    def _check_rows(self) -> None:
        """Open the partition as its owner would, and look at every row."""
        try:
            partition = Partition.open(self._disk, self._folder, self._collection, self._number, _no_salt)
            try:
                wrong = self._contradiction(partition)
                self.state.rows = partition.memory.snapshot().live_rows
            finally:
                partition.close()
        except errors.RedDBError as error:
            if error.code.kind is not errors.ErrorKind.DATA:
                raise
            wrong = f"its owner would refuse it: {error.message}"
        if wrong is not None:
            self._damaged(self._folder, wrong)

    def _contradiction(self, partition: Partition) -> str | None:
        live_ids: list[list[RowId]] = []
        for segment in partition.segments:
            if isinstance(segment.rows, SealedSegment) and (wrong := segment.rows.contradiction()) is not None:
                return f"segment {segment.id}: {wrong}"
            ids = _live_ids(segment)
            places = partition_of(id_column(ids), self._collection.number("partitions"))
            if (places != self._number).any():
                return (
                    f"segment {segment.id}: id {ids[int(np.argmax(places != self._number))]!r} is of another partition"
                )
            live_ids.append(ids)
        twice = _twice(live_ids)
        if twice:
            return f"id {twice[0]!r} has {twice[1]} rows that live"
        rows = sum(map(len, live_ids))
        counted_rows = partition.memory.snapshot().live_rows
        return None if rows == counted_rows else f"{rows} rows live, but {counted_rows} were counted"


def _live_ids(segment: OwnedSegment) -> list[RowId]:
    rows = np.flatnonzero(segment.tombstones.lsn[: segment.count] == 0)
    return segment.rows.columns.row_ids(rows)


def _twice(lists: list[list[RowId]]) -> tuple[RowId, int] | None:
    """An id that stands more than once in the lists, and how often."""
    keys: NDArray[np.uint64] = np.sort(np.concatenate([np.empty(0, np.uint64), *map(keys_of, lists)]))
    shared = keys[1:][keys[1:] == keys[:-1]]
    if not len(shared):
        return None
    # Two ids may share a key, so the ids themselves decide.
    counts: Counter[RowId] = Counter()
    for ids in lists:
        for place in np.flatnonzero(np.isin(keys_of(ids), shared)).tolist():
            counts[ids[place]] += 1
    ((row_id, count),) = counts.most_common(1)
    return (row_id, count) if count > 1 else None


def _no_salt() -> int:
    raise errors.INTERNAL.error("a check began a log")
