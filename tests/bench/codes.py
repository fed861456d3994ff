"""What each kind of codes costs and finds in a graph, and from how many rows a graph beats a scan of turbo codes.

    REDDB_DATASETS=<folder> python -m tests.bench.codes [--quick]

Single queries by one thread, in processor time; k = 10. Every candidate is compared again with the float32 vectors:
"search" is the time before that, "all" the time with it. Recall is against an exact search of the same rows.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import faiss
import numpy as np
from numpy.typing import NDArray

from reddb.index.hnsw import Codes, GraphIndex, build, recode, save
from reddb.index.turbo import TurboCodec, TurboIndex
from reddb.types import Metric
from tests.bench.common import Array, datasets

Search = Callable[[Array], NDArray[np.int64]]  # a query (1, dim) to labels (1, candidates)
Searching = Callable[[int], Search]  # by the number of candidates

_K = 10
_M, _M0, _EF_CONSTRUCTION, _THREADS = 16, 32, 100, 2
_EFS = (32, 64, 128, 256)
_FLAT = {2: 6, 4: 4}  # candidates for a wanted row, by bits
_ROWS = {"sentences-384": (65_536, 100_000), "photos-128": (65_536, 262_144)}
_CROSSOVER_ROWS = (8192, 16_384, 32_768, 65_536, 100_000)
_CANDIDATES = (10, 15, 20, 30, 40, 50, 60, 80, 100, 130, 160, 200, 250, 300, 400, 600, 800, 1200)
_WANTED = 0.99
# The codes that each graph, once built, is searched over. The turbo codes come last: their storage is rotated.
_OVER = {
    Codes.F32: (Codes.F32, Codes.SQ8, Codes.F16, Codes.TURBO4, Codes.TURBO2),
    Codes.F16: (Codes.F16,),
    Codes.SQ8: (Codes.SQ8, Codes.F16, Codes.TURBO4, Codes.TURBO2),
}
# Opens a graph as a server does, searches, and prints the KiB that this took: anonymous memory, and pages of the file
# that were copied. A graph of the same codes was opened before, so that what all graphs share does not count.
_OPENING = """
import sys
from pathlib import Path
import numpy as np
from reddb.index.hnsw import Codes, GraphIndex
def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
dim, path = int(sys.argv[2]), Path(sys.argv[3])
queries = np.random.default_rng(1).random((20, dim)).astype(np.float32)
first = path.with_name("first")
GraphIndex.open(first, dim, Codes(sys.argv[1])).search(queries, 10, 64)
before = anonymous()
graph = GraphIndex.open(path, dim, Codes(sys.argv[1]))
graph.search(queries, 10, 64)
after = anonymous()
copied, inside = 0, False
for line in open("/proc/self/smaps"):
    if "-" in line.split()[0]:
        inside = str(path) in line
    elif inside and line.startswith("Anonymous"):
        copied += int(line.split()[1])
print(after - before, copied)
"""


@dataclass(frozen=True)
class Case:
    """Rows to search: `truth` is (queries, 10), any order within a row."""

    name: str
    by_l2: bool
    base: Array
    queries: Array
    truth: NDArray[np.int64]

    @property
    def dim(self) -> int:
        return self.base.shape[1]


@dataclass(frozen=True)
class Measured:
    """Of one setting: recall@10, and microseconds a query without and with the exact comparison."""

    recall: float
    search_us: float
    all_us: float


@click.command()
@click.option("--quick", is_flag=True, help="Fewer queries, and the smaller row counts only.")
def main(quick: bool) -> None:
    """Print both tables for every set."""
    faiss.omp_set_num_threads(1)
    for data in datasets():
        if data.name not in _ROWS:
            continue
        queries = data.queries[: 200 if quick else 500]
        for rows in _ROWS[data.name][: 1 if quick else None]:
            _codes(_case(data.name, data.metric, data.base[:rows], queries))
        counts = _CROSSOVER_ROWS[: 2 if quick else None]
        _crossover([_case(data.name, data.metric, data.base[:rows], queries) for rows in counts])


def _case(name: str, metric: str, base: Array, queries: Array) -> Case:
    if metric == "cosine":
        base, queries = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (base, queries))
    exact = faiss.IndexFlat(base.shape[1], faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)
    exact.add(base)
    _, truth = exact.search(queries, _K)
    return Case(name, metric == "l2", base, queries, truth)


def _codes(case: Case) -> None:
    """Codes by recall, time, file and memory."""
    print(f"\n{case.name}, {len(case.base):,} rows, m {_M}, m0 {_M0}, ef_construction {_EF_CONSTRUCTION}")
    columns = "".join(f" | {f'ef {ef}':>8} {'search':>6} {'all us':>6}" for ef in _EFS)
    print(
        f"{'codes':7} {'over':5} {'build':>6} {'processor':>9} {'bytes/row':>9} {'own KiB':>7} {'copied':>6}{columns}"
    )
    with tempfile.TemporaryDirectory(prefix="reddb-bench-") as folder:
        for codes, over, wall, spent, path in _files(case, Path(folder)):
            own, copied = _opened(path, case.dim, codes)
            graph = GraphIndex.open(path, case.dim, codes)
            line = f"{codes:7} {over:5} {wall:5.1f}s {spent:8.1f}s {path.stat().st_size / len(case.base):9.0f}"
            line += f" {own:7} {copied:6}"
            for ef in _EFS:
                line += _columns(_measure(case, _walk(graph)(ef)))
            print(line, flush=True)
    for bits, factor in _FLAT.items():
        line = f"flat turbo, {bits} bits, {factor * _K} candidates".ljust(55)
        print(line + _columns(_measure(case, _scan(case, bits)(factor * _K))), flush=True)


def _columns(measured: Measured) -> str:
    return f" | {measured.recall:8.4f} {measured.search_us:6.0f} {measured.all_us:6.0f}"


def _files(case: Case, folder: Path) -> Iterator[tuple[Codes, Codes, float, float, Path]]:
    """Codes, the codes that the graph was built over, seconds and processor seconds of building, the file."""
    for over, searched in _OVER.items():
        wall, spent = time.perf_counter(), time.process_time()
        index = _build(case, over)
        wall, spent = time.perf_counter() - wall, time.process_time() - spent
        for codes in searched:
            if codes is not over:
                index = recode(index, case.base, by_l2=case.by_l2, codes=codes)
            path = folder / f"{codes}-{over}"
            save(index, path)
            yield codes, over, wall, spent, path
            path.unlink()


def _build(case: Case, codes: Codes) -> faiss.IndexHNSW:
    index = build(
        case.base, by_l2=case.by_l2, codes=codes, m=_M, m0=_M0, ef_construction=_EF_CONSTRUCTION, threads=_THREADS
    )
    faiss.omp_set_num_threads(1)
    return index


def _opened(path: Path, dim: int, codes: Codes) -> list[int]:
    """KiB of anonymous memory and of copied pages of the file, as `_OPENING` prints them."""
    first = path.with_name("first")
    tiny = np.random.default_rng(2).random((100, dim)).astype(np.float32)
    save(build(tiny, by_l2=True, codes=codes, m=4, m0=8, ef_construction=10, threads=1), first)
    command = [sys.executable, "-c", _OPENING, str(codes), str(dim), str(path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [int(word) for word in printed.split()]


def _scan(case: Case, bits: int) -> Searching:
    """Searches of the same rows as flat turbo codes."""
    codec = TurboCodec(case.dim, bits)
    fit = codec.fit(codec.rotation.apply(case.base[:16_384]))
    index = TurboIndex(codec, fit, Metric.L2 if case.by_l2 else Metric.IP)
    for first in range(0, len(case.base), 8192):
        rotated = codec.rotation.apply(case.base[first : first + 8192])
        index.append(codec.encode(codec.normalise(rotated, fit)))
    return lambda count: lambda query: index.search(codec.rotation.apply(query), count)[1]


def _walk(graph: GraphIndex) -> Searching:
    """Searches of a graph."""
    return lambda count: lambda query: graph.search(query, count, count)[1]


def _measure(case: Case, search: Search) -> Measured:
    """Every query alone, the first ones twice: they warm what is cached."""
    for query in case.queries[:50]:
        search(query[None])
    right, searching, comparing = 0, 0.0, 0.0
    for query, truth in zip(case.queries, case.truth, strict=True):
        start = time.thread_time()
        labels = search(query[None])[0]
        middle = time.thread_time()
        best = _nearest(case, query, labels)
        end = time.thread_time()
        right += len(np.intersect1d(best, truth))
        searching += middle - start
        comparing += end - middle
    count = len(case.queries)
    return Measured(right / case.truth.size, searching / count * 1e6, (searching + comparing) / count * 1e6)


def _nearest(case: Case, query: Array, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    labels = labels[labels >= 0]
    rows = case.base[labels]
    if case.by_l2:
        rows -= query
        far = np.einsum("ij,ij->i", rows, rows)
    else:
        far = -(rows @ query)
    return labels[np.argpartition(far, _K - 1)[:_K]] if len(labels) > _K else labels


def _crossover(cases: list[Case]) -> None:
    """The least time with the wanted recall, by rows: graphs over three codes and scans of two."""
    print(f"\n{cases[0].name}: least processor time, in us, with recall {_WANTED}, and the candidates for it")
    print(f"{'rows':>8}" + "".join(f"{name:>20}" for name in ("sq8", "turbo4", "turbo2", "flat 4 bit", "flat 2 bit")))
    for case in cases:
        line = f"{len(case.base):>8,}"
        with tempfile.TemporaryDirectory(prefix="reddb-bench-") as folder:
            for codes in (Codes.SQ8, Codes.TURBO4, Codes.TURBO2):
                path = Path(folder, codes)
                save(_build(case, codes), path)
                line += _least(case, _walk(GraphIndex.open(path, case.dim, codes)))
        for bits in (4, 2):
            line += _least(case, _scan(case, bits))
        print(line, flush=True)


def _least(case: Case, searching: Searching) -> str:
    for count in _CANDIDATES:
        measured = _measure(case, searching(count))
        if measured.recall >= _WANTED:
            return f"{f'{measured.all_us:.0f} ({count})':>20}"
    return f"{'-':>20}"


if __name__ == "__main__":
    main()
