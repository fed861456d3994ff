"""The manifest: which segments there are after any crash, and what is refused when a file of theirs is not right."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import msgpack
import numpy as np
import pytest

from reddb import errors, limits
from reddb.disk import OsDisk
from reddb.settings import resolve
from reddb.storage.checked_file import write_checked
from reddb.storage.manifest import (
    NAME,
    Manifest,
    SegmentRecord,
    begin_partition,
    is_unborn,
    read_live,
    read_manifest,
    remove_garbage,
    write_live,
    write_manifest,
)
from reddb.storage.sealed import identity_of, segment_folder
from reddb.types import Collection, Kind, Metric
from tests.engine.partitions import Opened, collection
from tests.storage.disks import MemoryDisk

FOLDER = Path("/partition")
DOCS = Collection(9, "docs", Kind.VECTOR, 2, Metric.L2, resolve({}, 2))
FIRST = Manifest(1, 10, 3, (SegmentRecord(1, 100), SegmentRecord(2, 7, 3, 2)))
SECOND = FIRST.next(sealed_lsn=2**60, next_segment=5, segments=(SegmentRecord(4, 2**24, 1, 1),))


def read(disk: MemoryDisk) -> Manifest:
    return read_manifest(disk, FOLDER, DOCS, 0)


def write(disk: MemoryDisk, manifest: Manifest) -> None:
    write_manifest(disk, FOLDER, DOCS, 0, manifest)


@pytest.fixture
def disk() -> MemoryDisk:
    made = MemoryDisk()
    made.make_folder(FOLDER)
    return made


def test_a_new_partition_has_an_empty_manifest(disk):
    begin_partition(disk, FOLDER, DOCS, 0, salt=7)
    assert read(disk.power_loss(Random(1))) == Manifest(generation=0, sealed_lsn=0, next_segment=1, segments=())


def test_what_was_written_is_read(disk):
    for manifest in (Manifest(), FIRST, SECOND):
        write(disk, manifest)
        assert read(disk) == manifest
    assert SECOND.generation == 2
    assert disk.list_folder(FOLDER) == [NAME]


def test_the_same_on_the_real_disk(tmp_path):
    for manifest in (FIRST, SECOND):
        write_manifest(OsDisk(), tmp_path, DOCS, 0, manifest)
        assert read_manifest(OsDisk(), tmp_path, DOCS, 0) == manifest


def test_power_lost_at_any_step_leaves_the_old_or_the_new(disk):
    """Each step of writing fails once, and then the power goes."""
    steps = [("open", 0), ("write", 0), ("write", 5), ("write", 60), ("sync", 0), ("rename", 0), ("sync folder", 0)]
    for action, written in steps:
        for seed in range(30):
            disk = MemoryDisk()
            disk.make_folder(FOLDER)
            write(disk, FIRST)
            disk.fail_next(action, errno.EIO, written)
            with pytest.raises(errors.RedDBError, match="DISK_FAILED"):
                write(disk, SECOND)
            found = read(disk.power_loss(Random(seed)))
            assert found == FIRST or (found == SECOND and action == "sync folder"), action


def test_what_was_written_is_there_after_power_loss(disk):
    for seed in range(30):
        write(disk, FIRST)
        write(disk, SECOND)
        disk = disk.power_loss(Random(seed))
        assert read(disk) == SECOND
        write(disk, FIRST)  # what an earlier attempt left behind does not matter


def test_any_damage_is_refused(disk):
    write(disk, FIRST)
    path = FOLDER / NAME
    whole = bytes(disk.content(path))
    refused = 0
    for place in range(len(whole)):
        disk.put(path, whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            assert read(disk) == FIRST
        except errors.RedDBError as error:
            refused += error.code is errors.CORRUPT_DATA and error.detail == {"path": str(path)}
        disk.put(path, whole[:place])
        with pytest.raises(errors.RedDBError, match="CORRUPT_DATA"):
            read(disk)
    assert refused >= len(whole) - 7  # all but what fills the content up to 8 bytes


_SEGMENT = {"id": 1, "rows": 100, "dead": 0, "index": 0}
_PLAIN = {"generation": 1, "sealed_lsn": 10, "next_segment": 3, "segments": [_SEGMENT]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xc1",
        b"\x91" * 5000,
        msgpack.packb([]),
        msgpack.packb({}),
        msgpack.packb({**_PLAIN, "generation": "1"}),
        msgpack.packb({**_PLAIN, "sealed_lsn": -1}),
        msgpack.packb({**_PLAIN, "sealed_lsn": 2**63}),
        msgpack.packb({**_PLAIN, "next_segment": True}),
        msgpack.packb({**_PLAIN, "another": 1}),
        msgpack.packb({**_PLAIN, "segments": 7}),
        msgpack.packb({**_PLAIN, "segments": [None]}),
        msgpack.packb({**_PLAIN, "segments": [{**_SEGMENT, "id": "../../1"}]}),
        msgpack.packb({**_PLAIN, "segments": [{**_SEGMENT, "rows": 1.5}]}),
        msgpack.packb({**_PLAIN, "segments": [_SEGMENT, _SEGMENT]}),
        msgpack.packb({**_PLAIN, "segments": [{**_SEGMENT, "id": 3}]}),
    ],
)
def test_a_manifest_that_is_whole_but_says_what_none_can_is_refused(disk, content):
    """Its checksum is right: somebody made it so."""
    write_checked(disk, FOLDER / NAME, identity_of(DOCS, 0, 0, b"mani", 0), [content])
    with pytest.raises(errors.RedDBError) as caught:
        read(disk)
    assert caught.value.code is errors.CORRUPT_DATA
    assert caught.value.detail == {"path": str(FOLDER / NAME)}


def test_a_manifest_of_an_earlier_build_is_read(disk):
    write_checked(disk, FOLDER / NAME, identity_of(DOCS, 0, 0, b"mani", 0), [msgpack.packb(_PLAIN)])
    assert read(disk) == Manifest(1, 10, 3, (SegmentRecord(1, 100),), durable_lsn=0)


def test_the_manifest_of_another_partition_is_refused(disk):
    write(disk, FIRST)
    with pytest.raises(errors.RedDBError, match="is expected"):
        read_manifest(disk, FOLDER, DOCS, 1)


def test_a_lost_manifest_is_corruption(disk):
    with pytest.raises(errors.RedDBError, match="MANIFEST is missing") as caught:
        read(disk)
    assert caught.value.code is errors.CORRUPT_DATA


@pytest.mark.parametrize("left", ["segments/1/ids", "wal/00000000000000000001.wal", "wal/00000000000000000009.wal"])
def test_a_new_partition_does_not_take_over_files(disk, left):
    disk.put(FOLDER / left, b"x" * 41)
    with pytest.raises(errors.RedDBError, match="holds files, but the collection is new") as caught:
        begin_partition(disk, FOLDER, DOCS, 0, salt=7)
    assert caught.value.code is errors.CORRUPT_DATA


@pytest.mark.parametrize("action", ["write", "sync", "rename", "sync folder", "create"])
def test_a_new_partition_that_could_not_be_begun_is_begun_again(action):
    for seed in range(5):
        disk = MemoryDisk()
        disk.fail_next(action, errno.EIO)
        with pytest.raises(errors.RedDBError, match="DISK_FAILED"):
            begin_partition(disk, FOLDER, DOCS, 0, salt=7)
        found = disk.power_loss(Random(seed)) if seed else disk
        assert is_unborn(found, FOLDER)
        begin_partition(found, FOLDER, DOCS, 0, salt=8)
        assert read(found.power_loss(Random(seed))) == Manifest()


# --- which rows live -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 1000])
def test_which_rows_live_comes_back(disk, rows):
    disk.make_folder(segment_folder(FOLDER, 5))
    live = np.random.default_rng(rows).random(rows) < 0.7
    record = SegmentRecord(5, rows, dead=3)
    write_live(disk, FOLDER, DOCS, 0, record, live)
    for seed in range(5):
        found = read_live(disk.power_loss(Random(seed)), FOLDER, DOCS, 0, record)
        assert found.tolist() == live.tolist()


def test_without_a_file_every_row_lives(disk):
    assert read_live(disk, FOLDER, DOCS, 0, SegmentRecord(5, 3)).tolist() == [True] * 3


def test_a_missing_or_damaged_live_file_is_refused(disk):
    disk.make_folder(segment_folder(FOLDER, 5))
    record = SegmentRecord(5, 9, dead=1)
    path = segment_folder(FOLDER, 5) / "live.1"
    write_live(disk, FOLDER, DOCS, 0, record, np.ones(9, np.bool_))
    disk.content(path)[1] ^= 0x80
    with pytest.raises(errors.RedDBError) as caught:
        read_live(disk, FOLDER, DOCS, 0, record)
    assert (caught.value.code, caught.value.detail) == (errors.CORRUPT_DATA, {"path": str(path)})
    disk.remove_file(path)
    with pytest.raises(errors.RedDBError, match=r"live\.1"):
        read_live(disk, FOLDER, DOCS, 0, record)


# --- garbage -------------------------------------------------------------------------------------------------


def test_garbage_is_what_the_manifest_does_not_name(disk):
    kept = ["vectors.f32", "ids", "payloads", "columns.arrow", "live.3", "index.2", "codes.2.tv", "graph.2.ckpt"]
    gone = ["live.2", "live.4", "live.30", "index.1", "index.3", "codes.1.tv", "graph.1.ckpt", "graph.3.ckpt"]
    for segment in ("1", "2", "7", "20"):
        disk.make_folder(FOLDER / "segments" / segment)
        for name in [*kept, *gone] if segment == "2" else kept:
            disk.put(FOLDER / "segments" / segment / name, b"x")
    disk.put(FOLDER / "wal" / "1.wal", b"x")
    for _ in range(2):
        remove_garbage(disk, FOLDER, FIRST)
        assert disk.list_folder(FOLDER / "segments") == ["1", "2"]
        assert disk.list_folder(FOLDER / "segments" / "2") == sorted(kept)
        # Segment 1 has neither deaths nor an index.
        assert disk.list_folder(FOLDER / "segments" / "1") == sorted(kept[:4])
    assert disk.read_file(FOLDER / "wal" / "1.wal") == b"x"


@pytest.fixture(autouse=True)
def _little_is_reserved(monkeypatch):
    monkeypatch.setattr(limits, "WAL_PREALLOCATE_BYTES", 64)


# --- a publication, cut anywhere -------------------------------------------------------------------------------


def filled(disk: MemoryDisk) -> Opened:
    """A sealed segment with deaths, and growing rows behind it."""
    opened = Opened(collection(dim=2), disk=disk)
    opened.insert(np.arange(50), np.arange(100).reshape(50, 2), [{"n": number} for number in range(50)])
    opened.seal()
    opened.delete(np.arange(0, 50, 7))
    opened.insert(["x", "y"], np.ones((2, 2)))
    opened.upsert([5, "y"], np.full((2, 2), 9.0))
    assert opened.states() == ["sealed", "growing"]
    return opened


def contents(opened: Opened) -> list[object]:
    view = opened.reader.view()
    rows = view.scan(10_000)
    return [view.row_ids(rows), view.vectors(rows).tolist(), view.payloads(rows)]


ACTIONS = ["open", "write", "sync", "sync folder", "rename", "remove", "map", "read"]


class Stopped(errors.RedDBError):
    """What the disk below raises when it shall do no more."""


class Recorder(MemoryDisk):
    """Counts what is done to it; may stop everything at a given step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.stops_at: int | None = None

    def may_fail(self, action: str, path: Path) -> int:
        # A log whose sync failed takes nothing more until it is opened anew, see test_wal_failures.py.
        if action in ACTIONS and (action, path.suffix) != ("sync", ".wal"):
            if self.stops_at is not None and self.steps >= self.stops_at:
                raise Stopped(errors.DISK_FAILED, f"stopped before {action} {path}")
            self.steps += 1
        return super().may_fail(action, path)


def run_until(step: int | None, work: Callable[[Opened], None]) -> tuple[Recorder, list[object], int]:
    """Do the work on a fresh partition until a step of the disk; its disk, what must be there, and the steps."""
    disk = Recorder()
    opened = filled(disk)
    before = contents(opened)
    begun = disk.steps
    disk.stops_at = None if step is None else begun + step
    with suppress(Stopped):
        work(opened)
        assert contents(opened) == before
    disk.stops_at = None
    opened.partition.memory.close()
    return disk, before, disk.steps - begun


@pytest.mark.parametrize("work", [Opened.seal, Opened.compact], ids=["seal", "compact"])
def test_power_lost_at_any_step_of_a_publication_loses_nothing(work):
    """Files, deaths, manifest, removal, cutting the log: whatever was the last to happen."""
    total = run_until(None, work)[2]
    assert total > 15
    for step in range(total + 1):
        disk, before, _ = run_until(step, work)
        again = Opened(collection(dim=2), disk=disk.power_loss(Random(step)))
        assert contents(again) == before, step
        again.compact()
        assert contents(again) == before, step
        again.close()


@pytest.mark.parametrize("work", [Opened.seal, Opened.compact], ids=["seal", "compact"])
def test_a_publication_that_fails_at_any_step_is_done_again(work):
    """The disk fails until an operator has helped; the partition stays open."""
    total = run_until(None, work)[2]
    for step in range(total):
        disk = Recorder()
        opened = filled(disk)
        before = contents(opened)
        disk.stops_at = disk.steps + step
        with pytest.raises(Stopped):
            work(opened)
        disk.stops_at = None
        assert contents(opened) == before, step
        opened.insert(["more"], [[3.0, 3.0]])
        opened.delete(["more"])
        opened.compact()
        assert contents(opened) == before, step
        opened.close()


def test_a_manifest_whose_folder_could_not_be_synced_counts():
    """It may be found after a restart: what it names must stay until another has taken its place."""
    total = run_until(None, Opened.seal)[2]
    stopped: list[str] = []
    for step in range(total):
        disk = Recorder()
        opened = filled(disk)
        before = contents(opened)
        disk.stops_at = disk.steps + step
        with pytest.raises(Stopped) as caught:
            opened.seal()
        if opened.partition.manifest_is_unknown:
            stopped.append(caught.value.message)
            assert opened.settle() == 0  # and there is no other attempt
            opened.partition.memory.close()
            disk.stops_at = None
            opened = Opened(collection(dim=2), disk=disk)
            assert contents(opened) == before
        opened.partition.memory.close()
    assert set(stopped) == {f"stopped before rename {FOLDER / NAME}.tmp", f"stopped before sync folder {FOLDER}"}


@pytest.mark.parametrize("name", ["vectors.f32", "ids", "payloads", "columns.arrow", "live.1"])
@pytest.mark.parametrize("damage", ["missing", "damaged", "cut"])
def test_a_file_that_the_manifest_names_must_be_right(name, damage):
    disk = MemoryDisk()
    opened = filled(disk)
    opened.seal()
    opened.close()
    path = segment_folder(FOLDER, 1) / name
    if damage == "missing":
        disk.remove_file(path)
    elif damage == "cut":
        del disk.content(path)[-1:]
    else:
        disk.content(path)[0] ^= 1
    for _ in range(2):
        with pytest.raises(errors.RedDBError, match=name) as caught:
            Opened(collection(dim=2), disk=disk)
        assert caught.value.code in (errors.CORRUPT_DATA, errors.DISK_FAILED)
        assert caught.value.detail["path"] == str(path)
