"""A disk in memory whose machine may die at any call, even amid a write, and whose calls fail now and then.

    die_in               at that call everything stops with `Died`; a write may have put some of its bytes before
    kill_builder_in      the same with `BuilderDied`, for a process that is not alone
    fail                 a share of the calls fail, with a full disk or an error of the device
    beside               called before calls, so that one process can do something amid the work of another

A pattern chooses the calls that count, as the texts "action path after action-before".

A machine that died is found again by `after_power_cut` (what was not synced is old or new, in any mixture) or by
`after_kill` (the page cache outlives a process, but it is no safer than it was).

Invariants:
  * After `Died` nothing more is done to this disk, whoever asks: a dead machine runs no `finally`.
  * After a sync that failed the kernel has dropped what it could not write: a second sync would lie, so the file then
    has some mixture of old and new, for good. (A kernel that goes on showing such pages until the power goes is not
    modelled.)
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

from reddb import errors
from tests.storage.disks import MemoryDisk, disk_error

# How much of a write is done before it dies: nothing, parts of a header, to the ends of sectors, all.
_WRITTEN = (0, 1, 8, 32, 40, 71, 300, 511, 512, 513, 1024, 2000, 4000, 2**20)
_ERRORS = {
    "write": (errno.ENOSPC, errno.EIO),
    "extend": (errno.ENOSPC,),
    "open": (errno.ENOSPC, errno.EIO),
    "create": (errno.ENOSPC,),
    "cut": (errno.EIO,),
    "sync": (errno.EIO, errno.ENOSPC),
    "sync folder": (errno.EIO,),
    "rename": (errno.EIO, errno.ENOSPC),
    "remove": (errno.EIO,),
}


class Died(BaseException):
    """The end of the machine, or of the only process."""


class BuilderDied(BaseException):
    """The end of a builder; the others go on."""


class CrashDisk(MemoryDisk):
    """See above. `say` gets every call."""

    def __init__(self, random: Random, say: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self.failures = 0
        self.is_dead = False
        self.beside: Callable[[], None] | None = None
        self.beside_share = 0.0
        self._random = random
        self._say = say
        self._failing, self._failing_calls = 0.0, ""
        self._calls_left = self._builder_calls_left = -1
        self._deadly_calls = self._before = ""
        self._amid: BaseException | None = None

    def die_in(self, calls: int, pattern: str = "") -> None:
        """Let the machine die at that call of these, the next one being 1."""
        self._calls_left, self._deadly_calls = calls, pattern

    def kill_builder_in(self, calls: int) -> None:
        """The same for a builder alone; 0 for never."""
        self._builder_calls_left = calls or -1

    def fail(self, share: float, pattern: str = "") -> None:
        """Let this share of these calls fail, 0 for none."""
        self._failing, self._failing_calls = share, pattern

    def after_power_cut(self) -> CrashDisk:
        """The disk that is found once the power is back."""
        return self._found(self.power_loss(self._random, self._random.choice([0.1, 0.5, 0.9])))

    def after_kill(self) -> CrashDisk:
        """The disk as the next process finds it."""
        return self._found(self)

    def may_fail(self, action: str, path: Path) -> int:
        if self.is_dead:
            raise Died
        if self._amid is not None:
            amid, self._amid = self._amid, None
            raise self._told(amid)
        if self.beside is not None and self._random.random() < self.beside_share:
            self._do_beside(self.beside)
        if self._say is not None:
            self._say(f"    {action} {path}")
        error = self._next_error(action, path)
        if error is None:
            return -1
        if action == "write":
            self._amid = error
            return self._random.choice(_WRITTEN)
        raise self._told(error)

    def _do_beside(self, work: Callable[[], None]) -> None:
        builder_calls_left = self._builder_calls_left
        self.beside, self._builder_calls_left = None, -1  # not once more amid itself, and it is not the builder
        work()
        self.beside, self._builder_calls_left = work, builder_calls_left

    def _next_error(self, action: str, path: Path) -> BaseException | None:
        call, self._before = f"{action} {path} after {self._before}", action
        if re.match(self._deadly_calls, call):
            self._calls_left -= 1
            if self._calls_left == 0:
                return Died()
        self._builder_calls_left -= 1
        if self._builder_calls_left == 0:
            return BuilderDied()
        if action in _ERRORS and re.match(self._failing_calls, call) and self._random.random() < self._failing:
            self.failures += 1
            if action == "sync" and path in self._seen:
                self._seen[path].lose(self._random)
            return disk_error(action, path, self._random.choice(_ERRORS[action]))
        return None

    def _told(self, error: BaseException) -> BaseException:
        if isinstance(error, Died):
            self.is_dead = True
        if self._say is not None:
            self._say(f"    !! {error.message if isinstance(error, errors.RedDBError) else type(error).__name__}")
        return error

    def _found(self, left: MemoryDisk) -> CrashDisk:
        self.is_dead = True
        found = CrashDisk(self._random, self._say)
        found._seen, found._safe = left._seen, left._safe
        found._folders, found._safe_folders = left._folders, left._safe_folders
        return found
