"""A table of plain values: what a statement gives, and what a view is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reddb.storage.payload_columns import column_path, families_of
from reddb.types import Vectors

_BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of plain values; a vector is a float32 array."""

    columns: list[str]
    rows: list[list[Any]]


NOTHING = Table([], [[]])  # one row without columns: where a SELECT without FROM reads


class TableOrigin:
    """A table as where rows come from; the address of a row is its number."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        count = len(self._table.rows)
        for first in range(0, count, _BLOCK_ROWS):
            yield np.arange(first, min(first + _BLOCK_ROWS, count))

    def rows(self, addresses: NDArray[np.int64]) -> TableRows:
        return TableRows(self._table, addresses.tolist())


class TableRows:
    """Some rows of a table, as the source of expressions and of results."""

    def __init__(self, table: Table, numbers: list[int]) -> None:
        self.rows = len(numbers)
        self._rows = [table.rows[number] for number in numbers]
        self._places = {column_path([name]): place for place, name in enumerate(table.columns)}

    def families(self, path: str) -> Mapping[str, pa.Array]:
        return families_of(self._column(path))

    def vectors(self) -> Vectors:
        raise AssertionError("a view has no vectors")

    @property
    def bytes_read(self) -> int:
        return 0  # what is shown is there already

    def plain(self, path: tuple[str, ...]) -> list[Any]:
        return self._column(column_path(path))

    def payload_keys(self) -> list[str]:
        raise AssertionError("the columns of a view are named by its plan")

    def payload_values(self, key: str) -> list[Any]:
        raise AssertionError("the columns of a view are named by its plan")

    def _column(self, path: str) -> list[Any]:
        place = self._places[path]
        return [row[place] for row in self._rows]
