"""Every way of reading a partition, compared with the rows that it must hold."""

from __future__ import annotations

from random import Random

import msgpack
import numpy as np

from reddb import limits
from reddb.partition.reader import PartitionReader
from reddb.types import SearchOptions
from tests.crash.powercut_model import DIM, IDS, Rows, State, Violation, differences
from tests.engine.partitions import ids_of
from tests.oracle import distances


def rows_of(reader: PartitionReader) -> Rows:
    """All of them, in their order."""
    view = reader.view()
    addresses = view.scan(limits.SCAN_ROWS_MAX)
    payloads = [msgpack.unpackb(content) if content else None for content in view.payloads(addresses)]
    vectors = map(tuple, view.vectors(addresses).tolist())
    return dict(zip(view.row_ids(addresses), zip(vectors, payloads, strict=True), strict=True))


def check_reads(reader: PartitionReader, state: State, metric: str, random: Random) -> None:
    """Every way of reading gives the rows of the state, and nothing else. Raises Violation."""
    rows, expected = rows_of(reader), state.rows
    if list(rows.items()) != list(expected.items()):
        raise Violation(f"at LSN {state.lsn}, {differences([state], rows)}")
    if reader.count() != len(expected):
        raise Violation(f"counts {reader.count()} rows of {len(expected)}")
    view = reader.view()
    addresses = view.get(IDS)
    if view.row_ids(addresses[addresses >= 0]) != [key for key in IDS if key in expected]:
        raise Violation("not every row is found by its id")
    query = np.array([[random.uniform(-9, 9) for _ in range(DIM)]], np.float32)
    (found,) = reader.search(query, SearchOptions(len(IDS), exact=True))
    keys = ids_of(found)
    near = sorted(keys, key=list(expected).index)
    if near != list(expected):
        raise Violation(f"a search finds {keys} instead of {list(expected)}")
    if keys:
        base = np.array([expected[key][0] for key in keys], np.float32)
        right = distances(metric, base, query[0])
        if not np.allclose(found.distances, right) or sorted(found.distances) != list(found.distances):
            raise Violation("a search gives wrong distances")
