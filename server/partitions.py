"""The partitions as one core knows them: how to read each, and how to write those that are its own.

    add            it exists; if it is ours, open or recover it, and tell the supervisor
    set_memory     its rows are in this memory: it can be read here, or adopted if it is ours (`partition/adoption.py`)
    set_writable   every core reads our memory of it: it can be written here
    drop           it does not exist any more

A partition belongs to the core `(collection id + its number) % cores`, so the partitions of one collection are spread
over the cores, and so are many collections of one partition each.

Invariant: what is asked of a partition that is not there yet is answered after `limits.READY_TIMEOUT_S` at the latest.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any, NamedTuple

import structlog

from reddb import errors, limits
from reddb.backup.archive import LogArchive
from reddb.disk import Disk
from reddb.metrics import Metrics
from reddb.partition.adoption import Differs
from reddb.partition.clock import SteadyClock
from reddb.partition.filters import FilterCache
from reddb.partition.kinds import memory_shape
from reddb.partition.reader import PartitionReader, Reader, reader_of
from reddb.partition.recovery import Recovery
from reddb.partition.writer import Partition
from reddb.server import tasks
from reddb.server.committer import Committer
from reddb.server.settler import Settler
from reddb.server.shortage import Shortage, read_only
from reddb.server.sweeper import Sweeper
from reddb.server.workshop import BuilderLink
from reddb.storage.folder import partition_folder
from reddb.storage.memory import PartitionMemory
from reddb.storage.wal import Archive, WalIdentity, keep_no_copy
from reddb.types import Collection

_log = structlog.get_logger()


class PartitionKey(NamedTuple):
    """Which partition."""

    collection: int
    number: int


@dataclass(frozen=True, slots=True)
class Owned:
    """What writes a partition, what settles its segments, and what deletes its expired rows."""

    committer: Committer
    settler: Settler
    sweeper: Sweeper
    reader: PartitionReader

    def wake(self) -> None:
        """Rows were written: something may be due."""
        self.settler.wake()
        self.sweeper.wake()


class Partitions:
    """Every partition there is, seen from one core."""

    def __init__(
        self,
        core: int,
        cores: int,
        data: Path,
        disk: Disk,
        random_u32: Callable[[], int],
        builder: BuilderLink,
        send: Callable[[dict[str, Any], int | None], None],
        ask: Callable[[dict[str, Any]], Awaitable[None]],
        archive_dir: Path | None,
        metrics: Metrics,
        filters: FilterCache,
    ) -> None:
        """`send` and `ask` reach the supervisor: `ask` returns with its answer."""
        self._core, self._cores = core, cores
        self._data = data
        self._disk = disk
        self._random_u32 = random_u32
        self._builder = builder
        self._send = send
        self._ask = ask
        self._archive_dir = archive_dir
        self._metrics = metrics
        self._filters = filters
        self._collections: dict[int, Collection] = {}
        self._parts: dict[PartitionKey, PartitionReader] = {}
        self._readers: dict[int, Reader] = {}
        self._recovered: dict[PartitionKey, Partition] = {}
        self._owned: dict[PartitionKey, Owned] = {}
        self._percent: dict[PartitionKey, int] = {}
        self._failures: dict[PartitionKey, errors.RedDBError] = {}
        self._changed: dict[int, asyncio.Event] = {}
        self._opening: dict[PartitionKey, asyncio.Task[None]] = {}
        self._sync_pool = ThreadPoolExecutor(1, "sync")
        self.now_us, self._given_up = SteadyClock(), Event()
        self.shortage = Shortage()

    # --- what sessions ask ---------------------------------------------------------------------------------

    def owner(self, collection: Collection, number: int) -> int:
        """The core that writes a partition."""
        return (collection.id + number) % self._cores

    def reader_now(self, collection: Collection) -> Reader | None:
        """The reader of a collection, if all its rows are there."""
        return self._readers.get(collection.id)

    async def reader(self, collection: Collection) -> Reader:
        """The same, after a bounded wait. Raises NOT_READY, or the reason why a partition cannot be opened."""
        await self._wait(collection, lambda: collection.id in self._readers, _keys(collection))
        return self._readers[collection.id]

    def states(self, collection: Collection) -> list[tuple[int | None, str, PartitionReader | None]]:
        """Of each partition its core, its state, and its reader, where it can be read."""
        return [
            (self.owner(collection, key.number), self._state(key), self._parts.get(key)) for key in _keys(collection)
        ]

    def owned_readers(self) -> Iterator[PartitionReader]:
        """The readers of the partitions that this core writes."""
        return (owned.reader for owned in self._owned.values())

    async def owned(self, collection: Collection, number: int) -> Owned:
        """What writes a partition of ours, after a bounded wait. Raises as `reader` does."""
        key = PartitionKey(collection.id, number)
        if self.shortage.only_reads and collection.is_logged:
            raise read_only(collection)
        await self._wait(collection, lambda: key in self._owned and not self.shortage.is_sealing(key), [key])
        return self._owned[key]

    # --- what the supervisor says --------------------------------------------------------------------------

    def add(self, collection: Collection, kept: Sequence[int] = ()) -> None:
        """It exists; what of it is ours is opened or recovered, partitions whose memory is `kept` once that comes."""
        self._collections[collection.id] = collection
        self._changed[collection.id] = asyncio.Event()
        for key in _keys(collection):
            if not self._is_ours(key) or (collection.is_logged and key.number in kept):
                continue
            if self.shortage.only_reads and collection.is_logged:
                self._refuse(key, read_only(collection))
            else:
                self._begin_opening(key, None)

    def set_memory(self, key: PartitionKey, descriptor: int) -> None:
        """The rows of a partition are in this memory from now on."""
        collection = self._collections.get(key.collection)
        if collection is None or key in self._recovered or key in self._owned:
            os.close(descriptor)  # dropped; or ours, and newer than what our predecessor had left with the supervisor
            return
        self._failures.pop(key, None)
        self._percent.pop(key, None)
        if key in self._parts and self._parts[key].memory.is_at(descriptor):
            self._changed[key.collection].set()  # its new owner adopted it, and we read it already
        else:
            self._read(key, PartitionMemory(descriptor, memory_shape(collection), writable=False))
        if self._is_ours(key) and key not in self._opening and collection.is_logged and not self.shortage.only_reads:
            self._begin_opening(key, descriptor)
        else:
            os.close(descriptor)

    def _read(self, key: PartitionKey, memory: PartitionMemory) -> None:
        self._set_reader(key, memory)
        try:
            self._parts[key].view()
        except errors.RedDBError as error:  # anything else is told to whoever asks
            if isinstance(error.__cause__, FileNotFoundError):
                # A dead owner published it, and its successor, which has yet to tell us of its own, removed the file.
                name = self._collections[key.collection].name
                _log.warning("files of a dead owner are gone", collection=name, part=key.number)
                self._readers.pop(key.collection, None)
                del self._parts[key]

    def set_writable(self, key: PartitionKey) -> None:
        """Every core reads our memory of this partition: a write is seen by all once it is acknowledged."""
        partition = None if self._given_up.is_set() else self._recovered.pop(key, None)
        if partition is None:
            return  # dropped, or about to be closed
        committer = Committer(
            partition, self._sync_pool, self._metrics, lambda: self._owned[key].wake() if key in self._owned else None
        )
        settler = Settler(
            committer,
            self._builder,
            self._sync_pool,
            lambda generation: self._ask({"type": "let_go", "partition": list(key), "generation": generation}),
        )
        self._owned[key] = Owned(committer, settler, Sweeper(committer), self._parts[key])
        self.shortage.seal_first(key, settler, self._changed[key.collection].set)
        self._changed[key.collection].set()

    def change(self, collection: Collection) -> None:
        """Its settings or indexes changed."""
        self._collections[collection.id] = collection
        for key in _keys(collection):
            if key in self._parts:
                self._parts[key].change_collection(collection)
            if key in self._recovered:
                self._recovered[key].change_collection(collection)
            if key in self._owned:
                self._owned[key].committer.partition.change_collection(collection)
                self._owned[key].settler.wake()

    async def let_go(self, key: PartitionKey, generation: int) -> None:
        """Return when no search here reads what the owner replaced before this generation."""
        # No event says that the last search over old memory is gone: its view is, when nothing refers to it any more.
        while (part := self._parts.get(key)) is not None:
            if key.collection in self._readers:
                self._readers[key.collection].view()  # or what it took last would be held on to
            if part.has_let_go(generation):
                return
            await asyncio.sleep(limits.SETTLE_POLL_S)

    def set_progress(self, key: PartitionKey, percent: int) -> None:
        """How far its owner has come with opening it."""
        self._percent[key] = percent

    def set_failure(self, key: PartitionKey, error: errors.RedDBError) -> None:
        """The partition cannot be opened by its owner."""
        self._failures[key] = error
        self._percent.pop(key, None)
        self._changed[key.collection].set()

    async def drop(self, collection_id: int) -> None:
        """The collection does not exist any more; finish and forget it."""
        keys = _keys(self._collections.pop(collection_id))
        self._changed.pop(collection_id).set()
        self._readers.pop(collection_id, None)
        for key in keys:
            self._failures.pop(key, None)
            self._percent.pop(key, None)
            self._parts.pop(key, None)
        for key in keys:
            if key in self._opening:  # its files may go only when nobody reads them
                await self._opening[key]
            await self._close(key, is_dropped=True)

    async def close(self) -> None:
        """Finish every write and close every partition; those that are being opened stay as they are."""
        self._given_up.set()  # else a long log would take the time in which others are to be synced
        await tasks.together(*self._opening.values())
        for owned in self._owned.values():
            await owned.sweeper.close()
            await owned.settler.close()
        await self._builder.stop()
        for key in [*self._recovered, *self._owned]:  # the first never became writable
            await self._close(key)
        self._sync_pool.shutdown()

    # -------------------------------------------------------------------------------------------------------

    async def _close(self, key: PartitionKey, *, is_dropped: bool = False) -> None:
        recovered = self._recovered.pop(key, None)
        if recovered is not None:
            recovered.close()
        owned = self._owned.pop(key, None)
        if owned is not None:
            await owned.sweeper.close()
            await owned.settler.close()
            await owned.committer.close(is_dropped=is_dropped)

    async def _wait(self, collection: Collection, is_there: Callable[[], bool], keys: list[PartitionKey]) -> None:
        if is_there():
            return
        try:
            async with asyncio.timeout(limits.READY_TIMEOUT_S):
                while not is_there():
                    changed = self._changed.get(collection.id)
                    if changed is None:
                        raise errors.UNKNOWN_COLLECTION.error(f"collection {collection.name!r} was dropped")
                    for key in keys:
                        if key in self._failures:
                            raise self._failures[key]
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            told = ", ".join(f"partition {key.number} is {self._state(key)}" for key in keys)
            raise errors.NOT_READY.error(f"collection {collection.name!r} is not ready: {told}") from None

    def _state(self, key: PartitionKey) -> str:
        if key in self._failures:
            return f"refused: {self._failures[key]}"
        if key in self._percent:
            return f"recovering, {self._percent[key]} % of its log read"
        if (told := self.shortage.state(key)) and self._is_ours(key):
            return told
        return "ready" if key in self._parts else "waiting for its core"

    async def _tell_progress(self, key: PartitionKey, recovery: Recovery) -> None:
        while True:
            self.set_progress(key, recovery.percent)
            self._send({"type": "recovering", "partition": list(key), "percent": recovery.percent}, None)
            await asyncio.sleep(limits.PROGRESS_S)

    def _is_ours(self, key: PartitionKey) -> bool:
        return self.owner(self._collections[key.collection], key.number) == self._core

    def _begin_opening(self, key: PartitionKey, left: int | None) -> None:
        if key.collection in self._collections and key not in self._opening:
            self._opening[key] = tasks.start("opening a partition", self._open(key, left))

    async def _adopt(self, key: PartitionKey, left: int, open_it: Callable[..., Partition]) -> Partition | None:
        """The partition in the memory that a process before us left; None where that is not what files and log say."""
        memory = PartitionMemory(left, memory_shape(self._collections[key.collection]), writable=True)
        await self._ask({"type": "let_go", "partition": list(key), "generation": memory.snapshot().generation})
        try:
            return await tasks.in_thread(None, partial(open_it, memory=memory))
        except Differs as difference:
            _log.warning("the memory of a dead core is not used, but the log", part=key, because=str(difference))
            return None

    async def _open(self, key: PartitionKey, left: int | None) -> None:
        collection = self._collections[key.collection]
        recovery = Recovery(self._given_up.is_set)
        of = self._disk, partition_folder(self._data, *key), collection, key.number, self._random_u32
        open_it = partial(Partition.open, *of, archive=self._archive(key), now_us=self.now_us, recovery=recovery)
        progress = tasks.start("progress of an opening", self._tell_progress(key, recovery))
        began = perf_counter()
        try:
            partition = None if left is None else await self._adopt(key, left, open_it)
            is_adopted = partition is not None
            if partition is None:
                partition = await tasks.in_thread(None, open_it)
        except errors.RedDBError as error:
            self._refuse(key, error)
            return
        except Exception as error:
            _log.exception("opening a partition failed in an unforeseen way")
            self._refuse(key, errors.unforeseen("opening failed", error))
            return
        finally:
            progress.cancel()
            self._percent.pop(key, None)
            del self._opening[key]
        self._metrics.recoveries += 1
        self._metrics.recovery_seconds += perf_counter() - began
        if key.collection not in self._collections:
            partition.close()  # dropped meanwhile
            return
        if (tail := partition.wal.torn_tail) is not None:
            _log.warning("cut an unfinished write", file=tail.path.name, offset=tail.offset, bytes=tail.bytes_cut)
        for refused in partition.refused_caches:
            _log.warning("an index is built anew, for it cannot be used", reason=str(refused))
        rows = partition.memory.snapshot().live_rows
        _log.info("partition open", collection=collection.name, part=key.number, rows=rows, adopted=is_adopted)
        partition.change_collection(self._collections[key.collection])  # it may have changed meanwhile
        self._recovered[key] = partition
        self._failures.pop(key, None)
        if not is_adopted:  # else we read it already
            self._set_reader(key, partition.memory)
        self._send({"type": "opened", "partition": list(key)}, partition.memory.descriptor)

    def _refuse(self, key: PartitionKey, error: errors.RedDBError) -> None:
        """It is not open, and everyone is told why; what may pass is tried again."""
        if key.collection not in self._collections or self._given_up.is_set():
            return  # dropped meanwhile, or nobody waits for it
        name = self._collections[key.collection].name
        _log.error("a partition cannot be opened", collection=name, part=key.number, error=str(error))
        self.set_failure(key, error)
        failure = {"number": error.code.number, "name": error.name, "message": error.message}
        self._send({"type": "failed", "partition": list(key), "error": failure}, None)
        if error.code.retryable:
            tasks.later("opening again", limits.REOPEN_S, self._begin_opening, key, None)

    def _archive(self, key: PartitionKey) -> Archive:
        if self._archive_dir is None:
            return keep_no_copy
        return LogArchive(self._disk, self._archive_dir, WalIdentity(key.collection, key.number)).keep

    def _set_reader(self, key: PartitionKey, memory: PartitionMemory) -> None:
        collection = self._collections[key.collection]
        of = self._disk, partition_folder(self._data, *key), collection, key.number
        self._parts[key] = PartitionReader(*of, memory, self.now_us, self._filters)
        keys = _keys(collection)
        if all(item in self._parts for item in keys):
            self._readers[key.collection] = reader_of([self._parts[item] for item in keys])
        self._changed[key.collection].set()


def _keys(collection: Collection) -> list[PartitionKey]:
    return [PartitionKey(collection.id, number) for number in range(collection.number("partitions"))]
