"""The synchronous client: one face over any transport.

    with reddb.connect("red://127.0.0.1:5050") as db:
        db.execute("CREATE COLLECTION docs KIND vector.turbo DIM 384")
        db.insert("docs", ids=ids, vectors=vectors, payloads=payloads)
        hits = db.search("docs", query, k=10)
        with db.transaction() as tx:
            tx.execute("DELETE FROM docs WHERE id = 7")
            tx.insert("docs", [8], [vector])

A client has no state that its users could share: what a session sets or begins needs one, with a connection of its own.

Invariant: every method either returns the answer or raises a RedDBError.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn, Protocol, Unpack, overload

from numpy.typing import ArrayLike

from reddb import errors
from reddb.client import arguments, calls, sessions
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

    @property
    def turn(self) -> threading.Lock:
        """To be held while a request is under way."""

    def session(self) -> Transport:
        """One that is a session of its own."""

    def close(self) -> None: ...


class Client:
    """A database. May be shared between threads; its requests then take turns.

    A process that was forked uses it over a connection of its own. A folder stays with the process that opened it:
    OTHER_PROCESS elsewhere.

    `timeout_s` of a call is how many seconds it may take, None for no limit, else what `reddb.connect` was given. When
    they are over, TIMEOUT says what has become of the request: what only reads is stopped, and retryable; a change is
    not stopped half-way, and not retryable, for nobody knows whether it was done.
    """

    def __init__(self, transport: Transport, timeout_s: float | None) -> None:
        """Use `reddb.connect`."""
        self._transport = transport
        self._timeout_s = timeout_s

    def execute(self, statement: str, params: Parameters = None, *, timeout_s: Timeout = CLIENT_DEFAULT) -> Result:
        """Run one statement; `params` is a list for `$1` and `?`, a dict for `:name`.

        Raises SESSION_NEEDED for BEGIN, SET, PREPARE and their like: those are for a `session` or a `transaction`.
        """
        query = calls.query(statement, params)
        self._refuse(query.text)
        return calls.result_of(self._request(query, timeout_s))

    def session(self) -> Session:
        """A session on a connection of its own, to be closed by `with`. Raises UNAVAILABLE, TIMEOUT or PROTOCOL."""
        return Session(self._transport.session(), self._timeout_s)

    def transaction(self) -> Transaction:
        """A transaction on a connection of its own, to be entered by `with`: committed at the end of the block.

        What leaves the block by an exception is rolled back. COMMIT raises what a statement is refused with.
        """
        return Transaction(self._transport.session, self._timeout_s)

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

    def __reduce__(self) -> NoReturn:
        raise sessions.not_sent(f"a {type(self).__name__}")

    def _refuse(self, statement: str) -> None:
        sessions.refuse_shared(statement)

    def _request(
        self, message: messages.Message, timeout_s: Timeout, statement: str | None = None
    ) -> Sequence[messages.Message]:
        """The answer; `statement` is the text of a message that has none itself."""
        limit_s = self._timeout_s if timeout_s is CLIENT_DEFAULT else arguments.timeout(timeout_s)
        try:
            turn = self._transport.turn
            if not turn.acquire(timeout=-1 if limit_s is None else limit_s):
                raise calls.Unanswered(is_sent=False)
            try:
                return self._ask(message, limit_s)
            finally:
                turn.release()
        except calls.Unanswered as error:
            assert limit_s is not None
            raise calls.timed_out(message, statement, limit_s, error.is_sent) from error

    def _ask(self, message: messages.Message, limit_s: float | None) -> Sequence[messages.Message]:
        """The answer, while it is this request's turn."""
        return self._transport.request(message, limit_s)


class Session(Client):
    """A client that is one session: what it sets, prepares or begins is its own, and ends with it.

    When its connection is lost, so is the session: CONNECTION_LOST, from then on.
    """

    def transaction(self) -> Transaction:
        """A transaction of the session, with what that has set."""
        return Transaction(lambda: self._transport, self._timeout_s, ends_session=False)

    def __enter__(self) -> Session:
        return self

    def _refuse(self, statement: str) -> None:
        """Every statement has its place in a session."""


class Transaction(Client):
    """A client whose writes are stored at the end of its `with`, all or none, and forgotten where an exception ends it.

    Reads see what is committed. Threads may share it. Before and after the block it raises TRANSACTION_STATE.
    """

    def __init__(
        self, open_transport: Callable[[], Transport], timeout_s: float | None, *, ends_session: bool = True
    ) -> None:
        """Use `Client.transaction`."""
        self._open_transport = open_transport
        self._ends_session = ends_session
        self._timeout_s = timeout_s
        self._stage = sessions.Stage.NOT_BEGUN
        self._command: messages.Query | None = None  # BEGIN, COMMIT or ROLLBACK of the block itself

    def transaction(self) -> NoReturn:
        raise sessions.nested()

    def session(self) -> NoReturn:
        raise sessions.nested()

    def close(self) -> None:
        """Roll back what is not committed."""
        if self._stage is sessions.Stage.OPEN:
            self._end(is_committed=False)

    def __enter__(self) -> Transaction:
        sessions.check_new(self._stage)
        self._transport = self._open_transport()
        try:
            self._run("BEGIN")
        except BaseException:
            self._close_session()
            raise
        self._stage = sessions.Stage.OPEN
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stage is sessions.Stage.OPEN:
            self._end(is_committed=kind is None)
        elif kind is None:
            raise sessions.closed_within()

    def _end(self, *, is_committed: bool) -> None:
        self._stage = sessions.Stage.ENDED
        try:
            if is_committed:
                self._run("COMMIT")
            elif not self._ends_session:
                self._roll_back()
        finally:
            self._close_session()

    def _roll_back(self) -> None:
        try:
            self._run("ROLLBACK")
        except BaseException as error:
            self._transport.close()  # which rolls back, too
            if not isinstance(error, errors.RedDBError):
                raise

    def _close_session(self) -> None:
        if self._ends_session:  # and what it had begun
            self._transport.close()

    def _refuse(self, statement: str) -> None:
        sessions.refuse_in_transaction(statement)

    def _request(
        self, message: messages.Message, timeout_s: Timeout, statement: str | None = None
    ) -> Sequence[messages.Message]:
        sessions.check_open(self._stage)
        return super()._request(message, timeout_s, statement)

    def _ask(self, message: messages.Message, limit_s: float | None) -> Sequence[messages.Message]:
        # Again, for the turn before may have been that of COMMIT: behind it, a write would be stored by itself.
        if message is not self._command:
            sessions.check_open(self._stage)
        return super()._ask(message, limit_s)

    def _run(self, word: str) -> None:
        self._command = calls.query(word, ())
        super()._request(self._command, CLIENT_DEFAULT)


class PreparedStatement:
    """A statement that a database keeps; `parameters` are what it wants values for, as `$1` or `:name`."""

    def __init__(self, client: Client, statement: str, timeout_s: Timeout) -> None:
        """Use `Client.prepare`. Raises SYNTAX and what else the statement is refused with."""
        self._client = client
        self._statement = statement
        self._prepared = self._prepare(timeout_s)

    def __reduce__(self) -> NoReturn:
        raise sessions.not_sent("a PreparedStatement")

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
