"""A core's way to its builder: started when there is a job, ended when there has been none for a while.

Invariant: every job that was given ends: with the builder's result, or with an error when it failed or died.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from reddb import errors, limits
from reddb.folder_lock import FolderLock
from reddb.partition.jobs import Job
from reddb.partition.writer import Partition
from reddb.server import tasks
from reddb.server.control import ControlChannel, ControlMessage, control_pair

_log = structlog.get_logger()


class BuilderLink:
    """Gives jobs to the builder of this core, one at a time."""

    def __init__(
        self,
        core: int,
        lock: FolderLock,
        memory_bytes: int,
        may_build: Callable[[], Coroutine[None, None, None]],
        built: Callable[[], None],
    ) -> None:
        """`memory_bytes` is what the builder may take at most, 0 for no bound.

        `may_build` returns when it is this core's turn to build, for as long as it has not said `built`.
        """
        self._core = core
        self._lock = lock
        self._memory_bytes = memory_bytes
        self._may_build = may_build
        self._built = built
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._channel: ControlChannel | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._result: asyncio.Future[dict[str, Any]] | None = None
        self._progress: Callable[[int], None] = lambda _: None
        self._idle: asyncio.TimerHandle | None = None

    async def run(self, partition: Partition, job: Job, progress: Callable[[int], None]) -> dict[str, Any]:
        """Do the job. Raises what the builder raised, or UNAVAILABLE if it died."""
        async with self._turn:
            await self._wait_for_turn()
            if self._idle is not None:
                self._idle.cancel()
            self._progress = progress
            message = {
                "job": job.to_plain(),
                "collection": partition.collection.to_plain(),
                "partition": partition.number,
                "folder": str(partition.folder),
            }
            try:
                if self._channel is None:
                    await self._start()
                assert self._channel is not None
                self._result = self._loop.create_future()  # not before: a start that is cancelled leaves none behind
                self._channel.send(message, os.dup(partition.memory.descriptor))
                return await self._result
            except asyncio.CancelledError:
                await self.stop()  # or its answer would be taken for that of the next job
                raise
            finally:
                self._result = None
                self._idle = tasks.later("idle builder", limits.BUILDER_IDLE_S, self._end)
                self._built()

    async def _wait_for_turn(self) -> None:
        turn = tasks.start("turn to build", self._may_build(), failed=tasks.carry_on)
        try:
            await asyncio.shield(turn)
        except asyncio.CancelledError:
            tasks.start("turn not taken", self._let_pass(turn))
            raise

    async def _let_pass(self, turn: asyncio.Task[None]) -> None:
        """It will be our turn, and we need it no more."""
        await asyncio.wait({turn})
        self._built()

    async def stop(self) -> None:
        """End the builder, whatever it does; it writes nothing any more when this returns."""
        self._end()
        if self._process is not None:
            await self._process.wait()

    def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        self._hung_up()

    async def _start(self) -> None:
        ours, theirs = control_pair()
        with contextlib.ExitStack() as unused:
            unused.enter_context(ours)
            with theirs, self._lock.lent() as lent:
                options = {
                    "core": self._core,
                    "data": str(self._lock.path),
                    "control": theirs.fileno(),
                    "folder": lent[0],
                    "lock": lent[1],
                    "parent": os.getpid(),
                    "memory_bytes": self._memory_bytes,
                }
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "reddb.server.builder", json.dumps(options)),
                    pass_fds=(theirs.fileno(), *lent),
                    stdin=asyncio.subprocess.DEVNULL,
                    # Arrow's own allocator keeps what was freed.
                    env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
                )
            unused.pop_all()
        self._channel = ControlChannel(ours, self._received, self._channel_ended)

    def _received(self, message: ControlMessage, _: int | None) -> None:
        if "progress" in message:
            self._progress(message["progress"])
        elif self._result is not None and not self._result.done():
            if "result" in message:
                self._result.set_result(message["result"])
            else:
                error = message["error"]
                self._result.set_exception(errors.CATALOGUE[error["name"]].error(error["message"]))

    def _channel_ended(self, why: str | None) -> None:
        if why is not None:
            _log.error("a builder is killed, for its channel failed", why=why)
        self._end()

    def _hung_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._result is not None and not self._result.done():
            self._result.set_exception(errors.UNAVAILABLE.error("the builder died; its job will be done again"))
