"""What reading a statement costs.

One that was read before, new ones with long literals, the largest that are allowed, and the tables of a new process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from statistics import median
from time import perf_counter, thread_time

import numpy as np

from reddb import limits
from reddb.errors import RedDBError
from reddb.fields import Field, FieldType
from reddb.grammar import parse
from reddb.query.binder import bind
from reddb.requests import parsed
from tests.engine.partitions import collection

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
    shape, slowest_s = max(_largest(), key=lambda item: item[1])
    print(f"parsing: {1e3 * slowest_s:.0f} ms to parse and bind the slowest of the largest statements ({shape})")
    starts = [float(subprocess.check_output([sys.executable, "-c", _FIRST])) for _ in range(5)]
    print(f"parsing: {min(starts):.2f} s for the first statement of a process, its imports included")


def _largest() -> Iterator[tuple[str, float]]:
    """Statements that reach a limit, some beyond it, and the seconds that reading and binding each takes."""
    tokens, values, size = (
        limits.STATEMENT_TOKENS_MAX - 20,
        limits.STATEMENT_VALUES_MAX,
        limits.STATEMENT_BYTES_MAX - 99,
    )
    insert, where = "INSERT INTO docs (id, vector) VALUES ", "SELECT id FROM docs WHERE "
    numbers = ",".join(["0.1234"] * limits.DIM_MAX)
    shapes = {
        "conditions": where + " AND ".join(["a = 1"] * (tokens // 4)),
        "alternatives": where + " OR ".join(["NOT a < 1"] * (tokens // 5)),
        "columns": "SELECT " + ", ".join(["a"] * (tokens // 2)) + " FROM docs",
        "calls": "SELECT " + ", ".join(["abs(a)"] * (tokens // 5)) + " FROM docs",
        "casts": "SELECT " + ", ".join(["a::TEXT"] * (tokens // 4)) + " FROM docs",
        "order": "SELECT id FROM docs ORDER BY " + ", ".join(["a DESC NULLS LAST"] * (tokens // 5)),
        "computed rows": insert + ", ".join(f"({n} + 1, [1])" for n in range(tokens // 8)),
        "rows": insert + ", ".join(f"({n}, [1])" for n in range(values // 2)),
        "list": where + f"a IN ({', '.join(map(str, range(values)))})",
        "strings": "INSERT INTO docs (id, vector, t) VALUES (1, [1], [" + ", ".join(["''"] * (values - 9)) + "])",
        "numbers": insert
        + ", ".join(f"({n}, [{numbers}])" for n in range(limits.STATEMENT_NUMBERS_MAX // limits.DIM_MAX)),
        "quotes": "SELECT '" + "''" * (size // 2) + "'",
        "comments": "SELECT 1 " + "--\n" * (size // 3),
        "an open comment": "SELECT 1 /*" + "* " * (size // 2),
        "too many rows": insert + ", ".join(["(1, 2)"] * (size // 8)),
        "too many strings": "SELECT ['" + "', '".join([""] * (size // 4)) + "']",
        "too many numbers": "SELECT [" + "1," * (size // 2) + "1]",
    }
    catalog = {"docs": collection(dim=1, fields=[Field("a", FieldType.INT)])}
    for name, text in shapes.items():
        took = []
        for _ in range(5):
            began = thread_time()
            with suppress(RedDBError):  # what is too much has to be read as well
                bind(parse(text), text, [], catalog)
            took.append(thread_time() - began)
        yield name, median(took)


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
