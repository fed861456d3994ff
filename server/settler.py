"""Keeps the segments of one partition settled: finds what is due, has it built, publishes it.

    due job ──► builder ──► open, prepare, write, complete ──► every core has let go ──► clean, retire ──► next

and writes checkpoints: every `checkpoint_s`, when asked to, and where the log has grown long. Who asks while one is
being written waits for the next.

A job that fails is due again after a pause, longer each time; the rows stay searchable as they were.

Invariants:
  * One job or checkpoint of a partition is under way at a time.
  * The loop never waits for the disk: what reads or writes files runs in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

import structlog

from reddb import errors, limits
from reddb.partition.checkpoint import CodesCheckpoint
from reddb.partition.jobs import Job
from reddb.partition.policy import can_checkpoint, compaction, due_job, log_is_due
from reddb.partition.publication import Publication, TombstoneCheckpoint, publication
from reddb.partition.sweep import SWEEP_ROWS_MAX
from reddb.query.plan import Work
from reddb.server import tasks
from reddb.server.committer import Committer
from reddb.server.workshop import BuilderLink
from reddb.storage.manifest import remove_garbage
from reddb.storage.memory import JobProgress

_log = structlog.get_logger()

_CHECKPOINT_PAUSE_S = 1.0  # after one that failed
_FAILURES_TOLD = 3  # in a row, before whoever waits for the work is told


class Settler:
    """Runs beside the committer of a partition."""

    def __init__(
        self,
        committer: Committer,
        builder: BuilderLink,
        pool: Executor,
        all_let_go: Callable[[int], Awaitable[None]],
    ) -> None:
        """`pool` is the committer's; `all_let_go` returns when no core reads what was before a generation."""
        self._committer = committer
        self._partition = committer.partition
        self._builder = builder
        self._pool = pool
        self._all_let_go = all_let_go
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._unsettled: set[int] = set()
        self._compacting = 0
        self._settled: list[asyncio.Future[None]] = []
        self._checkpointed: list[asyncio.Future[None]] = []
        self._checkpoint_lsn = self._partition.lsn
        self._checkpoint_time = self._loop.time()
        self._task = tasks.start("settler", self._run())

    @property
    def has_growing_rows(self) -> bool:
        return self._partition.has_growing_rows

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def work(self, work: Work) -> None:
        """Do what ALTER COLLECTION asked for; returns when it is done. Raises the error that prevented it."""
        self._partition.check_manifest()
        while await self._committer.sweep() == SWEEP_ROWS_MAX:
            pass
        if work is Work.CHECKPOINT:
            if not self._partition.collection.is_logged:
                await self.work(Work.SEAL)  # rows that no log knows
            await self._checkpoint_soon()
            return
        if work is Work.COMPACT:  # only what is dead in files is left out
            await self.work(Work.SEAL)
            if can_checkpoint(self._partition):
                await self._checkpoint_soon()
        while not self._partition.freeze():
            await self._committer.quiet()
        if work is Work.REBUILD:
            self._unsettled = {segment.id for segment in self._partition.segments}
        settled: asyncio.Future[None] = self._loop.create_future()
        self._settled.append(settled)
        self._compacting += work is Work.COMPACT
        self._wake.set()
        try:
            await settled
        finally:
            self._compacting -= work is Work.COMPACT

    async def close(self) -> None:
        """Leave everything as it is; what was being built is due again after a restart."""
        await tasks.stop(self._task)
        closed = errors.SHUTTING_DOWN.error("the collection was closed before the work was done")
        self._end_waits(closed)
        _tell(self._checkpointed, closed)

    async def _run(self) -> None:
        failures = 0
        await self._clean(
            lambda: remove_garbage(self._partition.disk, self._partition.folder, self._partition.manifest)
        )
        while not self._partition.manifest_is_unknown:
            self._wake.clear()
            if self._checkpoint_is_due():
                await self._checkpoint()
                continue
            self._freeze_if_due()
            job = due_job(self._partition, frozenset(self._unsettled))
            if job is None and self._compacting:
                job = compaction(self._partition)
            if job is None:
                self._end_waits(None)
                await self._sleep(self._until_due())
                continue
            try:
                await self._do(job)
                failures = 0
            except errors.RedDBError as error:
                failures += 1
                await self._pause(job, error, failures)
            except Exception as error:
                _log.exception("a job failed in an unforeseen way")
                failures += 1
                await self._pause(job, errors.unforeseen("a job failed", error), failures)
        try:
            self._partition.check_manifest()
        except errors.RedDBError as error:
            _log.critical("segments are settled no more until a restart", error=str(error))
            self._end_waits(error)
            _tell(self._checkpointed, error)

    async def _pause(self, job: Job, error: errors.RedDBError, failures: int) -> None:
        pause_s = limits.RESTART_BACKOFF_S[min(failures, len(limits.RESTART_BACKOFF_S)) - 1]
        _log.error("a segment was not settled", job=str(job.kind), error=str(error), again_in_s=pause_s)
        if not error.code.retryable or failures >= _FAILURES_TOLD:
            self._end_waits(error)
        await asyncio.sleep(pause_s)

    async def _do(self, job: Job) -> None:
        began = self._loop.time()
        change = publication(self._partition, job)
        self._note(job, 0)
        try:
            result = await self._builder.run(self._partition, job, lambda rows: self._note(job, rows))
        finally:
            self._partition.memory.write_progress(JobProgress(0, 0, 0, 0))
        generation = await self._publish(change, result)
        self._unsettled -= job.source_ids
        await self._all_let_go(generation)
        await self._clean(change.clean)
        change.retire()
        took_s = round(self._loop.time() - began, 2)
        _log.info("segment settled", job=str(job.kind), segment=job.segment_id, rows=result["rows"], took_s=took_s)

    async def _publish(self, change: Publication, result: dict[str, Any]) -> int:
        await tasks.in_thread(None, change.open, result)
        await self._put(change)
        return change.complete()

    async def _put(self, change: Publication) -> None:
        """Make it durable. Raises a disk error, and nothing has changed then."""
        try:
            change.prepare()
            await tasks.in_thread(self._pool, change.write)
        except BaseException:
            change.undo()
            raise

    async def _clean(self, work: Callable[[], None]) -> None:
        """Remove what nobody needs; what cannot be removed now is garbage that the next one finds."""
        try:
            await tasks.in_thread(self._pool, work)
        except errors.RedDBError as error:
            _log.error("files that nobody needs are left", error=str(error))

    def _note(self, job: Job, rows: int) -> None:
        progress = JobProgress(job.sources[0].id, job.sources[-1].id, rows, job.rows)
        self._partition.memory.write_progress(progress)

    # --- checkpoints ---------------------------------------------------------------------------------------

    async def _checkpoint_soon(self) -> None:
        """Return when a checkpoint that began after this call is on disk. Raises what prevented it."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._checkpointed.append(done)
        self._wake.set()
        await done

    def _checkpoint_is_due(self) -> bool:
        partition = self._partition
        if self._checkpointed or (log_is_due(partition) and can_checkpoint(partition)):
            return True
        every_s = partition.collection.number("checkpoint_s")
        is_time = bool(every_s) and self._loop.time() - self._checkpoint_time >= every_s
        return is_time and partition.lsn != self._checkpoint_lsn

    async def _checkpoint(self) -> None:
        waiting, self._checkpointed = self._checkpointed, []
        lsn = self._checkpoint_lsn = self._partition.lsn
        self._checkpoint_time = self._loop.time()
        error: errors.RedDBError | None = None
        try:
            if can_checkpoint(self._partition):
                change = TombstoneCheckpoint(self._partition)
                await self._put(change)  # prepared in this same turn, before another row can come
                change.complete()
                await self._clean(change.clean)
            else:
                await tasks.in_thread(self._pool, CodesCheckpoint(self._partition).write)
            self._partition.note_checkpoint(lsn)
        except asyncio.CancelledError:
            self._checkpointed += waiting  # `close` tells them
            raise
        except errors.RedDBError as failure:
            _log.error("a checkpoint was not written", error=str(failure))
            error = failure
        except Exception as failure:
            _log.exception("a checkpoint failed in an unforeseen way")
            error = errors.unforeseen("a checkpoint failed", failure)
        _tell(waiting, error)
        if error is not None:
            await asyncio.sleep(_CHECKPOINT_PAUSE_S)  # where the log is long, the next one is due at once

    # --- when something is due -----------------------------------------------------------------------------

    def _until_due(self) -> float | None:
        """Seconds until rows have waited long enough or a checkpoint is due, None if neither will be."""
        collection, now = self._partition.collection, self._loop.time()
        idle_s, every_s = collection.number("seal_idle_s"), collection.number("checkpoint_s")
        times: list[float] = []
        if idle_s and self._partition.has_growing_rows:
            times.append(self._committer.last_write + idle_s)
        if every_s and self._partition.lsn != self._checkpoint_lsn:
            times.append(self._checkpoint_time + every_s)
        return max(min(times) - now, limits.SETTLE_POLL_S) if times else None

    def _freeze_if_due(self) -> None:
        """Rows that have waited long enough, that keep a long log or memory that others want are sealed."""
        idle_s = self._partition.collection.number("seal_idle_s")
        is_idle = bool(idle_s) and self._loop.time() - self._committer.last_write >= idle_s
        partition = self._partition
        if partition.has_growing_rows and (is_idle or partition.growing.is_short or log_is_due(partition)):
            partition.growing.is_short = not partition.freeze()

    async def _sleep(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):  # then it is time to look
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        await asyncio.sleep(limits.SETTLE_POLL_S)  # one look for many groups

    def _end_waits(self, error: errors.RedDBError | None) -> None:
        settled, self._settled = self._settled, []
        _tell(settled, error)


def _tell(waiting: list[asyncio.Future[None]], error: errors.RedDBError | None) -> None:
    for future in waiting:
        if not future.done():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
