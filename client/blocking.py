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
from reddb.client import arguments, calls
from reddb.client.arguments import (
    CLIENT_DEFAULT,
    Ids,
    ManyQueries,
    OneQuery,
    Parameters,
    Payloads,
    SearchWords,
    Timeout,
    UnknownQuery,
)
from reddb.client.rows import Hits, Result, Row
from reddb.types import RowId
from reddb.wire import messages


class Transport(Protocol):
    """Takes a request to wherever it is answered."""

    def request(self, message: messages.Message, timeout_s: float | None) -> Sequence[messages.Message]:
        """The parts of the answer, at least one. Raises a RedDBError, or `calls.Unanswered` when the time is over."""

    def close(self) -> None: ...


class Client:
    """A database. May be shared between threads; its requests then take turns.

    `timeout_s` of a call is how many seconds it may take, None for no limit, else what `reddb.connect` was given. When
    they are over, TIMEOUT says what has become of the request: what only reads is stopped, and retryable; a change is
    not stopped half-way, and not retryable, for nobody knows whether it was done.
    """

    def __init__(self, transport: Transport, timeout_s: float | None) -> None:
        """Use `reddb.connect`."""
        self._transport = transport
        self._timeout_s = timeout_s
        self._turn = threading.Lock()

    def execute(self, statement: str, params: Parameters = None, *, timeout_s: Timeout = CLIENT_DEFAULT) -> Result:
        """Run one statement; `params` is a list for `$1` and `?`, a dict for `:name`."""
        return calls.result_of(self._request(calls.query(statement, params), timeout_s))

    def prepare(self, statement: str, *, timeout_s: Timeout = CLIENT_DEFAULT) -> PreparedStatement:
        """Have a statement kept by the server, to be executed many times without being sent and parsed again."""
        return PreparedStatement(self, statement, timeout_s)

    def insert(
        self,
        collection: str,
        ids: Ids,
        vectors: ArrayLike,
        payloads: Payloads | None = None,
        *,
        timeout_s: Timeout = CLIENT_DEFAULT,
    ) -> int:
        """Store new rows, all or none; `vectors` is (n, dim). Returns their number once they are on disk.

        Raises DUPLICATE_ID, INVALID_VECTOR, INVALID_DIMENSION, … naming the row.
        """
        return calls.count_of(self._request(calls.insert(collection, ids, vectors, payloads), timeout_s))

    def upsert(
        self,
        collection: str,
        ids: Ids,
        vectors: ArrayLike,
        payloads: Payloads | None = None,
        *,
        timeout_s: Timeout = CLIENT_DEFAULT,
    ) -> int:
        """Store rows, replacing those whose ids exist."""
        return calls.count_of(self._request(calls.upsert(collection, ids, vectors, payloads), timeout_s))

    def delete(
        self,
        collection: str,
        ids: Ids | RowId | None = None,
        where: str | None = None,
        params: Parameters = None,
        *,
        timeout_s: Timeout = CLIENT_DEFAULT,
    ) -> int:
        """Delete by ids or by a predicate; returns how many rows existed."""
        return calls.count_of(self._request(calls.delete(collection, ids, where, params), timeout_s))

    def get(
        self,
        collection: str,
        ids: Ids | RowId,
        with_vectors: bool = False,
        *,
        timeout_s: Timeout = CLIENT_DEFAULT,
    ) -> list[Row | None]:
        """Rows by id, in the order of `ids`, None where there is none."""
        message, wanted = calls.get(collection, ids, with_vectors)
        (answer,) = self._request(message, timeout_s)
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
        params: Parameters = None,
        ef: int | None = None,
        exact: bool = False,
        recall: float | None = None,
        with_payloads: bool = True,
        with_vectors: bool = False,
        with_report: bool = False,
        *,
        timeout_s: Timeout = CLIENT_DEFAULT,
    ) -> Any:
        """The k nearest rows: Hits for a query (dim,), a list of Hits for queries (q, dim).

        `where` is the condition of a SELECT, with `params`. `ef` is how many candidates each segment gives, `recall`
        the share of the true neighbours that it shall find; `exact` compares with every row. `with_report` fills
        `Hits.report`: how the search was done.
        """
        message, is_single = calls.search(
            collection, query, k, where, params, ef, exact, recall, with_payloads, with_vectors, with_report
        )
        (answer,) = self._request(message, timeout_s)
        found: list[Hits] = calls.hits_of(answer)
        return found[0] if is_single else found

    def ping(self, *, timeout_s: Timeout = CLIENT_DEFAULT) -> None:
        """Return when the database answers."""
        self._request(messages.Ping(), timeout_s)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(
        self, message: messages.Message, timeout_s: Timeout, statement: str | None = None
    ) -> Sequence[messages.Message]:
        """The answer; `statement` is the text of a message that has none itself."""
        limit_s = self._timeout_s if timeout_s is CLIENT_DEFAULT else arguments.timeout(timeout_s)
        try:
            if not self._turn.acquire(timeout=-1 if limit_s is None else limit_s):
                raise calls.Unanswered(is_sent=False)
            try:
                return self._transport.request(message, limit_s)
            finally:
                self._turn.release()
        except calls.Unanswered as error:
            assert limit_s is not None
            raise calls.timed_out(message, statement, limit_s, error.is_sent) from error


class PreparedStatement:
    """A statement that a database keeps; `parameters` are what it wants values for, as `$1` or `:name`."""

    def __init__(self, client: Client, statement: str, timeout_s: Timeout) -> None:
        """Use `Client.prepare`. Raises SYNTAX and what else the statement is refused with."""
        self._client = client
        self._statement = statement
        self._prepared = self._prepare(timeout_s)

    @property
    def parameters(self) -> list[str]:
        return self._prepared.parameters

    def execute(self, params: Parameters = None, *, timeout_s: Timeout = CLIENT_DEFAULT) -> Result:
        """Run it; `params` as in `Client.execute`."""
        message = calls.execute(self._prepared, params)
        try:
            return calls.result_of(self._client._request(message, timeout_s, self._statement))
        except errors.RedDBError as error:
            if error.code is not errors.UNKNOWN_STATEMENT:
                raise
        # The connection was opened anew, or has prepared too many others since.
        self._prepare(timeout_s)
        return calls.result_of(self._client._request(message, timeout_s, self._statement))

    def _prepare(self, timeout_s: Timeout) -> messages.Prepared:
        (answer,) = self._client._request(calls.prepare(self._statement), timeout_s)
        return calls.prepared_of(answer)
