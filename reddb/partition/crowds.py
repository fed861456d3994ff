"""Rows that stand for crowds: many rows that an index cannot tell apart, so that it proposes all of them or none.

A crowd that is missed costs a search all of its rows, and trials are too few to meet that: so a search compares one row
of each crowd itself, and looks further where it is near but was not proposed (`doubts.py`).

Invariant: there are at most CROWDS_MAX, the largest ones, each of at least a 256th of the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reddb.index.turbo import sampled_nibbles
from reddb.partition.graph_rows import GraphRows

CROWDS_MAX = 64

_LEAST_ROWS = 10  # fewer than a search usually wants are no more than a few of its rows
_LEAST_SHARE = 1 / 256
_SAMPLE_ROWS = 4096
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


def _largest(first: NDArray[Any], sizes: NDArray[Any], rows: int) -> tuple[int, ...]:
    large = np.flatnonzero(sizes >= max(_LEAST_ROWS, _LEAST_SHARE * rows))
    chosen: list[int] = first[large[np.argsort(-sizes[large], kind="stable")[:CROWDS_MAX]]].tolist()
    return tuple(chosen)
