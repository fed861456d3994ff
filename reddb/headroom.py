"""How much memory may still be taken: the least that the control groups of this process and the machine leave.

    cgroup v2    memory.max - memory.current + the pages of files in memory.stat, of the group and all above it
    cgroup v1    memory.limit_in_bytes - memory.usage_in_bytes + the same
    machine      MemAvailable of /proc/meminfo

Taking a page beyond a group's limit does not fail: the kernel kills a process of the group. So whoever takes memory for
rows asks before, and what is kept free of rows (`limits.MEMORY_FREE_SHARE`) is for requests, answers and builders.
Pages of files count as free, for the kernel gives them back.

Invariant: asking costs a comparison; the files are read again when what was taken since may matter, or after a moment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic

from reddb import errors, limits

_LOOK_AGAIN_S = 0.1
_V1_LIMIT_MAX = 2**62  # what v1 says where there is no limit is about 2**63


@dataclass(frozen=True, slots=True)
class Group:
    """The files of one control group."""

    folder: Path
    is_v2: bool

    @property
    def limit(self) -> int | None:
        """In bytes; None for no limit."""
        text = _read(self.folder / ("memory.max" if self.is_v2 else "memory.limit_in_bytes")) or "max"
        return int(text) if text.isdecimal() and int(text) < _V1_LIMIT_MAX else None

    def free(self, limit: int) -> int:
        """Bytes that the group may take before the kernel has to kill."""
        used = int(_read(self.folder / ("memory.current" if self.is_v2 else "memory.usage_in_bytes")) or 0)
        names = ("inactive_file", "active_file") if self.is_v2 else ("total_inactive_file", "total_active_file")
        return limit - used + sum(_numbers(self.folder / "memory.stat").get(name, 0) for name in names)

    @property
    def kills(self) -> int | None:
        """How many of its processes the kernel has killed for want of memory; None where it does not say."""
        name = "memory.events" if self.is_v2 else "memory.oom_control"
        return _numbers(self.folder / name).get("oom_kill")


class Headroom:
    """What this process may take, beside the others of its groups."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._limited = [(group, limit) for group in groups if (limit := group.limit) is not None]
        least = min((limit for _, limit in self._limited), default=limits.GIB)
        self._kept_free = min(max(least // limits.MEMORY_FREE_SHARE, limits.MEMORY_FREE_MIN), limits.MEMORY_FREE_MAX)
        self._free = 0
        self._taken = 0
        self._looked_at = -_LOOK_AGAIN_S

    def take(self, size: int, *, share: int = 1) -> None:
        """Say that so many bytes will be taken. Raises OUT_OF_MEMORY, keeping free a `share`th of what is kept."""
        now = monotonic()
        if now - self._looked_at >= _LOOK_AGAIN_S or 8 * (self._taken + size) > self._free:
            self._free, self._taken, self._looked_at = self.free(), 0, now
        kept_free = self._kept_free // share
        if self._free - self._taken - size < kept_free:
            raise errors.OUT_OF_MEMORY.error(
                f"no memory for {size >> 20} MiB of rows: {max(self._free - self._taken, 0) >> 20} MiB are free, of "
                f"which {kept_free >> 20} are kept for requests and builders",
                hint="try again when rows were sealed; delete rows, or give the server more memory",
            )
        self._taken += size

    def free(self) -> int:
        """In bytes, as the kernel says now."""
        machine = _numbers(Path("/proc/meminfo")).get("MemAvailable:", 1 << 50)
        return min([machine * limits.KIB, *(group.free(limit) for group, limit in self._limited)])


def groups_of(process: str = "self") -> list[Group]:
    """The control groups of a process that count its memory, from its own up."""
    found: list[Group] = []
    paths: dict[bool, str] = {}
    for line in _read(Path(f"/proc/{process}/cgroup")).splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or "memory" in controllers.split(","):
            paths[number == "0"] = path
    for line in _read(Path(f"/proc/{process}/mountinfo")).splitlines():
        fields, _, kind = line.partition(" - ")
        is_v2 = kind.startswith("cgroup2 ")
        if is_v2 in paths and (
            is_v2 or (kind.startswith("cgroup ") and "memory" in kind.rpartition(" ")[2].split(","))
        ):
            root, mounted = fields.split(" ")[3:5]
            found += _upwards(Path(mounted), os.path.relpath(paths[is_v2], root), is_v2=is_v2)
    return found


@cache
def headroom() -> Headroom:
    """Of this process."""
    return Headroom(groups_of())


def oom_kills(groups: Sequence[Group]) -> int | None:
    """How many processes were killed for want of memory: of the groups or, where none says it, of the machine."""
    counts = [count for group in groups[:1] if (count := group.kills) is not None]
    return counts[0] if counts else _numbers(Path("/proc/vmstat")).get("oom_kill")


def _upwards(mounted: Path, path: str, *, is_v2: bool) -> Iterator[Group]:
    """The group at a path below the mount and those above it; a path that is outside of it is another's name for it."""
    folder = mounted if path.startswith("..") else mounted / path
    while folder.is_relative_to(mounted):
        yield Group(folder, is_v2)
        folder = folder.parent


def _numbers(path: Path) -> dict[str, int]:
    words = (line.split() for line in _read(path).splitlines())
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdecimal()}


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # not this kernel, not this version, or not for us to see
        return ""
