"""A partition with segments in every state against a dict: any row of writes, steps of jobs, kills and restarts.

The model is `Life.rows`. Segments are sealed, rebuilt and merged step by step, and whatever comes between two steps, two
readers see all rows and only those; a view that a reader holds stays as it was. With so few rows every search would be
exact, so the bounds from which codes and graphs are asked are lowered.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reddb import limits
from reddb.partition import encoder, search
from reddb.types import Kind
from tests.engine.lives import Course, Life, Where, assert_view_is
from tests.engine.partitions import collection, ids_of

DIM = 5
IDS = st.integers(0, 1500).map(lambda number: number if number % 3 else f"row-{number}-é")
WORDS = ["red", "blue", "é"]
FILTERS = [
    Where("n < 50", lambda _, payload: payload.get("n", 99) < 50),
    Where("n = 7", lambda _, payload: payload.get("n") == 7),
    Where("word = 'red' OR n > 90", lambda _, payload: payload.get("word") == "red" or payload.get("n", 0) > 90),
    Where("NOT word = 'blue' AND n <> 3", lambda _, p: p.get("word", "blue") != "blue" and p.get("n", 3) != 3),
    Where("word IS NULL", lambda _, payload: "word" not in payload),
    Where("id < 300", lambda row_id, _: isinstance(row_id, int) and row_id < 300),
    Where("n > 1000", lambda _, payload: False),
]
CHOSEN = st.sampled_from(FILTERS)
SEEDS = st.integers(0, 2**32 - 1)


class LifeMachine(RuleBasedStateMachine):
    """The partition and its model, side by side."""

    @initialize(
        kind=st.sampled_from([Kind.TURBO, Kind.VECTOR]),
        metric=st.sampled_from(["l2", "cosine", "ip", "pearson"]),
        index=st.sampled_from(["flat", "hnsw"]),
        cap=st.sampled_from([1024, 3000, 1_048_576]),
    )
    def open(self, kind: Kind, metric: str, index: str, cap: int) -> None:
        self.directory = TemporaryDirectory()
        given = {"seal_rows": 1024, "index": index, "segment_rows_max": cap, "m": 8, "ef_construction": 32}
        self.life = Life(collection(dim=DIM, metric=metric, kind=kind, **given), Path(self.directory.name) / "p")
        self.course: Course | None = None
        self.held: tuple[Any, dict[Any, Any]] | None = None

    def teardown(self) -> None:
        if hasattr(self, "life"):
            self.held = None
            self.life.close()
            self.directory.cleanup()

    # --- writes --------------------------------------------------------------------------------------------

    def put(self, ids: list[Any], seed: int, write: Any) -> None:
        """Rows of a few clusters; some have no payload, some share their vector with others."""
        generator = np.random.default_rng(seed)
        vectors = generator.integers(-3, 4, (len(ids), DIM)) + 0.25 * generator.integers(0, 3, (len(ids), 1))
        numbers = generator.integers(0, 100, len(ids)).tolist()
        words = generator.integers(0, 4, len(ids)).tolist()
        payloads = [
            {} if n % 10 == 9 else {"n": n, **({"word": WORDS[word]} if word < len(WORDS) else {})}
            for n, word in zip(numbers, words, strict=True)
        ]
        write(ids, vectors.astype(np.float32), payloads)

    @rule(first=st.integers(0, 3000), count=st.integers(1, 300), seed=SEEDS)
    def insert(self, first: int, count: int, seed: int) -> None:
        ids = [number if number % 3 else f"row-{number}-é" for number in range(first, first + count)]
        ids = [row_id for row_id in ids if row_id not in self.life.rows]
        if ids:
            self.put(ids, seed, self.life.insert)

    @rule(first=st.integers(0, 2000), seed=SEEDS)
    def insert_many(self, first: int, seed: int) -> None:
        self.insert(first, 1200, seed)

    @rule(ids=st.lists(IDS, min_size=1, max_size=30, unique=True), seed=SEEDS)
    def upsert(self, ids: list[Any], seed: int) -> None:
        self.put(ids, seed, self.life.upsert)

    @rule(first=st.integers(0, 1500), step=st.integers(1, 9), seed=SEEDS)
    def upsert_many(self, first: int, step: int, seed: int) -> None:
        ids = [number if number % 3 else f"row-{number}-é" for number in range(first, first + 120 * step, step)]
        self.put(ids, seed, self.life.upsert)

    @rule(ids=st.lists(IDS, min_size=1, max_size=30, unique=True))
    def delete(self, ids: list[Any]) -> None:
        assert self.life.delete(ids) == len(ids) - len([row_id for row_id in ids if row_id not in self.before])

    @rule(first=st.integers(0, 2000), count=st.integers(100, 1200))
    def delete_many(self, first: int, count: int) -> None:
        self.life.delete([number if number % 3 else f"row-{number}-é" for number in range(first, first + count)])

    @rule(where=CHOSEN)
    def delete_where(self, where: Where) -> None:
        expected = sum(where.holds(row_id, payload) for row_id, (_, payload) in self.life.rows.items())
        assert self.life.delete_where(where) == expected

    @rule(where=CHOSEN, n=st.none() | st.integers(0, 99), word=st.sampled_from([None, *WORDS]))
    def update(self, where: Where, n: int | None, word: str | None) -> None:
        expected = sum(where.holds(row_id, payload) for row_id, (_, payload) in self.life.rows.items())
        assert self.life.update(where, n=n, word=word) == expected
