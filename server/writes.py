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

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reddb import errors
from reddb.partition.changes import prepare_change
from reddb.partition.operations import Prepared
from reddb.partition.placement import Share, of_batch, shares, stored_in_part
from reddb.query.plan import ChangePlan, WorkPlan
from reddb.requests import OPERATIONS, Write, collection_named, plan
from reddb.rows import RowBatch
from reddb.server.committer import Held
from reddb.server.mailbox import PeerLink
from reddb.server.partitions import Partitions
from reddb.types import Collection
from reddb.wire.messages import (
    Decide,
    Delete,
    Holding,
    Insert,
    Message,
    Part,
    Query,
    Upsert,
    Written,
    decode_message,
    encode_body,
)


@dataclass(frozen=True, slots=True)
class _HeldAway:
    """A partition that another core holds for us."""

    link: PeerLink
    number: int

    async def commit(self) -> int:
        answer = await self.link.request(Decide(self.number, True))
        assert isinstance(answer, Written)
        return answer.count

    async def abort(self) -> None:
        with contextlib.suppress(errors.RedDBError):  # the link broke, which ends the hold over there
            await self.link.request(Decide(self.number, False))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one partition shall do; `share` says which rows of the batch it is about."""

    partition: int
    message: Message
    share: Share | None = None


class Writes:
    """The writes that sessions of this core and other cores ask for."""

    def __init__(self, core: int, partitions: Partitions, catalog: Callable[[], Mapping[str, Collection]]) -> None:
        self._core = core
        self._partitions = partitions
        self._catalog = catalog
        self._links: dict[int, PeerLink] = {}
        self._held: dict[int, tuple[PeerLink, Held]] = {}
        self._next_hold = 0

    async def write(self, message: Write) -> Written:
        """Store rows; returns when they are on disk and searchable."""
        collection = collection_named(message.collection, self._catalog())
        if collection.number("partitions") == 1:
            return await self._at(collection, 0, message)
        asked = [
            _Asked(share.partition, type(message)(message.collection, b"".join(share.batch.encode())), share)
            for share in shares(collection, OPERATIONS[type(message)], RowBatch.decode(message.batch))
        ]
        return await self._do(collection, asked)

    async def change_rows(self, message: Query, bound: ChangePlan) -> Written:
        """Run a statement that the owners of the rows must run themselves."""
        numbers = range(bound.collection.number("partitions"))
        return await self._do(bound.collection, [_Asked(number, message) for number in numbers])

    async def work(self, message: Query, bound: WorkPlan) -> None:
        """Let the owners do what ALTER COLLECTION asks for; returns when all have."""
        numbers = range(bound.collection.number("partitions"))
        outcomes = await asyncio.gather(
            *(self._at(bound.collection, number, message) for number in numbers), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def set_link(self, core: int, link: PeerLink) -> None:
        """The way to another core; the one before is closed."""
        if core in self._links:
            self._links[core].close()
        self._links[core] = link

    def link(self, core: int) -> PeerLink | None:
        """The way to another core, if there is one."""
        return self._links.get(core)

    async def link_lost(self, link: PeerLink) -> None:
        """Nobody will decide any more what that core had held."""
        lost = [number for number, (holder, _) in self._held.items() if holder is link]
        for number in lost:
            await self._held.pop(number)[1].abort()

    async def serve_peer(self, link: PeerLink, message: Message) -> Message:
        """A write, or a statement for the owner, that another core passed on."""
        if isinstance(message, Decide):
            _, held = self._held.pop(message.hold)
            if message.commit:
                return Written(await held.commit())
            await held.abort()
            return Written(0)
        if not isinstance(message, Part):
            return await self._here(self._collection_of(message), 0, message)
        asked = decode_message(message.kind, message.body)
        collection = self._collection_of(asked)
        if not message.hold:
            return await self._here(collection, message.partition, asked)
        held = await self._hold_here(collection, message.partition, asked)
        if not link.is_open:
            await held.abort()
            raise errors.UNAVAILABLE.error("the core that asked is gone")
        self._next_hold += 1
        self._held[self._next_hold] = link, held
        return Holding(self._next_hold)

    # -------------------------------------------------------------------------------------------------------

    async def _do(self, collection: Collection, asked: list[_Asked]) -> Written:
        if len(asked) == 1:
            (only,) = asked
            try:
                return await self._at(collection, only.partition, only.message)
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
            await asyncio.gather(*(item.abort() for item in held))
            raise
        outcomes = await asyncio.gather(*(item.commit() for item in held), return_exceptions=True)
        stored = [item.partition for item, outcome in zip(asked, outcomes, strict=True) if isinstance(outcome, int)]
        for outcome in outcomes:
            if isinstance(outcome, errors.RedDBError):
                raise stored_in_part(outcome, stored)
            if isinstance(outcome, BaseException):
                raise outcome
        return Written(sum(outcome for outcome in outcomes if isinstance(outcome, int)))

    async def _at(self, collection: Collection, number: int, message: Message) -> Written:
        """Let the owner of a partition do it."""
        owner = self._partitions.owner(collection, number)
        if owner == self._core:
            return await self._here(collection, number, message)
        # The client's own bytes go on as they are where the collection says which partition is meant.
        is_plain = collection.number("partitions") == 1
        passed_on = message if is_plain else Part(number, False, message.KIND, encode_body(message))
        answer = await self._link(owner).request(passed_on)
        assert isinstance(answer, Written)
        return answer

    async def _hold(self, collection: Collection, asked: _Asked) -> Held | _HeldAway:
        owner = self._partitions.owner(collection, asked.partition)
        if owner == self._core:
            return await self._hold_here(collection, asked.partition, asked.message)
        link = self._link(owner)
        answer = await link.request(Part(asked.partition, True, asked.message.KIND, encode_body(asked.message)))
        assert isinstance(answer, Holding)
        return _HeldAway(link, answer.hold)

    async def _here(self, collection: Collection, number: int, message: Message) -> Written:
        owned = await self._partitions.owned(collection, number)
        if isinstance(message, Query):
            bound = plan(message, self._catalog())
            if isinstance(bound, WorkPlan):
                await owned.settler.work(bound.work)
                return Written(0)
            assert isinstance(bound, ChangePlan)
            return Written(await owned.committer.change(bound, owned.reader))
        assert isinstance(message, Insert | Upsert | Delete)
        return Written(await owned.committer.submit(OPERATIONS[type(message)], RowBatch.decode(message.batch)))

    async def _hold_here(self, collection: Collection, number: int, message: Message) -> Held:
        owned = await self._partitions.owned(collection, number)
        partition = owned.committer.partition

        def prepare() -> list[Prepared]:
            if isinstance(message, Query):
                bound = plan(message, self._catalog())
                assert isinstance(bound, ChangePlan)
                return prepare_change(partition, owned.reader.view(), bound)
            assert isinstance(message, Insert | Upsert | Delete)
            return [partition.prepare(OPERATIONS[type(message)], RowBatch.decode(message.batch))]

        return await owned.committer.hold(prepare)

    def _collection_of(self, message: Message) -> Collection:
        if isinstance(message, Query):
            bound = plan(message, self._catalog())
            assert isinstance(bound, ChangePlan | WorkPlan)
            return bound.collection
        assert isinstance(message, Insert | Upsert | Delete)
        return collection_named(message.collection, self._catalog())

    def _link(self, owner: int) -> PeerLink:
        if owner not in self._links:
            raise errors.UNAVAILABLE.error(f"core {owner}, which owns the rows, is starting; nothing was done")
        return self._links[owner]


def _in_words_of_the_batch(error: errors.RedDBError, asked: _Asked) -> errors.RedDBError:
    return error if asked.share is None else of_batch(error, asked.share)
