"""What the machine, or the container that this process runs in, has of memory."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def memory_bytes(own: str = "/proc/self/cgroup", cgroups: Path = _CGROUPS) -> int:
    """The least of the physical memory, `ulimit -d`, and the limits of the control groups that this process is in."""
    bounds = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    allowed, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if allowed != resource.RLIM_INFINITY:
        bounds.append(allowed)
    for line in Path(own).read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            bounds += _limits(cgroups, path, "memory.max")
        elif "memory" in controllers.split(","):
            bounds += _limits(cgroups / "memory", path, "memory.limit_in_bytes")
    return min(bounds)


def _limits(root: Path, path: str, name: str) -> list[int]:
    """Those of a group and of all that it lies in; within a container its own group is the root."""
    found = []
    group = Path(path.lstrip("/"))
    for folder in (group, *group.parents):
        try:
            text = (root / folder / name).read_text().strip()
        except OSError:  # not seen from here
            continue
        if text != "max":
            found.append(int(text))
    return found
