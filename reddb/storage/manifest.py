"""Which segments of a partition are sealed, in one small file that is replaced whole.

    MANIFEST    a checked file (`storage/checked_file.py`, "mani") of one MessagePack map:
                generation, sealed_lsn, durable_lsn, next_segment, segments: [{id, rows, dead, index}, …] in order

    durable_lsn the log was synced up to here when the manifest was written, so a log that ends before has lost records;
                0 where that was not noted, as in folders of earlier builds and where nobody writes a log
    dead        number of the segment's `live.<n>` file, 0 while none of its rows is dead
    index       number of the segment's index files (`index.<n>`, `codes.<n>.tv`, `graph.<n>.ckpt`, `lists.<n>.ivf`,
                `fields.<n>`); 0 for none but the last

The segments with their `live` files are the rows at `sealed_lsn`, exactly; the log is needed from there on. So wherever
the log is cut, what is left is a state that was: a row that ended behind `sealed_lsn` still lives in the files, and
comes back if the record that ended it is lost. (Folders of earlier builds may have later deaths in their files.)

A manifest is also written at an orderly stop, for `durable_lsn` alone: damage to the last record is then told from a
write that was cut short. It says what was, and a log only grows, so nothing has to be taken back before the next write.

    live.<n>    a checked file ("live"): bit r is 1 where row r lived, in the order of `numpy.packbits`

Invariants:
  * A file that the manifest names was synced before the manifest was written; what it does not name is garbage.
  * The log is cut only after the manifest that makes it superfluous is on disk.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from reddb import errors
from reddb.described import NotDescribed, from_msgpack, list_of, map_of, record_of
from reddb.disk import Disk
from reddb.storage.checked_file import FileIdentity, open_checked, write_checked
from reddb.storage.sealed import identity_of, segment_folder
from reddb.storage.wal import begin_log
from reddb.storage.wal_file import WalIdentity, is_unwritten
from reddb.types import Collection

NAME = "MANIFEST"
_STAGED = f"{NAME}.tmp"
_CONTENT, _LIVE_CONTENT = b"mani", b"live"


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """One sealed segment."""

    id: int
    rows: int
    dead: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """The sealed segments of a partition, in order."""

    generation: int = 0
    sealed_lsn: int = 0
    next_segment: int = 1
    segments: tuple[SegmentRecord, ...] = ()
    durable_lsn: int = 0

    def next(self, **changes: Any) -> Manifest:
        return replace(self, generation=self.generation + 1, **changes)


def begin_partition(disk: Disk, folder: Path, collection: Collection, partition: int, salt: int) -> None:
    """Make the folder of a new partition and its log, durably: what is missing later is missed. Raises a disk error.

    Raises CORRUPT_DATA where there are files of another one.
    """
    if not is_unborn(disk, folder):
        raise errors.CORRUPT_DATA.error(f"{folder} holds files, but the collection is new", path=str(folder))
    disk.make_folder(folder)
    if collection.is_logged:
        begin_log(disk, folder / "wal", WalIdentity(collection.id, partition), salt)
    write_manifest(disk, folder, collection, partition, Manifest())


def is_unborn(disk: Disk, folder: Path) -> bool:
    """Whether a partition's folder, if there is one, never held a row."""
    return {NAME, _STAGED, "wal"}.issuperset(disk.list_folder(folder)) and is_unwritten(disk, folder / "wal")


def read_manifest(disk: Disk, folder: Path, collection: Collection, partition: int) -> Manifest:
    """The newest manifest.

    The folder is synced: after a kill the name may point at this manifest in the page cache only, and what it does not
    name will be removed.

    Raises CORRUPT_DATA or UNSUPPORTED_FORMAT.
    """
    if NAME not in disk.list_folder(folder):
        raise errors.CORRUPT_DATA.error(f"{folder / NAME} is missing", path=str(folder / NAME))
    content = open_checked(disk, folder / NAME, _identity(collection, partition), verify=True)
    disk.sync_folder(folder)
    try:
        return _manifest(from_msgpack(content))
    except NotDescribed as error:
        raise errors.CORRUPT_DATA.error(f"{folder / NAME} {error}", path=str(folder / NAME)) from error


def _manifest(plain: Any) -> Manifest:
    """Of what a file says, whoever wrote it: numbers of segments become names of folders."""
    plain = map_of(plain, "segments")
    segments = tuple(record_of(SegmentRecord, item) for item in list_of(plain["segments"]))
    manifest = record_of(Manifest, {"durable_lsn": 0, **plain}, segments=segments)
    ids = [record.id for record in segments]
    if len(set(ids)) < len(ids) or not all(0 < item < manifest.next_segment for item in ids):
        raise NotDescribed(f"names the segments {ids}, and {manifest.next_segment} as the next one")
    return manifest


def write_manifest(disk: Disk, folder: Path, collection: Collection, partition: int, manifest: Manifest) -> None:
    """Put it in place of the one before, whole or not at all. Raises DISK_FULL or DISK_FAILED."""
    stage_manifest(disk, folder, collection, partition, manifest)
    put_manifest(disk, folder)


def stage_manifest(disk: Disk, folder: Path, collection: Collection, partition: int, manifest: Manifest) -> None:
    """Write it beside the one that counts. Raises DISK_FULL or DISK_FAILED: nothing has changed."""
    content = [msgpack.packb(asdict(manifest))]
    write_checked(disk, folder / _STAGED, _identity(collection, partition), content)


def put_manifest(disk: Disk, folder: Path) -> None:
    """Let the staged one count. Raises TOO_MANY_FILES: nothing has changed; a disk error: nobody knows which counts."""
    disk.rename(folder / _STAGED, folder / NAME)


def live_path(folder: Path, record: SegmentRecord) -> Path:
    """The file that says which rows of the segment live, if any is dead."""
    return segment_folder(folder, record.id) / f"live.{record.dead}"


def write_live(
    disk: Disk, folder: Path, collection: Collection, partition: int, record: SegmentRecord, live: NDArray[np.bool_]
) -> None:
    """Write which rows of a segment live, as the file that the record numbers."""
    identity = identity_of(collection, partition, record.id, _LIVE_CONTENT, record.rows)
    path = live_path(folder, record)
    write_checked(disk, path, identity, [np.packbits(live)])
    disk.sync_folder(path.parent)


def read_live(
    disk: Disk, folder: Path, collection: Collection, partition: int, record: SegmentRecord
) -> NDArray[np.bool_]:
    """Which rows of a segment live: (rows,). Raises CORRUPT_DATA."""
    if not record.dead:
        return np.ones(record.rows, np.bool_)
    identity = identity_of(collection, partition, record.id, _LIVE_CONTENT, record.rows)
    path = live_path(folder, record)
    bits = np.frombuffer(open_checked(disk, path, identity, verify=True), np.uint8)
    return np.unpackbits(bits, count=record.rows).astype(np.bool_)


def remove_garbage(disk: Disk, folder: Path, manifest: Manifest) -> None:
    """Remove the files of segments that no manifest names any more, or never came to name."""
    folders, files = find_garbage(disk, folder, manifest)
    for path in folders:
        disk.remove_tree(path)
    for path in files:
        disk.remove_file(path)


def find_garbage(disk: Disk, folder: Path, manifest: Manifest) -> tuple[list[Path], list[Path]]:
    """The folders and the files of segments that the manifest does not name."""
    wanted = {str(record.id): record for record in manifest.segments}
    folders: list[Path] = []
    files: list[Path] = []
    for name in disk.list_folder(folder / "segments"):
        path = folder / "segments" / name
        if name not in wanted:
            folders.append(path)
            continue
        record = wanted[name]
        for file in disk.list_folder(path):
            stem, _, number = file.partition(".")
            kept = {"live": record.dead, **dict.fromkeys(("index", "codes", "graph", "lists", "fields"), record.index)}
            if stem in kept and number.partition(".")[0] != str(kept[stem]):
                files.append(path / file)
    return folders, files


def _identity(collection: Collection, partition: int) -> FileIdentity:
    return FileIdentity(_CONTENT, collection.id, partition, 0, collection.dim, 0)
