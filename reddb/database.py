"""The embedded database: the engine in this process, asked by the same messages as a server.

    reddb.connect("file:./data")

The files are the server's: what one wrote, the other opens, one at a time (the folder is locked).

Invariant: a request is done, and a write is on disk, when `request` returns.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from reddb import errors, requests
from reddb.disk import Disk, OsDisk
from reddb.partition import Partition, turbo_codec
from reddb.query.execute import Table, found_table, query_vector, run, show, show_one
from reddb.query.plan import CreatePlan, DropPlan, SearchPlan, ShowPlan, WritePlan
from reddb.reader import PartitionReader
from reddb.rows import RowBatch
from reddb.storage.folder import DataFolder, partition_folder
from reddb.types import Collection
from reddb.wire.messages import Delete, Get, Insert, Message, Ping, Pong, Query, Search, Upsert, Written


class Database:
    """An open data folder, as a transport of the client."""

    def __init__(self, path: str | Path, disk: Disk | None = None) -> None:
        """Open or create the folder and recover its rows. Raises DATA_IN_USE, UNSUPPORTED_FORMAT or CORRUPT_DATA."""
        self._disk = disk or OsDisk()
        self._folder = DataFolder.open(self._disk, Path(path))
        self._is_open = True
        self._catalog: dict[str, Collection] = {}
        self._partitions: dict[int, Partition] = {}
        self._readers: dict[int, PartitionReader] = {}
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
                return [self._write(message)]
            case Search():
                collection = requests.collection_named(message.collection, self._catalog)
                queries, options = requests.search_of(message, collection)
                reader = self._readers[collection.id]
                return [requests.hits(message, reader, reader.search(queries, options))]
            case Get():
                collection = requests.collection_named(message.collection, self._catalog)
                return [requests.rows_of(message, self._readers[collection.id])]
            case Ping():
                return [Pong()]
        raise errors.PROTOCOL.error(f"{type(message).__name__} is not for a database")

    def close(self) -> None:
        """Release everything; closing twice is no error."""
        for partition in self._partitions.values():
            partition.close()
        self._partitions.clear()
        self._readers.clear()
        self._catalog.clear()
        if self._is_open:
            self._is_open = False
            self._folder.close()

    def _query(self, message: Query) -> Sequence[Message]:
        plan = requests.plan(message, self._catalog)
        if isinstance(plan, CreatePlan):
            self._create(plan)
            return [requests.affected(None)]
        if isinstance(plan, DropPlan):
            self._drop(plan)
            return [requests.affected(None)]
        if isinstance(plan, WritePlan):
            batch = b"".join(plan.batch.encode())
            written = self._write(requests.WRITES[plan.kind](plan.collection.name, batch))
            return [requests.affected(written.count)]
        if isinstance(plan, ShowPlan):
            return requests.results(self._show(plan))
        reader = self._readers[plan.collection.id]
        if isinstance(plan, SearchPlan):
            (found,) = reader.search(query_vector(plan, reader), plan.options)
            return requests.results(found_table(plan, reader, found))
        return requests.results(run(plan, reader))

    def _write(self, message: requests.Write) -> Written:
        collection = requests.collection_named(message.collection, self._catalog)
        partition = self._partitions[collection.id]
        prepared = partition.prepare(requests.OPERATIONS[type(message)], RowBatch.decode(message.batch))
        group = partition.take_group()
        if group is not None:
            try:
                group.write(partition.wal)
            except BaseException:
                partition.abort(group)
                raise
            partition.complete(group)
            while partition.encode_step():
                pass
        return Written(prepared.result)

    def _show(self, plan: ShowPlan) -> Table:
        if plan.name is not None:
            collection = self._catalog[plan.name]
            reader = self._readers[collection.id]
            return show_one(collection, reader.count(), reader.coded_rows())
        return show((item, self._readers[item.id].count()) for _, item in sorted(self._catalog.items()))

    def _create(self, plan: CreatePlan) -> None:
        if plan.if_not_exists and plan.name in self._catalog:
            return
        collection = self._folder.catalog.create(plan.name, plan.kind, plan.dim, plan.metric, plan.settings)
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

    def _forget(self, collection: Collection) -> None:
        self._folder.catalog.drop(collection.id)
        self._catalog.pop(collection.name, None)
        self._readers.pop(collection.id, None)
        partition = self._partitions.pop(collection.id, None)
        if partition is not None:
            partition.close()
        self._folder.remove_dropped()

    def _open(self, collection: Collection) -> None:
        folder = partition_folder(self._folder.path, collection.id, 0)
        partition = Partition.open(self._disk, folder, collection, 0, _random_u32)
        self._partitions[collection.id] = partition
        self._readers[collection.id] = PartitionReader(collection, partition.rows, turbo_codec(collection))
        self._catalog[collection.name] = collection
        while partition.encode_step():
            pass


def _random_u32() -> int:
    return int.from_bytes(os.urandom(4), "little")
