"""One core's process as the supervisor sees it: started, watched, started again.

A core gives a sign of life every `limits.ALIVE_S`. One that gave none at so many looks of the supervisor is hung: it is
killed, and starts anew like one that died. Looks are counted, not seconds: a supervisor that was itself stopped for a
while takes nobody for hung, and neither does one whose clock jumps.

Invariant: while `is_running`, there is exactly one process, and messages go to that one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from typing import Protocol

import structlog

from reddb import limits
from reddb.accountant import core_limit
from reddb.folder_lock import FolderLock
from reddb.headroom import groups_of, oom_kills
from reddb.server import tasks
from reddb.server.control import ControlChannel, ControlMessage, control_pair
from reddb.server.options import ServeOptions

_log = structlog.get_logger()


class _Supervisor(Protocol):
    @property
    def is_stopping(self) -> bool: ...

    def core_started(self, core: CoreProcess) -> None: ...

    def core_ready(self) -> None: ...

    def core_died(self, core: CoreProcess) -> None: ...

    def core_said(self, core: CoreProcess, message: ControlMessage, descriptor: int | None) -> None: ...


class CoreProcess:
    """Keeps one core running."""

    def __init__(self, index: int, options: ServeOptions, cpu: int, lock: FolderLock, supervisor: _Supervisor) -> None:
        self.index = index
        self.connections = 0
        self.starts = 0  # tells this process from the one before
        self.is_running = False
        self.is_ready = False
        self._options = options
        self._cpu = cpu
        self._lock = lock
        self._supervisor = supervisor
        self._loop = asyncio.get_running_loop()
        self._channel: ControlChannel | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._drained = asyncio.Event()
        self._looks_in_vain = 0
        self._memory_deaths = 0  # in quick succession
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process and return when it is ready for clients."""
        self._keeper = tasks.start("keeper of a core", self._keep())
        await self._ready.wait()

    def send(self, message: ControlMessage, descriptor: int | None = None, *, keep: bool = False) -> None:
        """Send to the process, if there is one: what it must know it is told again at its start."""
        if self._channel is None:
            if descriptor is not None and not keep:
                os.close(descriptor)
            return
        try:
            sent = os.dup(descriptor) if descriptor is not None and keep else descriptor
        except OSError as error:
            self.fail(error)
        else:
            self._channel.send(message, sent)

    async def drain(self) -> None:
        """Ask it to finish what it received; returns when it has, died, or took too long."""
        if not self.is_running:
            return
        self.send({"type": "drain"})
        try:
            async with asyncio.timeout(limits.DRAIN_TIMEOUT_S):
                await self._drained.wait()
        except TimeoutError:
            _log.warning("a core did not drain in time", core=self.index)

    async def stop(self) -> None:
        """Ask it to sync and exit; kill it if it does not."""
        assert self._keeper is not None
        if not self.is_running:
            self._keeper.cancel()
            return
        self.send({"type": "stop"})
        try:
            async with asyncio.timeout(limits.DRAIN_TIMEOUT_S):
                await asyncio.shield(self._keeper)
        except TimeoutError:
            _log.error("a core did not stop in time", core=self.index)
            assert self._process is not None
            self._process.kill()
            await self._keeper

    def fail(self, error: Exception) -> None:
        """End the process, which is started again: what it asked for, or was to be told, was lost."""
        _log.error("a core is killed, for it cannot go on", core=self.index, error=repr(error))
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _keep(self) -> None:
        deaths = 0
        groups = groups_of()
        while not self._supervisor.is_stopping:
            began, kills = self._loop.time(), oom_kills(groups)
            try:
                code: int | str = await self._run_once()
            except OSError as error:  # no memory, no processes, no descriptors: they may come back
                code = str(error)
            if self._supervisor.is_stopping:
                return
            lived_s = self._loop.time() - began
            is_forgiven = lived_s > limits.RESTART_FORGIVEN_AFTER_S
            deaths = 1 if is_forgiven else deaths + 1
            was_short = code == -signal.SIGKILL and kills is not None and kills != oom_kills(groups)
            self._memory_deaths = (0 if is_forgiven else self._memory_deaths) + 1 if was_short else 0
            pause_s = limits.RESTART_BACKOFF_S[min(deaths, len(limits.RESTART_BACKOFF_S)) - 1]
            told = {"exit_code": code, "lived_s": round(lived_s, 1), "for_memory": was_short, "restart_in_s": pause_s}
            _log.error("a core died", core=self.index, **told)
            await asyncio.sleep(pause_s)

    async def _run_once(self) -> int:
        """Start the process and return its exit code."""
        ours, theirs = control_pair()
        with contextlib.ExitStack() as unused:
            unused.enter_context(ours)
            self._process = await self._spawn(theirs)
            unused.pop_all()
        self._channel = ControlChannel(ours, self._received, self._channel_ended)
        self.connections = 0
        self.starts += 1
        self.is_running = True
        self._looks_in_vain = 0
        watch = tasks.start("watch of a core", self._watch(self._process))
        try:
            self._supervisor.core_started(self)
            if self._supervisor.is_stopping:  # it was told so while there was no process to tell
                self.send({"type": "stop"})
        except OSError as error:  # no descriptors, which may come back
            self.fail(error)
        code = await self._process.wait()
        watch.cancel()
        self._hung_up()
        return code

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Kill the process if it hangs."""
        # One look more than seconds: the first may come right after a sign of life, the last right before one.
        while self._looks_in_vain * limits.ALIVE_S <= self._options.hung_after_s:
            await asyncio.sleep(limits.ALIVE_S)
            self._looks_in_vain += self.is_ready  # its start takes as long as it takes
        _log.error("a core hangs and is killed", core=self.index, silent_s=self._options.hung_after_s)
        process.kill()

    async def _spawn(self, control: socket.socket) -> asyncio.subprocess.Process:
        """Start the process with its end of the control channel, which is closed here."""
        options = {
            "core": self.index,
            "cores": self._options.cores,
            "data": str(self._options.data),
            "control": control.fileno(),
            "folder": self._lock.folder,
            "lock": self._lock.file,
            "cpu": self._cpu,
            "parent": os.getpid(),
            "builder_bytes": self._options.builder_bytes,
            "buffer_bytes": core_limit(self._options.machine_bytes, self._options.cores),
            "memory_deaths": self._memory_deaths,
            "archive_dir": None if self._options.archive_dir is None else str(self._options.archive_dir),
            "settings": self._options.described(),
        }
        with control:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "reddb.server.core", json.dumps(options)),
                pass_fds=(control.fileno(), *self._lock.descriptors),
                stdin=asyncio.subprocess.DEVNULL,
                # One thread of work per core: more would fight over its processor.
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )

    def _received(self, message: ControlMessage, descriptor: int | None) -> None:
        self._looks_in_vain = 0
        match message["type"]:
            case "alive":
                pass
            case "ready":
                self.is_ready = True
                self._ready.set()
                self._supervisor.core_ready()
            case "closed":
                self.connections -= 1
            case "drained":
                self._drained.set()
            case _:
                self._supervisor.core_said(self, message, descriptor)

    def _channel_ended(self, why: str | None) -> None:
        self._hung_up()
        if why is not None:
            self.fail(ConnectionError(why))

    def _hung_up(self) -> None:
        """The process is gone or going, and nobody may count on it: its channel broke, or it has ended."""
        if self._channel is None:
            return
        self._channel.close()
        self._channel = None
        self.is_running = self.is_ready = False
        self._drained.set()
        self._supervisor.core_died(self)
