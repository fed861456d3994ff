"""A second process that maps the memory of a partition and prints what it sees: run as `growing_reader.py FD DIM`.

Each line of input asks once: a JSON object with the snapshot and every live row.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from reddb.storage.growing import GrowingRows, GrowingShape


def main() -> None:
    rows = GrowingRows(int(sys.argv[1]), GrowingShape(int(sys.argv[2]), 16, 64), writable=False)
    for _ in sys.stdin:
        snapshot = rows.snapshot()
        numbers = np.arange(snapshot.rows)
        live = numbers[rows.live(numbers, snapshot)]
        seen = {
            "snapshot": [snapshot.lsn, snapshot.rows, snapshot.live_rows],
            "ids": rows.row_ids(live),
            "vectors": rows.vectors[live].tolist(),
            "payloads": [rows.payload(row).hex() for row in live.tolist()],
        }
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
