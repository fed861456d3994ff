"""Lets a process die with the one that started it, however that ends, and before it where memory is short."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import structlog

_log = structlog.get_logger()

_PR_SET_PDEATHSIG = 1
OOM_SCORES = {"core": 100, "builder": 1000}  # a builder's work is only done again; the supervisor's is never given up


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; exit at once if it has died already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def die_first(score: int) -> None:
    """Let the kernel, where it must kill for want of memory, prefer this process by so many thousandths of the memory.

    Anyone may raise his own score; a sandbox that forbids it leaves the choice to the kernel.
    """
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            file.write(str(max(score, int(file.read()))))
    except OSError as error:
        _log.warning("the kernel may kill any process of ours for want of memory", error=error.strerror)
