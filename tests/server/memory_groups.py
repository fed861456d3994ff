"""A control group with a limit of memory, of whichever version this machine has, for servers that run out of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reddb.headroom import Group, groups_of
from tests.server.harness import REDDB, wait_for


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Group]:
    """A new group below that of this process; skips the test where none can be made."""
    group = _made(limit_bytes)
    if group is None:
        pytest.skip("no control group with a limit of memory can be made: that takes root and a writable mount")
    try:
        yield group
    finally:
        wait_for(lambda: not (group.folder / "cgroup.procs").read_text().split(), "the end of all in the group")
        group.folder.rmdir()


def command_in(group: Group) -> list[str]:
    """`reddb` as a process of the group, with all that it starts."""
    procs = shlex.quote(str(group.folder / "cgroup.procs"))
    return ["sh", "-c", f'echo $$ > {procs} && exec "$0" "$@"', str(REDDB)]


def _made(limit_bytes: int) -> Group | None:
    for above in groups_of():
        group = Group(above.folder / f"reddb-test-{os.getpid()}", above.is_v2)
        try:
            group.folder.mkdir()
        except OSError:
            continue
        try:
            for name in ("memory.max",) if group.is_v2 else ("memory.limit_in_bytes",):
                (group.folder / name).write_text(str(limit_bytes))
            if group.is_v2:
                (group.folder / "memory.swap.max").write_text("0")
        except OSError:
            group.folder.rmdir()
            continue
        return group
    return None
