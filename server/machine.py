"""What the machine, or the container that this process runs in, has of memory."""

from __future__ import annotations

import os
import resource

from reddb.headroom import groups_of


def memory_bytes() -> int:
    """The least of the physical memory, `ulimit -d`, and the limits of the control groups that this process is in."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    allowed, _ = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for group in groups_of() if (limit := group.limit) is not None]
    return min([physical, *limits, *([allowed] if allowed != resource.RLIM_INFINITY else [])])
