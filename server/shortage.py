"""What a core does whose processes before were killed for want of memory.

    after one death       what grows is sealed before writes go on: the core comes back smaller
    after several         it only reads, from the memory that the supervisor keeps; what is not there is refused

Deaths count while they follow one another quickly (`limits.MEMORY_DEATHS_MAX`). A restart of the server forgets them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

import structlog

from reddb import errors, limits
from reddb.query.plan import Work
from reddb.server import tasks
from reddb.server.settler import Settler
from reddb.types import Collection

_log = structlog.get_logger()


class Shortage:
    """Of one core."""

    def __init__(self) -> None:
        self.deaths = 0
        self._sealing: dict[Hashable, asyncio.Task[None]] = {}

    @property
    def only_reads(self) -> bool:
        return self.deaths >= limits.MEMORY_DEATHS_MAX

    def is_sealing(self, key: Hashable) -> bool:
        """Whether writes to a partition wait."""
        return key in self._sealing

    def state(self, key: Hashable) -> str:
        """Why a partition of this core is not written; nothing if it is."""
        if self.only_reads:
            return "read-only: its core died again and again for want of memory"
        return "sealing its rows, for memory was short" if key in self._sealing else ""

    def seal_first(self, key: Hashable, settler: Settler, done: Callable[[], None]) -> None:
        """What grows goes to files before more comes, if memory was short; `done` is called then."""
        if self.deaths and settler.has_growing_rows:
            self._sealing[key] = tasks.start("sealing first", self._seal(key, settler, done))

    async def _seal(self, key: Hashable, settler: Settler, done: Callable[[], None]) -> None:
        try:
            await settler.work(Work.SEAL)
        except errors.RedDBError as error:
            _log.error("rows could not be sealed before writes go on", partition=str(key), error=str(error))
        finally:
            del self._sealing[key]
            done()


def read_only(collection: Collection) -> errors.RedDBError:
    """What a write is told where it is only read."""
    return errors.READ_ONLY.error(
        f"{collection.name!r} is not written: the core of a partition was killed for want of memory "
        f"{limits.MEMORY_DEATHS_MAX} times in quick succession",
        hint="restart the server with more memory; reddb check says whether the files are sound",
    )
