"""One core: a pinned process with one reactor thread, started and told what to do by the supervisor.

    python -m reddb.server.core '{"core": 0, "cores": 2, …}'      the fields of CoreOptions

It inherits the data folder's lock, so that the folder stays locked until the last core is gone, even if the supervisor
is killed, and reaches every file through the folder that was locked. The kernel kills it when its parent dies.

Invariant: the process ends when the supervisor's end of the control channel closes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvloop

from reddb import errors, limits
from reddb.disk import OsDisk
from reddb.folder_lock import FolderLock
from reddb.grammar import parse
from reddb.index.turbo import packs_like_faiss
from reddb.server import logs, tasks
from reddb.server.control import ControlChannel, ControlMessage
from reddb.server.mailbox import PeerLink
from reddb.server.partitions import PartitionKey
from reddb.server.process_death import OOM_SCORES, die_first, die_with_parent
from reddb.server.service import Service
from reddb.server.session import Session
from reddb.types import Collection

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """What the supervisor tells a core at its start. `control`, `folder` and `lock` are inherited descriptors."""

    core: int
    cores: int
    data: str
    control: int
    folder: int
    lock: int
    cpu: int
    parent: int
    builder_bytes: int
    buffer_bytes: int
    memory_deaths: int
    archive_dir: str | None
    settings: dict[str, int | str | None]


class Core:
    """The process: its control channel, its sessions, and the service they share."""

    def __init__(self, options: CoreOptions) -> None:
        self._loop = asyncio.get_running_loop()
        tasks.watch(self._loop)
        self._channel = ControlChannel(socket.socket(fileno=options.control), self._received, self._orphaned)
        lock = FolderLock(Path(options.data), options.folder, options.lock)
        disk = OsDisk()
        disk.write_under(lock)
        self._service = Service(
            options.core,
            options.cores,
            lock,
            disk,
            _random_u32,
            self._send_keeping,
            options.builder_bytes,
            options.buffer_bytes,
            None if options.archive_dir is None else Path(options.archive_dir),
            options.settings,
        )
        self._partitions = self._service.partitions
        self._partitions.shortage.deaths = options.memory_deaths
        self._sessions: set[Session] = set()
        self._is_stopping = False
        self.stopped = self._loop.create_future()
        self._channel.send({"type": "ready"})
        self._give_sign_of_life()

    def _send_keeping(self, message: ControlMessage, descriptor: int | None) -> None:
        self._channel.send(message, None if descriptor is None else os.dup(descriptor))

    def _give_sign_of_life(self) -> None:
        self._channel.send({"type": "alive"})
        tasks.later("sign of life", limits.ALIVE_S, self._give_sign_of_life)

    def _received(self, message: ControlMessage, descriptor: int | None) -> None:
        match message["type"]:
            case "connection":
                if descriptor is None:  # this process has as many files open as it may: the client is cut off
                    _log.error("no descriptor left for a connection")
                    self._channel.send({"type": "closed"})
                    return
                tasks.start("new connection", self._serve(socket.socket(fileno=descriptor)))
                return
            case "peer":
                assert descriptor is not None
                tasks.start("link to a core", self._link(message["core"], socket.socket(fileno=descriptor)))
            case "collection":
                collection = Collection.from_plain(message["collection"])
                self._service.add_collection(collection, message["aliases"], message["kept"])
            case "memory":
                assert descriptor is not None
                self._partitions.set_memory(PartitionKey(*message["partition"]), descriptor)
            case "writable":
                self._partitions.set_writable(PartitionKey(*message["partition"]))
            case "recovering":
                self._partitions.set_progress(PartitionKey(*message["partition"]), message["percent"])
            case "failed":
                error = errors.CATALOGUE[message["error"]["name"]].error(message["error"]["message"])
                self._partitions.set_failure(PartitionKey(*message["partition"]), error)
            case "dropped":
                tasks.start("drop", self._drop(message["collection"], message["barrier"]))
                return
            case "changed":
                self._service.change_collection(Collection.from_plain(message["collection"]))
            case "aliases":
                self._service.catalog.set_aliases(message["aliases"])
            case "let_go":
                tasks.start("let go", self._let_go(message))
                return
            case "answered":
                error = message["error"]
                known = (
                    None
                    if error is None
                    else errors.CATALOGUE[error["name"]].error(error["message"], **error["detail"])
                )
                self._service.answered(message["request"], known)
            case "drain":
                tasks.start("drain", self._drain())
            case "stop":
                tasks.start("stop", self._stop())
        if "barrier" in message:
            self._channel.send({"type": "acknowledged", "barrier": message["barrier"]})

    async def _serve(self, client: socket.socket) -> None:
        session = Session(self._service, self._session_closed)
        self._sessions.add(session)
        try:
            await self._loop.connect_accepted_socket(lambda: session, client)
        except OSError:
            self._session_closed(session)  # the client left before it was served

    def _session_closed(self, session: Session) -> None:
        if session in self._sessions:
            self._sessions.discard(session)
            self._channel.send({"type": "closed"})

    async def _link(self, core: int, end: socket.socket) -> None:
        writes = self._service.writes
        pool = self._service.accountant["mailboxes"]
        link = PeerLink(core, self._service.serve_peer, writes.link_lost, pool)
        await self._loop.create_unix_connection(lambda: link, sock=end)
        writes.set_link(core, link)

    async def _drop(self, collection_id: int, barrier: int) -> None:
        await self._service.drop_collection(collection_id)
        self._channel.send({"type": "acknowledged", "barrier": barrier})

    async def _let_go(self, message: ControlMessage) -> None:
        await self._partitions.let_go(PartitionKey(*message["partition"]), message["generation"])
        self._channel.send({"type": "acknowledged", "barrier": message["barrier"]})

    async def _drain(self) -> None:
        await tasks.together(*(session.drain() for session in list(self._sessions)))
        self._channel.send({"type": "drained"})

    async def _stop(self) -> None:
        if self._is_stopping:  # told twice: at its start and by the one who waits for its end
            return
        self._is_stopping = True
        await self._service.close()
        self.stopped.set_result(None)

    def _orphaned(self, why: str | None) -> None:
        if not self.stopped.done():
            _log.error("the supervisor is gone", why=why)
            os._exit(1)


async def _run(options: CoreOptions) -> None:
    core = Core(options)
    await core.stopped


def _random_u32() -> int:
    return int.from_bytes(os.urandom(4), "little")


def main() -> None:
    """Run a core with the options of the first argument."""
    options = CoreOptions(**json.loads(sys.argv[1]))
    die_with_parent(options.parent)
    die_first(OOM_SCORES["core"])
    # A terminal or a service manager signals the whole group; the supervisor decides when its cores end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logs.configure()
    logs.bind_process(f"core {options.core}")
    os.sched_setaffinity(0, {options.cpu})
    parse("SHOW COLLECTIONS")  # reads the parser's tables, or makes them: no client should wait for that
    if not (packs_like_faiss(2) and packs_like_faiss(4)):
        _log.warning("this faiss packs codes in another order: it encodes itself, slower")
    uvloop.run(_run(options))


if __name__ == "__main__":
    main()
