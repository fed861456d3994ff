"""The embedded database: the engine in this process, asked by the same messages as a server.

    reddb.connect("file:./data")

The files are the server's: what one wrote, the other opens, one at a time (the folder is locked). There are no builder
processes here: the write that fills a segment seals it before it returns.

Invariant: a request is done, and a write is on disk, when `request` returns.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from reddb import errors, requests
from reddb.disk import Disk, OsDisk
from reddb.index.metrics import use_one_thread
from reddb.partition.embedded import EmbeddedCollection
from reddb.partition.explain import explain
from reddb.partition.figures import collection_figures, indexes_table, segments_table, stats_table
from reddb.partition.search import SearchReport
from reddb.query.execute import Table, found_table, query_vector, run, show, show_one
from reddb.query.plan import (
    ChangePlan,
    CountPlan,
    CreatePlan,
    DropPlan,
    ExplainPlan,
    GetPlan,
    IndexPlan,
    Plan,
    ScanPlan,
    SearchPlan,
    SettingsPlan,
    Shown,
    ShowPlan,
    WorkPlan,
    WritePlan,
)
from reddb.rows import RowBatch
from reddb.storage.folder import DataFolder
from reddb.types import Collection
from reddb.wire.messages import Delete, Get, Insert, Message, Ping, Pong, Query, Search, Upsert, Written


class Database:
    """An open data folder, as a transport of the client."""

    def __init__(self, path: str | Path, disk: Disk | None = None) -> None:
        """Open or create the folder and recover its rows. Raises DATA_IN_USE, UNSUPPORTED_FORMAT or CORRUPT_DATA."""
        use_one_thread()
        self._disk = disk or OsDisk()
        self._folder = DataFolder.open(self._disk, Path(path), _random_u32)
        self._is_open = True
        self._catalog: dict[str, Collection] = {}
        self._opened: dict[int, EmbeddedCollection] = {}
        try:
            self._folder.remove_dropped()
            for collection in self._folder.catalog.collections():
                self._open(collection)
        except BaseException:
            self.close()
            raise

    def request(self, message: Message) -> Sequence[Message]:
        """Answer one message. Raises the RedDBError that a server would send."""
        if not self._is_open:
            raise errors.CONNECTION_LOST.error("this database was closed")
        match message:
            case Query():
                return self._query(message)
            case Insert() | Upsert() | Delete():
                return [Written(self._write(message))]
            case Search():
                collection = requests.collection_named(message.collection, self._catalog)
                queries, options, predicate = requests.search_of(message, collection)
                reader = self._opened[collection.id].reader
                report = SearchReport() if message.with_report else None
                return [requests.hits(message, reader.search(queries, options, predicate, report), report)]
            case Get():
                collection = requests.collection_named(message.collection, self._catalog)
                return [requests.rows_of(message, self._opened[collection.id].reader.view())]
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

    def _query(self, message: Query) -> Sequence[Message]:
        plan = requests.plan(message, self._catalog)
        if isinstance(plan, WritePlan):
            batch = b"".join(plan.batch.encode())
            return [requests.affected(self._write(requests.WRITES[plan.kind](plan.collection.name, batch)))]
        if isinstance(plan, ChangePlan):
            return [requests.affected(self._opened[plan.collection.id].change(plan))]
        if isinstance(plan, CreatePlan | DropPlan | SettingsPlan | IndexPlan | WorkPlan):
            self._change(plan)
            return [requests.affected(None)]
        return requests.results(self._read(plan))

    def _read(self, plan: Plan) -> Table:
        if isinstance(plan, ShowPlan):
            return self._show(plan)
        if isinstance(plan, ExplainPlan):
            return explain(plan, self._opened[plan.plan.collection.id].reader)
        assert isinstance(plan, SearchPlan | GetPlan | ScanPlan | CountPlan)
        reader = self._opened[plan.collection.id].reader
        if isinstance(plan, SearchPlan):
            (found,) = reader.search(query_vector(plan, reader.view()), plan.options, plan.predicate)
            return found_table(plan, found)
        return run(plan, reader.view())

    def _write(self, message: requests.Write) -> int:
        collection = requests.collection_named(message.collection, self._catalog)
        batch = RowBatch.decode(message.batch)
        return self._opened[collection.id].write(requests.OPERATIONS[type(message)], batch)

    def _show(self, plan: ShowPlan) -> Table:
        if plan.what is Shown.COLLECTIONS or plan.collection is None:
            return show((item, self._opened[item.id].reader.count()) for _, item in sorted(self._catalog.items()))
        reader = self._opened[plan.collection.id].reader
        if plan.what is Shown.SEGMENTS:
            return segments_table(reader)
        if plan.what is Shown.STATS:
            return stats_table([(None, "ready", part) for part in reader.parts])
        if plan.what is Shown.INDEXES:
            return indexes_table(reader)
        return show_one(plan.collection, collection_figures(reader))

    # --- changes of the catalog ----------------------------------------------------------------------------

    def _change(self, plan: CreatePlan | DropPlan | SettingsPlan | IndexPlan | WorkPlan) -> None:
        match plan:
            case CreatePlan():
                self._create(plan)
            case DropPlan():
                self._drop(plan)
            case SettingsPlan():
                self._set(self._catalog[plan.name], plan.settings)
            case IndexPlan():
                changed = plan.changed(self._catalog[plan.name])
                self._folder.catalog.change_indexes(changed.id, changed.indexes)
                self._put(changed)
            case WorkPlan():
                if plan.settings:
                    self._set(plan.collection, plan.settings)
                self._opened[plan.collection.id].work(plan.work)

    def _create(self, plan: CreatePlan) -> None:
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
            self._forget(self._catalog[plan.name])
        elif not plan.if_exists:
            raise errors.UNKNOWN_COLLECTION.error(f"there is no collection {plan.name!r}")

    def _set(self, collection: Collection, settings: dict[str, int | str]) -> None:
        changed = collection.with_settings(settings)
        self._folder.catalog.change_settings(collection.id, changed.settings)
        self._put(changed)

    def _put(self, changed: Collection) -> None:
        self._catalog[changed.name] = changed
        self._opened[changed.id].change_collection(changed)

    def _forget(self, collection: Collection) -> None:
        self._folder.catalog.drop(collection.id)
        self._catalog.pop(collection.name, None)
        opened = self._opened.pop(collection.id, None)
        if opened is not None:
            opened.close()
        self._folder.remove_dropped()

    def _open(self, collection: Collection) -> None:
        self._opened[collection.id] = EmbeddedCollection(self._disk, self._folder.path, collection, _random_u32)
        self._catalog[collection.name] = collection


def _random_u32() -> int:
    return int.from_bytes(os.urandom(4), "little")
