"""A query that runs for many seconds, so that a test can stop it long before its end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import reddb
from reddb.wire.messages import Search

ROWS, DIM, QUERIES = 60_000, 64, 1_000
# An answer within this time came from being stopped: unstopped, this query takes well over 20 s.
SOON_S = 5.0


def fill(db: reddb.Client, name: str) -> None:
    """A collection over which an exact search for many queries takes long: this metric has no fast kernel."""
    random = np.random.default_rng(7)
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM {DIM} METRIC chebyshev WITH (seal_idle_s = 0)")
    db.insert(name, range(ROWS), random.random((ROWS, DIM), np.float32))


def queries() -> NDArray[np.float32]:
    """(QUERIES, DIM)"""
    return np.random.default_rng(8).random((QUERIES, DIM), np.float32)


def long_search(name: str) -> Search:
    return Search(name, DIM, queries().tobytes(), 10, None, True, False, False, None, [], None, False)
