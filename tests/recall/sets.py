"""Hostile rows and queries: what indexes and float32 find hard, each made for any number of rows and dimensions.

Queries come in classes. `stored` and `noisy` are what an index is usually tried with; the others lie elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb.client.demo import sample

Wide: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.float32]

_SMALLEST = 1e-15  # of a coordinate that is not 0


@cache
def _texts() -> Wide:
    return sample.load().vectors.astype(np.float64)


def _texts_of(rng: np.random.Generator, rows: int, dim: int) -> Wide:
    """Embeddings of text: coordinates of the sample left out, or side by side where more are wanted."""
    stored = _texts()
    times = -(-dim // stored.shape[1])
    columns = [stored[(np.arange(rows) + 977 * part) % len(stored)] for part in range(times)]
    return np.concatenate(columns, axis=1)[:, :dim]


def _clusters(rng: np.random.Generator, rows: int, dim: int) -> Wide:
    return (1000 * rng.standard_normal((5, dim)))[np.arange(rows) % 5] + rng.standard_normal((rows, dim))


def _mostly_equal(rng: np.random.Generator, rows: int, dim: int) -> Wide:
    made = rng.standard_normal((rows, dim))
    made[np.arange(rows) % 11 != 0] = made[1]
    return made


def _huge_coordinate(rng: np.random.Generator, rows: int, dim: int) -> Wide:
    made = rng.normal(0, 1e-2, (rows, dim))
    made[:, 0] = 1580
    return made


def _one_hot(rng: np.random.Generator, rows: int, dim: int) -> Wide:
    return np.eye(dim)[rng.integers(0, dim, rows)]


def _sorted(rng: np.random.Generator, rows: int, dim: int) -> Wide:
    """Along a line, in that order."""
    along = np.linspace(0, 100, rows)[:, None] * rng.standard_normal(dim)
    return along + 0.1 * rng.standard_normal((rows, dim))


def _few_dimensions(rng: np.random.Generator, rows: int, dim: int) -> Wide:
    return rng.standard_normal((rows, 5)) @ rng.standard_normal((5, dim)) + 1e-3 * rng.standard_normal((rows, dim))


def _near_copies(rng: np.random.Generator, rows: int, dim: int) -> Wide:
    """Embeddings, and of one of them copies that differ by 1e-7 to 3e-3 of its length: a tenth of the rows."""
    made = _texts_of(rng, rows, dim)
    copies = np.arange(rows) % 10 == 3
    noise = np.array([1e-7, 1e-5, 1e-3, 3e-3])[rng.integers(0, 4, np.count_nonzero(copies))]
    spread = np.sqrt(np.mean(np.square(made[0])))
    made[copies] = made[0] + spread * noise[:, None] * rng.standard_normal((len(noise), dim))
    return made


def _normal(rng: np.random.Generator, rows: int, dim: int) -> Wide:
    return rng.standard_normal((rows, dim))


SETS: dict[str, Callable[[np.random.Generator, int, int], Wide]] = {
    "normal": _normal,
    "texts": _texts_of,
    "many lengths": lambda rng, n, dim: _normal(rng, n, dim) * 10.0 ** rng.uniform(-3, 3, (n, 1)),
    "clusters": _clusters,
    "mostly equal": _mostly_equal,
    "negative": lambda rng, n, dim: -np.abs(_normal(rng, n, dim)),
    "huge coordinate": _huge_coordinate,
    "binary": lambda rng, n, dim: rng.integers(0, 2, (n, dim)).astype(np.float64),
    "one-hot": _one_hot,
    "sorted": _sorted,
    "few dimensions": _few_dimensions,
    "student t": lambda rng, n, dim: rng.standard_t(1.5, (n, dim)),
    "lognormal": lambda rng, n, dim: rng.lognormal(0, 1.5, (n, dim)),
    "positive lengths": lambda rng, n, dim: np.abs(_normal(rng, n, dim)) * np.exp(rng.standard_normal((n, 1))),
    "near copies": _near_copies,
    "shifted": lambda rng, n, dim: 1e4 + _normal(rng, n, dim),
}
CLASSES = ("stored", "noisy", "negated", "moved", "directions", "positive", "negative", "far")


def storable(wide: Wide) -> Rows:
    """As float32, and 0 in place of what is too small to be stored."""
    return np.where(np.abs(wide) < _SMALLEST, 0, wide).astype(np.float32)


def made(name: str, rows: int, dim: int) -> Rows:
    """The set of this name, the same whenever it is made."""
    return storable(SETS[name](np.random.default_rng(0), rows, dim))


def queries_for(rows: Rows, count: int) -> dict[str, Rows]:
    """For each class so many queries, made of stored rows at even distances or of their lengths."""
    rng = np.random.default_rng(1)
    stored = rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)].astype(np.float64)
    spread = stored.std(axis=1, keepdims=True)
    length = np.sqrt(np.mean(np.square(stored), axis=1, keepdims=True))
    normal = rng.standard_normal(stored.shape)
    queries = {
        "stored": stored,
        "noisy": stored + 0.1 * spread * normal,
        "negated": -stored,
        "moved": stored + length.mean() * rng.standard_normal(stored.shape[1]),
        "directions": length * normal,
        "positive": np.abs(normal),
        "negative": -np.abs(normal),
        "far": 1000 * length * normal,
    }
    assert tuple(queries) == CLASSES
    return {name: storable(wide) for name, wide in queries.items()}
