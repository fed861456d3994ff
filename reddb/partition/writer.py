"""The single writer of one partition: a synchronous state machine from operations to durable, visible rows.

    prepare(operation)     check it against all that is stored or on its way; it gets a place in the next group
    take_group()           the prepared operations, to be written together
    group.write(wal)       append and sync: the only step that touches the disk, and may run in another thread
    complete(group)        apply to memory, publish, and give the results
    abort(group)           forget it: nothing of it was applied

    encode_step()          a slice of background encoding, when there is nothing better to do
    freeze()               let the open segment be sealed
    publications           change the list of segments beside all this (`reddb.partition.publication`)

A row is applied after its group is on disk, so nothing that a search returned can be lost by a crash. Operations are
checked against `stored ids + operations on their way` (`_coming`), so groups are prepared while one is written.

Recovery is the manifest's segments, and the same `_apply` over the records of the log behind them; what a dead owner
left in memory is compared instead (`reddb.partition.adoption`).

Invariants:
  * LSNs of a group follow one another, and groups complete in the order they were taken.
  * An operation is one WAL record: it is there whole, or not at all; its rows are in one segment.
  * A row that dies is marked in every segment that any core may still read it from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from reddb import errors, limits
from reddb.checks import check_batch, check_count, check_distinct, check_ids
from reddb.disk import Disk
from reddb.index.metrics import inverse_norms
from reddb.partition.adoption import Adoption
from reddb.partition.clock import system_time_us
from reddb.partition.code_snapshot import Moment, codes_if_sound, usable_codes
from reddb.partition.encoder import GrowingEncoder
from reddb.partition.kinds import codec_of, memory_shape
from reddb.partition.operations import Coming, Contents, Group, Operation, Prepared, ids_batch, replayed
from reddb.partition.recovery import Recovery
from reddb.partition.segments import OwnedSegment, Succession, locate, undeleted_ids
from reddb.partition.settled import with_sound_index
from reddb.rows import RowBatch
from reddb.storage.growing import Extent, GrowingSegment, GrowingWriter
from reddb.storage.manifest import Manifest, SegmentRecord, read_live, read_manifest, remove_garbage
from reddb.storage.memory import SLOT_ROWS, Counts, PartitionMemory, Snapshot
from reddb.storage.ranges import TombstoneRanges
from reddb.storage.sealed import SealedSegment, segment_folder
from reddb.storage.wal import Archive, Record, Wal, WalIdentity, keep_no_copy
from reddb.types import Collection, RowId


class Partition:
    """Owns the log, the memory and the list of segments of one partition."""

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        collection: Collection,
        number: int,
        now_us: Callable[[], int],
        memory: PartitionMemory,
    ) -> None:
        """Use `open`."""
        self.now_us = now_us
        self.disk = disk
        self.folder = folder
        self.collection = collection
        self.number = number
        self.memory = memory
        self.wal: Wal
        self.manifest = Manifest()
        self.segments: list[OwnedSegment] = []
        self.succession: Succession | None = None
        self.ranges = TombstoneRanges(self.memory)
        self.growing = GrowingWriter(self.memory, self.ranges, collection.number("seal_rows"))
        self.next_segment = 1
        self.lsn = 0
        self.checkpoint_lsn = 0  # up to which one was written since the start
        self.refused_caches: list[errors.RedDBError] = []
        self.manifest_is_unknown = False  # one was being put in place when the disk failed
        self._live_rows = 0
        self._generation = 0
        self._table_is_stale = True
        self._recovery = Recovery()
        self._adoption: Adoption | None = None
        self._coming = Coming()
        self._open_group: list[Prepared] = []
        self._group_under_way: Group | None = None
        self.encoder = GrowingEncoder(codec_of(collection), collection, self.memory)

    @classmethod
    def open(
        cls,
        disk: Disk,
        folder: Path,
        collection: Collection,
        number: int,
        random_u32: Callable[[], int],
        archive: Archive = keep_no_copy,
        now_us: Callable[[], int] = system_time_us,
        recovery: Recovery | None = None,
        memory: PartitionMemory | None = None,
    ) -> Partition:
        """Recover the partition, which `begin_partition` has made. Raises CORRUPT_DATA, OUT_OF_MEMORY or a disk error.

        `archive` gets each file of the log before it goes, `now_us` says when its records were written and which rows
        have expired, `recovery` is told how far this has come. `memory` is of an owner that died: raises Differs then.
        """
        is_left, of = memory is not None, (disk, folder, collection, number)
        partition = cls(*of, now_us, memory or PartitionMemory.create(memory_shape(collection)))
        partition._recovery = recovery or Recovery()
        partition._recovery.bytes_total = disk.folder_bytes(folder / "wal")
        with ExitStack() as undo:
            undo.callback(partition.memory.close)
            partition._open_segments(is_left=is_left)
            found, refused = codes_if_sound(*of, codec_of(collection))
            stored_lsn = max(partition.manifest.durable_lsn, found[0].lsn if found else 0)
            partition.refused_caches += [refused] if refused else []
            partition.growing.begin_recovery()
            partition.wal = Wal.open(
                *(disk, folder / "wal", WalIdentity(collection.id, number), partition._replay, random_u32),
                *(partition.manifest.sealed_lsn, archive, now_us),
                is_written=collection.is_logged,
                stored_lsn=stored_lsn if collection.is_logged else 0,
            )
            undo.callback(partition.wal.close)
            partition.lsn = partition.wal.next_lsn - 1
            partition._conclude_adoption(partition.lsn)
            codes = usable_codes(disk, folder, found, partition.moment)
            if not is_left:  # else better ones are there
                partition.encoder.restore(partition.growing_segments, codes)
            undo.pop_all()
        partition.growing.end_recovery()
        partition.publish()
        return partition

    @property
    def moment(self) -> Moment:
        """What codes that are kept now belong to."""
        metric, bits = str(self.collection.metric), self.collection.number("bits")
        return Moment(self.lsn, self.manifest.sealed_lsn, metric, bits)

    @property
    def growing_segments(self) -> list[tuple[int, int]]:
        """Id and rows of each, in order."""
        return [(segment.id, segment.count) for segment in self.segments if segment.record is None]

    @property
    def is_quiet(self) -> bool:
        """Whether no operation is on its way."""
        return not self._open_group and self._group_under_way is None

    @property
    def has_growing_rows(self) -> bool:
        """Whether the open segment could be frozen."""
        return bool(self.segments) and self.segments[-1].record is None and not self.segments[-1].last_lsn

    # --- writes --------------------------------------------------------------------------------------------

    def prepare(self, operation: Operation, batch: RowBatch, *, is_new: bool = True, sound: object = None) -> Prepared:
        """Check the operation and give it a place in the next group. Raises an error that names the wrong row.

        Rows that are not new are stored ones that were changed (`reddb.checks`). `sound` is the collection for which
        the batch was checked already.

        A delete takes a batch with dim 0; ids that are not there, or have expired, are left out of it. An insert in
        the place of expired rows is logged as the upsert that it is, for they are still there.
        """
        assert operation is not Operation.TRANSACTION, "it is more than one batch"
        if operation is Operation.DELETE:
            check_count(batch)
            check_ids(batch.ids)
            undeleted = self._undeleted(list(dict.fromkeys(batch.id_list())))
            return self.prepare_deletion([row_id for row_id, is_there in undeleted.items() if is_there])
        self._check_room()
        batch = batch if sound is self.collection else check_batch(self.collection, batch, is_new=is_new)
        ids = batch.id_list()
        check_distinct(ids)
        if operation is Operation.INSERT and self._check_absent(ids):
            operation = Operation.UPSERT
        slot = self.growing.reserve(Extent.of(batch)) if ids else -1
        return self._take_up(Prepared(operation, batch, ids, len(ids), slot))

    def prepare_deletion(self, ids: list[RowId]) -> Prepared:
        """Give the deletion of rows that are there, expired or not, a place in the next group."""
        return self._take_up(Prepared(Operation.DELETE, ids_batch(ids), ids, len(ids), -1))

    def prepare_transaction(self, deleted: list[RowId], batch: RowBatch, result: int) -> Prepared:
        """The same for what a transaction comes to: ids of rows that are there, and distinct rows to upsert."""
        self._check_room()
        batch = check_batch(self.collection, batch, is_new=False)  # each statement's rows were checked as they came
        slot = self.growing.reserve(Extent.of(batch)) if len(batch) else -1
        ids = deleted + batch.id_list()
        return self._take_up(Prepared(Operation.TRANSACTION, batch, ids, result, slot, len(deleted)))

    def take_group(self) -> Group | None:
        """The prepared operations since the last call, or None. One group at a time is under way."""
        if not self._open_group or self._group_under_way is not None:
            return None
        durability = str(self.collection.settings["durability"])
        self._group_under_way = Group(self.wal.next_lsn, durability, self._open_group)
        self._open_group = []
        return self._group_under_way

    def complete(self, group: Group) -> None:
        """The group is on disk: apply it and let every reader see it."""
        self._group_under_way = None
        for position, prepared in enumerate(group.operations):
            self._apply(group.first_lsn + position, prepared.contents, prepared.slot)
        self._coming.forget(group.operations)
        self.lsn = group.first_lsn + len(group.operations) - 1
        self.publish()

    def abort(self, group: Group) -> list[Prepared]:
        """The group could not be written. Returns it and all that was checked against it: none has happened."""
        self._group_under_way = None
        dropped = group.operations + self._open_group
        self._open_group = []
        self._coming.forget(dropped)
        self.growing.take_back()
        return dropped

    # --- in the background ---------------------------------------------------------------------------------

    def encode_step(self) -> bool:
        """Encode a slice of the published rows; False when all are done."""
        return self.encoder.step(self.growing_segments)

    def check_manifest(self) -> None:
        """Raises DISK_FAILED where nobody knows which manifest a restart will find: no file may be removed then."""
        if self.manifest_is_unknown:
            raise errors.DISK_FAILED.error(
                "a manifest could not be synced: segments are settled no more until a restart"
            )

    def freeze(self) -> bool:
        """Let the open segment be sealed, if it has rows; False while operations are on their way into it."""
        if not self.is_quiet:
            self.growing.freeze()  # what comes from now on goes to the next one
            return False
        self.growing.freeze()
        if self.has_growing_rows:
            self.segments[-1].last_lsn = self.lsn
        return True

    def publish(self) -> None:
        """Let every reader see what was applied."""
        if self._table_is_stale:
            self._generation += 1
            self.memory.write_table(self._generation, [segment.entry for segment in self.segments])
            self._table_is_stale = False
        counts = Counts(self.wal.bytes, self.manifest.sealed_lsn, self.checkpoint_lsn, len(self.refused_caches))
        self.memory.write_counts(counts)
        last_rows = self.segments[-1].count if self.segments else 0
        self.memory.publish(Snapshot(self.lsn, self._live_rows, last_rows, self._generation, len(self.segments)))

    def note_checkpoint(self, lsn: int) -> None:
        """One that reaches up to this LSN is on disk."""
        self.checkpoint_lsn = lsn
        self.publish()

    def replace_segments(self, old: Sequence[OwnedSegment], new: list[OwnedSegment]) -> int:
        """Put a segment, or none, in the place of neighbours and publish; gives the generation that shows it."""
        place = self.segments.index(old[0])
        assert self.segments[place : place + len(old)] == list(old)
        self.segments[place : place + len(old)] = new
        self._table_is_stale = True
        self.publish()
        return self._generation

    def add_sealed(self, record: SegmentRecord, rows: SealedSegment) -> OwnedSegment:
        """A segment over sealed rows with memory for its tombstones; it is not in the list yet."""
        at = self.ranges.take(record.rows)
        try:
            self.memory.reserve_tombstones(at, 0, record.rows + 1)
        except BaseException:
            self.ranges.give_back(at, record.rows)
            raise
        return OwnedSegment(record.id, rows, self.memory.tombstones(at, record.rows), at, record.rows, record=record)

    def change_collection(self, collection: Collection) -> None:
        """New settings hold from now on."""
        self.collection = collection
        self.growing.seal_rows = collection.number("seal_rows")

    def take_segment_id(self) -> int:
        self.next_segment += 1
        return self.next_segment - 1

    def sync(self) -> None:
        """Return when all that was acknowledged is on the device, as far as it is logged. Raises DISK_FAILED."""
        if self.collection.is_logged:
            self.wal.sync()

    def close(self) -> None:
        """Close the log; the caller has completed every group, and synced it."""
        assert self.is_quiet
        self.wal.close()
        self.memory.close()

    # -------------------------------------------------------------------------------------------------------

    def _open_segments(self, *, is_left: bool) -> None:
        self.manifest = read_manifest(self.disk, self.folder, self.collection, self.number)
        self.next_segment = self.manifest.next_segment
        if is_left:
            adoption = self._adoption = Adoption(self.memory, self.manifest, self.collection.metric)
            self._generation, self.next_segment = adoption.generation, max(self.next_segment, adoption.next_segment)
        remove_garbage(self.disk, self.folder, self.manifest)
        for record in self._recovery.each(self.manifest.segments):
            folder = segment_folder(self.folder, record.id)
            rows = SealedSegment(self.disk, folder, self.collection, self.number, record.id, record.rows, verify=True)
            live = read_live(self.disk, self.folder, self.collection, self.number, record)
            record, refused = with_sound_index(self.disk, folder, self.collection, self.number, record)
            self.refused_caches += [] if refused is None else [refused]
            if self._adoption is not None:
                self.segments.append(self._adoption.adopt_sealed(record, rows, live))
                continue
            segment = self.add_sealed(record, rows)
            segment.live_file_dead = segment.tombstones.mark(np.flatnonzero(~live), max(self.manifest.sealed_lsn, 1))
            self._live_rows += record.rows - segment.live_file_dead
            self.segments.append(segment)
        if self._adoption is not None:
            self.segments += self._adoption.adopt_growing(self.growing)

    def _conclude_adoption(self, last_lsn: int) -> None:
        adoption, self._adoption = self._adoption, None
        if adoption is not None:
            self._live_rows = adoption.conclude(last_lsn, self.growing, self.ranges, self.encoder)

    def _take_up(self, prepared: Prepared) -> Prepared:
        if prepared.ids:
            self._open_group.append(prepared)
            self._coming.add(prepared)
        return prepared

    def _undeleted(self, ids: list[RowId]) -> dict[RowId, bool]:
        """The distinct ids that will have a row once all that is on its way is applied; False where it has expired."""
        now_us = self.now_us()
        return self._coming.applied(ids, undeleted_ids(self.segments, ids, now_us), now_us)

    def _check_room(self) -> None:
        """Whatever is on its way may begin a segment for each slot, and all of them must have a place in the table."""
        if len(self.segments) > limits.SEGMENTS_MAX - limits.GROWING_SEGMENTS_MAX:
            raise errors.TOO_MANY_ROWS.error(
                f"{self.collection.name!r} has {len(self.segments)} segments, which wait to be merged or may not be",
                hint=f"ALTER COLLECTION {self.collection.name} SET (segment_rows_max = …) lets larger ones be made",
            )

    def _check_absent(self, ids: list[RowId]) -> bool:
        """Whether any of the ids has a row that has expired. Raises DUPLICATE_ID for one that has not."""
        undeleted = self._undeleted(ids)
        existing = next((row_id for row_id, is_there in undeleted.items() if is_there), None)
        if existing is not None:
            row, name = ids.index(existing), self.collection.name
            raise errors.DUPLICATE_ID.error(f"row {row}: id {existing!r} exists already in {name!r}", row=row)
        return bool(undeleted)

    def _replay(self, record: Record) -> None:
        contents = replayed(record, self.collection)
        self._recovery.replayed(len(record.body))
        if self._adoption is not None and record.lsn <= self._adoption.lsn:
            self._adoption.confirm(record.lsn, contents, self.growing)
            return
        self._conclude_adoption(record.lsn)
        slot = self.growing.reserve(Extent.of(contents.written)) if len(contents.written) else -1
        self._apply(record.lsn, contents, slot)

    def _apply(self, lsn: int, contents: Contents, slot: int) -> None:
        for segment, _, rows in list(locate(self.segments, ended)) if (ended := contents.ended) else []:
            self._live_rows -= segment.tombstones.mark(rows, lsn)
            if self.succession is not None:
                self.succession.mirror(segment, rows, lsn)
        batch = contents.written
        if len(batch):
            segment = self._segment_in(slot, lsn)
            _, segment.count = self.growing.append(slot, batch, inverse_norms(batch.vectors, self.collection.metric))
            self._live_rows += len(batch)
            if segment.count >= self.growing.seal_rows:  # whatever is on its way was planned for the next one
                segment.last_lsn = lsn

    def _segment_in(self, slot: int, lsn: int) -> OwnedSegment:
        """The growing segment of a slot. The first row of a new one freezes the one before."""
        last = self.segments[-1] if self.segments else None
        if last is not None and last.record is None:
            assert isinstance(last.rows, GrowingSegment)
            if last.rows.slot == slot:
                return last
            last.last_lsn = last.last_lsn or lsn - 1
        at = self.growing.tombstones_at(slot)
        tombstones = self.memory.tombstones(at, SLOT_ROWS)
        self.segments.append(OwnedSegment(self.take_segment_id(), GrowingSegment(self.memory, slot), tombstones, at, 0))
        self.encoder.begin(self.segments[-1].id, slot)
        self._table_is_stale = True
        return self.segments[-1]
