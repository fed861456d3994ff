"""Rows that a search does not leave to the index, because too few trials meet them.

    crowds      one row of each group of many that the index cannot tell apart, and so proposes all of or none: where
                one is near but was not proposed, a search looks further (`doubts.py`)
    outliers    rows far longer than their codes can say. Such rows are near to many queries by inner product, and
                would be missed by all of these: they are candidates of every search

Invariant: at most WATCHED_MAX of each, the largest. Ordinary rows have none.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb.index.turbo import sampled_nibbles
from reddb.partition.graph_rows import GraphRows
from reddb.types import Vectors

Outliers: TypeAlias = tuple[tuple[float, int], ...]

WATCHED_MAX = 64

_LEAST_ROWS = 10  # fewer than a search usually wants are no more than a few of its rows
_LEAST_SHARE = 1 / 256
_SAMPLE_ROWS = 4096
_OUTLYING = 4.0  # mean square of a normalised row, of which all together have 1
_FACTORS_BELOW = 2**40  # so that sums of 8192 products with a nibble are exact in float64
_SEED = 5


def crowds_of_codes(packed: NDArray[np.uint8], code_bytes: int, rows: int) -> tuple[int, ...]:
    """Those among the packed codes of so many rows, by a sample of them: about 3 ms, whatever their number."""
    numbers, nibbles = sampled_nibbles(packed, code_bytes, _SAMPLE_ROWS)
    nibbles, numbers = nibbles[numbers < rows], numbers[numbers < rows]
    factors = np.random.default_rng(_SEED).integers(1, _FACTORS_BELOW, 2 * code_bytes).astype(np.float64)
    _, first, counts = np.unique(nibbles.astype(np.float64) @ factors, return_index=True, return_counts=True)
    return _largest(numbers[first], counts * (rows / max(len(numbers), 1)), rows)


def crowds_of_nodes(rows: GraphRows) -> tuple[int, ...]:
    """Those behind single nodes: equal vectors."""
    return _largest(rows.first, np.diff(rows.starts), len(rows.rows))


def outliers(normalised: Vectors, first: int, before: Outliers = ()) -> Outliers:
    """The outliers of rows (n, padded), numbered from `first`, and those `before`: mean squares and rows."""
    squares = np.einsum("ij,ij->i", normalised, normalised) / normalised.shape[1]
    found = [(float(squares[row]), first + row) for row in np.flatnonzero(squares > _OUTLYING).tolist()]
    return tuple(sorted([*before, *found], reverse=True)[:WATCHED_MAX]) if found else before


def _largest(first: NDArray[Any], sizes: NDArray[Any], rows: int) -> tuple[int, ...]:
    large = np.flatnonzero(sizes >= max(_LEAST_ROWS, _LEAST_SHARE * rows))
    chosen: list[int] = first[large[np.argsort(-sizes[large], kind="stable")[:WATCHED_MAX]]].tolist()
    return tuple(chosen)
