"""Brings each write to the cores that own its rows.

    one partition concerned    the owner stores it; what comes from another core is sent there and the answer back
    several                    hold them all, in the order of their numbers; then commit them all, or abort them all

A held partition has checked its part and writes nothing else until it is told how the others fared. So what is refused
by one partition is written by none, and no other write comes between. (A log record for each decision, as in two-phase
commit with recovery, would also make the parts stand or fall together when a machine stops or a disk fails between
two commits; it would cost a second sync for each batch. What happens instead is said: the error names the partitions
that stored their part.)

Invariants:
  * Holds are taken in the order of the partitions' numbers, so two writes never wait for each other.
  * A hold ends: by a decision, or because the link to the core that would have decided is gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from reddb import errors
from reddb.accountant import Charge, Pool
from reddb.checks import check_steps, is_long
from reddb.partition.changes import Change, Changed, Preparing, change_steps, concerned, merged
from reddb.partition.operations import Operation
from reddb.partition.placement import Share, of_batch, shares, stored_in_part
from reddb.partition.transaction import transaction_steps
from reddb.query.plan import WorkPlan
from reddb.query.write_plans import RowsPlan, TransactionPlan, WritePlan
from reddb.requests import (
    OPERATIONS,
    Write,
    collection_named,
    given_batch,
    plan,
    plan_again,
    statement_of,
    write_message,
    write_plan,
)
from reddb.rows import RowBatch
from reddb.server import tasks
from reddb.server.committer import Held
from reddb.server.mailbox import PeerLink
from reddb.server.partitions import Owned, Partitions
from reddb.server.slices import in_slices
from reddb.types import Collection
from reddb.wire import messages
from reddb.wire.messages import (
    Decide,
    Delete,
    Holding,
    Insert,
    Message,
    Part,
    Query,
    Statement,
    Transact,
    Upsert,
    Written,
    decode_message,
    encode_body,
)

# What the owner of a partition is asked to do. A Query is work on its segments.
Job: TypeAlias = Write | Query | RowsPlan | TransactionPlan


@dataclass(frozen=True, slots=True)
class _HeldAway:
    """A partition that another core holds for us."""

    link: PeerLink
    number: int

    async def commit(self) -> Changed:
        return _changed(await self.link.request(Decide(self.number, True)))

    async def abort(self) -> None:
        with contextlib.suppress(errors.RedDBError):  # the link broke, which ends the hold over there
            await self.link.request(Decide(self.number, False))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one partition shall do; `share` says which rows of the batch it is about."""

    partition: int
    job: Job
    share: Share | None = None


class Writes:
    """The writes that sessions of this core and other cores ask for."""

    def __init__(
        self, core: int, partitions: Partitions, catalog: Callable[[], Mapping[str, Collection]], pool: Pool
    ) -> None:
        """`pool` has the memory of parts for several partitions."""
        self._core = core
        self._pool = pool
        self._partitions = partitions
        self._catalog = catalog
        self._links: dict[int, PeerLink] = {}
        self._held: dict[int, tuple[PeerLink, Held]] = {}
        self._next_hold = 0

    async def write(self, message: Write) -> Written:
        """Store rows; returns when they are on disk and searchable."""
        collection = collection_named(message.collection, self._catalog())
        if collection.number("partitions") == 1:
            # An alias may mean another collection by the time that the owner reads the message.
            named = message if message.collection == collection.name else type(message)(collection.name, message.batch)
            return Written((await self._at(collection, 0, named)).count)
        with Charge(self._pool, len(message.batch)):  # for the parts are copies
            asked = [
                _Asked(share.partition, type(message)(collection.name, b"".join(share.batch.encode())), share)
                for share in shares(collection, OPERATIONS[type(message)], given_batch(message))
            ]
            return Written(sum(part.count for part in await self._do(collection, asked)))

    async def change(self, bound: RowsPlan) -> Changed:
        """Do what the owners of the rows must do themselves."""
        parts = await self._do(bound.collection, [_Asked(number, bound) for number in concerned(bound)])
        return merged(parts, bound)

    async def transact(self, bound: TransactionPlan) -> Changed:
        """Do a transaction, which is about rows of one partition."""
        return await self._at(bound.collection, bound.partition, bound)

    async def work(self, message: Query, bound: WorkPlan) -> None:
        """Let the owners do what ALTER COLLECTION asks for; returns when all have."""
        numbers = range(bound.collection.number("partitions"))
        await tasks.together(*(self._at(bound.collection, number, message) for number in numbers))

    def set_link(self, core: int, link: PeerLink) -> None:
        """The way to another core; the one before is closed."""
        if core in self._links:
            self._links[core].close()
        self._links[core] = link

    def link(self, core: int) -> PeerLink | None:
        """The way to another core, if there is one."""
        return self._links.get(core)

    def link_lost(self, link: PeerLink) -> None:
        """Nobody will decide any more what that core had held."""
        lost = [number for number, (holder, _) in self._held.items() if holder is link]
        if lost:  # at a stop there is nothing, and the loop may end before a task begins
            tasks.start("holds of a lost core", self._abort([self._held.pop(number)[1] for number in lost]))

    async def _abort(self, held: list[Held]) -> None:
        for each in held:
            await each.abort()

    async def serve_peer(self, link: PeerLink, message: Message) -> Message:
        """A write, or a statement for the owner, that another core passed on."""
        if isinstance(message, Decide):
            _, held = self._held.pop(message.hold)
            if message.commit:
                return _told(await held.commit())
            await held.abort()
            return _told(Changed(0))
        if not isinstance(message, Part):
            return _told(await self._here(*self._job(message, 0), 0))
        collection, job = self._job(decode_message(message.kind, message.body), message.partition)
        if not message.hold:
            return _told(await self._here(collection, job, message.partition))
        held = await self._hold_here(collection, job, message.partition)
        if not link.is_open:
            await held.abort()
            raise errors.UNAVAILABLE.error("the core that asked is gone")
        self._next_hold += 1
        self._held[self._next_hold] = link, held
        return Holding(self._next_hold)

    # -------------------------------------------------------------------------------------------------------

    async def _do(self, collection: Collection, asked: list[_Asked]) -> list[Changed]:
        if len(asked) == 1:
            (only,) = asked
            try:
                return [await self._at(collection, only.partition, only.job)]
            except errors.RedDBError as error:
                raise _in_words_of_the_batch(error, only) from error
        held: list[Held | _HeldAway] = []
        try:
            for item in asked:
                try:
                    held.append(await self._hold(collection, item))
                except errors.RedDBError as error:
                    raise _in_words_of_the_batch(error, item) from error
        except BaseException:
            await tasks.together(*(item.abort() for item in held))
            raise
        outcomes = await tasks.outcomes(*(item.commit() for item in held))
        changed = [outcome for outcome in outcomes if isinstance(outcome, Changed)]
        stored = [item.partition for item, outcome in zip(asked, outcomes, strict=True) if isinstance(outcome, Changed)]
        for outcome in outcomes:
            if isinstance(outcome, errors.RedDBError):
                raise stored_in_part(outcome, stored)
            if isinstance(outcome, BaseException):
                raise outcome
        return changed

    async def _at(self, collection: Collection, number: int, job: Job) -> Changed:
        """Let the owner of a partition do it."""
        owner = self._partitions.owner(collection, number)
        if owner == self._core:
            return await self._here(collection, job, number)
        message, link = _message(job), self._link(owner)
        # The client's own bytes go on as they are where the collection says which partition is meant.
        if message is job and collection.number("partitions") == 1:
            return _changed(await link.request(message))
        return _changed(await link.request_part(number, message, hold=False))

    async def _hold(self, collection: Collection, asked: _Asked) -> Held | _HeldAway:
        owner = self._partitions.owner(collection, asked.partition)
        if owner == self._core:
            return await self._hold_here(collection, asked.job, asked.partition)
        link = self._link(owner)
        answer = await link.request_part(asked.partition, _message(asked.job), hold=True)
        assert isinstance(answer, Holding)
        return _HeldAway(link, answer.hold)

    async def _here(self, collection: Collection, job: Job, number: int) -> Changed:
        owned = await self._partitions.owned(collection, number)
        if isinstance(job, Query):
            bound = plan(job, self._catalog())
            assert isinstance(bound, WorkPlan)
            await owned.settler.work(bound.work)
            return Changed(0)
        if isinstance(job, Insert | Upsert | Delete):
            batch, checked = await _checked(owned, job)
            return Changed(await owned.committer.submit(OPERATIONS[type(job)], batch, checked))
        return await owned.committer.change(lambda: _prepare(owned, job))

    async def _hold_here(self, collection: Collection, job: Job, number: int) -> Held:
        owned = await self._partitions.owned(collection, number)
        if isinstance(job, Insert | Upsert | Delete):
            batch, checked = await _checked(owned, job)
            return await owned.committer.hold(lambda: _batch_steps(owned, OPERATIONS[type(job)], batch, checked))
        assert not isinstance(job, Query), "work on segments is not held"
        return await owned.committer.hold(lambda: _prepare(owned, job))

    def _job(self, message: Message, partition: int) -> tuple[Collection, Job]:
        """What another core asks for, and of which collection. Raises UNKNOWN_COLLECTION if it was dropped."""
        match message:
            case Query():
                bound = plan(message, self._catalog())
                assert isinstance(bound, WorkPlan)
                return bound.collection, message
            case Statement():
                collection = self._with_id(message.collection)
                return collection, plan_again(message, collection)
            case Transact():
                collection = self._with_id(message.collection)
                steps = tuple(_step(decode_message(kind, body), collection) for kind, body in message.steps)
                return collection, TransactionPlan(collection, partition, steps)
        assert isinstance(message, Insert | Upsert | Delete)
        return collection_named(message.collection, self._catalog()), message

    def _with_id(self, number: int) -> Collection:
        for collection in self._catalog().values():
            if collection.id == number:
                return collection
        raise errors.UNKNOWN_COLLECTION.error("the collection was dropped; nothing was stored")

    def _link(self, owner: int) -> PeerLink:
        if owner not in self._links:
            raise errors.UNAVAILABLE.error(f"core {owner}, which owns the rows, is starting; nothing was done")
        return self._links[owner]


async def _checked(owned: Owned, job: Write) -> tuple[RowBatch, Collection | None]:
    """The rows of a request; where they are many, checked in slices for the collection that is given too."""
    batch, collection = given_batch(job), owned.committer.partition.collection
    if isinstance(job, Delete) or not is_long(batch):
        return batch, None
    return await in_slices(check_steps(collection, batch)), collection


def _batch_steps(owned: Owned, operation: Operation, batch: RowBatch, checked: Collection | None) -> Preparing:
    yield
    return Change.of([owned.committer.partition.prepare(operation, batch, sound=checked)])


def _prepare(owned: Owned, job: RowsPlan | TransactionPlan) -> Preparing:
    partition = owned.committer.partition
    if isinstance(job, TransactionPlan):
        return transaction_steps(partition, owned.reader.view(), job)
    return change_steps(partition, owned.reader.view(), job)


def _message(job: Job) -> Message:
    """The job as another core is asked to do it."""
    if isinstance(job, Insert | Upsert | Delete | Query):
        return job
    if isinstance(job, TransactionPlan):
        steps = [_message(step) for step in job.steps]
        return Transact(job.collection.id, [[step.KIND, encode_body(step)] for step in steps])
    if job.asked is None:
        assert isinstance(job, WritePlan)
        return write_message(job)
    return statement_of(job.asked, job.collection)


def _step(message: Message, collection: Collection) -> RowsPlan:
    if isinstance(message, Statement):
        return plan_again(message, collection)
    assert isinstance(message, Insert | Upsert | Delete)
    return write_plan(message, collection)


def _told(changed: Changed) -> messages.Changed:
    rows = None if changed.rows is None else b"".join(changed.rows.encode())
    return messages.Changed(changed.count, rows, changed.positions.tobytes())


def _changed(answer: Message) -> Changed:
    assert isinstance(answer, messages.Changed)
    rows = None if answer.rows is None else RowBatch.decode(answer.rows)
    return Changed(answer.count, rows, np.frombuffer(answer.positions, np.int64))


def _in_words_of_the_batch(error: errors.RedDBError, asked: _Asked) -> errors.RedDBError:
    return error if asked.share is None else of_batch(error, asked.share)
