"""A partition with segments in every state against a dict: any row of writes, steps of jobs, kills and restarts.

The model is `Life.rows`, from which rows go when a clock that is moved passes their instant. Segments are sealed,
rebuilt and merged step by step, and whatever comes between two steps, two readers see all rows and only those; a view
that a reader holds stays as it was. With so few rows every search would be exact, so the bounds from which codes and
graphs are asked are lowered.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reddb import limits
from reddb.partition import encoder
from reddb.partition.sweep import SWEEP_ROWS_MAX
from reddb.types import Kind
from tests.engine.lives import EPOCH, Course, Life, Where, assert_view_is
from tests.engine.partitions import collection, ids_of
from tests.engine.successors import MortalLife

DIM = 5


def id_of(number: int) -> int | str:
    return number if number % 3 else f"row-{number}-é"


IDS = st.lists(st.integers(0, 1500).map(id_of), min_size=1, max_size=30, unique=True)
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
        self.life = MortalLife(collection(dim=DIM, metric=metric, kind=kind, **given), Path(self.directory.name) / "p")
        self.course: Course | None = None
        self.held: tuple[Any, dict[Any, Any]] | None = None
        self.insert(5000, 1, 1)
        self.life.seal()

    def teardown(self) -> None:
        if hasattr(self, "life"):
            self.held = None
            self.directory.cleanup()
            self.life.close()

    # --- writes --------------------------------------------------------------------------------------------

    def put(self, ids: list[Any], seed: int, write: Any) -> None:
        """Rows of a few clusters; some have no payload, some share their vector with others."""
        generator = np.random.default_rng(seed)
        vectors = generator.integers(-3, 4, (len(ids), DIM)) + 0.25 * generator.integers(0, 3, (len(ids), 1))
        numbers = generator.integers(0, 100, len(ids)).tolist()
        words = generator.integers(0, 4, len(ids)).tolist()
        payloads: list[dict[str, Any]] = [
            {} if n % 10 == 9 else {"n": n, **({"word": WORDS[word]} if word < len(WORDS) else {})}
            for n, word in zip(numbers, words, strict=True)
        ]
        if seed % 2:
            for row in range(0, len(ids), 3):  # some have expired before they are there
                payloads[row]["expires_at"] = self.life.instant(int(generator.integers(-1, 8)))
        write(ids, vectors.astype(np.float32), payloads)

    @rule(first=st.integers(0, 3000), count=st.integers(1, 300), seed=SEEDS)
    def insert(self, first: int, count: int, seed: int) -> None:
        ids = list(map(id_of, range(first, first + count)))
        ids = [row_id for row_id in ids if row_id not in self.life.rows]
        if ids:
            self.put(ids, seed, self.life.insert)

    @rule(first=st.integers(0, 2000), seed=SEEDS)
    def insert_many(self, first: int, seed: int) -> None:
        self.insert(first, 1200, seed)

    @rule(ids=IDS, seed=SEEDS)
    def upsert(self, ids: list[Any], seed: int) -> None:
        self.put(ids, seed, self.life.upsert)

    @rule(first=st.integers(0, 1500), step=st.integers(1, 9), seed=SEEDS)
    def upsert_many(self, first: int, step: int, seed: int) -> None:
        ids = list(map(id_of, range(first, first + 120 * step, step)))
        self.put(ids, seed, self.life.upsert)

    @rule(ids=IDS)
    def delete(self, ids: list[Any]) -> None:
        expected = sum(row_id in self.life.rows for row_id in ids)
        assert self.life.delete(ids) == expected

    @rule(first=st.integers(0, 2000), count=st.integers(100, 1200))
    def delete_many(self, first: int, count: int) -> None:
        self.life.delete(list(map(id_of, range(first, first + count))))

    @rule(where=CHOSEN)
    def delete_where(self, where: Where) -> None:
        expected = sum(where.holds(row_id, payload) for row_id, (_, payload) in self.life.rows.items())
        assert self.life.delete_where(where) == expected

    # --- the clock -----------------------------------------------------------------------------------------

    @rule(number=st.integers(0, 40), is_there=st.booleans())
    def come_to_an_instant(self, number: int, is_there: bool) -> None:
        """To the microsecond at which rows expire, or to the one before."""
        instants = sorted({payload["expires_at"] for _, payload in self.life.rows.values() if "expires_at" in payload})
        if instants:
            instant = instants[number % len(instants)]
            self.life.set_clock((instant - EPOCH) // timedelta(microseconds=1) - (not is_there))

    @rule(seconds=st.integers(1, 9))
    def set_the_clock_back(self, seconds: int) -> None:
        self.life.set_clock(self.life.system_us - seconds * 1_000_000)

    @rule()
    def sweep(self) -> None:
        swept = self.life.sweep()
        assert swept <= SWEEP_ROWS_MAX
        if swept < SWEEP_ROWS_MAX:
            assert sum(rows - dead for rows, dead in self.life.sizes()) == len(self.life.rows)

    @rule(where=CHOSEN, seconds=st.none() | st.integers(-1, 8))
    def update_when_rows_expire(self, where: Where, seconds: int | None) -> None:
        expected = sum(where.holds(row_id, payload) for row_id, (_, payload) in self.life.rows.items())
        instant = None if seconds is None else self.life.instant(seconds)
        assert self.life.update(where, expires_at=instant) == expected

    @rule(where=CHOSEN, n=st.none() | st.integers(0, 99), word=st.sampled_from([None, *WORDS]))
    def update(self, where: Where, n: int | None, word: str | None) -> None:
        expected = sum(where.holds(row_id, payload) for row_id, (_, payload) in self.life.rows.items())
        assert self.life.update(where, n=n, word=word) == expected

    # --- the background ------------------------------------------------------------------------------------

    @rule()
    def freeze(self) -> None:
        self.life.freeze()

    @rule()
    def encode(self) -> None:
        self.life.encode()

    @rule(how=st.sampled_from(["due", "due", "compaction", "rebuild"]))
    @precondition(lambda self: self.course is None)
    def begin_job(self, how: str) -> None:
        self.life.dies = ""
        sealed = frozenset(segment.id for segment in self.life.owner.segments if segment.record is not None)
        match how:
            case "due":
                self.course = self.life.due()
            case "rebuild":
                self.course = self.life.due(sealed)
            case _:
                self.course = self.life.compaction()

    @rule(count=st.integers(1, 7))
    @precondition(lambda self: self.course is not None)
    def go_on_with_job(self, count: int) -> None:
        for _ in range(count):
            assert self.course is not None
            if self.course.due_step == "clean" and not self.course.is_let_go():
                assert self.held is not None
                return
            self.course.step()
            self.all_readers_see_the_model()
            if not self.course.due_step:
                self.course = None
                return

    @rule(files=st.integers(0, 7))
    @precondition(lambda self: self.course is not None and self.course.due_step == "run")
    def kill_the_builder(self, files: int) -> None:
        assert self.course is not None
        self.course.kill_builder(files)
        self.course = None

    @rule()
    @precondition(lambda self: self.course is not None and self.course.due_step == "write")
    def fail_to_publish(self) -> None:
        assert self.course is not None
        self.course.undo()
        self.course = None

    @rule()
    @precondition(lambda self: self.course is None)
    def settle(self) -> None:
        self.held = None
        self.life.settle()
        everything = [segment for segment in self.life.owner.segments if segment.record is not None]
        folders = self.life.disk.list_folder(self.life.folder / "segments")
        assert {str(segment.id) for segment in everything} <= set(folders)

    @rule()
    def restart(self) -> None:
        self.course = self.held = None
        self.life.restart()
        self.life.check()

    @rule(dies=st.sampled_from(["", "written", "applied"]))
    def succeed(self, dies: str) -> None:
        """The owner dies, now or with its next group, and another one goes on in its memory."""
        self.held = None  # its successor waits for those who read what is not in the newest list of segments
        is_published = self.course is None or self.course.due_step != "complete"
        self.course = None
        assert self.life.succeed() or not is_published
        self.life.check()
        self.life.dies = dies

    # --- reads ---------------------------------------------------------------------------------------------

    @rule(seed=SEEDS, k=st.integers(0, 40), where=st.none() | CHOSEN, exact=st.booleans())
    def search(self, seed: int, k: int, where: Where | None, exact: bool) -> None:
        queries = np.random.default_rng(seed).normal(size=(2, DIM)) * 2
        self.life.check_search(queries, k, where, exact=exact)

    @rule(where=CHOSEN)
    def list_and_count(self, where: Where) -> None:
        ids = [row_id for row_id, (_, payload) in self.life.rows.items() if where.holds(row_id, payload)]
        for reader in self.life.readers:
            view, predicate = reader.view(), where.predicate(self.life.collection)
            assert view.count(predicate) == len(ids)
            assert view.row_ids(view.scan(len(ids) + 1, 0, predicate)) == ids

    @rule(place=st.integers(0, 1))
    def hold_a_view(self, place: int) -> None:
        self.held = self.life.readers[place].view(), dict(self.life.rows)

    @rule()
    @precondition(lambda self: self.held is not None)
    def look_at_the_view_that_is_held(self) -> None:
        assert self.held is not None
        assert_view_is(*self.held)

    @rule()
    def let_go(self) -> None:
        self.held = None

    @rule()
    def look_at_everything(self) -> None:
        self.life.check()

    @invariant()
    def all_readers_see_the_model(self) -> None:
        if hasattr(self, "life"):
            wanted = list(self.life.rows)
            for reader in self.life.readers:
                view = reader.view()
                assert view.row_ids(view.scan(len(wanted) + 1)) == wanted
                assert reader.count() == len(wanted)


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "WAL_PREALLOCATE_BYTES", 4096)
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 16_384)
    monkeypatch.setattr(encoder, "FIT_ROWS", 128)
    monkeypatch.setattr(limits, "SCANNED_ROWS", 64)


LifeMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40)


@pytest.mark.usefixtures("_small_bounds")
class TestLifeAgainstADict(LifeMachine.TestCase):
    """What the machine above found in many runs."""


# --- rows that must stay what they are ---------------------------------------------------------------------


def test_an_update_keeps_vectors_and_places_the_row_last(tmp_path):
    life = Life(collection(dim=DIM, seal_rows=1024), tmp_path / "partition")
    numbers, vectors = list(range(300)), np.random.default_rng(2).normal(size=(300, DIM))
    payloads = [{"n": number % 100} for number in numbers]
    life.insert(numbers[:200], vectors[:200], payloads[:200])
    life.seal()
    life.insert(numbers[200:], vectors[200:], payloads[200:])
    small = Where("n < 40", lambda _, payload: payload["n"] < 40)
    before = {row_id: vector for row_id, (vector, _) in life.rows.items()}
    assert life.update(small, n=7, mark="é") == 120
    assert life.update(Where("mark = 'é'", lambda _, payload: payload.get("mark") == "é"), mark=None, n=8) == 120
    assert list(life.rows)[-120:] == [n for n in range(300) if n % 100 < 40]
    for _ in range(2):
        life.check()
        assert all(np.array_equal(vector, before[row_id]) for row_id, (vector, _) in life.rows.items())
        life.compact()
        life.restart()
    life.close()


EXTREME_IDS = [-(2**63), 2**63 - 1, -1, 0, 1, "1", "-1", "\x00", "😀" * 63 + "abc", "é" * 127 + "a", "a" * 255, " "]


def test_extreme_ids_stay_what_they_are(tmp_path):
    assert max(len(row_id.encode()) for row_id in EXTREME_IDS if isinstance(row_id, str)) == limits.ID_BYTES_MAX
    life = Life(collection(dim=DIM, seal_rows=1024), tmp_path / "partition")
    half = len(EXTREME_IDS) // 2
    vectors = np.random.default_rng(1).normal(size=(2 * half, DIM))
    life.insert(EXTREME_IDS[:half], vectors[:half])
    life.seal()
    life.insert(EXTREME_IDS[half:], vectors[half:])
    life.upsert(EXTREME_IDS[::2], vectors[::2] + 1)
    for step in (life.seal, life.compact, life.restart, life.rebuild):
        step()
        life.check()
        for row_id in EXTREME_IDS:
            assert ids_of(*life.search(life.readers[0], [life.rows[row_id][0]], 1, exact=True)[0]) == [row_id]
    assert life.delete(EXTREME_IDS) == len(EXTREME_IDS)
    life.compact()
    assert life.sizes() == []
    life.close()
