"""What a fork leaves in the child: connections that are the parent's, and locks that a thread of the parent may hold.

Each of them is told in the child, before anything else runs there; nothing is told to a server, and no file is touched.
Any fork that Python makes or is told of comes here: os.fork, multiprocessing, a server that loads an application first.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from reddb import errors


class Inherited(Protocol):
    """Something that must not be used on both sides of a fork."""

    def forked(self) -> None:
        """This is the child."""


_told: weakref.WeakSet[Inherited] = weakref.WeakSet()


def tell(inherited: Inherited) -> None:
    """Have it called in each process that is forked while it lives."""
    _told.add(inherited)


def opened_by_parent(what: str) -> errors.RedDBError:
    """The error to raise in the child."""
    message = f"{what} was opened by the process that forked this one (pid {os.getpid()}), and stays with it"
    return errors.OTHER_PROCESS.error(message, hint="connect in each process by itself")


def _tell_all() -> None:
    for inherited in list(_told):
        inherited.forked()


os.register_at_fork(after_in_child=_tell_all)
