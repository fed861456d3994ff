"""A process that publishes as fast as it can until it is killed: run as `publishing_writer.py FD`.

Every number of a publication follows from its generation, see `expected`.
"""

from __future__ import annotations

import sys

from reddb.storage.memory import PartitionMemory, SegmentEntry, Snapshot
from tests.storage.memories import SHAPE


def expected(generation: int) -> tuple[Snapshot, list[SegmentEntry]]:
    """What a reader must see of a generation."""
    if not generation:
        return Snapshot(0, 0, 0, 0, 0), []
    count = generation % 40 + 1
    numbers = range(generation * 100, generation * 100 + count)
    entries = [SegmentEntry(number, generation, number + 1, generation % 64 - 1, number + 2) for number in numbers]
    return Snapshot(3 * generation, 5 * generation, 7 * generation, generation, count), entries


def main() -> None:
    memory = PartitionMemory(int(sys.argv[1]), SHAPE, writable=True)
    generation = memory.snapshot().generation
    while True:
        generation += 1
        snapshot, entries = expected(generation)
        memory.write_table(generation, entries)
        memory.publish(snapshot)


if __name__ == "__main__":
    main()
