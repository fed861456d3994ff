"""What one core knows and can do for its sessions: find a reader, pass on a write, ask for a change.

reads      run here, on the shared memory of any partition (`reddb.server.partitions`)
writes     go to the cores that own the partitions (`reddb.server.writes`)
changes    (create, drop, settings) go to the supervisor, and are in force on every core when it answers
work       (seal, compact, rebuild) is done by the owners, who ask every core to let go of what was replaced
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reddb import errors
from reddb.accountant import Accountant
from reddb.disk import Disk
from reddb.folder_lock import FolderLock
from reddb.introspection import shown
from reddb.metrics import Metrics
from reddb.names import Names
from reddb.partition.figures import PartitionState
from reddb.partition.filters import FilterCache
from reddb.partition.reader import Reader
from reddb.query.execute import Table
from reddb.query.plan import (
    AliasPlan,
    CatalogPlan,
    CreatePlan,
    DropAliasPlan,
    DropPlan,
    FieldsPlan,
    IndexPlan,
    KillPlan,
    SettingsPlan,
    ShowPlan,
    TruncatePlan,
    WorkPlan,
)
from reddb.query.table import NOTHING
from reddb.query.values import clock_of
from reddb.query.views import VIEWS, Maker
from reddb.requests import Write, check_deleted, collection_named
from reddb.server import tasks
from reddb.server.inspection import Inspection
from reddb.server.intake import Arrivals
from reddb.server.mailbox import PeerLink
from reddb.server.partitions import Partitions
from reddb.server.registry import Registry
from reddb.server.searches import Searches
from reddb.server.workshop import BuilderLink
from reddb.server.writes import Writes
from reddb.session import SessionState, Statements
from reddb.settings import SettingValue
from reddb.types import Collection
from reddb.wire.messages import Message, Query, Stop, Tell, Written


class Service:
    """The state of one core that its sessions share."""

    def __init__(
        self,
        core: int,
        cores: int,
        lock: FolderLock,
        disk: Disk,
        random_u32: Callable[[], int],
        send: Callable[[dict[str, Any], int | None], None],
        builder_bytes: int,
        buffer_bytes: int,
        archive_dir: Path | None,
        settings: Mapping[str, SettingValue | None],
    ) -> None:
        """`settings` are the server's, by name; `buffer_bytes` bounds the memory of buffers, caches and queues.

        `send` sends a message, with a descriptor that stays ours, to the supervisor.
        """
        self.core = core
        self.catalog = Names()
        self.server_settings = settings
        self.metrics = Metrics()
        self.accountant = Accountant(buffer_bytes)
        self.arrivals = Arrivals(self.accountant)
        self.searches = Searches(self.metrics)
        self._send = send
        builder = BuilderLink(
            core, lock, builder_bytes, lambda: self._ask({"type": "may_build"}), lambda: send({"type": "built"}, None)
        )
        self.partitions = Partitions(
            *(core, cores, lock.path, disk, random_u32, builder, send, self._ask, archive_dir, self.metrics),
            FilterCache(self.accountant["filters"]),
        )
        clock = clock_of(self.partitions.now_us)
        self.registry = Registry(core, Statements(self.accountant["statements"], clock))
        self.writes = Writes(core, self.partitions, lambda: self.catalog, self.accountant["mailboxes"])
        of = core, cores, self.registry, self.metrics, self.accountant
        self._inspection = Inspection(*of, self.partitions.owned_readers, self.writes.link)
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._next_question = 0

    # --- what sessions ask ---------------------------------------------------------------------------------

    def reader_now(self, collection: Collection) -> Reader | None:
        """The reader of a collection, if its rows are there."""
        return self.partitions.reader_now(collection)

    async def reader(self, collection: Collection) -> Reader:
        """The same, after a bounded wait. Raises NOT_READY, or the reason why a partition cannot be opened."""
        return await self.partitions.reader(collection)

    async def write(self, message: Write) -> Written:
        """Store rows, wherever their owners are; returns when they are on disk and searchable."""
        collection = collection_named(message.collection, self.catalog)
        check_deleted(message, collection, self.reader_now(collection))
        return await self.writes.write(message)

    async def work(self, message: Query, bound: WorkPlan) -> None:
        """Do what ALTER COLLECTION asks for. Whoever waits for it may leave: the work goes on."""
        await asyncio.shield(tasks.start("alter collection", self._work(message, bound), failed=tasks.carry_on))

    async def _work(self, message: Query, bound: WorkPlan) -> None:
        if bound.settings:
            await self.change(SettingsPlan(bound.collection.name, bound.settings))
        await self.writes.work(message, bound)

    async def change(self, plan: CatalogPlan) -> None:
        """Create, drop or change a collection or an alias, on every core."""
        match plan:
            case CreatePlan():
                await self._ask({"type": "change", "create": plan.to_plain()})
            case DropPlan():
                await self._ask({"type": "change", "drop": plan.name, "if_exists": plan.if_exists})
            case SettingsPlan():
                await self._ask({"type": "change", "set": plan.name, "settings": plan.settings})
            case IndexPlan():
                await self._ask({"type": "change", "index": asdict(plan)})
            case FieldsPlan():
                await self._ask({"type": "change", "fields": plan.name, "declared": plan.fields.to_plain()})
            case TruncatePlan():
                await self._ask({"type": "change", "truncate": plan.name, "if_exists": plan.if_exists})
            case AliasPlan():
                change = {"alias": plan.name, "collection": plan.collection, "change": str(plan.change)}
                await self._ask({"type": "change", **change})
            case DropAliasPlan():
                await self._ask({"type": "change", "drop_alias": plan.name, "if_exists": plan.if_exists})

    async def show(self, plan: ShowPlan, session: SessionState) -> Table:
        """The rows of a view."""
        if plan.view.made_by is Maker.CORES:
            return await self._inspection.gather(plan.view)
        return shown(self, plan, session)

    async def kill(self, plan: KillPlan) -> None:
        """Stop a query on whichever core it runs. Raises INVALID_VALUE if there is none, CANNOT_CANCEL if it writes."""
        await self._inspection.kill(plan.query)

    def states(self, collection: Collection) -> list[PartitionState]:
        """Of each partition its core, its state, and its reader, where it can be read."""
        return self.partitions.states(collection)

    async def serve_peer(self, link: PeerLink, message: Message) -> Message:
        """Answer another core."""
        if isinstance(message, Tell | Stop):
            return self._inspection.answer(message)
        return await self.writes.serve_peer(link, message)

    async def view(self, name: str | None, session: SessionState) -> Table:
        """The rows of a view; one row without columns where there is none."""
        return NOTHING if name is None else await self.show(ShowPlan(VIEWS[name]), session)

    # --- what the supervisor says --------------------------------------------------------------------------

    def add_collection(self, collection: Collection, aliases: Mapping[str, int], kept: Sequence[int]) -> None:
        """It exists, these are all aliases, and the memory of these partitions is kept and will come."""
        self.catalog.put(collection)
        self.catalog.set_aliases(aliases)
        self.partitions.add(collection, kept)

    def change_collection(self, collection: Collection) -> None:
        """Its settings or indexes changed."""
        self.catalog.put(collection)
        self.partitions.change(collection)

    async def drop_collection(self, collection_id: int) -> None:
        """It does not exist any more; finish and forget it."""
        self.catalog.remove(collection_id)
        await self.partitions.drop(collection_id)

    def answered(self, number: int, error: errors.RedDBError | None) -> None:
        """The supervisor's answer to a question of ours."""
        future = self._asked.pop(number, None)
        if future is None or future.done():
            return  # asked by the process that was this core before
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    async def close(self) -> None:
        """Finish every write and close every partition."""
        await self.partitions.close()

    # -------------------------------------------------------------------------------------------------------

    async def _ask(self, question: dict[str, Any]) -> None:
        """Ask the supervisor for something that concerns every core. Raises what it answers."""
        self._next_question += 1
        number = self._next_question
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._send({**question, "request": number}, None)
        self._asked[number] = future
        await future
