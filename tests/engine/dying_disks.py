"""The disk of a builder that is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reddb.disk import OsDisk


class Killed(BaseException):
    """The end of a builder."""


class DyingDisk(OsDisk):
    """The disk of a builder that is killed amid a file, when it has written `files` others."""

    def __init__(self, files: int) -> None:
        super().__init__()
        self._left = files

    def open_append(self, path: Path, size: int) -> Any:
        file = super().open_append(path, size)
        if not self._left:
            file.append([b"\xff" * 100])
            file.close()
            raise Killed
        self._left -= 1
        return file
