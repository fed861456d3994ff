"""What reading a statement costs: one that was read before, new ones with long literals, and the parser's tables."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np

from reddb.grammar import parse
from reddb.requests import parsed

_DIM = 1536
_CACHED = "SELECT id, title, distance FROM docs WHERE year >= $1 ORDER BY vector <=> $2 LIMIT 10"
_FIRST = """
import time
began = time.perf_counter()
from reddb.grammar import parse
parse("SHOW COLLECTIONS")
print(time.perf_counter() - began)
"""


def run() -> None:
    """Print the median of each in microseconds."""
    random = np.random.default_rng(0)
    numbers = iter(range(1_000_000))

    def vector() -> str:
        return "[" + ", ".join(f"{number:.6f}" for number in random.standard_normal(_DIM)) + "]"

    searches = [f"VECTOR SEARCH docs SIMILAR TO {vector()} LIMIT {n + 1}" for n in range(200)]
    inserts = [
        "INSERT INTO docs (id, vector) VALUES " + ", ".join(f"({next(numbers)}, {vector()})" for _ in range(100))
        for _ in range(3)
    ]
    conditions = [
        f"SELECT id FROM docs WHERE {' AND '.join(f'f{n} + {k} > {n}' for n in range(20))} LIMIT 5" for k in range(100)
    ]
    print(f"parsing: {_each(parsed, [_CACHED] * 20_000):,.1f} us for a statement that is known")
    print(f"parsing: {_each(parse, searches):,.0f} us for a new VECTOR SEARCH with {_DIM} numbers")
    print(f"parsing: {_each(parse, inserts):,.0f} us for an INSERT of 100 rows of {_DIM} numbers")
    print(f"parsing: {_each(parse, conditions):,.0f} us for a new SELECT with 20 computed conditions")
    starts = [float(subprocess.check_output([sys.executable, "-c", _FIRST])) for _ in range(5)]
    print(f"parsing: {min(starts):.2f} s for the first statement of a process, its imports included")


def _each(read: Callable[[str], object], texts: list[str]) -> float:
    """The median in microseconds."""
    took = []
    for text in texts:
        began = perf_counter()
        read(text)
        took.append(1e6 * (perf_counter() - began))
    return median(took)


if __name__ == "__main__":
    run()
