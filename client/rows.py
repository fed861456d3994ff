"""What the clients give back: hits of a search, rows of a get, the result of a statement.

All of it can be pickled, copied and compared: equal are values of one type whose contents are, vectors included.

Invariant: payloads are decoded when they are looked at, not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from reddb.client import exports
from reddb.rows import RowBatch
from reddb.types import Payload, RowId, Vectors
from reddb.wire.values import unpack

if TYPE_CHECKING:
    import pandas
    import pyarrow


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """One found row. `payload` is {} if it has none; `vector` is float32 (dim,), None if it was not asked for."""

    id: RowId
    distance: float
    payload: Payload
    vector: NDArray[np.float32] | None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hit):
            return NotImplemented
        return _are_equal(
            [self.id, self.distance, self.payload, self.vector], [other.id, other.distance, other.payload, other.vector]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One stored row, as Hit without a distance."""

    id: RowId
    payload: Payload
    vector: NDArray[np.float32] | None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Row):
            return NotImplemented
        return _are_equal([self.id, self.payload, self.vector], [other.id, other.payload, other.vector])


class Found:
    """The rows of one answer, which the Hits of all its queries share."""

    def __init__(self, batch: RowBatch) -> None:
        self.batch = batch

    @cached_property
    def contents(self) -> list[bytes]:
        """Each row's payload, packed; empty where it has none."""
        return [b""] * len(self.batch) if self.batch.payloads is None else self.batch.payloads.split()


class Hits(Sequence[Hit]):
    """The rows found for one query, nearest first; a slice of them is Hits again. `distances` is float64 (n,).

    `report` says how the search was done (all queries of the call together), None if that was not asked for; `notices`
    what is worth knowing beside the answer: a name in `where` that no row has.
    """

    def __init__(
        self,
        found: Found,
        part: slice,
        distances: NDArray[np.float64],
        report: dict[str, Any] | None,
        notices: Sequence[str] = (),
    ) -> None:
        """The rows of `found` that `part` names, as many as `distances`."""
        self.distances = distances
        self.report = report
        self.notices = list(notices)
        self._found = found
        self._part = part

    @cached_property
    def ids(self) -> list[RowId]:
        ids = self._found.batch.ids[self._part]
        return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)

    @cached_property
    def payloads(self) -> list[Payload]:
        return [_payload(content) for content in self._found.contents[self._part]]

    @property
    def vectors(self) -> Vectors | None:
        """float32 (n, dim), or None if they were not asked for."""
        vectors = self._found.batch.vectors
        return vectors[self._part] if vectors.shape[1] else None

    def __len__(self) -> int:
        return len(self.distances)

    @overload
    def __getitem__(self, place: int) -> Hit: ...

    @overload
    def __getitem__(self, place: slice) -> Hits: ...

    def __getitem__(self, place: int | slice) -> Hit | Hits:
        if isinstance(place, slice):
            numbers = range(len(self._found.batch))[self._part][place]
            return Hits(self._found, _slice_of(numbers), self.distances[place], self.report, self.notices)
        vectors = self.vectors
        vector = None if vectors is None else vectors[place]
        return Hit(self.ids[place], float(self.distances[place]), self.payloads[place], vector)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hits):
            return NotImplemented
        return _are_equal(
            [self.ids, self.distances, self.payloads, self.vectors],
            [other.ids, other.distances, other.payloads, other.vectors],
        )

    __hash__ = None  # type: ignore[assignment]  # as of every list

    def __reduce__(self) -> tuple[Any, ...]:
        rows = np.arange(len(self._found.batch))[self._part]
        batch = b"".join(self._found.batch.take(rows).encode())
        return _hits_again, (batch, self.distances.tobytes(), self.report, self.notices)

    def __repr__(self) -> str:
        return f"Hits({', '.join(f'{i!r}: {d:.4f}' for i, d in zip(self.ids, self.distances.tolist(), strict=True))})"


class Result:
    """Rows of a statement: iterates over tuples. `affected` counts the rows it wrote, None if it only read.

    `notices` say what is worth knowing beside the answer: a name that no row has. A slice of it is a Result again.
    """

    def __init__(
        self, columns: list[str], rows: list[list[Any]], affected: int | None, notices: Sequence[str] = ()
    ) -> None:
        self.columns = columns
        self.affected = affected
        self.notices = list(notices)
        self._rows = rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return map(tuple, self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> tuple[Any, ...]: ...

    @overload
    def __getitem__(self, place: slice) -> Result: ...

    def __getitem__(self, place: int | slice) -> tuple[Any, ...] | Result:
        if isinstance(place, slice):
            return Result(self.columns, self._rows[place], self.affected, self.notices)
        return tuple(self._rows[place])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        return _are_equal([self.columns, self.affected, self._rows], [other.columns, other.affected, other._rows])

    __hash__ = None  # type: ignore[assignment]  # as of every list

    def __repr__(self) -> str:
        return f"Result({len(self)} rows of {', '.join(self.columns) or 'nothing'})"

    def to_arrow(self) -> pyarrow.Table:
        """A pyarrow Table with every column, two of one name too; needs pyarrow.

        Raises INVALID_VALUE for a column whose values have no type in common.
        """
        return exports.to_arrow(self.columns, self._rows)

    def to_pandas(self) -> pandas.DataFrame:
        """A pandas DataFrame with every value as it is; needs pandas.

        Integers and booleans among NULLs have pandas' nullable types; what numpy has no type for are objects.
        """
        return exports.to_pandas(self.columns, self._rows)


def rows_by_id(batch: RowBatch) -> dict[RowId, Row]:
    """The rows of an answer by their ids."""
    vectors = list(batch.vectors) if batch.vectors.shape[1] else [None] * len(batch)
    return {
        row_id: Row(row_id, _payload(content), vector)
        for row_id, content, vector in zip(batch.id_list(), Found(batch).contents, vectors, strict=True)
    }


def _payload(content: bytes) -> Payload:
    return unpack(content) if content else {}


def _hits_again(batch: bytes, distances: bytes, report: dict[str, Any] | None, notices: list[str]) -> Hits:
    found = Found(RowBatch.decode(batch))
    return Hits(found, slice(None), np.frombuffer(distances, np.float64), report, notices)


def _slice_of(numbers: range) -> slice:
    if not numbers:
        return slice(0, 0)
    return slice(numbers.start, numbers.stop if numbers.stop >= 0 else None, numbers.step)


def _are_equal(one: Any, other: Any) -> bool:
    """As `==`, with arrays within, and NaN equal to itself."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return type(one) is type(other) and np.array_equal(one, other, equal_nan=True)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_are_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_are_equal(value, other[key]) for key, value in one.items())
    return bool(one == other) or (one != one and other != other)
