"""The driver's side of tests/crash/shim.c: compiles it, and maps the control file that every process of a server has.

Each call that changes a file of the data folder belongs to a cell, which is a kind of call on a kind of file. A plan
names a number, of all calls or of one cell, and what happens at that call.

Invariant: a plan strikes once; `arm` sets the counters back and begins anew.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_SOURCE = Path(__file__).with_name("shim.c")

KINDS = ("write", "sync", "sync folder", "rename", "remove", "remove folder", "truncate", "allocate")
TARGETS = ("log", "manifest", "segment", "catalog", "other")
ROLES = ("supervisor", "core", "builder")
CELLS = len(KINDS) * len(TARGETS)
ANY_CELL = -1
_NEXT = -1


class Moment(IntEnum):
    """Death comes in place of the call, after half of the bytes (no other call has a middle), or right after it."""

    BEFORE = 0
    MIDDLE = 1
    AFTER = 2


class Victim(IntEnum):
    """Who dies: every process of the server, or the one that made the call."""

    SERVER = 0
    PROCESS = 1


class Lie(IntEnum):
    """What a disk, or a bug, could do: each is to be noticed by the sweep."""

    HONEST = 0
    TORN_LOG = 1  # the last bytes of what goes to the log are dropped
    NO_RENAME = 2  # the manifest is never put in place
    NO_CATALOG = 3  # the catalog is never written


@dataclass(frozen=True, slots=True)
class Plan:
    """Strike at this number among the calls of this cell."""

    cell: int
    number: int
    moment: Moment
    victim: Victim

    def __str__(self) -> str:
        what = "of all calls" if self.cell == ANY_CELL else f"of {cell_name(self.cell)}"
        return f"{self.moment.name} number {self.number} {what}, {self.victim.name} dies".lower()


class _Block(ctypes.Structure):
    _fields_ = (
        ("cell", ctypes.c_int32),
        ("moment", ctypes.c_int32),
        ("victim", ctypes.c_int32),
        ("lie", ctypes.c_int32),
        ("strike_at", ctypes.c_int64),
        ("taken", ctypes.c_int64),
        ("calls", ctypes.c_int64),
        ("struck", ctypes.c_int64),
        ("role", ctypes.c_int64),
        ("pid", ctypes.c_int64),
        ("lies", ctypes.c_int64),
        ("by_cell", ctypes.c_int64 * CELLS),
    )


class Control:
    """The mapped control file, and what a server is told of it."""

    def __init__(self, shim: Path, path: Path) -> None:
        path.write_bytes(bytes(ctypes.sizeof(_Block)))
        with path.open("r+b") as file:
            self._block = _Block.from_buffer(mmap.mmap(file.fileno(), 0))
        self._shim = shim
        self._path = path

    def environment(self, data: Path) -> Mapping[str, str]:
        """For a server over this data folder."""
        assert data.is_absolute()
        return {**os.environ, "LD_PRELOAD": str(self._shim), "CRASH_CONTROL": str(self._path), "CRASH_DATA": str(data)}

    def arm(self, plan: Plan | None) -> None:
        """Count from 0 again; strike as the plan says, or not at all."""
        block = self._block
        block.strike_at = 0  # first, and set again last: nothing strikes by half of a plan
        block.taken = block.calls = block.struck = 0
        ctypes.memset(block.by_cell, 0, ctypes.sizeof(block.by_cell))
        if plan is not None:
            block.cell, block.moment, block.victim = plan.cell, plan.moment, plan.victim
            block.strike_at = plan.number

    def strike_next(self) -> None:
        """Strike at the next call of any kind, unless the plan's own call has come meanwhile."""
        self._block.strike_at = _NEXT

    def lie(self, lie: Lie) -> None:
        self._block.lie = lie

    @property
    def lies(self) -> int:
        """How many calls were lied about."""
        return int(self._block.lies)

    @property
    def struck(self) -> int | None:
        """The cell of the call that was struck, None before."""
        return int(self._block.struck) - 1 if self._block.struck else None

    @property
    def role(self) -> str:
        """What the process was whose call was struck."""
        return ROLES[self._block.role]

    @property
    def pid(self) -> int:
        return int(self._block.pid)

    @property
    def calls(self) -> int:
        return int(self._block.calls)

    def by_cell(self) -> list[int]:
        return list(self._block.by_cell)


def cell_name(cell: int) -> str:
    kind, target = divmod(cell, len(TARGETS))
    return f"{KINDS[kind]} {TARGETS[target]}"


def compile_shim(folder: Path) -> Path:
    """The shared library, in this folder. Needs `cc`."""
    shim = folder / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(shim), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return shim
