"""Memory that rows cost once they are sealed: anonymous pages of all processes, beyond those of the empty server.

200,000 x 128 on two cores, both of which search them. Pages of files are not counted: the kernel takes them back.
"""

from __future__ import annotations

import time
from pathlib import Path

import reddb
from reddb import limits
from tests.bench.common import datasets, insert_all, server

_ROWS = 200_000
_KINDS = ("vector", "vector.turbo")


def run() -> None:
    """Print a line for each kind."""
    data = datasets()[-1]
    base = data.base[:_ROWS]
    for kind in _KINDS:
        with (
            server(cores=2) as running,
            reddb.connect(running.url, timeout_s=900) as database,
            reddb.connect(running.url) as other,  # on the other core
        ):
            both = (database, other)
            for each in both:
                each.execute("SHOW COLLECTIONS")
            before = _anonymous_mib(running.pid)
            database.execute(f"CREATE COLLECTION docs KIND {kind} DIM {base.shape[1]} METRIC {data.metric}")
            insert_all(database, "docs", base)
            database.execute("ALTER COLLECTION docs COMPACT")
            for each in both:
                for query in data.queries[:200]:
                    each.search("docs", query, k=10)
            time.sleep(limits.BUILDER_IDLE_S + 1)  # until the builder has ended
            after = _anonymous_mib(running.pid)
            shown = dict(database.execute("SHOW COLLECTION docs"))
        print(
            f"memory {after - before:.0f} MiB of anonymous pages more than the empty server's {before:.0f}  {kind}, "
            f"{len(base):,} x {base.shape[1]} ({base.nbytes / 2**20:.0f} MiB of float32), "
            f"{shown['bytes per row on disk']:.0f} bytes a row on disk"
        )


def _anonymous_mib(pid: int) -> float:
    """RssAnon of the process and all below it."""
    total = 0.0
    waiting = [pid]
    while waiting:
        process = waiting.pop()
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                total += int(line.split()[1]) / 1024
        for task in Path(f"/proc/{process}/task").iterdir():
            waiting += map(int, (task / "children").read_text().split())
    return total
