"""The rows behind the nodes of a graph: equal vectors are one node, and what no walk reaches is kept beside it.

Links lead to the nearest, so the copies of one vector would link to each other alone and cut everything else off.

    rows.<n>    a checked file ("rows") of int32, little-endian:
                nodes, hidden
                starts[nodes + 1]    where the rows of each node begin
                rows[…]              those of node 0, of node 1, …, each node's in ascending order
                hidden[hidden]       the rows of nodes that no links lead to, ascending

Invariant: each row of the segment is behind one node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb.types import Vectors

Rows32: TypeAlias = NDArray[np.int32]
Prepare: TypeAlias = Callable[[Vectors], Vectors]  # what an index wants done to some vectors (n, dim)

_BLOCK_ROWS = 8192
_SEED = 3


@dataclass(frozen=True, slots=True, eq=False)
class GraphRows:
    starts: Rows32
    rows: Rows32
    hidden: Rows32

    @classmethod
    def read(cls, content: memoryview, count: int) -> GraphRows:
        """Of `count` rows, from the content of a file. Raises ValueError unless each is behind one node."""
        numbers = np.frombuffer(content, "<i4")
        nodes, hidden = numbers[:2].tolist()
        if not 0 < nodes <= count or not 0 <= hidden <= count or len(numbers) != 3 + nodes + count + hidden:
            raise ValueError(f"has {len(numbers)} numbers for {nodes} nodes of {count} rows, {hidden} of them hidden")
        starts, rows, behind = np.split(numbers[2:], [nodes + 1, nodes + 1 + count])
        is_whole = starts[0] == 0 and starts[-1] == count and bool((starts[1:] > starts[:-1]).all())
        if not is_whole or any(len(part) and not 0 <= part.min() <= part.max() < count for part in (rows, behind)):
            raise ValueError("names rows that there are not")
        return cls(starts, rows, behind)

    def parts(self) -> list[Rows32]:
        """What the file holds."""
        head = np.array([self.nodes, len(self.hidden)], "<i4")
        return [head, *(np.ascontiguousarray(part, "<i4") for part in (self.starts, self.rows, self.hidden))]

    @property
    def nodes(self) -> int:
        return len(self.starts) - 1

    @property
    def first(self) -> Rows32:
        """The first row of each node: (nodes,)."""
        return self.rows[self.starts[:-1]]

    @property
    def is_plain(self) -> bool:
        """Whether node r is row r and every one is reached, so that none of this is needed."""
        return self.nodes == len(self.rows) and not len(self.hidden)

    def behind(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of the nodes (n,), -1 standing for none, in their order."""
        nodes = nodes[nodes >= 0]
        first, sizes = self.starts[nodes], self.sizes(nodes)
        ends = np.cumsum(sizes)
        places = np.repeat(first - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)
        behind: NDArray[np.int64] = self.rows[places].astype(np.int64)
        return behind

    def sizes(self, nodes: NDArray[np.int64]) -> Rows32:
        """How many rows are behind each of the nodes (n,)."""
        return self.starts[nodes + 1] - self.starts[nodes]

    def any_of(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which nodes have a row among the chosen (rows,)."""
        return np.logical_or.reduceat(chosen[self.rows], self.starts[:-1])

    def hiding(self, nodes: NDArray[np.int64]) -> GraphRows:
        """The same with what is behind these nodes hidden."""
        hidden = np.sort(self.behind(nodes)).astype(np.int32)
        return GraphRows(self.starts, self.rows, hidden)


def distinct_rows(vectors: Vectors, prepare: Prepare) -> GraphRows:
    """Nodes for vectors (n, dim), n at least 1: one for each that differs once prepared, in the order they come."""
    count = len(vectors)
    first = _first_equals(vectors, prepare)
    order = np.argsort(first, kind="stable").astype(np.int32)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(first[order]) != 0]))
    return GraphRows(np.append(starts, count).astype(np.int32), order, np.empty(0, np.int32))


def _first_equals(vectors: Vectors, prepare: Prepare) -> NDArray[np.int64]:
    """For each row the first one that is equal to it: by a hash, whose finds are compared."""
    count, dim = len(vectors), vectors.shape[1]
    factors = np.random.default_rng(_SEED).integers(1, 2**63, dim, np.uint64) | np.uint64(1)
    blocks = range(0, count, _BLOCK_ROWS)
    hashes = np.concatenate([_hash(prepare(vectors[start : start + _BLOCK_ROWS]), factors) for start in blocks])
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    found = first[group]
    for start in blocks:
        rows = np.arange(start, min(start + _BLOCK_ROWS, count))
        rows = rows[found[rows] != rows]
        if len(rows):
            differs = (prepare(vectors[rows]) != prepare(vectors[found[rows]])).any(axis=1)
            found[rows[differs]] = rows[differs]
    return found


def _hash(block: Vectors, factors: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (block + np.float32(0)).view(np.uint32)  # -0.0 is equal to 0.0
    hashes: NDArray[np.uint64] = words.astype(np.uint64) @ factors
    return hashes
