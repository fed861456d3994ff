"""One partition, copied while its owner writes to it and publishes segments.

    read MANIFEST
    link or copy each file that it names        they never change, but go once another manifest does not name them
    copy the log                                it only grows, but what a manifest made superfluous goes
    read MANIFEST again                         another one, or a file is gone: do it again

Files that were staged stay for the next try as long as the manifest names them, so that a slow copy comes to an end.
What was copied is opened with the engine's own readers, checksums and all: a backup of damaged files is none.

Invariant: the copy is the partition after some prefix of its writes, with all that were acknowledged before the call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reddb import errors, limits
from reddb.backup.catalog import collection_ids
from reddb.backup.description import FileRecord, PartitionRecord
from reddb.backup.files import Stock, checksum_of, is_gone, stage_immutable
from reddb.backup.log import LogPart, read_log
from reddb.check.findings import damage_of
from reddb.check.partition import INDEX_STEMS
from reddb.check.read_only import ReadOnlyDisk
from reddb.disk import OsDisk
from reddb.partition.settled import with_sound_index
from reddb.storage.folder import partition_folder
from reddb.storage.manifest import NAME, Manifest, SegmentRecord, live_path, read_live, read_manifest
from reddb.storage.sealed import FILES, SealedSegment, segment_folder
from reddb.storage.wal_file import WalIdentity
from reddb.types import Collection

_TRIES = 100
_PAUSE_S = 0.02


class PartitionCopy:
    """The copy of one partition."""

    def __init__(
        self, disk: OsDisk, data: Path, staged: Path, collection: Collection, number: int, stock: Stock
    ) -> None:
        """Nothing is copied yet."""
        self._disk = disk
        self._data = data
        self._staged = staged
        self._collection = collection
        self._number = number
        self._stock = stock
        self._folder = partition_folder(Path(), collection.id, number)  # below both
        self._immutable: dict[Path, FileRecord] = {}
        self._missing: Path | None = None

    def run(self) -> tuple[PartitionRecord, list[FileRecord]]:
        """Copy it. Raises CORRUPT_DATA, UNAVAILABLE if it changed at every try, or a disk error."""
        self._disk.make_folder(self._staged / self._folder)
        for _ in range(_TRIES):
            before = self._manifest_bytes()
            if before is not None:
                try:
                    copied = self._copy(before)
                except errors.RedDBError as error:
                    # A log that was cut behind our back looks like one of which a file is missing.
                    if not is_gone(error) and self._manifest_bytes() == before:
                        raise
                    copied = None
                if copied is not None:
                    return copied
            if self._collection.id not in collection_ids(self._data):
                raise errors.UNAVAILABLE.error(f"{self._collection.name!r} was dropped while it was copied")
            time.sleep(_PAUSE_S)  # others are at work; only they can end it
        if self._missing is not None:
            raise errors.CORRUPT_DATA.error(f"{self._missing} is missing", path=str(self._data / self._missing))
        raise errors.UNAVAILABLE.error(
            f"{self._folder} was changed during each of {_TRIES} tries to copy it; try again when less is written"
        )

    # --- one try -------------------------------------------------------------------------------------------

    def _manifest_bytes(self) -> bytes | None:
        """What the manifest holds, None if it is gone: a collection that the catalog names has one."""
        path = self._folder / NAME
        try:
            return self._disk.read_file(self._data / path, limits.MANIFEST_BYTES_MAX)
        except errors.RedDBError as error:
            if not is_gone(error):
                raise
        self._missing = path
        return None

    def _copy(self, manifest_bytes: bytes) -> tuple[PartitionRecord, list[FileRecord]] | None:
        """Copy what this manifest names and the log behind it; None if either changed meanwhile."""
        self._missing = None
        files = [self._write(self._folder / NAME, manifest_bytes)]
        with self._named_by_source():
            folder = self._staged / self._folder
            manifest = read_manifest(ReadOnlyDisk(self._disk), folder, self._collection, self._number)
        if not self._stage_segments(manifest):
            return None
        identity = WalIdentity(self._collection.id, self._number)
        of = self._disk, self._data / self._folder / "wal", identity, manifest
        log, last_lsn = read_log(*of, is_written=self._collection.is_logged)
        files += self._write_log(log)
        if self._manifest_bytes() != manifest_bytes:
            return None
        for record in manifest.segments:
            self._verify(record)
        name, sealed_lsn = self._collection.name, manifest.sealed_lsn
        record_of = PartitionRecord(self._collection.id, name, self._number, manifest.generation, sealed_lsn, last_lsn)
        return record_of, [*self._immutable.values(), *files]

    def _stage_segments(self, manifest: Manifest) -> bool:
        """Have exactly the files that the manifest names; False if one is gone."""
        named: list[Path] = []
        for record in manifest.segments:
            folder = segment_folder(self._folder, record.id)
            names = [name for name in self._disk.list_folder(self._data / folder) if _is_named(name, record)]
            lacking = sorted(_needed(record).difference(names))
            if lacking:
                self._missing = folder / lacking[0]
                return False
            named += [folder / name for name in names]
        for path in self._immutable.keys() - set(named):
            del self._immutable[path]
            self._disk.remove_file(self._staged / path)
            if not self._disk.list_folder((self._staged / path).parent):
                self._disk.remove_tree((self._staged / path).parent)
        for path in named:
            if path in self._immutable:
                continue
            self._disk.make_folder((self._staged / path).parent)
            staged = stage_immutable(self._disk, self._data, self._staged, path, self._stock)
            if staged is None:
                self._missing = path
                return False
            self._immutable[path] = staged
        return True

    def _write_log(self, log: list[LogPart]) -> list[FileRecord]:
        folder = self._folder / "wal"
        self._disk.remove_tree(self._staged / folder)  # of the try before
        self._disk.make_folder(self._staged / folder)
        return [self._write(folder / part.name, part.content) for part in log]

    def _write(self, path: Path, content: bytes) -> FileRecord:
        self._disk.write_file(self._staged / path, content)
        return FileRecord(str(path), len(content), checksum_of(memoryview(content)))

    # -------------------------------------------------------------------------------------------------------

    def _verify(self, record: SegmentRecord) -> None:
        """Open the copies. Raises CORRUPT_DATA naming the file."""
        folder, of = self._staged / self._folder, (self._collection, self._number)
        with self._named_by_source():
            SealedSegment(self._disk, segment_folder(folder, record.id), *of, record.id, record.rows, verify=True)
            read_live(self._disk, folder, *of, record)
        _, refused = with_sound_index(self._disk, segment_folder(folder, record.id), *of, record)
        if refused is not None:
            with self._named_by_source("; a server builds it anew, and a backup can be made then"):
                raise refused

    @contextmanager
    def _named_by_source(self, hint: str = "") -> Iterator[None]:
        """Damage of a copy is damage of what was copied."""
        try:
            yield
        except errors.RedDBError as error:
            damaged, reason = damage_of(self._disk, error)
            path = damaged.relative_to(self._staged)
            raise errors.CORRUPT_DATA.error(f"{path}: {reason}{hint}", path=str(self._data / path)) from error


def _needed(record: SegmentRecord) -> set[str]:
    """Files that the record promises by name; which others an index has, it says itself."""
    names = set(FILES)
    if record.dead:
        names.add(live_path(Path(), record).name)
    if record.index:
        names.add(f"index.{record.index}")
    return names


def _is_named(name: str, record: SegmentRecord) -> bool:
    stem, *rest = name.split(".")
    if name in _needed(record):
        return True
    return stem in (*INDEX_STEMS, "fields") and rest[:1] == [str(record.index)] and rest[-1] != "tmp"
