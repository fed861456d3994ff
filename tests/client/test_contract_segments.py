"""What every face of the database promises about segments: sealing, merging and rebuilding change no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reddb
from tests import oracle

DIM = 8
ROWS = 300
COLUMNS = ["partition", "segment", "state", "index", "rows", "live", "bytes_disk", "bytes_memory"]
METRICS = ["cosine", "l2", "ip", "manhattan", "chebyshev", "hamming", "jaccard", "pearson"]
OPERATORS = {"cosine": "<=>", "l2": "<->", "ip": "<#>", "manhattan": "<+>"}


def vectors(seed: int, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, DIM)).astype(np.float32)


def segments(db: Any, name: str) -> list[dict[str, Any]]:
    result = db.execute(f"SHOW SEGMENTS FOR {name}")
    assert result.columns[: len(COLUMNS)] == COLUMNS
    return [dict(zip(result.columns, row, strict=True)) for row in result]


def contents(db: Any, name: str) -> tuple[Any, ...]:
    """What can be seen of a collection: rows in order, exact neighbours and filtered ones with their distances."""
    rows = db.execute(f"SELECT * FROM {name} LIMIT 10000")
    seen = [(row[0], row[1].tobytes(), *row[2:]) for row in rows]
    queries = vectors(99, 3)
    found = db.search(name, queries, k=20, exact=True) + db.search(name, queries, k=20, exact=True, where="n < 100")
    neighbours = [(hits.ids, hits.distances.tolist(), hits.payloads) for hits in found]
    return rows.columns, seen, neighbours, list(db.execute(f"SELECT count(*) FROM {name}"))


def churn(db: Any, name: str) -> None:
    """Rows that are written, replaced and deleted, in several segments."""
    ids = list(range(ROWS))
    db.insert(name, ids, vectors(1), [{"n": n, "text": f"t{n}"} for n in ids])
    db.execute(f"ALTER COLLECTION {name} SEAL")
    db.upsert(name, ids[:50], vectors(2, 50), [{"n": n + 1000} for n in range(50)])
    db.delete(name, ids[100:120])
    db.execute(f"ALTER COLLECTION {name} SEAL")
    db.insert(name, ["a", "b"], vectors(3, 2), [{"n": 5}, None])
    db.execute(f"UPDATE {name} SET n = 7 WHERE n >= 290 AND n < 300")


@pytest.mark.parametrize("kind", ["vector", "vector.turbo"])
def test_work_on_segments_changes_no_answer(db: Any, name: str, kind: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND {kind} DIM {DIM} FIELDS (n INT, text TEXT)")
    churn(db, name)
    before = contents(db, name)
    assert before[-1] == [(ROWS - 20 + 2,)]
    for work in (
        "SEAL",
        "COMPACT",
        "REBUILD",
        "REBUILD WITH (index = 'hnsw')",
        "REBUILD WITH (index = 'flat')",
        "SEAL",
    ):
        assert db.execute(f"ALTER COLLECTION {name} {work}").affected is None
        assert contents(db, name) == before, work
        states = {segment["state"] for segment in segments(db, name)}
        assert states == {"sealed"}, (work, states)
        if "hnsw" in work:
            assert all("hnsw" in segment["index"] for segment in segments(db, name))
        close = db.search(name, vectors(99, 3)[0], k=20, recall=0.99).ids
        assert len(set(close) & set(before[2][0][0])) >= 18, work
    assert db.upsert(name, ["a", 1], vectors(5, 2)) == 2
    assert db.delete(name, list(range(50, 60))) == 10
    assert db.execute(f"SELECT count(*) FROM {name}")[0] == (ROWS - 20 + 2 - 10,)


def test_show_segments(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM}")
    assert segments(db, name) == []
    db.execute(f"ALTER COLLECTION {name} SEAL")
    assert segments(db, name) == [], "nothing is sealed where nothing is"
    db.insert(name, list(range(ROWS)), vectors(1))
    (growing,) = segments(db, name)
    assert (growing["partition"], growing["state"], growing["rows"], growing["live"]) == (0, "growing", ROWS, ROWS)
    assert growing["bytes_memory"] >= ROWS * DIM * 4
    db.execute(f"ALTER COLLECTION {name} SEAL")
    (sealed,) = segments(db, name)
    assert (sealed["state"], sealed["rows"], sealed["live"]) == ("sealed", ROWS, ROWS)
    assert sealed["bytes_disk"] >= ROWS * DIM * 4
    db.delete(name, [3, 4])
    db.insert(name, [1000], vectors(2, 1))
    assert [(row["state"], row["rows"], row["live"]) for row in segments(db, name)] == [
        ("sealed", ROWS, ROWS - 2),
        ("growing", 1, 1),
    ]
    db.execute(f"ALTER COLLECTION {name} COMPACT")
    assert [(row["state"], row["rows"], row["live"]) for row in segments(db, name)] == [("sealed", ROWS - 1, ROWS - 1)]
    db.delete(name, where="TRUE")
    db.execute(f"ALTER COLLECTION {name} COMPACT")
    assert segments(db, name) == []
    assert db.insert(name, [3], vectors(3, 1)) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_gives_true_distances_before_and_after_sealing(db: Any, name: str, metric: str) -> None:
    base, queries = vectors(11), vectors(12, 4)
    base[7] = 0
    base[8] = base[9]
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM {DIM} METRIC {metric}")
    db.insert(name, list(range(ROWS)), base)
    _, expected = oracle.nearest(metric, base, queries, ROWS)
    for state in ("growing", "sealed", "half of it replaced"):
        found = db.search(name, queries, k=ROWS)
        for hits, query, right in zip(found, queries, expected, strict=True):
            assert hits.distances.tolist() == pytest.approx(right.tolist(), rel=1e-12, abs=1e-12), state
            own = oracle.distances(metric, base[np.array(hits.ids)], query)
            assert hits.distances.tolist() == pytest.approx(own.tolist(), rel=1e-12, abs=1e-12), state
            assert sorted(hits.ids) == list(range(ROWS))
        if metric in OPERATORS:
            result = db.execute(f"SELECT distance FROM {name} ORDER BY vector {OPERATORS[metric]} $1", [queries[0]])
            assert [row[0] for row in result] == found[0].distances[:10].tolist()
        if state == "growing":
            db.execute(f"ALTER COLLECTION {name} SEAL")
        else:
            db.upsert(name, list(range(ROWS // 2)), base[: ROWS // 2])


def test_a_metric_that_codes_cannot_estimate_is_refused_with_a_way_out(db: Any, name: str) -> None:
    for metric in ("manhattan", "chebyshev", "hamming", "jaccard"):
        with pytest.raises(reddb.RedDBError) as caught:
            db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM} METRIC {metric}")
        assert caught.value.name == "NOT_SUPPORTED"
        assert caught.value.detail["hint"] == f"KIND vector searches {metric} exactly"
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM} METRIC pearson")


def test_ids_of_each_kind_survive(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM} METRIC l2")
    long = "ü☃" * 51  # 5 bytes each, 255 together
    assert len(long.encode()) == 255
    ids: list[Any] = [0, -1, -(2**63), 2**63 - 1, "0", "-1", " ", long, "x" * 255, "\U0001f980", "a\x00b"]
    base = vectors(21, len(ids))
    db.insert(name, ids, base, [{"n": number} for number in range(len(ids))])
    db.insert(name, [1, "gone"], vectors(22, 2))
    db.delete(name, [1, "gone"])
    for work in ("SEAL", "COMPACT", "REBUILD"):
        db.execute(f"ALTER COLLECTION {name} {work}")
        assert [row[0] for row in db.execute(f"SELECT id FROM {name} LIMIT 99")] == ids
        rows = db.get(name, [*ids, 1, "gone"], with_vectors=True)
        assert [row.id for row in rows[:-2]] == ids
        assert [type(row.id) for row in rows[:-2]] == [type(item) for item in ids]
        assert rows[-2:] == [None, None]
        assert all(np.array_equal(row.vector, vector) for row, vector in zip(rows, base, strict=False))
        assert [db.search(name, vector, k=1).ids[0] for vector in base] == ids
        with pytest.raises(reddb.RedDBError, match="DUPLICATE_ID"):
            db.insert(name, [long], vectors(23, 1))
    assert db.upsert(name, ids[:4], base[:4], [{"n": -1}] * 4) == 4
    assert [row.payload for row in db.get(name, [0, "0"])] == [{"n": -1}, {"n": 4}]
    assert db.delete(name, ids) == len(ids)


# --- settings ---------------------------------------------------------------------------------------------


def connected_anew(db: Any, tmp_path: Path, request: pytest.FixtureRequest) -> reddb.Client:
    """A new connection; the embedded database is closed and opened again."""
    if (tmp_path / "embedded").exists():
        db.close()
        return reddb.connect(f"file:{tmp_path / 'embedded'}")
    return reddb.connect(request.getfixturevalue("server").url)


def test_settings_are_changed_and_stay(db: Any, name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    create = f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM}"
    db.execute(f"{create} WITH (m = 8, ef_construction = 64, seal_rows = 2048)")
    shown = dict(db.execute(f"SHOW COLLECTION {name}"))
    assert (shown["m"], shown["m0"], shown["ef_construction"], shown["seal_rows"]) == (8, 16, 64, 2048)
    wanted = {"ef": 333, "index": "hnsw", "codes": "f16", "seal_rows": 1024, "segment_rows_max": 4096, "seal_idle_s": 0}
    given = ", ".join(f"{key} = {value!r}" for key, value in wanted.items())
    assert db.execute(f"ALTER COLLECTION {name} SET ({given})").affected is None
    db.execute(f"ALTER COLLECTION {name} SET (oversample = $1)", [9])
    wanted["oversample"] = 9
    db.insert(name, list(range(1500)), vectors(1, 1500))
    shown = dict(db.execute(f"SHOW COLLECTION {name}"))
    assert {key: shown[key] for key in wanted} == wanted
    with connected_anew(db, tmp_path, request) as later:
        shown = dict(later.execute(f"SHOW COLLECTION {name}"))
        assert {key: shown[key] for key in wanted} == wanted
        later.execute(f"ALTER COLLECTION {name} SEAL")
        assert [(row["index"], row["rows"]) for row in segments(later, name)] == [("hnsw f16", 1500)]


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("sael_rows = 2048", "did you mean seal_rows?"),
        ("efconstruction = 64", "did you mean ef_construction?"),
        ("seal_rows = 1023", None),
        ("seal_rows = 1e4", None),
        ("index = 'hsnw'", None),
        ("codes = 4", None),
        ("m = 3", None),
        ("ef = 0", None),
        ("seal_idle_s = -1", None),
        ("bits = 4", None),
    ],
)
def test_a_setting_that_is_refused_changes_nothing(db: Any, name: str, option: str, hint: str | None) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM}")
    before = dict(db.execute(f"SHOW COLLECTION {name}"))
    setting = option.partition(" ")[0]
    for words in ("SET", "REBUILD WITH"):
        with pytest.raises(reddb.RedDBError) as caught:
            db.execute(f"ALTER COLLECTION {name}\n{words} (oversample = 7, {option})")
        assert (caught.value.name, caught.value.retryable) == ("INVALID_SETTING", False)
        assert (caught.value.detail["line"], caught.value.detail["column"]) == (2, len(words) + 19)
        assert setting in caught.value.message
        assert caught.value.detail.get("hint") == hint
    assert dict(db.execute(f"SHOW COLLECTION {name}")) == before
    if setting != "bits":
        with pytest.raises(reddb.RedDBError, match="INVALID_SETTING"):
            db.execute(f"CREATE COLLECTION {name}b KIND vector.turbo DIM {DIM} WITH ({option})")


def test_a_recall_may_be_a_whole_number(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 2 METRIC l2")
    db.insert(name, [1, 2], np.eye(2, dtype=np.float32))
    hits = db.search(name, [1, 0], k=1, recall=1, with_report=True)
    assert hits.ids == [1]
    assert hits.report["exact"] is True
    with pytest.raises(reddb.RedDBError, match="recall is above 0, at most 1"):
        db.search(name, [1, 0], recall=2)
    db.ping()  # the connection goes on
