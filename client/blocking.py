"""The synchronous client: one face over any transport.

    with reddb.connect("red://127.0.0.1:5050") as db:
        db.execute("CREATE COLLECTION docs KIND vector.turbo DIM 384")
        db.insert("docs", ids=ids, vectors=vectors, payloads=payloads)
        hits = db.search("docs", query, k=10)

Invariant: every method either returns the answer or raises a RedDBError.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Unpack, overload

from numpy.typing import ArrayLike

from reddb import errors
from reddb.client import calls
from reddb.client.calls import Ids, ManyQueries, OneQuery, Parameters, Payloads, SearchWords, UnknownQuery
from reddb.client.rows import Hits, Result, Row
from reddb.types import RowId
from reddb.wire import messages


class Transport(Protocol):
    """Takes a request to wherever it is answered."""

    def request(self, message: messages.Message) -> Sequence[messages.Message]:
        """The parts of the answer, at least one. Raises a RedDBError."""

    def close(self) -> None: ...


class Client:
    """A database. May be shared between threads; its requests then take turns."""

    def __init__(self, transport: Transport) -> None:
        """Use `reddb.connect`."""
        self._transport = transport
        self._turn = threading.Lock()

    def execute(self, statement: str, params: Parameters = ()) -> Result:
        """Run one statement; `params` is a list for `$1` and `?`, a dict for `:name`."""
        return calls.result_of(self._request(calls.query(statement, params)))

    def prepare(self, statement: str) -> PreparedStatement:
        """Have a statement kept by the server, to be executed many times without being sent and parsed again."""
        return PreparedStatement(self, statement)

    def insert(self, collection: str, ids: Ids, vectors: ArrayLike, payloads: Payloads | None = None) -> int:
        """Store new rows, all or none; `vectors` is (n, dim). Returns their number once they are on disk.

        Raises DUPLICATE_ID, INVALID_VECTOR, INVALID_DIMENSION, … naming the row.
        """
        return self._count(messages.Insert(collection, calls.rows_bytes(ids, vectors, payloads)))

    def upsert(self, collection: str, ids: Ids, vectors: ArrayLike, payloads: Payloads | None = None) -> int:
        """Store rows, replacing those whose ids exist."""
        return self._count(messages.Upsert(collection, calls.rows_bytes(ids, vectors, payloads)))

    def delete(
        self, collection: str, ids: Ids | RowId | None = None, where: str | None = None, params: Parameters = ()
    ) -> int:
        """Delete by ids or by a predicate; returns how many rows existed."""
        if (ids is None) == (where is None):
            raise errors.INVALID_PARAMETER.error("delete takes either ids or where")
        if where is not None:
            result = calls.result_of(self._request(calls.delete_where(collection, where, params)))
            return result.affected or 0
        assert ids is not None
        return self._count(calls.delete(collection, ids))

    def get(self, collection: str, ids: Ids | RowId, with_vectors: bool = False) -> list[Row | None]:
        """Rows by id, in the order of `ids`, None where there is none."""
        message, wanted = calls.get(collection, ids, with_vectors)
        (answer,) = self._request(message)
        return calls.rows_of(answer, wanted)

    @overload
    def search(self, collection: str, query: UnknownQuery, k: int = ..., **words: Unpack[SearchWords]) -> Any: ...

    @overload
    def search(self, collection: str, query: OneQuery, k: int = ..., **words: Unpack[SearchWords]) -> Hits: ...

    @overload
    def search(self, collection: str, query: ManyQueries, k: int = ..., **words: Unpack[SearchWords]) -> list[Hits]: ...

    @overload
    def search(self, collection: str, query: ArrayLike, k: int = ..., **words: Unpack[SearchWords]) -> Any: ...

    def search(
        self,
        collection: str,
        query: ArrayLike,
        k: int = 10,
        where: str | None = None,
        params: Parameters = (),
        ef: int | None = None,
        exact: bool = False,
        recall: float | None = None,
        with_payloads: bool = True,
        with_vectors: bool = False,
        with_report: bool = False,
    ) -> Any:
        """The k nearest rows: Hits for a query (dim,), a list of Hits for queries (q, dim).

        `where` is the condition of a SELECT, with `params`. `ef` is how many candidates each segment gives, `recall`
        the share of the true neighbours that it shall find; `exact` compares with every row. `with_report` fills
        `Hits.report`: how the search was done.
        """
        message, is_single = calls.search(
            collection, query, k, where, params, ef, exact, recall, with_payloads, with_vectors, with_report
        )
        (answer,) = self._request(message)
        found: list[Hits] = calls.hits_of(answer)
        return found[0] if is_single else found

    def ping(self) -> None:
        """Return when the database answers."""
        self._request(messages.Ping())

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, statement: str) -> messages.Prepared:
        (answer,) = self._request(messages.Prepare(statement))
        return calls.prepared_of(answer)

    def _count(self, message: messages.Message) -> int:
        (answer,) = self._request(message)
        return calls.count_of(answer)

    def _request(self, message: messages.Message) -> Sequence[messages.Message]:
        with self._turn:
            return self._transport.request(message)


class PreparedStatement:
    """A statement that a database keeps; `parameters` are what it wants values for, as `$1` or `:name`."""

    def __init__(self, client: Client, statement: str) -> None:
        """Use `Client.prepare`. Raises SYNTAX and what else the statement is refused with."""
        self._client = client
        self._statement = statement
        prepared = client._prepare(statement)
        self._number = prepared.statement
        self.parameters = prepared.parameters

    def execute(self, params: Parameters = ()) -> Result:
        """Run it; `params` as in `Client.execute`."""
        message = messages.Execute(self._number, calls.plain(params))
        try:
            return calls.result_of(self._client._request(message))
        except errors.RedDBError as error:
            if error.code is not errors.UNKNOWN_STATEMENT:
                raise
        # The connection was opened anew, or has prepared too many others since.
        self._client._prepare(self._statement)
        return calls.result_of(self._client._request(message))
