"""What one core knows and can do for its sessions: find a reader, pass on a write, ask for a change.

    reads      run here, on the shared memory of any partition
    writes     go to the committer here, or by mailbox to the core that owns the partition
    changes    (create, drop, settings) go to the supervisor, and are in force on every core when it answers
    work       (seal, compact, rebuild) is done by the owner, who asks every core to let go of what was replaced

Invariant: what is asked of a partition that is not there yet is answered after `limits.READY_TIMEOUT_S` at the latest.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from reddb import errors, limits
from reddb.disk import Disk
from reddb.partition.figures import collection_figures, indexes_table, segments_table
from reddb.partition.kinds import memory_shape
from reddb.partition.reader import PartitionReader
from reddb.partition.writer import Partition
from reddb.query.execute import Table, show, show_one
from reddb.query.plan import ChangePlan, CreatePlan, DropPlan, IndexPlan, SettingsPlan, Shown, ShowPlan, WorkPlan
from reddb.requests import OPERATIONS, Write, collection_named, plan
from reddb.rows import RowBatch
from reddb.server.committer import Committer
from reddb.server.mailbox import PeerLink
from reddb.server.searches import Searches
from reddb.server.settler import Settler
from reddb.server.workshop import BuilderLink
from reddb.storage.folder import partition_folder
from reddb.storage.memory import PartitionMemory
from reddb.types import Collection
from reddb.wire.messages import Delete, Insert, Message, Query, Upsert, Written

_log = structlog.get_logger()


class Service:
    """The state of one core that its sessions share."""

    def __init__(
        self,
        core: int,
        cores: int,
        data: Path,
        disk: Disk,
        random_u32: Callable[[], int],
        send: Callable[[dict[str, Any], int | None], None],
        builder_bytes: int,
    ) -> None:
        """`send` sends a message, with a descriptor that stays ours, to the supervisor."""
        self.core = core
        self.catalog: dict[str, Collection] = {}
        self.searches = Searches()
        self._cores = cores
        self._data = data
        self._disk = disk
        self._random_u32 = random_u32
        self._send = send
        self._readers: dict[int, PartitionReader] = {}
        self._committers: dict[int, Committer] = {}
        self._settlers: dict[int, Settler] = {}
        self._builder = BuilderLink(
            core, builder_bytes, lambda: self._ask({"type": "may_build"}), lambda: send({"type": "built"}, None)
        )
        self._recovered: dict[int, Partition] = {}
        self._failures: dict[int, errors.RedDBError] = {}
        self._opened: dict[int, asyncio.Event] = {}
        self._links: dict[int, PeerLink] = {}
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._next_question = 0
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._sync_pool = ThreadPoolExecutor(1, "sync")

    # --- what sessions ask ---------------------------------------------------------------------------------

    def reader_now(self, collection: Collection) -> PartitionReader | None:
        """The reader of a collection, if its rows are there."""
        return self._readers.get(collection.id)

    async def reader(self, collection: Collection) -> PartitionReader:
        """The same, after a bounded wait. Raises NOT_READY, or the reason why the partition cannot be opened."""
        await self._wait_opened(collection, lambda: collection.id in self._readers)
        return self._readers[collection.id]

    async def write(self, message: Message) -> Written:
        """Store rows, wherever their owner is; returns when they are on disk and searchable."""
        assert isinstance(message, Insert | Upsert | Delete)
        collection = collection_named(message.collection, self.catalog)
        owner = self._owner(collection)
        if owner == self.core:
            return await self._write_here(collection, message)
        if owner not in self._links:
            raise errors.UNAVAILABLE.error(f"core {owner}, which owns the rows, is starting; nothing was written")
        answer = await self._links[owner].request(message)
        assert isinstance(answer, Written)
        return answer

    async def change_rows(self, message: Query, bound: ChangePlan | WorkPlan) -> Written:
        """Run a statement that only the owner of the rows can run, wherever that is."""
        owner = self._owner(bound.collection)
        if isinstance(bound, WorkPlan) and bound.settings:
            await self.change(SettingsPlan(bound.collection.name, bound.settings))
        if owner == self.core:
            return await self._change_here(bound)
        if owner not in self._links:
            raise errors.UNAVAILABLE.error(f"core {owner}, which owns the rows, is starting; nothing was done")
        answer = await self._links[owner].request(message)
        assert isinstance(answer, Written)
        return answer

    async def change(self, plan: CreatePlan | DropPlan | SettingsPlan | IndexPlan) -> None:
        """Create, drop or change a collection, on every core."""
        match plan:
            case CreatePlan():
                await self._ask({"type": "change", "create": plan.to_plain()})
            case DropPlan():
                await self._ask({"type": "change", "drop": plan.name, "if_exists": plan.if_exists})
            case SettingsPlan():
                await self._ask({"type": "change", "set": plan.name, "settings": plan.settings})
            case IndexPlan():
                await self._ask({"type": "change", "index": asdict(plan)})

    async def show(self, plan: ShowPlan) -> Table:
        if plan.collection is None:
            return show((collection, self._count(collection)) for _, collection in sorted(self.catalog.items()))
        if plan.what is Shown.SEGMENTS:
            return segments_table(await self.reader(plan.collection))
        if plan.what is Shown.INDEXES:
            return indexes_table(await self.reader(plan.collection))
        reader = self.reader_now(plan.collection)
        return show_one(plan.collection, {"rows": None} if reader is None else collection_figures(reader))

    # --- what the supervisor says --------------------------------------------------------------------------

    def add_collection(self, collection: Collection) -> None:
        """It exists; if it is ours, open or recover it."""
        self.catalog[collection.name] = collection
        self._opened[collection.id] = asyncio.Event()
        if self._owner(collection) == self.core and collection.id not in self._opening:
            task = asyncio.create_task(self._open(collection))
            self._opening[collection.id] = task
            task.add_done_callback(lambda _: self._opening.pop(collection.id))

    def set_memory(self, collection_id: int, descriptor: int) -> None:
        """The rows of a collection are in this memory from now on."""
        collection = next((item for item in self.catalog.values() if item.id == collection_id), None)
        if collection is None or collection_id in self._recovered or collection_id in self._committers:
            os.close(descriptor)  # dropped; or ours, and newer than what our predecessor had left with the supervisor
            return
        memory = PartitionMemory(descriptor, memory_shape(collection), writable=False)
        os.close(descriptor)
        self._failures.pop(collection_id, None)
        self._set_reader(self._reader_over(collection, memory))

    def set_writable(self, collection_id: int) -> None:
        """Every core reads our memory of this collection: a write is seen by all once it is acknowledged."""
        partition = self._recovered.pop(collection_id, None)
        if partition is not None:
            committer = Committer(partition, self._sync_pool, lambda: self._settlers[collection_id].wake())
            self._committers[collection_id] = committer
            self._settlers[collection_id] = Settler(
                committer,
                self._builder,
                self._sync_pool,
                lambda generation: self._ask({"type": "let_go", "collection": collection_id, "generation": generation}),
            )
            self._opened[collection_id].set()

    def change_collection(self, collection: Collection) -> None:
        """Its settings or indexes changed."""
        self.catalog[collection.name] = collection
        if collection.id in self._readers:
            self._readers[collection.id].change_collection(collection)
        for partition in (self._recovered.get(collection.id), self._partition(collection.id)):
            if partition is not None:
                partition.change_collection(collection)
        if collection.id in self._settlers:
            self._settlers[collection.id].wake()

    async def let_go(self, collection_id: int, generation: int) -> None:
        """Return when no search here reads what the owner replaced before this generation."""
        # No event says that the last search over old memory is gone: its view is, when nothing refers to it any more.
        while (  # noqa: ASYNC110
            reader := self._readers.get(collection_id)
        ) is not None and not reader.has_let_go(generation):
            await asyncio.sleep(limits.SETTLE_POLL_S)

    def set_failure(self, collection_id: int, error: errors.RedDBError) -> None:
        """The collection cannot be opened by its owner."""
        self._failures[collection_id] = error
        self._opened[collection_id].set()

    async def drop_collection(self, collection_id: int) -> None:
        """It does not exist any more; finish and forget it."""
        self.catalog = {name: item for name, item in self.catalog.items() if item.id != collection_id}
        self._opened.pop(collection_id).set()
        self._failures.pop(collection_id, None)
        self._readers.pop(collection_id, None)
        if collection_id in self._opening:  # its files may go only when nobody reads them
            await self._opening[collection_id]
        recovered = self._recovered.pop(collection_id, None)
        if recovered is not None:
            recovered.close()
        settler = self._settlers.pop(collection_id, None)
        if settler is not None:
            await settler.close()
        committer = self._committers.pop(collection_id, None)
        if committer is not None:
            await committer.close()

    async def set_link(self, core: int, link: PeerLink) -> None:
        if core in self._links:
            self._links[core].close()
        self._links[core] = link

    def answered(self, number: int, error: errors.RedDBError | None) -> None:
        """The supervisor's answer to a question of ours."""
        future = self._asked.pop(number, None)
        if future is None or future.done():
            return  # asked by the process that was this core before
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    async def serve_peer(self, message: Message) -> Message:
        """A write, or a statement for the owner, that another core passed on."""
        if isinstance(message, Query):
            bound = plan(message, self.catalog)
            assert isinstance(bound, ChangePlan | WorkPlan)
            return await self._change_here(bound)
        assert isinstance(message, Insert | Upsert | Delete)
        return await self._write_here(collection_named(message.collection, self.catalog), message)

    async def close(self) -> None:
        """Finish every write and close every partition."""
        await asyncio.gather(*self._opening.values())
        for settler in self._settlers.values():
            await settler.close()
        await self._builder.stop()
        for partition in self._recovered.values():
            partition.close()
        self._recovered.clear()  # "writable" may still come
        for committer in self._committers.values():
            await committer.close()
        self._sync_pool.shutdown()

    # -------------------------------------------------------------------------------------------------------

    async def _ask(self, question: dict[str, Any]) -> None:
        """Ask the supervisor for something that concerns every core. Raises what it answers."""
        self._next_question += 1
        number = self._next_question
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        self._send({**question, "request": number}, None)
        await future

    def _partition(self, collection_id: int) -> Partition | None:
        committer = self._committers.get(collection_id)
        return None if committer is None else committer.partition

    def _reader_over(self, collection: Collection, memory: PartitionMemory) -> PartitionReader:
        folder = partition_folder(self._data, collection.id, 0)
        return PartitionReader(self._disk, folder, collection, 0, memory)

    async def _change_here(self, bound: ChangePlan | WorkPlan) -> Written:
        collection = bound.collection
        await self._wait_opened(collection, lambda: collection.id in self._committers)
        if isinstance(bound, WorkPlan):
            await self._settlers[collection.id].work(bound.work)
            return Written(0)
        return Written(await self._committers[collection.id].change(bound, self._readers[collection.id]))

    def _owner(self, collection: Collection) -> int:
        return collection.id % self._cores

    async def _write_here(self, collection: Collection, message: Write) -> Written:
        await self._wait_opened(collection, lambda: collection.id in self._committers)
        batch = RowBatch.decode(message.batch)
        return Written(await self._committers[collection.id].submit(OPERATIONS[type(message)], batch))

    async def _wait_opened(self, collection: Collection, is_there: Callable[[], bool]) -> None:
        if not is_there():
            try:
                async with asyncio.timeout(limits.READY_TIMEOUT_S):
                    while not is_there():
                        opened = self._opened.get(collection.id)
                        if opened is None:
                            raise errors.UNKNOWN_COLLECTION.error(f"collection {collection.name!r} was dropped")
                        if collection.id in self._failures:
                            raise self._failures[collection.id]
                        opened.clear()
                        await opened.wait()
            except TimeoutError:
                raise errors.NOT_READY.error(f"collection {collection.name!r} is still recovering") from None

    async def _open(self, collection: Collection) -> None:
        loop = asyncio.get_running_loop()
        folder = partition_folder(self._data, collection.id, 0)
        try:
            partition = await loop.run_in_executor(
                None, Partition.open, self._disk, folder, collection, 0, self._random_u32
            )
        except errors.RedDBError as error:
            _log.error("a partition cannot be opened", collection=collection.name, error=str(error))
            if collection.id in self._opened:
                self.set_failure(collection.id, error)
            failure = {"number": error.code.number, "name": error.name, "message": error.message}
            self._send({"type": "failed", "collection": collection.id, "error": failure}, None)
            return
        if collection.id not in self._opened:
            partition.close()  # dropped meanwhile
            return
        if partition.torn_tail is not None:
            tail = partition.torn_tail
            _log.warning("cut an unfinished write", file=tail.path.name, offset=tail.offset, bytes=tail.bytes_cut)
        _log.info("partition open", collection=collection.name, rows=partition.memory.snapshot().live_rows)
        self._recovered[collection.id] = partition
        self._set_reader(self._reader_over(collection, partition.memory))
        self._send({"type": "opened", "collection": collection.id}, partition.memory.descriptor)

    def _set_reader(self, reader: PartitionReader) -> None:
        self._readers[reader.collection.id] = reader
        self._opened[reader.collection.id].set()

    def _count(self, collection: Collection) -> int | None:
        reader = self.reader_now(collection)
        return None if reader is None else reader.count()
