"""What both clients and the embedded database do alike: a call's arguments to a message, its answer to a value.

Invariant: nothing here waits or touches a socket.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from reddb import errors
from reddb.client import arguments, sessions
from reddb.client.arguments import Ids, Parameters, Payloads
from reddb.client.rows import Found, Hits, Result, Row, rows_by_id
from reddb.rows import RowBatch, make_batch
from reddb.types import IdColumn, RowId
from reddb.wire import messages

_READS = re.compile(rf"{sessions.BLANK}(?:SELECT|VECTOR|SEARCH|SHOW|DESCRIBE|EXPLAIN)\b", re.IGNORECASE | re.DOTALL)

_READS_MAX = 3  # attempts: a read that loses its connection each time may be what kills the core

_COLLECTION = "the name of a collection"


class Unanswered(Exception):
    """The time for a request was over. `is_sent` is false where the server cannot have got all of it."""

    def __init__(self, *, is_sent: bool) -> None:
        super().__init__()
        self.is_sent = is_sent


def timed_out(message: messages.Message, statement: str | None, timeout_s: float, is_sent: bool) -> errors.RedDBError:
    """What a client says when the time is over, and what has become of the request; `statement` is the text of it."""
    told = f"no answer within {timeout_s:g} s"
    if not is_sent:
        return errors.TIMEOUT.error(f"{told}: the request was not sent, and nothing was done")
    text = message.text if isinstance(message, messages.Query) else statement or ""
    if isinstance(message, messages.Search | messages.Get | messages.Ping | messages.Prepare) or _READS.match(text):
        return errors.TIMEOUT.error(f"{told}; the server was told to stop the request, which changes nothing")
    return errors.TIMEOUT.error(
        f"{told}; a request that changes something is not stopped half-way: it may be done by now, or will be yet",
        hint="look at what is stored before you repeat it; timeout_s gives it longer, None all the time it needs",
        outcome="unknown",
    )


def may_repeat(message: messages.Message, error: errors.RedDBError, losses: int) -> bool:
    """Whether a request that failed so, having lost its connection so many times, may be sent again."""
    if error.code is errors.NOT_READY:  # nothing happened; but servers before this one end a transaction by its COMMIT
        return not (isinstance(message, messages.Query) and sessions.first_word(message.text) == "COMMIT")
    is_read = isinstance(message, messages.Search | messages.Get | messages.Ping)
    return error.code is errors.CONNECTION_LOST and is_read and losses < _READS_MAX


# --- arguments to messages ---------------------------------------------------------------------------------


def query(statement: str, params: Parameters) -> messages.Query:
    return messages.Query(arguments.text("statement", statement, "one statement"), arguments.parameters(params))


def prepare(statement: str) -> messages.Prepare:
    return messages.Prepare(arguments.text("statement", statement, "one statement"))


def execute(prepared: messages.Prepared, params: Parameters) -> messages.Execute:
    return messages.Execute(prepared.statement, arguments.parameters(params))


def insert(collection: str, ids: Ids, vectors: ArrayLike, payloads: Payloads | None) -> messages.Insert:
    return messages.Insert(arguments.text("collection", collection, _COLLECTION), rows_bytes(ids, vectors, payloads))


def upsert(collection: str, ids: Ids, vectors: ArrayLike, payloads: Payloads | None) -> messages.Upsert:
    return messages.Upsert(arguments.text("collection", collection, _COLLECTION), rows_bytes(ids, vectors, payloads))


def rows_bytes(ids: Ids, vectors: ArrayLike, payloads: Payloads | None) -> bytes:
    """Rows to write. Raises an input error naming the row."""
    return b"".join(make_batch(arguments.ids(ids), vectors, arguments.payloads(payloads)).encode())


def get(collection: str, ids: Ids | RowId, with_vectors: bool) -> tuple[messages.Get, list[RowId]]:
    """The message, and the ids in their order. Raises INVALID_ID naming the row."""
    collection = arguments.text("collection", collection, _COLLECTION)
    column = arguments.ids(ids, may_be_one=True)
    wanted = column.tolist() if isinstance(column, np.ndarray) else list(column)
    return messages.Get(collection, _ids_bytes(column), arguments.flag("with_vectors", with_vectors)), wanted


def _ids_bytes(column: IdColumn) -> bytes:
    return b"".join(RowBatch(column, np.empty((len(column), 0), np.float32)).encode())


def delete(
    collection: str, ids: Ids | RowId | None, where: str | None, params: Parameters
) -> messages.Delete | messages.Query:
    """Raises SYNTAX where `where` is more or less than a condition, whatever a statement could make of it."""
    collection = arguments.text("collection", collection, _COLLECTION)
    if (ids is None) == (where is None):
        raise errors.INVALID_PARAMETER.error(f"delete takes either ids or where, not {'both' if ids else 'neither'}")
    if where is None:
        assert ids is not None
        if params:
            raise errors.INVALID_PARAMETER.error("params are given, but there is no where to use them")
        return messages.Delete(collection, _ids_bytes(arguments.ids(ids, may_be_one=True)))
    from reddb.grammar import parse_condition  # only here: most clients need no parser

    parse_condition(arguments.text("where", where, "the condition of a WHERE"))
    quoted = '"' + collection.replace('"', '""') + '"'
    return query(f"DELETE FROM {quoted} WHERE {where}", params)


def search(
    collection: str,
    queries: ArrayLike,
    k: int,
    where: str | None,
    params: Parameters,
    ef: int | None,
    exact: bool,
    recall: float | None,
    with_payloads: bool,
    with_vectors: bool,
    with_report: bool,
) -> tuple[messages.Search, bool]:
    """The message, and whether one query was given (one-dimensional) rather than several."""
    array = arguments.queries(queries)
    message = messages.Search(
        arguments.text("collection", collection, _COLLECTION),
        array.shape[-1],
        array.tobytes(),
        arguments.whole("k", k),
        None if ef is None else arguments.whole("ef", ef),
        arguments.flag("exact", exact),
        arguments.flag("with_payloads", with_payloads),
        arguments.flag("with_vectors", with_vectors),
        None if where is None else arguments.text("where", where, "the condition of a WHERE"),
        arguments.parameters(params),
        None if recall is None else arguments.real("recall", recall),
        arguments.flag("with_report", with_report),
    )
    return message, array.ndim == 1


# --- answers to values -------------------------------------------------------------------------------------


def prepared_of(answer: messages.Message) -> messages.Prepared:
    assert isinstance(answer, messages.Prepared)
    return answer


def hits_of(answer: messages.Message) -> list[Hits]:
    """One Hits per query."""
    assert isinstance(answer, messages.Hits)
    distances = np.frombuffer(answer.distances, np.float64)
    found = Found(RowBatch.decode(answer.batch))
    ends = np.cumsum(answer.counts).tolist()
    parts = [slice(end - count, end) for end, count in zip(ends, answer.counts, strict=True)]
    return [Hits(found, part, distances[part], answer.report, answer.notices) for part in parts]


def result_of(parts: Sequence[messages.Message]) -> Result:
    rows: list[list[Any]] = []
    for part in parts:
        assert isinstance(part, messages.Result)
        rows += part.rows
    first = parts[0]
    assert isinstance(first, messages.Result)
    return Result(first.columns, rows, first.affected, first.notices)


def rows_of(answer: messages.Message, wanted: Sequence[RowId]) -> list[Row | None]:
    """The rows in the order of the ids, None for those that do not exist."""
    assert isinstance(answer, messages.Rows)
    found = rows_by_id(RowBatch.decode(answer.batch))
    return [found.get(row_id) for row_id in wanted]


def count_of(parts: Sequence[messages.Message]) -> int:
    """How many rows were written."""
    first = parts[0]
    if isinstance(first, messages.Result):
        return first.affected or 0
    assert isinstance(first, messages.Written)
    return first.count
