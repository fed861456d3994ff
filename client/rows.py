"""What the clients give back: hits of a search, rows of a get, the result of a statement.

Invariant: payloads are decoded when they are looked at, not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from reddb.rows import RowBatch
from reddb.types import Payload, RowId, Vectors
from reddb.wire.values import unpack

if TYPE_CHECKING:
    import pandas
    import pyarrow


@dataclass(frozen=True, slots=True)
class Hit:
    """One found row. `payload` is {} if it has none; `vector` is float32 (dim,), None if it was not asked for."""

    id: RowId
    distance: float
    payload: Payload
    vector: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Row:
    """One stored row, as Hit without a distance."""

    id: RowId
    payload: Payload
    vector: NDArray[np.float32] | None


class Hits(Sequence[Hit]):
    """The rows found for one query, nearest first. `distances` is float64 (n,).

    `report` says how the search was done (all queries of the call together), None if that was not asked for.
    """

    def __init__(
        self, batch: RowBatch, distances: NDArray[np.float64], first: int, report: dict[str, Any] | None
    ) -> None:
        """The rows of `batch` from `first` on that `distances` belong to."""
        self.distances = distances
        self.report = report
        self._batch = batch
        self._part = slice(first, first + len(distances))

    @cached_property
    def ids(self) -> list[RowId]:
        ids = self._batch.ids[self._part]
        return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)

    @cached_property
    def payloads(self) -> list[Payload]:
        return _payloads(self._batch)[self._part]

    @property
    def vectors(self) -> Vectors | None:
        """float32 (n, dim), or None if they were not asked for."""
        return self._batch.vectors[self._part] if self._batch.vectors.shape[1] else None

    def __len__(self) -> int:
        return len(self.distances)

    @overload
    def __getitem__(self, place: int) -> Hit: ...

    @overload
    def __getitem__(self, place: slice) -> list[Hit]: ...

    def __getitem__(self, place: int | slice) -> Hit | list[Hit]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        vectors = self.vectors
        vector = None if vectors is None else vectors[place]
        return Hit(self.ids[place], float(self.distances[place]), self.payloads[place], vector)

    def __repr__(self) -> str:
        return f"Hits({', '.join(f'{hit.id!r}: {hit.distance:.4f}' for hit in self)})"


class Result:
    """Rows of a statement: iterates over tuples. `affected` counts the rows it wrote, None if it only read."""

    def __init__(self, columns: list[str], rows: list[list[Any]], affected: int | None) -> None:
        self.columns = columns
        self.affected = affected
        self._rows = rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return map(tuple, self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> tuple[Any, ...]:
        return tuple(self._rows[place])

    def __repr__(self) -> str:
        return f"Result({len(self)} rows of {', '.join(self.columns) or 'nothing'})"

    def to_arrow(self) -> pyarrow.Table:
        """A pyarrow Table; needs pyarrow."""
        import pyarrow

        columns = list(zip(*self._rows, strict=True)) if self._rows else [()] * len(self.columns)
        return pyarrow.table({name: list(column) for name, column in zip(self.columns, columns, strict=True)})

    def to_pandas(self) -> pandas.DataFrame:
        """A pandas DataFrame; needs pandas."""
        import pandas

        return pandas.DataFrame.from_records(self._rows, columns=self.columns)


def rows_by_id(batch: RowBatch) -> dict[RowId, Row]:
    """The rows of an answer by their ids."""
    has_vectors = bool(batch.vectors.shape[1])
    vectors = list(batch.vectors) if has_vectors else [None] * len(batch)
    return {
        row_id: Row(row_id, payload, vector)
        for row_id, payload, vector in zip(batch.id_list(), _payloads(batch), vectors, strict=True)
    }


def _payloads(batch: RowBatch) -> list[Payload]:
    if batch.payloads is None:
        return [{} for _ in range(len(batch))]
    return [unpack(content) if content else {} for content in batch.payloads.split()]
