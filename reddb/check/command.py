"""`reddb check DIR [--repair]`: look, say what was found, repair if that was asked for, and look again."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from reddb.check.data_folder import FolderState, check_folder, locked_for_reading
from reddb.check.findings import Status, Tally
from reddb.check.read_only import ReadOnlyDisk
from reddb.check.repair import repair_folder
from reddb.disk import Disk, OsDisk

SOUND, DAMAGED = 0, 1


def run_check(data: Path, write: Callable[[str], None], *, repair: bool = False) -> int:
    """Give `write` a line for each file and the verdict; returns SOUND or DAMAGED.

    Raises DATA_IN_USE, UNSUPPORTED_FORMAT or a disk error: then nothing can be said of the folder.
    """
    disk = OsDisk()
    with locked_for_reading(data) as folder:
        if not repair:
            disk.hold(data, folder)
            return _look(disk, data, Tally(data, write), write)[0]
    # It is a data folder, so no LOCK is put into another.
    lock = disk.lock(data, f"pid {os.getpid()} on {os.uname().nodename}\n")
    try:
        code, state = _look(disk, data, Tally(data, write), write)
        if code == SOUND:
            return code
        repair_folder(disk, data, state, datetime.now(UTC), Tally(data, write))
        write("looked at again:")
        return _look(disk, data, Tally(data, write, frozenset({Status.DAMAGED})), write)[0]
    finally:
        lock.close()


def _look(disk: Disk, data: Path, tally: Tally, write: Callable[[str], None]) -> tuple[int, FolderState]:
    state = check_folder(ReadOnlyDisk(disk), data, tally)
    write(tally.verdict(len(state.collections), state.rows))
    return SOUND if tally.is_sound else DAMAGED, state
