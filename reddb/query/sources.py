"""Sources that expressions are evaluated over: rows that someone has at hand, and some rows of another source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reddb.query.operands import Source, decoded
from reddb.storage.payload_columns import Family, PayloadColumns
from reddb.types import RowId, Vectors


class RowsAtHand:
    """Rows that someone has at hand: ids (rows,), payloads as MessagePack.

    Payloads become columns, and vectors (rows, dim) are fetched, when an expression first asks for them.
    """

    def __init__(
        self,
        ids: Sequence[RowId],
        payloads: Callable[[], list[bytes]],
        vectors: Callable[[], Vectors],
    ) -> None:
        self.rows = len(ids)
        self._ids = ids
        self._payloads = payloads
        self._vectors = vectors
        self._columns: PayloadColumns | None = None
        self._fetched: Vectors | None = None

    def families(self, path: str) -> Mapping[str, pa.Array]:
        if path == "id":
            return id_families(self._ids)
        if self._columns is None:
            self._columns = PayloadColumns.from_payloads(self._payloads())
        return self._columns.families(path)

    def vectors(self) -> Vectors:
        if self._fetched is None:
            self._fetched = self._vectors()
        return self._fetched


class ChosenRows:
    """Some rows of another source, by their numbers (n,)."""

    def __init__(self, source: Source, chosen: NDArray[np.int64]) -> None:
        self.rows = len(chosen)
        self._source = source
        self._chosen = chosen

    def families(self, path: str) -> Mapping[str, pa.Array]:
        wanted = pa.array(self._chosen)
        return {family: taken(array, wanted) for family, array in self._source.families(path).items()}

    def vectors(self) -> Vectors:
        return self._source.vectors()[self._chosen]


def taken(array: pa.Array, rows: pa.Array) -> pa.Array:
    """The rows of an array, without its dictionary: an operation on that would cost as much as on all rows."""
    return decoded(array.take(rows))


def id_families(ids: Sequence[RowId]) -> dict[str, pa.Array]:
    """Ids (n,) by family."""
    families: dict[str, pa.Array] = {}
    if any(isinstance(row_id, int) for row_id in ids):
        families[Family.INT] = pa.array([item if isinstance(item, int) else None for item in ids], pa.int64())
    if any(isinstance(row_id, str) for row_id in ids):
        families[Family.TEXT] = pa.array([item if isinstance(item, str) else None for item in ids], pa.large_string())
    return families
