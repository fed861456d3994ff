"""The archive of the log: files that a server needs no more, kept so that a backup can be brought up to any LSN.

    ARCHIVE/<collection id>/<partition>/<first lsn>.wal      cut behind the last record

A file is read before it is kept, so that nothing but a sound one replaces the only other copy. Where one of its name is
there already, the new one must go on where that one ends (the server was killed before it removed the log file, and
wrote more to it). Any other is of another history, after a restore to an earlier point: it is refused, and so the log
stays until the server is given another archive.

Invariant: `keep` returns when the copy is synced; what was kept is never replaced by something else.
"""

from __future__ import annotations

from pathlib import Path

from reddb import errors
from reddb.backup.log import read_whole_records
from reddb.disk import Disk
from reddb.storage.wal_file import WalIdentity, first_lsn_of


def archive_folder(archive: Path, identity: WalIdentity) -> Path:
    """Where the log of a partition is kept."""
    return archive / str(identity.collection_id) / str(identity.partition)


class LogArchive:
    """Keeps the log of one partition."""

    def __init__(self, disk: Disk, archive: Path, identity: WalIdentity) -> None:
        self._disk = disk
        self._folder = archive_folder(archive, identity)
        self._identity = identity

    def keep(self, path: Path) -> None:
        """Have a copy of a log file that is written no more.

        Raises DISK_FULL or DISK_FAILED; CORRUPT_DATA for one that cannot be read, or is of another history.
        """
        part = read_whole_records(self._disk, path, self._identity, first_lsn_of(path.name), stored_lsn=0)
        content = part.content
        if part.is_torn:  # all of it was synced: this is no write that was cut short
            raise errors.CORRUPT_DATA.error(f"{path} is damaged behind LSN {part.next_lsn - 1}", path=str(path))
        if not part.has_records:
            return
        self._disk.make_folder(self._folder)
        target = self._folder / path.name
        if path.name in self._disk.list_folder(self._folder):
            kept = self._disk.read_file(target)
            if not content.startswith(kept):
                raise errors.CORRUPT_DATA.error(
                    f"{target} is of another history than {path}; give the server an empty archive", path=str(target)
                )
            if kept == content:
                self._disk.sync_folder(self._folder)  # whoever wrote it may have been killed before
                return
        self._disk.write_file(target, content)
