"""Group commit: whatever arrives while one group is being synced goes into the next one.

    submit ──► partition.prepare ──► (open group) ──► write + sync in a thread ──► complete ──► answer
                                          ▲                     │
                                          └── submits go on ◄───┘

No timer delays a lone write: a group begins as soon as the one before is done. With durability "flush" the sync comes
after the answer, `flush_interval_ms` later at the latest. Encoding runs between requests once
nothing is waiting to be written.

What must read before it writes (a change by predicate), or wait for others before it writes (a part of a batch), holds
the partition: it waits until nothing is on its way, and what is submitted meanwhile waits behind it.

Invariants:
  * An answer is given only after the sync of its group returned, where durability is "fsync".
  * One group of a partition is under way at a time; one sync of a core is (they share `pool`, of one thread).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from time import perf_counter

import structlog

from reddb import errors
from reddb.metrics import Metrics
from reddb.partition.changes import Change, Changed, Preparing
from reddb.partition.checkpoint import note_end
from reddb.partition.operations import Group, Operation, Prepared
from reddb.partition.sweep import prepare_sweep
from reddb.partition.writer import Partition
from reddb.rows import RowBatch
from reddb.server import tasks
from reddb.server.slices import in_slices
from reddb.types import Collection

_log = structlog.get_logger()

_ENCODE_TURN_S = 0.02  # what encoding may add to the wait of a request on a busy core


class Committer:
    """Writes one partition's operations."""

    def __init__(self, partition: Partition, pool: Executor, metrics: Metrics, written: Callable[[], None]) -> None:
        """`written` is called when there may be something to seal: after each group, and for want of memory."""
        self.partition = partition
        self._pool = pool
        self._metrics = metrics
        self._written = written
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Prepared, asyncio.Future[int]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._holding = asyncio.Lock()
        self._held: Held | None = None
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._is_encoding = False
        self._encoded_until = self._loop.time()
        self._is_closed = False
        self.last_write = self._loop.time()
        self._encode_soon()

    async def submit(self, operation: Operation, batch: RowBatch, checked: Collection | None = None) -> int:
        """Store and apply; returns the rows affected once they are on disk.

        `checked` is the collection for which the batch was checked, if it was.
        Raises what `prepare` raises, or a disk error.
        """
        while self._holding.locked():
            async with self._holding:
                pass  # behind what holds it
        self._refuse_if_closed()
        try:
            prepared = self.partition.prepare(operation, batch, sound=checked)
        except errors.RedDBError:
            if self.partition.growing.is_short:
                self._written()
            raise
        if not prepared.ids:
            return 0
        return await self._write_soon(prepared)

    async def change(self, prepare: Callable[[], Preparing]) -> Changed:
        """The same for what must read first."""
        held = await self.hold(prepare)
        return await held.commit()

    async def sweep(self) -> int:
        """Delete some of the rows that have expired; returns how many. Raises a disk error."""
        return (await self.change(self._sweep_steps)).count

    def _sweep_steps(self) -> Preparing:
        yield
        return Change.of(prepare_sweep(self.partition))

    async def hold(self, prepare: Callable[[], Preparing]) -> Held:
        """Prepare operations, in slices; nothing else is written until they are committed or aborted.

        Raises what it raises.
        """
        await self._holding.acquire()
        try:
            await self._quiet.wait()
            self._refuse_if_closed()
            change = await in_slices(prepare())
            if self._is_closed:
                self._forget()
            self._refuse_if_closed()
        except BaseException:
            self._holding.release()
            raise
        prepared = [item for item in change.prepared if item.ids]
        if prepared:
            self._quiet.clear()
        self._held = Held(self, prepared, change.changed)
        return self._held

    def decide(self, prepared: list[Prepared], *, commit: bool) -> list[asyncio.Future[int]]:
        """End the hold: the operations go into the next group, or are forgotten."""
        self._held = None
        futures: list[asyncio.Future[int]] = []
        if commit:
            futures = [self._write_soon(item) for item in prepared]
        else:
            self._forget()
            self._quiet.set()
        self._holding.release()
        return futures

    async def quiet(self) -> None:
        """Return when nothing is on its way."""
        await self._quiet.wait()

    async def close(self, *, is_dropped: bool = False) -> None:
        """Finish what was submitted, sync it, note how far the log reaches, and close the partition."""
        self._is_closed = True
        if self._held is not None:
            await self._held.abort()
        async with self._holding:
            pass  # what is being prepared is refused when it is
        if self._writing is not None:
            await self._writing
        if self._flushing is not None:
            await self._flushing
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            await self._flush()
        if not is_dropped:
            await tasks.in_thread(self._pool, note_end, self.partition)
        self.partition.close()

    def _forget(self) -> None:
        """What is prepared will not happen."""
        group = self.partition.take_group()
        if group is not None:
            self.partition.abort(group)

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise errors.UNKNOWN_COLLECTION.error(f"collection {self.partition.collection.name!r} was dropped")

    def _write_soon(self, prepared: Prepared) -> asyncio.Future[int]:
        future: asyncio.Future[int] = self._loop.create_future()
        self._waiting[prepared] = future
        self._quiet.clear()
        if self._writing is None:
            self._writing = tasks.start("group commit", self._write_groups())
        return future

    async def _write_groups(self) -> None:
        while (group := self.partition.take_group()) is not None:
            began = perf_counter()
            try:
                await tasks.in_thread(self._pool, group.write, self.partition.wal)
            except errors.RedDBError as error:
                self._fail(group, error)
            except Exception as error:
                _log.exception("writing the log failed in an unforeseen way")
                self._fail(group, errors.unforeseen("writing the log failed", error))
            else:
                self._metrics.commits += 1
                self._metrics.commit_seconds += perf_counter() - began
                self.partition.complete(group)
                self._flush_later(group)
                for prepared in group.operations:
                    self._metrics.rows_written += prepared.result
                    future = self._waiting.pop(prepared)
                    if not future.done():  # done: whoever asked has gone
                        future.set_result(prepared.result)
            self.last_write = self._loop.time()
        self._writing = None
        self._quiet.set()
        self._written()
        self._encode_soon()

    def _fail(self, group: Group, error: errors.RedDBError) -> None:
        _log.error("a group was not written", error=error.name, message=error.message)
        for prepared in self.partition.abort(group):
            future = self._waiting.pop(prepared)
            if not future.done():
                future.set_exception(error)

    def _flush_later(self, group: Group) -> None:
        """What was written without a sync is synced when its time has come."""
        if group.durability == "flush" and self._flush_timer is None:
            interval_s = self.partition.collection.number("flush_interval_ms") / 1000
            self._flush_timer = tasks.later("flush", interval_s, self._begin_flush)

    def _begin_flush(self) -> None:
        self._flushing = tasks.start("flush", self._flush())

    async def _flush(self) -> None:
        self._flush_timer = None
        try:
            await tasks.in_thread(self._pool, self.partition.sync)
        except errors.RedDBError as error:  # the log is poisoned: the next write is told so
            _log.critical("acknowledged writes may not survive a power cut", error=str(error))

    def _encode_soon(self) -> None:
        if not self._is_encoding:
            self._is_encoding = True
            tasks.soon("encoding", self._encode, failed=tasks.carry_on)  # rows without codes are found exactly

    def _encode(self) -> None:
        """Encode for as long as the turn of the loop since the last time took, within bounds: half of a busy core.

        One slice a turn would starve the encoding where searches are slow for want of codes.
        """
        self._is_encoding = False
        if self._writing is not None or self._is_closed:
            return
        began = self._loop.time()
        end = began + min(began - self._encoded_until, _ENCODE_TURN_S)
        has_more = self.partition.encode_step()
        while has_more and self._loop.time() < end:
            has_more = self.partition.encode_step()
        self._encoded_until = self._loop.time()
        if has_more:
            self._encode_soon()


class Held:
    """Operations that a partition has checked and waits for."""

    def __init__(self, committer: Committer, prepared: list[Prepared], changed: Changed) -> None:
        self._committer = committer
        self._prepared = prepared
        self._changed = changed
        self._is_over = False

    async def commit(self) -> Changed:
        """Store them; returns what they changed. Raises a disk error, or UNKNOWN_COLLECTION if it was dropped."""
        if self._is_over:
            raise errors.UNKNOWN_COLLECTION.error("the collection was dropped")
        self._is_over = True
        await tasks.together(*self._committer.decide(self._prepared, commit=True))
        return self._changed

    async def abort(self) -> None:
        """Forget them; once it is over, nothing happens."""
        if not self._is_over:
            self._is_over = True
            self._committer.decide(self._prepared, commit=False)
