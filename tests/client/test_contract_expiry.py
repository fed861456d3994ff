"""What every face promises about rows that expire: gone at their instant from whatever asks for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

import reddb

DIM = 4
PAST = datetime(2001, 2, 3, tzinfo=UTC)
FAR = datetime(2999, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
VECTORS = np.random.default_rng(3).normal(size=(300, DIM)).astype(np.float32)


@pytest.fixture(params=[1, 3])
def docs(request: pytest.FixtureRequest, db: Any, name: str) -> str:
    """A collection of one partition, or of several."""
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM} METRIC l2 WITH (partitions = {request.param})")
    return name


def count(db: Any, name: str, where: str = "") -> int:
    return int(db.execute(f"SELECT count(*) FROM {name} {where}")[0][0])


def ids_in(db: Any, name: str, where: str = "") -> list[Any]:
    return sorted(row[0] for row in db.execute(f"SELECT id FROM {name} {where} LIMIT 1000"))


def insert_some(db: Any, name: str) -> None:
    """Ids from 0 to 299: those that 3 divides are past, those with remainder 1 expire in the far future."""
    instants = [{"expires_at": PAST}, {"expires_at": FAR}, {}]
    db.insert(name, list(range(300)), VECTORS, [{"n": n, **instants[n % 3]} for n in range(300)])


def check_gone(db: Any, name: str) -> None:
    left = [n for n in range(300) if n % 3]
    assert count(db, name) == 200
    assert count(db, name, "WHERE n >= 0") == 200
    assert count(db, name, "WHERE id = 3") == 0
    assert ids_in(db, name) == left
    assert ids_in(db, name, "WHERE n < 7") == [1, 2, 4, 5]
    for exact in (True, False):
        (hits,) = db.search(name, VECTORS[:1], k=300, exact=exact)
        assert sorted(hits.ids) == left
    assert list(db.execute(f"SELECT id FROM {name} WHERE id = 0")) == []
    (shown,) = [row for row in db.execute("SHOW COLLECTIONS") if row[0] == name]
    assert shown[-1] == 200
    segments = db.execute(f"SHOW SEGMENTS FOR {name}")
    assert sum(row[segments.columns.index("live")] for row in segments) == 200
    stats = db.execute(f"SHOW STATS FOR {name}")
    assert sum(row[stats.columns.index("rows")] for row in stats) == 200


def test_what_has_expired_is_gone_at_once(db: Any, docs: str) -> None:
    insert_some(db, docs)
    check_gone(db, docs)
    for work in ("SEAL", "CHECKPOINT", "REBUILD", "COMPACT"):
        db.execute(f"ALTER COLLECTION {docs} {work}")
        check_gone(db, docs)


def test_compaction_gives_the_space_back(db: Any, docs: str) -> None:
    insert_some(db, docs)
    db.execute(f"ALTER COLLECTION {docs} COMPACT")
    table = db.execute(f"SHOW SEGMENTS FOR {docs}")
    shown = [dict(zip(table.columns, row, strict=True)) for row in table]
    assert sum(row["rows"] for row in shown) == sum(row["live"] for row in shown) == 200
    assert all(row["expired"] == 0 for row in shown)


def test_the_instant_is_a_column(db: Any, docs: str) -> None:
    insert_some(db, docs)
    rows = list(db.execute(f"SELECT id, expires_at FROM {docs} WHERE id = 1"))
    assert rows == [(1, FAR)]
    (hits,) = db.search(docs, VECTORS[1:2], k=1)
    assert hits.payloads == [{"n": 1, "expires_at": FAR}]
    assert "expires_at" in db.execute(f"SELECT * FROM {docs} LIMIT 2").columns
    assert count(db, docs, "WHERE expires_at > '2998-01-01T00:00:00Z'") == 100
    assert count(db, docs, "WHERE expires_at IS NULL") == 100
    assert count(db, docs, "WHERE expires_at < '2998-01-01T00:00:00Z'") == 0


def test_the_instant_is_set_by_statement(db: Any, docs: str) -> None:
    db.execute(f"INSERT INTO {docs} (id, vector, expires_at) VALUES (1, [1, 0, 0, 0], '2001-01-01T00:00:00Z')")
    db.execute(f"INSERT INTO {docs} (id, vector, expires_at) VALUES (2, [1, 0, 0, 0], $1)", [FAR])
    assert ids_in(db, docs) == [2]
    assert db.execute(f"UPDATE {docs} SET expires_at = '2999-01-01T01:00:00+01:00' WHERE id = 2").affected == 1
    assert list(db.execute(f"SELECT expires_at FROM {docs} WHERE id = 2")) == [(datetime(2999, 1, 1, tzinfo=UTC),)]
    assert db.execute(f"UPDATE {docs} SET expires_at = NULL WHERE expires_at IS NOT NULL").affected == 1
    assert list(db.execute(f"SELECT expires_at FROM {docs} WHERE id = 2")) == [(None,)]
    assert db.execute(f"UPDATE {docs} SET expires_at = $1 WHERE id IN (1, 2)", [PAST]).affected == 1
    assert count(db, docs) == 0


def test_an_expired_id_may_be_inserted_again(db: Any, docs: str) -> None:
    for _ in range(3):
        assert db.insert(docs, [1, 2], VECTORS[:2], [{"expires_at": PAST}] * 2) == 2
        assert db.delete(docs, [1, 2]) == 0
    assert db.insert(docs, [1], VECTORS[:1], [{"expires_at": FAR}]) == 1
    with pytest.raises(reddb.RedDBError, match="DUPLICATE_ID"):
        db.insert(docs, [2, 1], VECTORS[:2])
    assert db.upsert(docs, [1, 2], VECTORS[:2]) == 2
    assert ids_in(db, docs) == [1, 2]
    assert db.delete(docs, [1, 2]) == 2


def test_another_zone_is_the_same_instant(db: Any, docs: str) -> None:
    there = FAR.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
    db.insert(docs, [1, 2], VECTORS[:2], [{"expires_at": there}, {"expires_at": there.isoformat()}])
    assert list(db.execute(f"SELECT expires_at FROM {docs} LIMIT 2")) == [(FAR,), (FAR,)]


@pytest.mark.parametrize("value", [5, "2999-01-01", "2999-01-01T00:00:00", "soon", True, [FAR], {}])
def test_anything_else_is_refused(db: Any, docs: str, value: Any) -> None:
    with pytest.raises(reddb.RedDBError, match="row 1: the field 'expires_at' is TIMESTAMP") as refused:
        db.insert(docs, [1, 2], VECTORS[:2], [{}, {"expires_at": value}])
    assert refused.value.name == "INVALID_PAYLOAD"
    assert count(db, docs) == 0


def test_an_instant_without_a_zone_is_refused(db: Any, docs: str) -> None:
    with pytest.raises(reddb.RedDBError, match="INVALID_PAYLOAD"):
        db.insert(docs, [1], VECTORS[:1], [{"expires_at": datetime(2999, 1, 1)}])  # noqa: DTZ001
    assert count(db, docs) == 0


def test_an_update_to_anything_else_is_refused(db: Any, docs: str) -> None:
    db.insert(docs, [1], VECTORS[:1])
    with pytest.raises(reddb.RedDBError, match="'expires_at' is TIMESTAMP"):
        db.execute(f"UPDATE {docs} SET expires_at = 5 WHERE id = 1")
    assert list(db.execute(f"SELECT expires_at FROM {docs} WHERE id = 1")) == [(None,)]


def test_no_field_may_be_called_so(db: Any, name: str) -> None:
    with pytest.raises(reddb.RedDBError, match="INVALID_NAME"):
        db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 4 FIELDS (expires_at TIMESTAMP)")


def test_a_column_of_fields_beside_it(db: Any, name: str) -> None:
    fields = "n INT NOT NULL, at TIMESTAMP DEFAULT '2020-01-01T00:00:00Z'"
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM {DIM} FIELDS ({fields})")
    db.insert(name, [1, 2], VECTORS[:2], [{"n": 1, "expires_at": "2001-01-01T00:00:00Z"}, {"n": 2, "expires_at": FAR}])
    assert list(db.execute(f"SELECT id, n, expires_at FROM {name} LIMIT 9")) == [(2, 2, FAR)]
    db.execute(f"CREATE INDEX ON {name} (expires_at)")
    db.execute(f"ALTER COLLECTION {name} REBUILD")
    assert ids_in(db, name, "WHERE expires_at >= '2999-01-01T00:00:00Z'") == [2]
