"""The instant of a row as a value: what it may be, as a number, as a column, and in conditions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from reddb import errors
from reddb.expiry import expiries_us
from reddb.partition.operations import Operation
from reddb.rows import make_batch, payload_column
from reddb.storage.payload_cells import PATHS_MAX
from reddb.storage.payload_columns import PayloadColumns
from tests.engine.lives import EPOCH, START_US, Life, Where
from tests.engine.partitions import collection, ids_of

DIM = 8
VECTORS = np.random.default_rng(11).normal(size=(9, DIM)).astype(np.float32)


@pytest.fixture
def life(tmp_path) -> Iterator[Life]:
    life = Life(collection(dim=DIM, seal_rows=1024), tmp_path / "partition")
    yield life
    life.close()


def test_conditions_compare_the_instant(life):
    life.insert(range(3), VECTORS[:3], [{"expires_at": life.instant(n)} if n else {} for n in range(3)])
    shown = life.instant(1).isoformat()
    for text, ids in (
        (f"expires_at = '{shown}'", [1]),
        (f"expires_at > '{shown}'", [2]),
        ("expires_at IS NULL", [0]),
    ):
        predicate = Where(text, lambda *_: True).predicate(life.collection)
        for reader in (life.readers[0], life.new_reader()):
            view = reader.view()
            assert view.row_ids(view.scan(9, 0, predicate)) == ids
            del view, reader
            life.seal()


@pytest.mark.parametrize(
    ("given", "microseconds"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 1),
        (datetime(1, 1, 1, tzinfo=UTC), 1),
        (datetime(1970, 1, 1, 0, 0, 0, 7, tzinfo=UTC), 7),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 253_402_300_799_999_999),
        (None, 0),
        ("expires_at", 0),
        (7, 0),
    ],
)
def test_instants_as_numbers(given, microseconds):
    column = payload_column([{"expires_at": given}, {"a": {"expires_at": datetime.now(UTC)}}, {}])
    assert expiries_us(column).tolist() == [microseconds, 0, 0]


def test_instants_of_all_ages_in_every_state(life):
    instants = [datetime(1, 1, 1, tzinfo=UTC), EPOCH, life.instant(1), datetime.max.replace(tzinfo=UTC), None]
    life.insert(range(5), VECTORS[:5], [{} if item is None else {"expires_at": item} for item in instants])
    for _ in range(2):
        assert list(life.rows) == [2, 3, 4]
        life.check()
        life.seal()
    life.set_clock(START_US + 1_000_000)
    assert list(life.rows) == [3, 4]
    life.check()


def test_the_instant_is_a_column_among_however_many_keys():
    rows = [{f"a{row}-{key}": 1 for key in range(40)} for row in range(60)]
    rows[7]["expires_at"] = EPOCH
    column = payload_column(rows)
    columns = PayloadColumns.open(PayloadColumns.from_payloads(column.split()).to_bytes())
    assert PATHS_MAX < 60 * 40
    content = columns.to_bytes()
    assert PayloadColumns.has_column(content, "timestamp", "expires_at")
    assert not PayloadColumns.has_column(content, "text", "expires_at")
    assert columns.families("expires_at")["timestamp"].null_count == 59


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("2031-05-01T12:00:00.25+02:00", datetime(2031, 5, 1, 10, 0, 0, 250000, tzinfo=UTC)),
        ("2031-05-01T12:00:00Z", datetime(2031, 5, 1, 12, tzinfo=UTC)),
        (datetime(2031, 5, 1, tzinfo=UTC), datetime(2031, 5, 1, tzinfo=UTC)),
        (None, None),
    ],
)
def test_what_an_instant_may_be(life, value, stored):
    life.owner.prepare(Operation.INSERT, make_batch([1, 2], VECTORS[:2], [{"expires_at": value, "n": 1}, {"n": 2}]))
    life._commit()
    life.rows = {1: (VECTORS[0], {"expires_at": stored, "n": 1}), 2: (VECTORS[1], {"n": 2})}
    life.readers[0].view()
    view = life.readers[1].view()
    assert view.live_rows == 2
    (seen,) = life.search(life.readers[0], VECTORS[:1], 2)[0]
    assert ids_of(seen)[0] == 1
    assert view.scan(9, 0, Where("expires_at IS NULL", lambda *_: True).predicate(life.collection)).tolist() == (
        [0, 1] if stored is None else [1]
    )


@pytest.mark.parametrize("value", ["2031-05-01T12:00:00", "tomorrow", 1_900_000_000, 1.5, True, [], {}, ""])
def test_what_an_instant_may_not_be(life, value):
    batch = make_batch([1, 2], VECTORS[:2], [{"n": 2}, {"expires_at": value}])
    with pytest.raises(errors.RedDBError, match="row 1: the field 'expires_at' is TIMESTAMP") as refused:
        life.owner.prepare(Operation.UPSERT, batch)
    assert refused.value.name == "INVALID_PAYLOAD"
    assert refused.value.detail["row"] == 1
    assert "Z" in refused.value.detail["hint"]
    assert life.owner.is_quiet
