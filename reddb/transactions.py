"""BEGIN, COMMIT and ROLLBACK: what one session collects, to be stored all at once or not at all.

    BEGIN       from here on writes are collected: bound at once, so that a mistake is told at once, and stored later
    COMMIT      the owner runs them in order over the newest rows (`reddb.partition.transaction`): one log record
                A COMMIT that meets NOT_READY has done nothing: the transaction stays open, and it may be sent again
    ROLLBACK    forgets them; so does the end of the connection

A transaction is about the rows of one partition, because one record of one log is what makes it whole. Reads see what
is committed. After a mistake nothing more is collected: the session is told so until COMMIT or ROLLBACK.

Invariant: nothing here waits, and nothing is stored before COMMIT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from reddb import errors, limits
from reddb.accountant import Charge, Pool, held_bytes
from reddb.checks import check_count, check_distinct, check_ids, check_vectors
from reddb.partition.changes import concerned
from reddb.query.plan import CatalogPlan, Plan, WorkPlan
from reddb.query.write_plans import (
    ChangePlan,
    RowsPlan,
    TransactionCommand,
    TransactionPlan,
    WriteKind,
    WritePlan,
)
from reddb.requests import Write, collection_named, write_plan
from reddb.types import Collection
from reddb.wire.messages import Delete, Written


@dataclass(frozen=True, slots=True)
class Collected:
    """A request that is done for now; `affected` counts the rows of an INSERT or UPSERT."""

    affected: int | None = None


Step: TypeAlias = Plan | TransactionPlan | Collected


class Transaction:
    """What was collected since BEGIN. It holds memory of `pool` until it is over."""

    def __init__(self, pool: Pool) -> None:
        self._steps: list[RowsPlan] = []
        self._collection: Collection | None = None
        self._partition = 0
        self._rows = 0
        self._charge = Charge(pool)
        self._error: errors.RedDBError | None = None

    def fail(self, error: BaseException) -> None:
        """Collect nothing more: one of the statements was wrong. (NOT_READY means that it is to be repeated.)"""
        if self._error is None and isinstance(error, errors.RedDBError) and error.code is not errors.NOT_READY:
            self._error = error
            self._steps.clear()
            self.over()

    def over(self) -> None:
        """It is stored, or never will be."""
        self._charge.release()

    def check(self) -> None:
        """Raises TRANSACTION_ABORTED after a mistake."""
        if self._error is not None:
            message = f"an earlier statement of the transaction failed: {self._error.message}"
            raise errors.TRANSACTION_ABORTED.error(message, hint="ROLLBACK, then begin again")

    def plan(self) -> TransactionPlan | None:
        """What COMMIT does; None if nothing was collected. Raises TRANSACTION_ABORTED after a mistake."""
        if self._error is not None:
            message = f"the transaction was rolled back, for a statement of it failed: {self._error.message}"
            raise errors.TRANSACTION_ABORTED.error(message)
        if self._collection is None:
            return None
        return TransactionPlan(self._collection, self._partition, tuple(self._steps))

    def add(self, plan: RowsPlan) -> Collected:
        """Collect a write. Raises NOT_SUPPORTED for one that cannot wait for COMMIT, or LIMIT_EXCEEDED."""
        if plan.returning is not None:
            raise errors.NOT_SUPPORTED.error("RETURNING has no rows to give before COMMIT, which writes them")
        if isinstance(plan, ChangePlan) and plan.ids is None:
            message = "UPDATE and DELETE in a transaction are by id"
            raise errors.NOT_SUPPORTED.error(message, hint="WHERE id IN (…); by a condition they stand alone")
        rows = len(plan.batch) if isinstance(plan, WritePlan) else len(plan.ids or ())
        if rows:
            self._check_place(plan)
            self._count(plan, rows)
            self._steps.append(plan)
        inserts = isinstance(plan, WritePlan) and plan.kind is not WriteKind.DELETE
        return Collected(rows if inserts else None)

    def _check_place(self, plan: RowsPlan) -> None:
        numbers = concerned(plan)
        if self._collection is None:
            self._collection, self._partition = plan.collection, numbers[0]
        if plan.collection.id != self._collection.id:
            names = f"{self._collection.name!r}, and this is {plan.collection.name!r}"
            message = f"a transaction is about one collection: it has rows of {names}"
            raise errors.NOT_SUPPORTED.error(message)
        if numbers != [self._partition]:
            parts = plan.collection.number("partitions")
            message = (
                f"a transaction is about rows of one partition, whose log makes it whole, and {plan.collection.name!r} "
                f"has {parts}: these rows are in partition {', '.join(map(str, {self._partition, *numbers}))}"
            )
            hint = (
                "a collection with partitions = 1 takes any rows in a transaction; a single statement may be about all"
            )
            raise errors.NOT_SUPPORTED.error(message, hint=hint)

    def _count(self, plan: RowsPlan, rows: int) -> None:
        self._rows += rows
        size = self._charge.size + _size(plan)
        for what, count, most in (
            ("statements", len(self._steps) + 1, limits.TRANSACTION_STATEMENTS_MAX),
            ("rows", self._rows, limits.TRANSACTION_ROWS_MAX),
            ("bytes", size, limits.TRANSACTION_BYTES_MAX),
        ):
            if count > most:
                raise errors.LIMIT_EXCEEDED.error(f"a transaction has at most {most} {what}, not {count}")
        self._charge.resize(size)


class Transactions:
    """The transaction of one session, if it is in one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._is_closed = False
        self.current: Transaction | None = None

    def close(self) -> None:
        """The session has ended."""
        self._is_closed = True
        if self.current is not None:
            self.current.over()
            self.current = None

    def step(self, plan: Plan) -> Step:
        """Collect the plan, or give what is to be done now; outside of a transaction that is the plan.

        Raises what is wrong with it; the caller then lets the transaction `fail`.
        """
        if isinstance(plan, TransactionCommand):
            return self._command(plan)
        if self.current is None:
            return plan
        self.current.check()
        if isinstance(plan, WritePlan | ChangePlan):
            return self.current.add(plan)
        if isinstance(plan, DEFINITIONS):
            message = "a transaction has no statements that define or change a collection"
            raise errors.NOT_SUPPORTED.error(message, hint="they stand before BEGIN or behind COMMIT")
        return plan

    def failed(self, transaction: Transaction, step: Step, error: BaseException) -> None:
        """A step of the transaction failed.

        Raises TRANSACTION_ABORTED where its COMMIT could be sent again, but another one has begun meanwhile.
        """
        is_unready = isinstance(error, errors.RedDBError) and error.code is errors.NOT_READY
        if not isinstance(step, TransactionPlan) or not is_unready:
            transaction.fail(error)
        elif self._is_closed:
            transaction.over()
        elif self.current is None:
            self.current = transaction
        else:
            message = f"the transaction was rolled back, for another has begun: {error}"
            raise errors.TRANSACTION_ABORTED.error(message) from error

    def collect(self, message: Write, catalog: Mapping[str, Collection]) -> Written:
        """Rows that came as a message, within a transaction. Raises what is wrong with them, which makes it fail."""
        assert self.current is not None
        try:
            self.current.check()
            if isinstance(message, Delete):
                hint = "DELETE FROM … WHERE id IN (…)"
                raise errors.NOT_SUPPORTED.error("how many rows a delete finds is known at COMMIT only", hint=hint)
            plan = write_plan(message, collection_named(message.collection, catalog))
            _check_rows(plan)
            collected = self.current.add(plan)
        except errors.RedDBError as error:
            self.current.fail(error)
            raise
        return Written(collected.affected or 0)

    def _command(self, command: TransactionCommand) -> Step:
        if command is TransactionCommand.BEGIN:
            if self.current is not None:
                raise errors.TRANSACTION_STATE.error("the session is in a transaction already", hint="COMMIT ends it")
            self.current = Transaction(self._pool)
            return Collected()
        if self.current is None:
            message = f"{command.upper()} ends a transaction, and the session is in none"
            raise errors.TRANSACTION_STATE.error(message, hint="BEGIN begins one")
        ended, self.current = self.current, None
        if command is TransactionCommand.ROLLBACK:
            ended.over()
            return Collected()
        return ended.plan() or Collected(0)


def _check_rows(plan: WritePlan) -> None:
    """What is wrong with rows is told where they are given, as far as it costs no look at each payload."""
    check_count(plan.batch)
    check_ids(plan.batch.ids)
    check_vectors(plan.collection, plan.batch.vectors)
    check_distinct(plan.batch.id_list())


DEFINITIONS = CatalogPlan | WorkPlan


def _size(plan: RowsPlan) -> int:
    """Bytes that the plan holds, which are no fewer than go to the owner."""
    if isinstance(plan, ChangePlan):
        return held_bytes((plan.asked, plan.ids, plan.predicate, plan.assignments))
    size = plan.batch.vectors.nbytes + held_bytes((plan.asked, plan.on_conflict, plan.batch.ids))
    return size if plan.batch.payloads is None else size + plan.batch.payloads.content.nbytes
