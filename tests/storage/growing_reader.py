"""A second process that maps the memory of a partition and prints what it sees: run as `growing_reader.py FD`.

Each line of input asks once: a JSON object with the snapshot and every live row.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from reddb.storage.memory import SLOT_ROWS, PartitionMemory
from tests.storage.memories import SHAPE


def main() -> None:
    memory = PartitionMemory(int(sys.argv[1]), SHAPE, writable=False)
    for _ in sys.stdin:
        snapshot, entries = memory.table()
        seen = {"snapshot": list(snapshot), "ids": [], "vectors": [], "payloads": []}
        for entry in entries:
            live = memory.tombstones(entry.tombstones_at, SLOT_ROWS).live(slice(0, snapshot.last_rows), snapshot.lsn)
            rows, columns = np.flatnonzero(live), memory.slot_columns(entry.slot)
            seen["ids"] += columns.row_ids(rows)
            seen["vectors"] += columns.vectors[rows].tolist()
            seen["payloads"] += [columns.payload(row).hex() for row in rows.tolist()]
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
