"""The parent process: owns the data folder's lock, the listening socket and the catalog; starts and restarts the cores.

    start      lock the folder, listen, spawn the cores, print the ready line
    accept     each connection goes to the live core that has the fewest
    change     catalog first, then a barrier over all live cores, then the answer: an acknowledged change is in force
               on every core, and a core that was dead learns it at its start
    death      a core that died, or hung and was killed, is started again, at once the first time, later and later if
               it keeps dying; the others go on reading its partitions from the memory whose descriptors are kept here
    stop       accept no more; drain: every core finishes what it received; stop: final sync, exit

It runs no query and touches no row.

Invariants:
  * One change at a time.
  * No core runs without the lock: each inherited it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeAlias

import structlog

from reddb import errors, limits
from reddb._version import __version__
from reddb.aliases import check_no_aliases, put_alias, remove_alias
from reddb.disk import OsDisk
from reddb.fields import Fields
from reddb.query.plan import AliasChange, AliasPlan, CreatePlan, DropAliasPlan, IndexPlan
from reddb.server import tasks
from reddb.server.barriers import Barriers
from reddb.server.control import ControlMessage
from reddb.server.listening import listen, refuse
from reddb.server.options import ServeOptions
from reddb.server.process import CoreProcess
from reddb.settings import SettingValue
from reddb.storage.catalog import check_definition
from reddb.storage.folder import DataFolder
from reddb.types import Collection

_log = structlog.get_logger()

_Key: TypeAlias = tuple[int, int]  # a partition: its collection, its number


class Supervisor:
    """Runs the server until it is told to stop."""

    def __init__(self, options: ServeOptions) -> None:
        """Take the lock and the port. Raises DATA_IN_USE, UNSUPPORTED_FORMAT, or UNAVAILABLE for a port in use."""
        self._folder = DataFolder.open(OsDisk(), options.data, lambda: secrets.randbits(32))
        self._folder.remove_dropped()
        self._listener = listen(options.host, options.port)
        self._options = replace(options, port=self._listener.getsockname()[1])  # for 0 took a free one
        self._loop = asyncio.get_running_loop()
        self._collections = {item.id: item for item in self._folder.catalog.collections()}
        self._memory: dict[_Key, int] = {}
        self._failures: dict[_Key, ControlMessage] = {}
        self._cores: list[CoreProcess] = []
        self._barriers = Barriers()
        self._opened: dict[_Key, asyncio.Future[None]] = {}
        self._changing = asyncio.Lock()
        self._build_turns = asyncio.Semaphore(options.builders)
        self._building: set[int] = set()
        self._may_accept = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop in order."""
        tasks.watch(self._loop)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, stop.set)
        cpus = sorted(os.sched_getaffinity(0))
        for index in range(self._options.cores):
            core = CoreProcess(index, self._options, cpus[index % len(cpus)], self._folder.lock, self)
            self._cores.append(core)
        starting = tasks.start("start of the cores", self._start_cores())
        stopping = tasks.start("wait for a signal", stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        accepting = tasks.start("accepting", self._accept())
        await stopping
        starting.cancel()
        await self._stop(accepting)

    async def _start_cores(self) -> None:
        await tasks.together(*(core.start() for core in self._cores))
        host, port = self._listener.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host  # as it stands in a URL
        sys.stdout.write(
            f"RedDB {__version__} is ready: address {host}:{port}, cores {self._options.cores}, "
            f"data {self._options.data.resolve()}, pid {os.getpid()}\n"
        )
        sys.stdout.flush()

    # --- what the cores' processes tell --------------------------------------------------------------------

    def core_started(self, core: CoreProcess) -> None:
        """A new process serves as this core: link it to the others and tell it what there is."""
        for collection in self._collections.values():
            core.send(self._description(collection))
            for key in _partitions(collection):
                if key in self._failures:
                    core.send(self._failures[key])
                if key in self._memory:
                    core.send({"type": "memory", "partition": key}, self._memory[key], keep=True)
        for other in self._cores:
            if other is not core and other.is_running:
                mine, theirs = socket.socketpair()
                core.send({"type": "peer", "core": other.index}, mine.detach())
                other.send({"type": "peer", "core": core.index}, theirs.detach())

    def core_ready(self) -> None:
        self._may_accept.set()

    def core_died(self, core: CoreProcess) -> None:
        """Nobody waits for a dead core."""
        self._end_build(core)
        self._barriers.core_died(core.index)
        if not any(other.is_ready for other in self._cores):
            self._may_accept.clear()

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def core_said(self, core: CoreProcess, message: ControlMessage, descriptor: int | None) -> None:
        """A message that concerns more than the core itself."""
        match message["type"]:
            case "change":
                tasks.start("change", self._answer(core, message, self._change(message)), core.fail)
            case "may_build":
                tasks.start("turn to build", self._answer(core, message, self._begin_build(core)), core.fail)
            case "built":
                self._end_build(core)
            case "let_go":
                work = self._tell_all(_without_request(message))
                tasks.start("let go", self._answer(core, message, work), core.fail)
            case "opened":
                assert descriptor is not None
                work = self._publish_memory(core, tuple(message["partition"]), descriptor)
                tasks.start("memory of a partition", work, core.fail)
            case "failed":
                self._failed(core, message)
            case "recovering":
                self._pass_on(message, core)
            case "acknowledged":
                self._barriers.acknowledged(message["barrier"], core.index)

    # --- changes -------------------------------------------------------------------------------------------

    async def _answer(self, core: CoreProcess, message: ControlMessage, work: Coroutine[Any, Any, None]) -> None:
        """Do what a core asked for and tell it how that ended."""
        answer: ControlMessage = {"type": "answered", "request": message["request"], "error": None}
        starts = core.starts
        try:
            await work
        except errors.RedDBError as error:
            answer["error"] = {"name": error.name, "message": error.message, "detail": error.detail}
        except Exception as error:
            _log.exception("a bug while a core asked", asked=message["type"])
            bug = f"the supervisor failed: {error!r}"
            answer["error"] = {"name": errors.INTERNAL.name, "message": bug, "detail": {}}
        if core.starts == starts:  # the process that took its place counts its questions anew
            core.send(answer)

    async def _begin_build(self, core: CoreProcess) -> None:
        """Return when it is the core's turn: no more builders work at a time than there may be."""
        starts = core.starts
        await self._build_turns.acquire()
        if core.is_running and core.starts == starts:
            self._building.add(core.index)
        else:
            self._build_turns.release()

    def _end_build(self, core: CoreProcess) -> None:
        if core.index in self._building:
            self._building.discard(core.index)
            self._build_turns.release()

    async def _change(self, message: ControlMessage) -> None:
        async with self._changing:
            if "create" in message:
                await self._create(CreatePlan.from_plain(message["create"]))
            elif "set" in message:
                await self._set(message["set"], message["settings"])
            elif "index" in message:
                await self._index(IndexPlan(**message["index"]))
            elif "fields" in message:
                await self._set_fields(message["fields"], Fields.from_plain(message["declared"]))
            elif "truncate" in message:
                await self._truncate(message["truncate"], if_exists=message["if_exists"])
            elif "alias" in message:
                change = AliasChange(message["change"])
                put_alias(self._folder.catalog, AliasPlan(message["alias"], message["collection"], change))
                await self._tell_aliases()
            elif "drop_alias" in message:
                remove_alias(self._folder.catalog, DropAliasPlan(message["drop_alias"], message["if_exists"]))
                await self._tell_aliases()
            else:
                await self._drop(message["drop"], if_exists=message["if_exists"])

    async def _create(self, plan: CreatePlan) -> None:
        existing = self._named(plan.name)
        if existing is not None and plan.if_not_exists:
            return
        if plan.name in self._folder.catalog.aliases():
            raise errors.COLLECTION_EXISTS.error(f"{plan.name!r} is an alias")
        new = self._folder.create(plan.name, plan.kind, plan.dim, plan.metric, plan.settings, plan.fields)
        try:
            await self._begin(new)
        except errors.RedDBError:
            await self._forget(new)
            raise

    async def _begin(self, collection: Collection) -> None:
        """Tell everyone of a new collection; returns when its partitions are open, or raises why one is not."""
        self._collections[collection.id] = collection
        opened = {key: self._loop.create_future() for key in _partitions(collection)}
        self._opened.update(opened)
        try:
            await self._tell_all(self._description(collection))
            await tasks.together(*opened.values())
        finally:
            for key in opened:
                del self._opened[key]

    async def _set(self, name: str, settings: dict[str, SettingValue]) -> None:
        changed = check_definition(self._existing(name).with_settings(settings))
        self._folder.catalog.change_settings(changed.id, changed.settings)
        await self._put(changed)

    async def _index(self, plan: IndexPlan) -> None:
        changed = check_definition(plan.changed(self._existing(plan.name)))
        self._folder.catalog.change_indexes(changed.id, changed.indexes)
        await self._put(changed)

    async def _set_fields(self, name: str, fields: Fields) -> None:
        changed = check_definition(replace(self._existing(name), fields=fields))
        self._folder.catalog.change_fields(changed.id, fields)
        await self._put(changed)

    async def _truncate(self, name: str, *, if_exists: bool) -> None:
        if if_exists and self._named(name) is None:
            return
        old = self._existing(name)
        new = self._folder.empty(old)
        try:
            await self._begin(new)
        finally:  # the catalog has the new one, even if a disk error keeps it from opening for now
            await self._release(old)

    def _description(self, collection: Collection) -> ControlMessage:
        """With the aliases, for they must not stand for nothing while one collection takes another's place."""
        aliases = self._folder.catalog.aliases()
        kept = [number for _, number in _partitions(collection) if (collection.id, number) in self._memory]
        return {"type": "collection", "collection": collection.to_plain(), "aliases": aliases, "kept": kept}

    async def _tell_aliases(self) -> None:
        await self._tell_all({"type": "aliases", "aliases": self._folder.catalog.aliases()})

    async def _put(self, changed: Collection) -> None:
        self._collections[changed.id] = changed
        await self._tell_all({"type": "changed", "collection": changed.to_plain()})

    async def _drop(self, name: str, *, if_exists: bool) -> None:
        if not if_exists or self._named(name) is not None:
            await self._forget(self._existing(name))

    async def _forget(self, collection: Collection) -> None:
        check_no_aliases(self._folder.catalog, collection)
        self._folder.catalog.drop(collection.id)
        await self._release(collection)

    async def _release(self, collection: Collection) -> None:
        """Let go of what a collection took that the catalog does not name any more."""
        for key in _partitions(collection):
            self._failures.pop(key, None)
        # Both at once: a core that starts before knows it and is told, one that starts later hears of neither.
        del self._collections[collection.id]
        await self._tell_all({"type": "dropped", "collection": collection.id})
        for key in _partitions(collection):
            if key in self._memory:
                os.close(self._memory.pop(key))
        self._folder.remove_dropped()

    def _named(self, name: str) -> Collection | None:
        return next((item for item in self._collections.values() if item.name == name), None)

    def _existing(self, name: str) -> Collection:
        collection = self._named(name)
        if collection is None:
            raise errors.UNKNOWN_COLLECTION.error(f"there is no collection {name!r}")
        return collection

    async def _publish_memory(self, owner: CoreProcess, key: _Key, descriptor: int) -> None:
        """The owner has the rows in new memory: keep it for whoever starts later, and tell the others."""
        if key[0] not in self._collections:
            os.close(descriptor)  # dropped while it was being opened
            return
        if key in self._memory:
            os.close(self._memory[key])
        self._memory[key] = descriptor
        self._failures.pop(key, None)
        starts = owner.starts
        await self._tell_all({"type": "memory", "partition": key}, descriptor, but=owner)
        # Only now: a write acknowledged while some core still read the old memory would be missing there. And only to
        # the process whose memory it is: one that took its place meanwhile has new memory, which nobody knows yet.
        if owner.starts == starts:
            owner.send({"type": "writable", "partition": key})
        if key in self._opened and not self._opened[key].done():
            self._opened[key].set_result(None)

    def _failed(self, owner: CoreProcess, message: ControlMessage) -> None:
        key: _Key = tuple(message["partition"])
        self._failures[key] = message
        self._pass_on(message, owner)
        opened = self._opened.get(key)
        if opened is not None and not opened.done():
            error = message["error"]
            opened.set_exception(errors.CATALOGUE[error["name"]].error(error["message"]))

    def _pass_on(self, message: ControlMessage, source: CoreProcess) -> None:
        for core in self._cores:
            if core is not source and core.is_running:
                core.send(message)

    async def _tell_all(
        self, message: ControlMessage, descriptor: int | None = None, but: CoreProcess | None = None
    ) -> None:
        """Send to every running core and return when each has acknowledged or died."""
        told = [core for core in self._cores if core is not but and core.is_running]
        number = self._barriers.begin({core.index for core in told})
        for core in told:
            core.send({**message, "barrier": number}, descriptor, keep=True)
        await self._barriers.passed(number)

    # --- connections ---------------------------------------------------------------------------------------

    async def _accept(self) -> None:
        while True:
            await self._may_accept.wait()
            try:
                client, _ = await self._loop.sock_accept(self._listener)
            except OSError as error:
                # Out of descriptors: those who wait in the queue stay there until some are free.
                _log.error("cannot accept", error=error.strerror)
                await asyncio.sleep(0.1)
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not (ready := [core for core in self._cores if core.is_ready]):
                await self._may_accept.wait()
            if sum(core.connections for core in ready) >= limits.CONNECTIONS_MAX:
                refuse(client)
                continue
            chosen = min(ready, key=lambda core: core.connections)
            chosen.connections += 1
            chosen.send({"type": "connection"}, client.detach())

    async def _stop(self, accepting: asyncio.Task[None]) -> None:
        _log.info("stopping")
        self._stopping = True
        accepting.cancel()
        self._listener.close()
        await tasks.together(*(core.drain() for core in self._cores))
        await tasks.together(*(core.stop() for core in self._cores))
        self._folder.close()
        _log.info("stopped")


def _partitions(collection: Collection) -> list[_Key]:
    return [(collection.id, number) for number in range(collection.number("partitions"))]


def _without_request(message: ControlMessage) -> ControlMessage:
    return {name: value for name, value in message.items() if name != "request"}
