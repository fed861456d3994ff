"""A builder: a process of low priority that writes segments and builds indexes for one core, a job at a time.

    python -m reddb.server.builder '{"control": 5, "parent": 4711, …}'      the fields of BuilderOptions

    core to builder                                                    builder to core
      {job, collection, partition, folder} + fd of the memory            {progress: rows}
                                                                         {result: {…}} or {error: {name, message}}

It keeps nothing between two jobs, and may be killed at any moment: what it wrote is nobody's until the owner has
published it. The kernel kills it when its core dies, so no two builders ever write for one partition.

Invariant: the process ends when the core's end of the channel closes.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from reddb import errors
from reddb.disk import Disk, OsDisk
from reddb.folder_lock import FolderLock
from reddb.partition.jobs import Job, Workshop
from reddb.partition.kinds import memory_shape
from reddb.server import logs
from reddb.server.control import BlockingChannel
from reddb.server.process_death import OOM_SCORES, die_first, die_with_parent
from reddb.storage.memory import PartitionMemory
from reddb.types import Collection

_log = structlog.get_logger()

_NICENESS = 10
_PROGRESS_S = 0.5


@dataclass(frozen=True, slots=True)
class BuilderOptions:
    """What its core tells a builder at its start. `control`, `folder` and `lock` are inherited descriptors."""

    core: int
    data: str
    control: int
    folder: int
    lock: int
    parent: int
    memory_bytes: int


class _Builder:
    def __init__(self, channel: BlockingChannel, disk: Disk) -> None:
        self._channel = channel
        self._disk = disk
        self._told = 0.0

    def run(self) -> None:
        """Do jobs until the other end closes."""
        while True:
            received = self._channel.receive()
            if received is None:
                return
            self._channel.send(self._answer(*received))

    def _answer(self, message: dict[str, Any], descriptor: int | None) -> dict[str, Any]:
        try:
            if descriptor is None:
                raise errors.TOO_MANY_FILES.error("a builder has no descriptor left for the memory of a partition")
            return {"result": self._work(message, descriptor)}
        except errors.RedDBError as error:
            return {"error": {"name": error.name, "message": error.message}}
        except ConnectionError:  # told of progress, the core was gone
            raise
        except MemoryError:
            return {"error": {"name": errors.OUT_OF_MEMORY.name, "message": "the builder may not take more memory"}}
        except Exception as error:
            _log.exception("a job failed in an unforeseen way")
            return {"error": {"name": errors.INTERNAL.name, "message": f"a job failed: {error!r}"}}
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _work(self, message: dict[str, Any], descriptor: int) -> dict[str, Any]:
        collection = Collection.from_plain(message["collection"])
        job = Job.from_plain(message["job"])
        memory = PartitionMemory(descriptor, memory_shape(collection), writable=False)
        workshop = Workshop(self._disk, Path(message["folder"]), collection, message["partition"], memory)
        return workshop.run(job, self._progress)

    def _progress(self, rows: int) -> None:
        now = time.monotonic()
        if now - self._told >= _PROGRESS_S:
            self._told = now
            self._channel.send({"progress": rows})


def main() -> None:
    """Run a builder with the options of the first argument."""
    options = BuilderOptions(**json.loads(sys.argv[1]))
    die_with_parent(options.parent)
    die_first(OOM_SCORES["builder"])
    logs.configure()
    logs.bind_process(f"builder {options.core}")
    os.nice(_NICENESS)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))  # its core is pinned, and it inherited that
    if options.memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (options.memory_bytes, options.memory_bytes))
    disk = OsDisk()
    disk.write_under(FolderLock(Path(options.data), options.folder, options.lock))
    # If the core is gone, so is everyone who wants to know; the kernel is about to end this process too.
    with suppress(ConnectionError), socket.socket(fileno=options.control) as channel:
        _Builder(BlockingChannel(channel), disk).run()


if __name__ == "__main__":
    main()
