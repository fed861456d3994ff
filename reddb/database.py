"""The embedded database: the engine in this process, asked by the same messages as a server.

    reddb.connect("file:./data")

The files are the server's: what one wrote, the other opens, one at a time (the folder is locked). There are no builder
processes here: the write that fills a segment seals it before it returns.

Invariant: a request is done, and a write is on disk, when `request` returns.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TypeVar

from reddb import errors, requests
from reddb.accountant import Accountant
from reddb.aliases import check_no_aliases, put_alias, remove_alias
from reddb.disk import Disk, OsDisk
from reddb.index.metrics import use_one_thread
from reddb.introspection import memory_rows, memory_samples, metrics_rows, shown
from reddb.metrics import Metrics, Sample
from reddb.names import Names
from reddb.partition.clock import SteadyClock, system_time_us
from reddb.partition.embedded import EmbeddedCollection
from reddb.partition.explain import explain_steps
from reddb.partition.figures import PartitionState, owned_samples
from reddb.partition.reader import Reader
from reddb.partition.search import Found, SearchReport, Steps
from reddb.query.execute import Table, found_table, query_vector, view_steps
from reddb.query.plan import (
    AliasPlan,
    CatalogPlan,
    ChangePlan,
    CreatePlan,
    DropAliasPlan,
    DropPlan,
    ExplainPlan,
    FieldsPlan,
    IndexPlan,
    KillPlan,
    Plan,
    ReadPlan,
    SearchPlan,
    SettingsPlan,
    ShowPlan,
    TruncatePlan,
    ViewPlan,
    WorkPlan,
    WritePlan,
)
from reddb.query.table import NOTHING
from reddb.query.values import clock_of
from reddb.query.views import VIEWS, Maker
from reddb.query.write_plans import TransactionPlan
from reddb.session import SessionState, Statements, timed_out
from reddb.settings import SettingValue
from reddb.storage.catalog import check_definition
from reddb.storage.folder import DataFolder
from reddb.transactions import Collected, Transactions
from reddb.types import Collection
from reddb.wire.messages import (
    Delete,
    Execute,
    Get,
    Insert,
    Message,
    Ping,
    Pong,
    Prepare,
    Query,
    Result,
    Search,
    Upsert,
    Written,
)

T = TypeVar("T")


@dataclass(slots=True)
class DatabaseSession:
    """What one session has set and begun."""

    state: SessionState
    transactions: Transactions


class Database:
    """An open data folder. Answers one message at a time, each as the session that asks would have it."""

    def __init__(self, path: str | Path, disk: Disk | None = None, now_us: Callable[[], int] = system_time_us) -> None:
        """Open or create the folder and recover its rows; `now_us` says when rows expire.

        Raises DATA_IN_USE, UNSUPPORTED_FORMAT or CORRUPT_DATA.
        """
        use_one_thread()
        self._now_us = SteadyClock(now_us)
        self._disk = disk or OsDisk()
        self._folder = DataFolder.open(self._disk, Path(path), _random_u32)
        self._is_open = True
        self._catalog = Names()
        self._opened: dict[int, EmbeddedCollection] = {}
        self._accountant = Accountant()
        self._statements = Statements(self._accountant["statements"], clock_of(self._now_us))
        self._shared = self.new_session()  # of those who have none of their own
        self._session, self._transactions = self._shared.state, self._shared.transactions  # of the one who asks
        self._since = datetime.now(UTC)
        self._metrics = Metrics()
        self._timeout_s: float | None = None  # of the request that is being answered
        self._end = inf
        try:
            self._folder.remove_dropped()
            for collection in self._folder.catalog.collections():
                self._open(collection)
            self._catalog.set_aliases(self._folder.catalog.aliases())
        except BaseException:
            self.close()
            raise

    def request(
        self, message: Message, timeout_s: float | None = None, session: DatabaseSession | None = None
    ) -> Sequence[Message]:
        """Answer one message of a session. Raises the RedDBError that a server would send.

        Raises TIMEOUT for what only reads and takes longer than `timeout_s`; a change goes on to its end.
        """
        self._timeout_s = timeout_s
        self._end = inf if timeout_s is None else time.monotonic() + timeout_s
        if not self._is_open:
            raise errors.CONNECTION_LOST.error("this database was closed")
        asking = session or self._shared
        self._session, self._transactions = asking.state, asking.transactions
        self._metrics.requests[type(message).__name__.lower()] += 1
        try:
            return self._answer(message)
        except errors.RedDBError as error:
            self._metrics.errors[error.name] += 1
            raise

    def _answer(self, message: Message) -> Sequence[Message]:
        match message:
            case Query() | Execute():
                return self._query(message)
            case Prepare():
                return [self._session.prepare(message)]
            case Insert() | Upsert() | Delete():
                if self._transactions.current is not None:
                    return [self._transactions.collect(message, self._catalog)]
                return [Written(self._write(message))]
            case Search():
                collection = requests.collection_named(message.collection, self._catalog)
                queries, options, predicate, premises = requests.search_of(message, collection)
                reader = self._opened[collection.id].reader
                notices = requests.notices_of(premises, reader)
                report = SearchReport() if message.with_report else None
                steps = reader.search_steps(queries, self._session.options(message, options), predicate, report)
                found = self._found(steps, len(queries))
                return [self._finish(requests.hits_steps(message, found, report, notices))]
            case Get():
                collection = requests.collection_named(message.collection, self._catalog)
                return [self._finish(requests.rows_steps(message, self._opened[collection.id].reader))]
            case Ping():
                return [Pong()]
        raise errors.PROTOCOL.error(f"{type(message).__name__} is not for a database")

    def close(self) -> None:
        """Release everything; closing twice is no error."""
        for opened in self._opened.values():
            opened.close()
        self._opened.clear()
        self._catalog.clear()
        if self._is_open:
            self._is_open = False
            self._folder.close()

    def new_session(self) -> DatabaseSession:
        """One that a request may name."""
        return DatabaseSession(SessionState(self._statements), Transactions(self._accountant["transactions"]))

    def leave_to_parent(self) -> None:
        """In a process forked from the one that opened it: forget the lock, so that it ends with its owner."""
        if self._is_open:
            self._folder.lock.close()

    # --- what views ask ------------------------------------------------------------------------------------

    @property
    def catalog(self) -> Names:
        return self._catalog

    @property
    def server_settings(self) -> Mapping[str, SettingValue | None]:
        return {"data": str(self._folder.path)}

    def reader_now(self, collection: Collection) -> Reader | None:
        return self._opened[collection.id].reader

    def states(self, collection: Collection) -> Sequence[PartitionState]:
        return [(None, "ready", part) for part in self._opened[collection.id].reader.parts]

    # --- statements ----------------------------------------------------------------------------------------

    def _query(self, message: Query | Execute) -> Sequence[Message]:
        transaction = self._transactions.current
        try:
            _, plan, premises = self._session.plan(message, self._catalog)
            notices = requests.notices_of_plan(plan, premises, self._catalog, self.reader_now)
            step = Collected() if plan is None else self._transactions.step(plan)
            done = [requests.affected(step.affected)] if isinstance(step, Collected) else self._run(step)
            return requests.with_notices(done, notices)
        except Exception as error:
            if transaction is not None:
                transaction.fail(error)
            raise

    def _run(self, plan: Plan | TransactionPlan) -> list[Result]:
        if isinstance(plan, WritePlan) and plan.is_plain:
            return [requests.affected(self._write(requests.write_message(plan)))]
        if isinstance(plan, WritePlan | ChangePlan | TransactionPlan):
            changed = self._opened[plan.collection.id].change(plan)
            self._metrics.rows_written += changed.count
            if isinstance(plan, TransactionPlan):
                return [requests.affected(changed.count)]
            return requests.changed_result(changed, plan)
        if isinstance(plan, CatalogPlan | WorkPlan):
            self._change(plan)
            return [requests.affected(None)]
        return requests.results(self._read(plan))

    def _read(self, plan: Plan) -> Table:
        if isinstance(plan, ShowPlan):
            return self._show(plan)
        if isinstance(plan, KillPlan):
            raise errors.INVALID_VALUE.error(f"no query {plan.query} runs", hint="SHOW QUERIES")
        if isinstance(plan, ExplainPlan):
            if isinstance(plan.plan, ViewPlan):
                return self._finish(explain_steps(plan, None, self._view(plan.plan.view)))
            return self._finish(explain_steps(plan, self._opened[plan.plan.collection.id].reader))
        if isinstance(plan, ViewPlan):
            return self._finish(view_steps(plan, self._view(plan.view)))
        assert isinstance(plan, ReadPlan)
        reader = self._opened[plan.collection.id].reader
        if isinstance(plan, SearchPlan):
            steps = reader.search_steps(query_vector(plan, reader.view()), plan.options, plan.predicate)
            (found,) = self._found(steps, 1)
            return found_table(plan, found)
        return self._finish(reader.read_steps(plan))

    def _write(self, message: requests.Write) -> int:
        collection = requests.collection_named(message.collection, self._catalog)
        requests.check_deleted(message, collection, self.reader_now(collection))
        batch = requests.given_batch(message)
        written = self._opened[collection.id].write(requests.OPERATIONS[type(message)], batch)
        self._metrics.rows_written += written
        return written

    def _view(self, name: str | None) -> Table:
        """The rows of a view; one row without columns where there is none."""
        return NOTHING if name is None else self._show(ShowPlan(VIEWS[name]))

    def _show(self, plan: ShowPlan) -> Table:
        if plan.view.made_by is not Maker.CORES:
            return shown(self, plan, self._session)
        columns = plan.view.column_names
        if plan.view.name == "sessions":
            name = self._session.values.get("application_name", "")
            return Table(columns, [[0, None, "embedded", name, self._since, "active", 1]])
        if plan.view.name == "queries":
            return Table(columns, [])  # nobody can ask while another query runs: there is one thread
        if plan.view.name == "memory":
            return Table(columns, memory_rows(None, self._accountant))
        parts = [part for opened in self._opened.values() for part in opened.reader.parts]
        gauges = [Sample("reddb_core_up", "", 1), Sample("reddb_sessions", "", 1)]
        gauges += [*memory_samples(self._accountant), *owned_samples(parts)]
        return Table(columns, metrics_rows(None, self._metrics, iter(gauges)))

    def _found(self, steps: Steps, queries: int) -> list[Found]:
        """What a search for so many queries gives."""
        began = time.perf_counter()
        found: list[Found] = self._finish(steps)
        self._metrics.searches += queries
        self._metrics.search_seconds.observe(time.perf_counter() - began)
        return found

    def _finish(self, steps: Generator[None, None, T]) -> T:
        """What the steps return. Raises STATEMENT_TIMEOUT when the session's time is over, TIMEOUT the request's."""
        timeout_ms = self._session.statement_timeout_ms
        end = time.monotonic() + timeout_ms / 1000 if timeout_ms else inf
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                returned: T = stop.value
                return returned
            now = time.monotonic()
            if now > end:
                steps.close()
                raise timed_out(timeout_ms)
            if now > self._end:
                steps.close()
                raise errors.TIMEOUT.error(f"no answer within {self._timeout_s:g} s; the query was stopped")

    # --- changes of the catalog ----------------------------------------------------------------------------

    def _change(self, plan: CatalogPlan | WorkPlan) -> None:
        match plan:
            case CreatePlan():
                self._create(plan)
            case DropPlan():
                self._drop(plan)
            case SettingsPlan():
                self._set(self._catalog[plan.name], plan.settings)
            case IndexPlan():
                changed = check_definition(plan.changed(self._catalog[plan.name]))
                self._folder.catalog.change_indexes(changed.id, changed.indexes)
                self._put(changed)
            case FieldsPlan():
                changed = check_definition(replace(self._catalog[plan.name], fields=plan.fields))
                self._folder.catalog.change_fields(changed.id, changed.fields)
                self._put(changed)
            case TruncatePlan():
                self._truncate(plan)
            case AliasPlan():
                put_alias(self._folder.catalog, plan)
                self._catalog.set_aliases(self._folder.catalog.aliases())
            case DropAliasPlan():
                remove_alias(self._folder.catalog, plan)
                self._catalog.set_aliases(self._folder.catalog.aliases())
            case WorkPlan():
                if plan.settings:
                    self._set(plan.collection, plan.settings)
                self._opened[plan.collection.id].work(plan.work)

    def _create(self, plan: CreatePlan) -> None:
        if plan.name in self._catalog.aliases:
            raise errors.COLLECTION_EXISTS.error(f"{plan.name!r} is an alias")
        if plan.if_not_exists and plan.name in self._catalog:
            return
        collection = self._folder.create(plan.name, plan.kind, plan.dim, plan.metric, plan.settings, plan.fields)
        try:
            self._open(collection)
        except BaseException:
            self._forget(collection)
            raise

    def _drop(self, plan: DropPlan) -> None:
        if plan.name in self._catalog:
            check_no_aliases(self._folder.catalog, self._catalog[plan.name])
            self._forget(self._catalog[plan.name])
        elif not plan.if_exists:
            raise errors.UNKNOWN_COLLECTION.error(f"there is no collection {plan.name!r}")

    def _set(self, collection: Collection, settings: dict[str, int | str]) -> None:
        changed = check_definition(collection.with_settings(settings))
        self._folder.catalog.change_settings(collection.id, changed.settings)
        self._put(changed)

    def _put(self, changed: Collection) -> None:
        self._catalog.put(changed)
        self._opened[changed.id].change_collection(changed)

    def _forget(self, collection: Collection) -> None:
        self._folder.catalog.drop(collection.id)
        self._catalog.remove(collection.id)
        self._release(collection)

    def _truncate(self, plan: TruncatePlan) -> None:
        if plan.name in self._catalog:
            old = self._catalog[plan.name]
            self._open(self._folder.empty(old))
            self._catalog.set_aliases(self._folder.catalog.aliases())
            self._release(old)
        elif not plan.if_exists:
            raise errors.UNKNOWN_COLLECTION.error(f"there is no collection {plan.name!r}")

    def _release(self, collection: Collection) -> None:
        """Let go of what the catalog does not name any more."""
        opened = self._opened.pop(collection.id, None)
        if opened is not None:
            opened.close()
        self._folder.remove_dropped()

    def _open(self, collection: Collection) -> None:
        of = self._disk, self._folder.path, collection
        self._opened[collection.id] = EmbeddedCollection(*of, _random_u32, self._now_us)
        self._catalog.put(collection)


def _random_u32() -> int:
    return int.from_bytes(os.urandom(4), "little")
