"""Stale reads: a write through one core, and at once a read through another, while segments are sealed and merged.

10,000 pairs of an acknowledged upsert or delete and a read of the same id by get, by exact search and by count.
"""

from __future__ import annotations

import numpy as np

import reddb
from tests.bench.common import server

_PAIRS = 10_000
_DIM = 16


def run() -> None:
    """Print how many reads did not see the write before them."""
    rng = np.random.default_rng(5)
    with server(cores=2) as running, reddb.connect(running.url) as first, reddb.connect(running.url) as second:
        # The supervisor evens out the connections, so the second is on the other core.
        first.execute(f"CREATE COLLECTION docs KIND vector.turbo DIM {_DIM} METRIC l2 WITH (seal_rows = 1024)")
        live: set[int] = set()
        stale = 0
        for number in range(_PAIRS):
            writer, reader = (first, second) if number % 2 else (second, first)
            row_id = int(rng.integers(0, _PAIRS))
            if row_id in live and number % 5 == 0:
                writer.delete("docs", [row_id])
                live.discard(row_id)
                seen = reader.get("docs", [row_id])[0] is None
            else:
                vector = rng.normal(size=_DIM).astype(np.float32)
                writer.upsert("docs", [row_id], vector[None])
                live.add(row_id)
                if number % 2:
                    seen = reader.search("docs", vector, k=1).ids == [row_id]
                else:
                    row = reader.get("docs", [row_id])[0]
                    seen = row is not None
            if number % 10 == 0:
                seen = seen and list(reader.execute("SELECT count(*) FROM docs")) == [(len(live),)]
            stale += not seen
        segments = [(row[2], row[4]) for row in first.execute("SHOW SEGMENTS FOR docs")]
    print(f"stale {stale} of {_PAIRS:,} reads right after a write on another core; segments at the end: {segments}")
