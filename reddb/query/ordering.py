"""ORDER BY: the first rows of many, in the order of any number of keys.

Rows come block by block. What cannot be among the first any more is dropped now and then, so that a million rows never
wait to be sorted at once.

Invariant: rows that are equal in all keys keep the order they came in, so pages neither overlap nor leave rows out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reddb.query.families import Arrays, Codes, arrays, codes, concatenate, directed, take
from reddb.query.operands import Operand, Source

_PRUNE_ROWS = 8192  # beyond what is wanted, before rows are dropped: sorting them takes about a millisecond


@dataclass(frozen=True, slots=True)
class OrderKey:
    operand: Operand
    descending: bool = False
    nulls_first: bool = False


def key_values(keys: Sequence[OrderKey], source: Source) -> list[Arrays]:
    """The values of each key for all rows of a source."""
    return [arrays(key.operand.values(source), source.rows) for key in keys]


def key_codes(keys: Sequence[OrderKey], values: Sequence[Arrays], rows: int) -> list[Codes]:
    """For each key numbers (rows,) that sort upwards as its values are to be ordered."""
    return [
        directed(codes(value, rows), key.descending, key.nulls_first) for key, value in zip(keys, values, strict=True)
    ]


def order_of(keys: Sequence[OrderKey], values: Sequence[Arrays], rows: int) -> NDArray[np.int64]:
    """The rows (rows,) in order."""
    if not keys:
        return np.arange(rows)
    return np.lexsort(key_codes(keys, values, rows)[::-1]).astype(np.int64)


class KeyedRows:
    """Rows, as addresses (n,), with the values of some keys for each; grows by blocks."""

    def __init__(self, keys: int) -> None:
        self.rows: NDArray[np.int64] = np.empty(0, np.int64)
        self.values: list[Arrays] = [{} for _ in range(keys)]
        self._parts: list[tuple[NDArray[np.int64], list[Arrays]]] = []
        self._waiting = 0

    def __len__(self) -> int:
        return len(self.rows) + self._waiting

    def add(self, rows: NDArray[np.int64], values: list[Arrays]) -> None:
        self._parts.append((rows, values))
        self._waiting += len(rows)

    def join(self) -> None:
        """Bring everything that was added together."""
        parts = [(self.rows, self.values), *self._parts]
        counts = [len(rows) for rows, _ in parts]
        self.values = [concatenate([values[key] for _, values in parts], counts) for key in range(len(self.values))]
        self.rows = np.concatenate([rows for rows, _ in parts])
        self._parts, self._waiting = [], 0

    def keep(self, places: NDArray[Any]) -> None:
        """Of what is joined only these places (n,), in this order."""
        assert not self._parts
        self.rows = self.rows[places]
        self.values = [take(value, places) for value in self.values]


class First:
    """The first `count` rows in the order of the keys."""

    def __init__(self, keys: Sequence[OrderKey], count: int) -> None:
        self._keys = keys
        self._count = count
        self._kept = KeyedRows(len(keys))

    def add(self, rows: NDArray[np.int64], source: Source) -> None:
        """Add rows (n,) as addresses, and the source that evaluates them."""
        self._kept.add(rows, key_values(self._keys, source))
        if len(self._kept) > 2 * self._count + _PRUNE_ROWS:
            self._prune()

    def rows(self) -> NDArray[np.int64]:
        """Their addresses, in order."""
        self._prune()
        return self._kept.rows

    def _prune(self) -> None:
        kept = self._kept
        kept.join()
        # In their order already, so that a stable sort keeps equal rows as they came.
        kept.keep(order_of(self._keys, kept.values, len(kept))[: self._count])
