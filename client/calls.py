"""What both clients and the embedded database do alike: a call's arguments to a message, its answer to a value.

Invariant: nothing here waits or touches a socket.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from reddb import errors
from reddb.client.rows import Hits, Result, Row, rows_by_id
from reddb.rows import RowBatch, id_column, make_batch
from reddb.types import IdColumn, Payload, RowId
from reddb.wire import messages

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]
Ids: TypeAlias = IdColumn | Sequence[RowId]
# The words at the beginning, behind blanks and comments.
_SETS = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*+(?:SET|PREPARE|BEGIN)\b", re.IGNORECASE | re.DOTALL)

LOST_SESSION = "the connection was lost, and with it what its session had set"

Payloads: TypeAlias = Sequence[Payload | None]


def query(statement: str, parameters: Parameters) -> messages.Query:
    return messages.Query(statement, plain(parameters))


def sets_something(message: messages.Message) -> bool:
    """Whether a request leaves something behind in its session, which is gone when the connection is."""
    return isinstance(message, messages.Query) and _SETS.match(message.text) is not None


def plain(parameters: Parameters) -> list[Any] | dict[str, Any]:
    return dict(parameters) if isinstance(parameters, Mapping) else list(parameters)


def prepared_of(answer: messages.Message) -> messages.Prepared:
    assert isinstance(answer, messages.Prepared)
    return answer


def rows_bytes(ids: Ids, vectors: ArrayLike, payloads: Payloads | None) -> bytes:
    """Rows to write. Raises an input error naming the row."""
    return b"".join(make_batch(ids, vectors, payloads).encode())


def ids_bytes(ids: Ids | RowId) -> bytes:
    """Ids to get or delete; one alone may stand without a list."""
    column = id_column([ids] if isinstance(ids, int | str) else ids)
    return b"".join(RowBatch(column, np.empty((len(column), 0), np.float32)).encode())


def delete_where(collection: str, where: str, parameters: Parameters) -> messages.Query:
    """Raises SYNTAX where `where` is more or less than a condition, whatever a statement could make of it."""
    from reddb.grammar import parse_condition  # only here: most clients need no parser

    parse_condition(where)
    quoted = '"' + collection.replace('"', '""') + '"'
    return query(f"DELETE FROM {quoted} WHERE {where}", parameters)


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
    try:
        array = np.asarray(queries)
    except ValueError as error:
        raise errors.INVALID_VECTOR.error(f"the queries must all have one length: {error}") from error
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiu":
        message = f"a query is an array of numbers with one or two dimensions, not {array.dtype} of {array.shape}"
        raise errors.INVALID_VECTOR.error(message)
    with np.errstate(over="ignore"):  # an infinity is refused by the server, with its place
        array = np.ascontiguousarray(array, "<f4")
    is_single = array.ndim == 1
    message_ = messages.Search(
        collection,
        array.shape[-1],
        array.tobytes(),
        int(k),
        ef,
        exact,
        with_payloads,
        with_vectors,
        where,
        plain(params),
        None if recall is None else float(recall),
        with_report,
    )
    return message_, is_single


def hits_of(answer: messages.Message) -> list[Hits]:
    """One Hits per query."""
    assert isinstance(answer, messages.Hits)
    distances = np.frombuffer(answer.distances, np.float64)
    batch = RowBatch.decode(answer.batch)
    starts = np.cumsum([0, *answer.counts]).tolist()
    return [
        Hits(batch, distances[start : start + count], start, answer.report)
        for start, count in zip(starts, answer.counts, strict=False)
    ]


def result_of(parts: Sequence[messages.Message]) -> Result:
    rows: list[list[Any]] = []
    for part in parts:
        assert isinstance(part, messages.Result)
        rows += part.rows
    first = parts[0]
    assert isinstance(first, messages.Result)
    return Result(first.columns, rows, first.affected)


def rows_of(answer: messages.Message, ids: Ids | RowId) -> list[Row | None]:
    """The rows in the order of `ids`, None for those that do not exist."""
    assert isinstance(answer, messages.Rows)
    found = rows_by_id(RowBatch.decode(answer.batch))
    wanted = [ids] if isinstance(ids, int | str) else ids
    return [found.get(row_id) for row_id in (wanted.tolist() if isinstance(wanted, np.ndarray) else wanted)]


def count_of(answer: messages.Message) -> int:
    assert isinstance(answer, messages.Written)
    return answer.count
