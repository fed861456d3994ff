"""What both clients and the embedded database do alike: a call's arguments to a message, its answer to a value.

Invariant: nothing here waits or touches a socket.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reddb import errors
from reddb.array_likes import float32_array
from reddb.client.rows import Found, Hits, Result, Row, rows_by_id
from reddb.rows import RowBatch, id_column, make_batch
from reddb.types import IdColumn, Payload, RowId
from reddb.wire import messages

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]
Ids: TypeAlias = IdColumn | Iterable[RowId]
# The words at the beginning, behind blanks and comments.
_SETS = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*+(?:SET|PREPARE|BEGIN)\b", re.IGNORECASE | re.DOTALL)

LOST_SESSION = "the connection was lost, and with it what its session had set"

Payloads: TypeAlias = Iterable[Payload | None]

# What a query may be, for the overloads of `search`: how many dimensions it has decides what comes back.
_AnyDtype: TypeAlias = np.dtype[Any]
OneQuery: TypeAlias = Sequence[float] | np.ndarray[tuple[int], _AnyDtype]
ManyQueries: TypeAlias = Sequence[Sequence[float]] | Sequence[NDArray[Any]] | np.ndarray[tuple[int, int], _AnyDtype]
# Arrays of unknown dimensions fit a tuple of any length; those of known ones do not fit this one.
UnknownQuery: TypeAlias = np.ndarray[tuple[int, int, int, int, int, int, int], _AnyDtype]


class SearchWords(TypedDict, total=False):
    """The further arguments of `search`, by name."""

    where: str | None
    params: Parameters
    ef: int | None
    exact: bool
    recall: float | None
    with_payloads: bool
    with_vectors: bool
    with_report: bool


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


def delete(collection: str, ids: Ids | RowId) -> messages.Delete:
    """Raises INVALID_ID naming the row."""
    return messages.Delete(collection, _ids_bytes(_id_column(ids)))


def get(collection: str, ids: Ids | RowId, with_vectors: bool) -> tuple[messages.Get, list[RowId]]:
    """The message, and the ids in their order. Raises INVALID_ID naming the row."""
    column = _id_column(ids)
    wanted = column.tolist() if isinstance(column, np.ndarray) else list(column)
    return messages.Get(collection, _ids_bytes(column), with_vectors), wanted


def _id_column(ids: Ids | RowId) -> IdColumn:
    """Ids to get or delete, read once; one alone may stand without a list."""
    return id_column([ids] if isinstance(ids, int | str | np.integer) else ids)


def _ids_bytes(column: IdColumn) -> bytes:
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
    array = float32_array(queries, "the query")
    if array.ndim not in (1, 2):
        message = f"a query is an array of numbers with one or two dimensions, not one of shape {array.shape}"
        raise errors.INVALID_VECTOR.error(message)
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
    found = Found(RowBatch.decode(answer.batch))
    ends = np.cumsum(answer.counts).tolist()
    parts = [slice(end - count, end) for end, count in zip(ends, answer.counts, strict=True)]
    return [Hits(found, part, distances[part], answer.report) for part in parts]


def result_of(parts: Sequence[messages.Message]) -> Result:
    rows: list[list[Any]] = []
    for part in parts:
        assert isinstance(part, messages.Result)
        rows += part.rows
    first = parts[0]
    assert isinstance(first, messages.Result)
    return Result(first.columns, rows, first.affected)


def rows_of(answer: messages.Message, wanted: Sequence[RowId]) -> list[Row | None]:
    """The rows in the order of the ids, None for those that do not exist."""
    assert isinstance(answer, messages.Rows)
    found = rows_by_id(RowBatch.decode(answer.batch))
    return [found.get(row_id) for row_id in wanted]


def count_of(answer: messages.Message) -> int:
    assert isinstance(answer, messages.Written)
    return answer.count
