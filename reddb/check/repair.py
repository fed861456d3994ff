"""`reddb check --repair`: what is done about each kind of damage, so that the rest can be opened again.

    damaged                      what is done                                              what is lost
    ---------------------------  --------------------------------------------------------  ---------------------------
    index.*, codes.*, graph.*,   moved aside; the manifest names no index, so that a        nothing; it is built anew
    lists.*                      builder makes one
    fields.*                     moved aside; conditions scan the columns                  nothing
    columns.arrow                moved aside, and made anew from `payloads`                nothing
    vectors.f32, ids, payloads   the segment is moved aside and taken from the manifest    its rows
    live.*                       moved aside; every row of the segment lives again but     deletes
                                 those whose id has another row
    the log                      copied aside, then cut where the chain breaks; files      the records behind it
                                 behind that are moved aside: the partition is as it was
                                 at the LSN before. Where the chain can be joined again,
                                 the file begins anew there                                nothing
    all of the log is missing    begun empty behind what is sealed                         what it held
    the log lacks its end, as    the same; growing.tv is moved aside, and the manifest     what was behind its end
    growing.tv or MANIFEST say   expects no more than there is
    a partition's folder         begun empty                                               its rows, if it had any
    VERSION                      written anew, if the catalog can be read                  nothing
    MANIFEST, catalog.sqlite     left alone: only a backup knows                           -

Invariants:
  * Nothing is removed: what is replaced or cut lies in `damaged/<time>/` before, synced.
  * The manifest is put in place last, so a repair that is cut short leaves damage that another one repairs; the one
    it replaces is kept too.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reddb import errors
from reddb.check.aside import Aside
from reddb.check.data_folder import FolderState
from reddb.check.findings import Finding, Report, Status, unread
from reddb.check.log import check_log
from reddb.check.log_repair import LostRecords, last_lsn, repair_log
from reddb.check.partition import INDEX_STEMS, PartitionState, SegmentState
from reddb.check.read_only import ReadOnlyDisk
from reddb.disk import Disk
from reddb.partition import code_snapshot
from reddb.partition.operations import Contents, contents_of
from reddb.partition.segments import undeleted_ids
from reddb.partition.writer import Partition
from reddb.storage.field_index import index_file
from reddb.storage.folder import write_version
from reddb.storage.manifest import (
    NAME,
    Manifest,
    SegmentRecord,
    begin_partition,
    live_path,
    read_live,
    write_live,
    write_manifest,
)
from reddb.storage.sealed import FILTERS, SealedSegment, rebuild_filters, segment_folder
from reddb.storage.wal_file import Record
from reddb.types import RowId
from reddb.wording import counted


def repair_folder(disk: Disk, data: Path, state: FolderState, now: datetime, report: Report) -> None:
    """Do what can be done about everything that a check found, a line for each step. Raises a disk error."""
    aside = Aside(disk, data, now)
    if state.catalog_is_damaged:
        text = "left as it is: what collections there are, and their settings, only a backup knows"
        report(Finding(Status.REPAIR, data / "catalog.sqlite", text))
        return
    if state.lacks_version:
        write_version(disk, data)
        report(Finding(Status.REPAIR, data / "VERSION", "written anew: the catalog has the format of this build"))
    for partition in state.partitions:
        _PartitionRepair(disk, partition, aside, report).run()


class _PartitionRepair:
    def __init__(self, disk: Disk, state: PartitionState, aside: Aside, report: Report) -> None:
        self._disk = disk
        self._state = state
        self._aside = aside
        self._report = report

    def run(self) -> None:
        state = self._state
        if state.is_missing:
            begin_partition(self._disk, state.folder, state.collection, state.number, secrets.randbits(32))
            self._say(state.folder, "begun empty; what it held is lost, unless there is a backup")
            return
        if state.manifest is None:
            text = "left as it is: which files belong to the partition only it knows; restore a backup"
            self._say(state.folder / NAME, text)
            return
        lost, durable_lsn = LostRecords(), state.manifest.durable_lsn
        if state.log_damage is not None:
            salt = secrets.randbits(32)
            lost = repair_log(self._disk, state.log, state.log_damage, self._aside, self._report, salt)
            durable_lsn = min(durable_lsn, last_lsn(self._disk, state.log))
        if state.codes or (state.codes_lsn and state.log_damage is not None):
            path = state.folder / code_snapshot.NAME
            self._say(path, f"{self._aside.move(path)}; codes are made anew, nothing is lost by that")
        repaired = replace(state.manifest, segments=self._repair_segments(state.manifest), durable_lsn=durable_lsn)
        if repaired != state.manifest:
            kept = self._aside.copy(state.folder / NAME)
            write_manifest(self._disk, state.folder, state.collection, state.number, repaired.next())
            text = f"generation {repaired.generation + 1} names what is left; {kept} of the one before"
            self._say(state.folder / NAME, text)
        if lost.last_lsn:
            self._say(state.folder, self._loss(lost))

    def _loss(self, lost: LostRecords) -> str:
        """What the rows are now, and how they differ from what they were."""
        state, ids = self._state, [*lost.written, *lost.deleted]
        of = ReadOnlyDisk(self._disk), state.folder, state.collection, state.number
        partition = Partition.open(*of, lambda: secrets.randbits(32))
        try:
            there = undeleted_ids(partition.segments, ids, 0).keys()
        finally:
            partition.close()
        gone, older, back = lost.written - there, lost.written & there, lost.deleted & there
        text = (
            f"is as it was at LSN {lost.first_lsn - 1}; without LSN {lost.first_lsn} to {lost.last_lsn}, "
            f"{counted(len(gone), 'row')} lost, {counted(len(older), 'row')} in an older version, "
            f"{counted(len(back), 'deleted row')} back"
        )
        return text + (f"; {counted(lost.unread, 'record')} could not be read and counted" if lost.unread else "")

    def _say(self, path: Path, text: str) -> None:
        self._report(Finding(Status.REPAIR, path, text))

    def _repair_segments(self, manifest: Manifest) -> tuple[SegmentRecord, ...]:
        """The segments as the next manifest is to name them."""
        for segment in self._state.segments:
            if segment.truth == [FILTERS]:
                self._make_filters(segment)
            elif segment.truth:
                self._move_segment(segment)
        kept = [segment for segment in self._state.segments if not segment.truth]
        for segment in kept:
            if segment.index:
                self._move_index(segment)
            elif segment.fields:
                path = segment_folder(self._state.folder, segment.record.id) / index_file(segment.record.index)
                self._say(path, f"{self._aside.move(path)}; conditions scan the columns until an index is built anew")
        # The newest first: a row of it wins over older ones of the same id.
        for segment in [segment for segment in reversed(kept) if segment.live]:
            self._make_live(segment, kept)
        return tuple(segment.record for segment in kept)

    def _move_segment(self, segment: SegmentState) -> None:
        path = segment_folder(self._state.folder, segment.record.id)
        live_rows = self._count_live(segment)
        if live_rows is None:
            rows = segment.record.rows if segment.live else segment.live_rows
            lost = f"up to {counted(rows, 'row')} are"
        else:
            lost = f"{counted(live_rows, 'row')} {'is' if live_rows == 1 else 'are'}"
        self._say(path, f"{self._aside.move(path)}; {lost} lost, for {', '.join(segment.truth)} cannot be read")

    def _count_live(self, segment: SegmentState) -> int | None:
        """Rows that neither the segment's file nor the log ended; None if that cannot be read."""
        if segment.live or "ids" in segment.truth:
            return None
        state = self._state
        try:
            live = read_live(self._disk, state.folder, state.collection, state.number, segment.record)
            ids = self._rows_of(segment).columns.row_ids(np.flatnonzero(live))
        except errors.RedDBError:  # which the check has told
            return None
        return len(set(ids) - self._in_log(lambda contents: contents.ended))

    def _make_filters(self, segment: SegmentState) -> None:
        folder = segment_folder(self._state.folder, segment.record.id)
        moved = self._aside.move(folder / FILTERS)
        of = self._state.collection, self._state.number, segment.record.id, segment.record.rows
        rebuild_filters(self._disk, folder, *of)
        segment.truth.clear()
        self._say(folder / FILTERS, f"{moved}; made anew from the payloads, nothing is lost")

    def _move_index(self, segment: SegmentState) -> None:
        folder, number = segment_folder(self._state.folder, segment.record.id), segment.record.index
        wanted = {f"{stem}.{number}" for stem in (*INDEX_STEMS, "fields")}
        for name in self._disk.list_folder(folder):
            if ".".join(name.split(".")[:2]) in wanted:
                self._say(folder / name, f"{self._aside.move(folder / name)}; it is built anew, nothing is lost")
        segment.record = replace(segment.record, index=0)

    # --- which rows live -----------------------------------------------------------------------------------

    def _make_live(self, segment: SegmentState, kept: list[SegmentState]) -> None:
        state, record = self._state, segment.record
        path = live_path(state.folder, record)
        moved = self._aside.move(path)
        live = self._living(segment, kept)
        segment.record = replace(record, dead=record.dead + 1)
        write_live(self._disk, state.folder, state.collection, state.number, segment.record, live)
        segment.live = False
        self._say(
            path,
            f"{moved}; which rows were deleted is lost: {live.sum():,} of {counted(record.rows, 'row')} live now, "
            "deleted ones among them; the others stay dead, for a newer row has their id",
        )

    def _living(self, segment: SegmentState, kept: list[SegmentState]) -> NDArray[np.bool_]:
        """The rows (rows,) that no other row with the same id outlived, as far as one can know."""
        rows = self._rows_of(segment)
        numbers = np.arange(rows.rows)
        ids = rows.columns.row_ids(numbers)
        live: NDArray[np.bool_] = rows.find(ids, rows.rows) == numbers  # the newest of an id within the segment
        for other in kept:
            if other is not segment and not other.live:
                of = self._disk, self._state.folder, self._state.collection, self._state.number, other.record
                found = self._rows_of(other).find(ids, other.record.rows)
                live &= (found < 0) | ~read_live(*of)[found]
        # An id had no row when it was inserted, and an insert makes none dead.
        inserted = self._in_log(lambda contents: [] if contents.replaces else contents.written.id_list())
        return live & np.fromiter((row_id not in inserted for row_id in ids), np.bool_, len(ids))

    def _rows_of(self, segment: SegmentState) -> SealedSegment:
        folder = segment_folder(self._state.folder, segment.record.id)
        of = self._state.collection, self._state.number, segment.record.id, segment.record.rows
        return SealedSegment(self._disk, folder, *of, verify=False)

    def _in_log(self, chosen: Callable[[Contents], list[RowId]]) -> set[RowId]:
        """Ids of the records behind what is sealed."""
        ids: set[RowId] = set()

        def replay(record: Record) -> None:
            if record.lsn > self._state.log.sealed_lsn:
                ids.update(chosen(contents_of(record)))

        check_log(ReadOnlyDisk(self._disk), replace(self._state.log, stored_lsn=0), unread, replay)
        return ids
