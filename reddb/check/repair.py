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
                                 behind that are moved aside. Where the chain can be
                                 joined again, the file begins anew there                  nothing
    all of the log is missing    begun empty behind what is sealed                         what it held
    the log lacks its end, as    copied aside and left; growing.tv is moved aside          what was behind its end
    growing.tv proves
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
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reddb.check.aside import Aside
from reddb.check.data_folder import FolderState
from reddb.check.findings import Finding, Report, Status, unread
from reddb.check.log import check_log
from reddb.check.log_repair import repair_log
from reddb.check.partition import INDEX_STEMS, PartitionState, SegmentState
from reddb.check.read_only import ReadOnlyDisk
from reddb.disk import Disk
from reddb.partition import code_snapshot
from reddb.partition.operations import Operation
from reddb.rows import RowBatch
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
from reddb.storage.wal_file import Record, log_files
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
        if state.log_damage is not None:
            repair_log(self._disk, state.log, state.log_damage, self._aside, self._report, secrets.randbits(32))
        if state.log_end is not None:
            for name in log_files(self._disk, state.log.folder, state.log.sealed_lsn)[1][-1:]:
                kept = self._aside.copy(state.log.folder / name)
                self._say(state.log.folder / name, f"lost are LSN {state.log_end + 1} to {state.codes_lsn}; {kept}")
        log_was_changed = state.log_damage is not None or state.log_end is not None
        if state.codes or (state.codes_lsn and log_was_changed):
            path = state.folder / code_snapshot.NAME
            self._say(path, f"{self._aside.move(path)}; codes are made anew, nothing is lost by that")
        records = self._repair_segments(state.manifest)
        if records != state.manifest.segments:
            kept = self._aside.copy(state.folder / NAME)
            manifest = state.manifest.next(segments=records)
            write_manifest(self._disk, state.folder, state.collection, state.number, manifest)
            self._say(
                state.folder / NAME, f"generation {manifest.generation} names what is left; {kept} of the one before"
            )

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
        rows = counted(segment.record.rows if segment.live else segment.live_rows, "row")
        lost = f"up to {rows} are" if segment.live else f"{rows} {'is' if segment.live_rows == 1 else 'are'}"
        self._say(path, f"{self._aside.move(path)}; {lost} lost, for {', '.join(segment.truth)} cannot be read")

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
        inserted = self._inserted()
        return live & np.fromiter((row_id not in inserted for row_id in ids), np.bool_, len(ids))

    def _rows_of(self, segment: SegmentState) -> SealedSegment:
        folder = segment_folder(self._state.folder, segment.record.id)
        of = self._state.collection, self._state.number, segment.record.id, segment.record.rows
        return SealedSegment(self._disk, folder, *of, verify=False)

    def _inserted(self) -> set[RowId]:
        """Ids that the log inserts: they had no row then, and an insert makes none dead."""
        ids: set[RowId] = set()

        def replay(record: Record) -> None:
            if record.lsn > self._state.log.sealed_lsn and record.operation == Operation.INSERT:
                ids.update(RowBatch.decode(record.body).id_list())

        check_log(ReadOnlyDisk(self._disk), self._state.log, unread, replay)
        return ids
