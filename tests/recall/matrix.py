"""The hostile matrix: recall@10 at defaults of every hostile set, way of searching, metric and state, against numpy.

    python -m tests.recall.matrix [--rows NAME] [--way NAME] [--metric NAME]      (make hostile)

Prints a line for each state with the way the largest segment was searched and the recall of each class of queries, and
ends with 1 if any recall is below 0.95. A returned row is right if it is no farther than the true tenth, in float64.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import reddb
from tests.oracle import distances
from tests.recall.sets import CLASSES, SETS, Rows, made, queries_for

K, WANTED, QUERIES = 10, 0.95, 12
METRICS = ("l2", "cosine", "ip", "pearson")


@dataclass(frozen=True)
class Way:
    """What a collection is created as, and the smallest size at which it searches sealed rows by an index."""

    kind: str
    settings: str
    rows: int
    dim: int


WAYS = {
    "graph": Way("vector", "", 2700, 1536),
    "turbo": Way("vector.turbo", "", 4500, 384),
    "hnsw": Way("vector", "WITH (index = hnsw)", 4500, 64),
    "turbo hnsw": Way("vector.turbo", "WITH (index = hnsw, codes = turbo4)", 4500, 64),
    "ivf": Way("vector.turbo", "WITH (index = ivf)", 4500, 64),
    "flat": Way("vector.turbo", "WITH (index = flat)", 4500, 64),
    "scan": Way("vector", "WITH (index = flat)", 4500, 64),
}


@dataclass(frozen=True)
class Cell:
    """What one state of one collection found: the recall of each class of queries, and how it searched for it."""

    name: str
    way: str
    metric: str
    state: str
    strategies: tuple[str, ...]
    recalls: dict[str, float]

    @property
    def failures(self) -> list[str]:
        """Classes of which too little was found."""
        return [name for name, recall in self.recalls.items() if recall < WANTED]

    def __str__(self) -> str:
        shares = "  ".join(f"{recall:5.3f}{'!' if recall < WANTED else ' '}" for recall in self.recalls.values())
        ways = ", ".join(self.strategies)
        return f"{self.name:17}{self.way:11}{self.metric:9}{self.state:14}{shares}  {ways}"


def tolerance(metric: str, row: Rows, query: Rows, distance: float) -> float:
    """By how much two correct float64 computations of a distance may differ."""
    if metric in ("cosine", "pearson"):
        return 1e-15
    if metric == "ip":
        lengths = [float(np.linalg.norm(vector.astype(np.float64))) for vector in (row, query)]
        return 1e-15 * lengths[0] * lengths[1]
    return 1e-12 * abs(distance)


class Trial:
    """The rows of a set under one metric, with queries of all classes and their true distances."""

    def __init__(self, rows: Rows, metric: str, queries: dict[str, Rows]) -> None:
        self.rows = rows
        self.metric = metric
        self.queries = queries
        wide = rows.astype(np.float64)
        self._far = {
            name: np.stack([distances(metric, wide, query) for query in mine]) for name, mine in queries.items()
        }

    def recall(self, name: str, found: list[list[int]], live: NDArray[np.bool_]) -> float:
        """The share of right rows among those found for a class of queries, which are k living ones."""
        hits = 0
        for far, query, ids in zip(self._far[name], self.queries[name], found, strict=True):
            assert len(set(ids)) == len(ids) == K
            assert live[ids].all()
            tenth = np.flatnonzero(live)[np.argsort(far[live], kind="stable")[K - 1]]
            hits += np.count_nonzero(
                far[ids] <= far[tenth] + tolerance(self.metric, self.rows[tenth], query, far[tenth])
            )
        return hits / (K * len(found))


def cells(name: str, way: str, metric: str, classes: tuple[str, ...] = CLASSES, count: int = QUERIES) -> Iterator[Cell]:
    """What is found in one state after the other of a collection that holds the set."""
    made_as = WAYS[way]
    rows = made(name, made_as.rows, made_as.dim)
    queries = queries_for(rows, count)
    trial = Trial(rows, metric, {of: queries[of] for of in classes})
    ids, live = np.arange(len(rows)), np.ones(len(rows), np.bool_)
    with tempfile.TemporaryDirectory() as folder, reddb.connect(f"file:{folder}/data") as db:

        def cell(state: str) -> Cell:
            recalls, ways = {}, []
            for of, mine in trial.queries.items():
                hits = db.search("c", mine, k=K, with_payloads=False, with_report=True)
                recalls[of] = trial.recall(of, [item.ids for item in hits], live)
                ways.append(_strategy(hits[0].report))
            return Cell(name, way, metric, state, tuple(dict.fromkeys(ways)), recalls)

        db.execute(f"CREATE COLLECTION c KIND {made_as.kind} DIM {made_as.dim} METRIC {metric} {made_as.settings}")
        db.insert("c", ids, rows)
        yield cell("growing")
        db.execute("ALTER COLLECTION c SEAL")
        yield cell("sealed")
        # Where few are dead a segment keeps its index, beyond that it is written anew.
        for state, times in (("sixth deleted", 6), ("half deleted", 2)):
            db.delete("c", ids[::times])
            live[::times] = False
            yield cell(state)
        db.insert("c", ids[~live], rows[~live])
        live[:] = True
        db.execute("ALTER COLLECTION c SEAL")
        db.execute("ALTER COLLECTION c COMPACT")
        yield cell("merged")


def _strategy(report: dict[str, Any]) -> str:
    """How the segment was searched that gave the most candidates."""
    return str(max(report["segments"], key=lambda segment: segment["candidates"])["strategy"])


@click.command()
@click.option("--rows", "names", type=click.Choice(list(SETS)), multiple=True, default=tuple(SETS))
@click.option("--way", "ways", type=click.Choice(list(WAYS)), multiple=True, default=tuple(WAYS))
@click.option("--metric", "metrics", type=click.Choice(METRICS), multiple=True, default=METRICS)
def main(names: tuple[str, ...], ways: tuple[str, ...], metrics: tuple[str, ...]) -> None:
    """Print the table, and count what is below."""
    began, count, failed = monotonic(), 0, 0
    click.echo(f"{'rows':17}{'way':11}{'metric':9}{'state':14}{'  '.join(f'{name[:6]:6}' for name in CLASSES)}")
    for way in ways:
        for name in names:
            for metric in metrics:
                for cell in cells(name, way, metric):
                    click.echo(str(cell))
                    count += 1
                    failed += bool(cell.failures)
    click.echo(f"{failed} of {count} below {WANTED}, in {monotonic() - began:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
