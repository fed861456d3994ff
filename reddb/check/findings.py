"""What was found: a line for each file, and the verdict over all of them.

    ok      collections/1/0/segments/3/vectors.f32   12,345 bytes, 1,000 rows
    damaged collections/1/0/segments/4/ids: has a damaged trailer
    garbage collections/1/0/segments/2: …             the next start removes it
    unknown notes.txt: …                              left alone by everybody
    repair  collections/1/0/segments/4: …             what was done, and what is lost

Invariant: the verdict is "sound" if and only if no file was found damaged.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from reddb import errors
from reddb.disk import Disk
from reddb.wording import counted


class Status(StrEnum):
    """What a line says of a file."""

    OK = "ok"
    DAMAGED = "damaged"
    GARBAGE = "garbage"
    UNKNOWN = "unknown"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line."""

    status: Status
    path: Path
    text: str

    def line(self, data: Path) -> str:
        """With the path as it is below the data folder."""
        between = "   " if self.status is Status.OK else ": "
        name = os.fsencode(self.path.relative_to(data)).decode(errors="replace")
        return f"{self.status:<8}{name}{between}{self.text}"


Report: TypeAlias = Callable[[Finding], None]


def unread(finding: Finding) -> None:
    """A report that nobody reads."""


class Tally:
    """Takes findings, counts them, and hands on those lines that are wanted."""

    def __init__(self, data: Path, write: Callable[[str], None], wanted: frozenset[Status] = frozenset(Status)) -> None:
        self._data = data
        self._write = write
        self._wanted = wanted
        self._counts: Counter[Status] = Counter()

    def __call__(self, finding: Finding) -> None:
        self._counts[finding.status] += 1
        if finding.status in self._wanted:
            self._write(finding.line(self._data))

    @property
    def is_sound(self) -> bool:
        return not self._counts[Status.DAMAGED]

    def verdict(self, collections: int, rows: int) -> str:
        damaged = self._counts[Status.DAMAGED]
        files = counted(self._counts[Status.OK] + damaged, "file")
        if damaged:
            return f"damaged: {damaged:,} of {files}"
        return f"sound: {files}, {counted(collections, 'collection')}, {counted(rows, 'row')}"


def damage_of(disk: Disk, error: errors.RedDBError) -> tuple[Path, str]:
    """Which file an error says is damaged or missing, and how. Raises it again if the file could not be looked at."""
    if "path" not in error.detail:
        raise error
    path = Path(error.detail["path"])
    if error.code is errors.CORRUPT_DATA:
        return path, error.message.removeprefix(str(path)).removeprefix(path.name).lstrip(": ")
    if error.code is errors.DISK_FAILED and path.name not in disk.list_folder(path.parent):
        return path, "is missing"
    raise error
