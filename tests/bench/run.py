"""The benchmarks: each prints one figure and what it was measured on.

    make bench                    all of them
    make bench ARGS='recall'      one of them

Compare figures of one run only: machines differ, and shared ones drift.
"""

from __future__ import annotations

import sys

from tests.bench import building, ingest, memory, overhead, parsing, recall, recovery, restart, scaling, sealed, stale

BENCHMARKS = {
    "recall": recall.run,
    "ingest": ingest.run,
    "scaling": scaling.run,
    "overhead": overhead.run,
    "restart": restart.run,
    "recovery": recovery.run,
    "sealed": sealed.run,
    "memory": memory.run,
    "building": building.run,
    "stale": stale.run,
    "parsing": parsing.run,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    for name in names:
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
