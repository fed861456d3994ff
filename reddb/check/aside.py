"""Where damaged files go: `DATA/damaged/<time>/` and the path that they had.

Invariants:
  * Nothing is written over: a name that is taken gets a number.
  * A move and a copy are on the device when they return.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from reddb.check.data_folder import ASIDE
from reddb.disk import Disk


class Aside:
    """The folder of one repair; it is made with the first thing that is put there."""

    def __init__(self, disk: Disk, data: Path, now: datetime) -> None:
        self._disk = disk
        self._data = data
        self._root = self._free(data / ASIDE / now.strftime("%Y%m%dT%H%M%SZ"))

    def move(self, path: Path) -> str:
        """Take a file or a folder away, if it is there; says so."""
        if path.name not in self._disk.list_folder(path.parent):
            return "was missing already"
        target = self._target(path)
        self._disk.rename(path, target)
        self._disk.sync_folder(path.parent)
        return f"moved to {target.relative_to(self._data)}"

    def copy(self, path: Path) -> str:
        """Keep what a file holds before it is changed; says so."""
        target = self._target(path)
        self._disk.write_file(target, self._disk.read_file(path))
        return f"a copy is {target.relative_to(self._data)}"

    def _target(self, path: Path) -> Path:
        target = self._free(self._root / path.relative_to(self._data))
        self._disk.make_folder(target.parent)
        return target

    def _free(self, path: Path) -> Path:
        names, free, number = self._disk.list_folder(path.parent), path, 1
        while free.name in names:
            number += 1
            free = path.with_name(f"{path.name}.{number}")
        return free
