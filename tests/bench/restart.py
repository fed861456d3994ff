"""How long the rows of a killed core cannot be written: from SIGKILL to the next acknowledged insert.

20,000 x 384 rows; the owner of the collection is killed; a client inserts until it is told that a row is stored.
"""

from __future__ import annotations

import os
import signal
import time

import numpy as np

import reddb
from tests.bench.common import datasets, server

_ROWS = 20_000
_KILLS = 3
_OWNER = 1  # core `id % cores` owns a collection; the first one has id 1


def run() -> None:
    """Print the median and the longest of the pauses."""
    base = np.resize(datasets()[0].base, (_ROWS, datasets()[0].base.shape[1]))
    pauses = []
    for _ in range(_KILLS):  # each in a server of its own: who dies again and again is restarted later and later
        with server(cores=2) as running, reddb.connect(running.url) as client:
            client.execute(f"CREATE COLLECTION docs KIND vector.turbo DIM {base.shape[1]} METRIC cosine")
            client.insert("docs", np.arange(_ROWS), base)
            os.kill(running.core_pids()[_OWNER], signal.SIGKILL)
            pauses.append(_seconds_until_written(client, base[0], _ROWS))
            ((count,),) = client.execute("SELECT count(*) FROM docs")
            assert count == _ROWS + 1, count
    print(
        f"restart {np.median(pauses):.2f} s from kill -9 of the owner to the next acknowledged insert, at most "
        f"{max(pauses):.2f} s of {_KILLS}; {_ROWS:,} x {base.shape[1]} rows to recover"
    )


def _seconds_until_written(client: reddb.Client, vector: np.ndarray, row_id: int) -> float:
    began = time.monotonic()
    while True:
        try:
            client.upsert("docs", [row_id], vector[None])
        except reddb.RedDBError as error:
            if not error.retryable:
                raise
        else:
            return time.monotonic() - began
