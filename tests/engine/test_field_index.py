"""Filters with indexes of fields give what they give without, and CREATE, DROP and SHOW INDEX say what there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reddb import errors, limits
from reddb.accountant import Accountant
from reddb.database import Database
from reddb.fields import NO_FIELDS
from reddb.grammar import parse
from reddb.partition.filters import FilterCache, ReaderFilters, SealedFilter
from reddb.query import candidates
from reddb.query.execute import finish
from reddb.query.predicate import Predicate, bind_predicate
from reddb.query.values import Values
from reddb.rows import make_batch
from reddb.storage.field_index import open_field_indexes, write_field_indexes
from reddb.storage.sealed import SealedSegment, write_segment
from reddb.types import Collection, Kind, Metric
from reddb.wire.messages import Query
from tests.engine.test_database import ask, insert
from tests.storage.disks import MemoryDisk
from tests.storage.test_sealed import columns_of

FOLDER = Path("/segments/4")
INDEXED = ("a", "m.b")
DOCS = Collection(9, "docs", Kind.VECTOR, 1, Metric.L2, {}, indexes=INDEXED)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
BIG = 2**53

SCALARS = [None, True, False, 0, 1, 2, BIG, BIG + 1, -0.0, 0.5, 2.0, float(BIG), "", "a", "b", "é", "😀", NOON]
VALUES = st.sampled_from([*SCALARS, NOON + timedelta(microseconds=1), ["a"], [1, 2], {"b": 1}, float("nan"), 1e300])
CONSTANTS = st.sampled_from([*SCALARS, 3, -1.5, "aa", NOON - timedelta(days=1)])
PAYLOADS = st.fixed_dictionaries({}, optional={"a": VALUES, "c": VALUES, "m": VALUES | st.builds(dict, b=VALUES)})


@pytest.fixture(autouse=True)
def whatever_it_costs(monkeypatch):
    """Indexes are used for any number of rows, candidates and constants."""
    for name in ("_ROWS_MIN", "_CANDIDATE_ROWS", "_CONSTANT_ROWS"):
        monkeypatch.setattr(candidates, name, 1)


def bound(where: str, parameters: Any = ()) -> Predicate:
    text = f"SELECT id FROM docs WHERE {where} LIMIT 1"
    statement: Any = parse(text)
    return bind_predicate(statement.where, Values(text, statement, parameters), NO_FIELDS)


@st.composite
def conditions(draw: st.DrawFn, depth: int = 3) -> tuple[str, list[Any]]:
    """A WHERE and the values of its parameters, in order."""
    if depth and draw(st.booleans()):
        word = draw(st.sampled_from([" AND ", " AND ", " OR "]))
        parts = [draw(conditions(depth - 1)) for _ in range(draw(st.integers(2, 3)))]
        text, values = word.join(f"({part})" for part, _ in parts), [item for _, of in parts for item in of]
    else:
        column = draw(st.sampled_from(["a", "a", "m.b", "c", "id"]))
        form = draw(
            st.sampled_from(
                ["{} = ?", "{} <> ?", "{} < ?", "{} >= ?", "? < {}", "{} BETWEEN ? AND ?"]
                + ["{} IN (?, ?)", "{} NOT IN (?)", "{} IS NULL", "{} = m.b", "{} IS NOT NULL"]
            )
        )
        text, values = form.format(column), [draw(CONSTANTS) for _ in range(form.count("?"))]
    return (f"NOT ({text})", values) if draw(st.integers(0, 4)) == 0 else (text, values)


def numbered(condition: str) -> str:
    pieces = condition.split("?")
    return "".join(f"{piece}${place}" for place, piece in enumerate(pieces[:-1], 1)) + pieces[-1]


def masks(payloads: list[Any], predicate: Predicate) -> tuple[np.ndarray, np.ndarray]:
    """With indexes, and by a scan."""
    disk, count = MemoryDisk(), len(payloads)
    ids = [row if row % 3 else f"id {row}" for row in range(count)]
    batch = make_batch(ids, np.zeros((count, 1)), payloads)
    write_segment(disk, FOLDER, DOCS, 0, 4, [(columns_of(batch), np.arange(count))])
    segment = SealedSegment(disk, FOLDER, DOCS, 0, 4, count, verify=True)
    write_field_indexes(disk, FOLDER, DOCS, 0, 4, segment, 1)
    indexes = open_field_indexes(disk, FOLDER, DOCS, 0, 4, count, 1)
    assert set(indexes) == set(INDEXED)
    cache = FilterCache(Accountant()["filters"])
    both = [SealedFilter(4, segment, ReaderFilters(cache), opened) for opened in (lambda: indexes, dict)]
    fast, slow = (finish(filter.mask_steps(predicate, count)) for filter in both)
    assert fast.matches == slow.matches == np.count_nonzero(fast.rows)
    return fast.rows, slow.rows


@given(st.lists(PAYLOADS, min_size=1, max_size=40), conditions())
def test_an_index_changes_no_mask(payloads, condition):
    text, values = condition
    try:
        predicate = bound(numbered(text), values)
    except errors.RedDBError:  # an id compares with integers and texts only
        return
    fast, slow = masks(payloads, predicate)
    assert fast.tolist() == slow.tolist()


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("a = 5", [5]),
        ("a = 5.0", [5]),
        ("a > 2 AND a <= 4", [3, 4]),
        ("a BETWEEN 3 AND 5 AND c = 'x'", [3, 4, 5]),
        ("a IN (1, 7) AND a > 0", [1, 7]),
        ("a > 1 AND a = 'x'", []),
        ("a = NULL", []),
        ("a = 5 OR a = 6", None),
        ("NOT a = 5", None),
        ("a <> 5", None),
        ("c = 1", None),
    ],
)
def test_candidates_are_as_few_as_an_index_tells(where, rows):
    disk = MemoryDisk()
    batch = make_batch(range(9), np.zeros((9, 1)), [{"a": number} for number in range(9)])
    write_segment(disk, FOLDER, DOCS, 0, 4, [(columns_of(batch), np.arange(9))])
    segment = SealedSegment(disk, FOLDER, DOCS, 0, 4, 9, verify=True)
    write_field_indexes(disk, FOLDER, DOCS, 0, 4, segment, 1)
    found = candidates.candidates(bound(where).condition, open_field_indexes(disk, FOLDER, DOCS, 0, 4, 9, 1), 9)
    assert (found if found is None else sorted(found.tolist())) == rows


# --- statements --------------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path):
    opened = Database(tmp_path)
    opened.request(Query("CREATE COLLECTION docs KIND vector.turbo DIM 2 METRIC l2 FIELDS (tags TEXT[], n INT, *)", []))
    yield opened
    opened.close()


def error_of(database: Database, text: str) -> errors.RedDBError:
    with pytest.raises(errors.RedDBError) as caught:
        ask(database, text)
    return caught.value


def count(database: Database, where: str) -> object:
    return ask(database, f"SELECT count(*) FROM docs WHERE {where}")[0][0]


def test_an_index_covers_what_is_sealed_after_it(database):
    database.request(insert(list(range(100))))
    ask(database, "ALTER COLLECTION docs SEAL")
    ask(database, "CREATE INDEX ON docs (n)")
    assert ask(database, "SHOW INDEXES FOR docs") == [["n", 100, 0]]
    database.request(insert(list(range(100, 150))))
    assert ask(database, "SHOW INDEXES FOR docs") == [["n", 100, 0]]
    ask(database, "ALTER COLLECTION docs SEAL")
    assert ask(database, "SHOW INDEXES FOR docs") == [["n", 150, 50]]
    assert count(database, "n = 7") == 2
    ask(database, "ALTER COLLECTION docs REBUILD")
    assert ask(database, "SHOW INDEXES FOR docs") == [["n", 150, 150]]
    assert count(database, "n = 7") == 2
    ask(database, "DROP INDEX ON docs (n)")
    assert ask(database, "SHOW INDEXES FOR docs") == []
    assert count(database, "n = 7") == 2


def test_an_index_survives_deaths_compaction_and_reopening(database, tmp_path):
    ask(database, "CREATE INDEX IF NOT EXISTS by_number ON docs (n)")
    ask(database, "CREATE INDEX ON docs (meta.year)")
    for first in (0, 100):
        database.request(insert(list(range(first, first + 100))))
        ask(database, "ALTER COLLECTION docs SEAL")
    assert ask(database, "DELETE FROM docs WHERE n BETWEEN 10 AND 19") == []
    assert count(database, "n < 30") == 40
    ask(database, "ALTER COLLECTION docs COMPACT")
    assert ask(database, "SHOW INDEXES FOR docs") == [["meta.year", 180, 180], ["n", 180, 180]]
    assert count(database, "n < 30") == 40
    assert count(database, "n = 10") == 0
    assert count(database, "meta.year = 3") == 0
    database.close()
    again = Database(tmp_path)
    assert ask(again, "SHOW INDEXES FOR docs") == [["meta.year", 180, 180], ["n", 180, 180]]
    assert count(again, "n < 30 AND id >= 100") == 20
    again.close()


def test_a_damaged_index_is_made_again(database, tmp_path):
    ask(database, "CREATE INDEX ON docs (n)")
    database.request(insert(list(range(100))))
    ask(database, "ALTER COLLECTION docs SEAL")
    database.close()
    (file,) = tmp_path.rglob("fields.*")
    content = file.read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 3] ^= 1
    file.write_bytes(damaged)
    again = Database(tmp_path)
    assert ask(again, "SELECT count(*) FROM docs WHERE n = 3") == [[1]]
    again.close()
    (file,) = tmp_path.rglob("fields.*")
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("text", "name", "message", "hint"),
    [
        ("CREATE INDEX ON nothing (a)", "UNKNOWN_COLLECTION", "no collection 'nothing'", "docs"),
        ("CREATE INDEX ON docs (year)", "INVALID_VALUE", "year has an index already", ""),
        ("CREATE INDEX ON docs (id)", "INVALID_VALUE", "not on id", "rows are found by id"),
        ("CREATE INDEX ON docs (vector)", "INVALID_VALUE", "not on vector", ""),
        ("CREATE INDEX ON docs (tags)", "NOT_SUPPORTED", r"tags is TEXT\[\]", ""),
        ("DROP INDEX ON docs (yaer)", "INVALID_VALUE", "docs has no index on yaer", "did you mean year"),
    ],
)
def test_what_is_wrong_with_an_index_is_said(database, text, name, message, hint):
    ask(database, "CREATE INDEX ON docs (year)")
    error = error_of(database, text)
    assert error.name == name
    assert hint in error.detail.get("hint", "")
    with pytest.raises(errors.RedDBError, match=message):
        ask(database, text)


def test_if_exists_and_if_not_exists(database):
    ask(database, "DROP INDEX IF EXISTS ON docs (year)")
    assert "no indexes" in error_of(database, "DROP INDEX ON docs (year)").detail["hint"]
    ask(database, "CREATE INDEX IF NOT EXISTS ON docs (year)")
    ask(database, "CREATE INDEX IF NOT EXISTS ON docs (year)")
    assert ask(database, "SHOW INDEXES FOR docs") == [["year", 0, 0]]


def test_a_collection_has_a_bounded_number_of_indexes(database):
    for number in range(limits.FIELD_INDEXES_MAX):
        ask(database, f"CREATE INDEX ON docs (k{number})")
    assert error_of(database, "CREATE INDEX ON docs (more)").name == "LIMIT_EXCEEDED"
