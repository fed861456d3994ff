"""The lock of the one process that writes to a data folder, and the proof that it still has it.

    LOCK           locked by flock; names the holder, for whoever is refused
    the folder     locked by flock too: whoever removes LOCK does not let a second writer in

Both locks belong to descriptors that other processes may inherit: the folder stays locked until the last of them is
closed. A lock is one of the folder, not of its name: it holds under whatever path, link or mount it is reached, and
goes along when the folder is renamed.

Invariant: `check` raises once LOCK is not the one that is held. A write is acknowledged only after a check that came
behind its sync, so nothing is acknowledged that was synced after the loss.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from reddb import errors

NAME = "LOCK"
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HOLDER_BYTES = 200


class FolderLock:
    """Descriptors of a data folder and of its LOCK, both locked. `folder` is the way to every file in it."""

    def __init__(self, path: Path, folder: int, file: int) -> None:
        """Of a lock that was taken, here or by the process that this one inherited the descriptors from."""
        self.path = path
        self.folder = folder
        self.file = file
        self._pid = os.getpid()
        found = os.fstat(file)
        self._identity = found.st_ino, found.st_dev

    @classmethod
    def take(cls, path: Path, owner: str) -> FolderLock:
        """Lock the folder and write `owner` into LOCK. Raises DATA_IN_USE, CORRUPT_DATA or OSError."""
        with ExitStack() as opened:
            folder = os.open(path, _FOLDER_FLAGS)
            opened.callback(os.close, folder)
            file = _open_file(path, folder, os.O_RDWR | os.O_CREAT)
            opened.callback(os.close, file)
            for descriptor in (folder, file):
                _lock(path, folder, descriptor, fcntl.LOCK_EX)
            os.ftruncate(file, 0)
            os.pwrite(file, owner.encode(), 0)
            lock = cls(path, folder, file)
            lock.check()  # it may have been replaced between the two
            opened.pop_all()
            return lock

    @property
    def descriptors(self) -> tuple[int, int]:
        """What a process must inherit to write beside this one."""
        return self.folder, self.file

    @contextmanager
    def lent(self) -> Iterator[tuple[int, int]]:
        """The same for a process that nobody waits for: they keep no other one from taking the lock.

        Raises LOCK_LOST or OSError.
        """
        self.check()
        with ExitStack() as opened:
            folder = os.open(".", _FOLDER_FLAGS, dir_fd=self.folder)
            opened.callback(os.close, folder)
            file = os.open(NAME, os.O_RDONLY | _FILE_FLAGS, dir_fd=self.folder)
            opened.callback(os.close, file)
            self.check()
            yield folder, file

    def check(self) -> None:
        """Raises LOCK_LOST if LOCK was removed or replaced, OTHER_PROCESS in a fork of the process that holds it.

        Once it was closed there is nothing to lose.
        """
        if os.getpid() != self._pid:
            raise errors.OTHER_PROCESS.error(
                f"{self.path} was opened by the process that forked this one (pid {os.getpid()}), and stays with it"
            )
        if self.file < 0:
            return
        try:
            found = os.stat(NAME, dir_fd=self.folder, follow_symlinks=False)
        except OSError as error:
            raise self._lost() from error
        if (found.st_ino, found.st_dev) != self._identity:
            raise self._lost()

    def close(self) -> None:
        """Let go of this process's part; closing twice is no error."""
        if self.file >= 0:
            os.close(self.file)
            os.close(self.folder)
            self.file = self.folder = -1  # a number that was closed may soon be another file's

    def _lost(self) -> errors.RedDBError:
        return errors.LOCK_LOST.error(
            f"{self.path / NAME} was removed or replaced: nothing more is written to this folder until a restart",
            path=str(self.path),
        )


def lock_for_reading(path: Path) -> list[int]:
    """Keep writers away, through descriptors that cannot write; returns them, to be closed.

    A folder that was copied may lack LOCK; then nobody has it open. Raises DATA_IN_USE, CORRUPT_DATA or OSError.
    """
    with ExitStack() as opened:
        descriptors = [os.open(path, _FOLDER_FLAGS)]
        opened.callback(os.close, descriptors[0])
        if NAME in os.listdir(descriptors[0]):
            descriptors.append(_open_file(path, descriptors[0], os.O_RDONLY))
            opened.callback(os.close, descriptors[1])
        for descriptor in descriptors:
            _lock(path, descriptors[0], descriptor, fcntl.LOCK_SH)
        opened.pop_all()
        return descriptors


def _lock(path: Path, folder: int, descriptor: int, how: int) -> None:
    # flock, not lockf: a POSIX lock is lost as soon as any descriptor of the file is closed.
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        raise errors.DATA_IN_USE.error(
            f"the data folder {path} is in use by {_holder(path, folder)}; stop it first", path=str(path)
        ) from None


def _holder(path: Path, folder: int) -> str:
    try:
        file = _open_file(path, folder, os.O_RDONLY)
    except (OSError, errors.RedDBError):  # the lock is the folder's, whatever became of LOCK
        return "another process"
    try:
        text = os.pread(file, _HOLDER_BYTES, 0).decode(errors="replace").strip()
    finally:
        os.close(file)
    return "".join(letter if letter.isprintable() else "?" for letter in text) or "another process"


def _open_file(path: Path, folder: int, flags: int) -> int:
    """A descriptor of LOCK. Raises CORRUPT_DATA unless it is a file, and of this folder alone."""
    with suppress(FileNotFoundError):  # then it is made, where the flags say so
        _refuse_others(path, os.stat(NAME, dir_fd=folder, follow_symlinks=False))
    descriptor = os.open(NAME, flags | _FILE_FLAGS, 0o600, dir_fd=folder)
    try:
        _refuse_others(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_others(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise errors.CORRUPT_DATA.error(
            f"{path / NAME} is no file of this folder alone, but a link or a special file", path=str(path / NAME)
        )
