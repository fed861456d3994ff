"""What comes back is a value: sliced, compared, pickled, copied, and exported without a loss, on every face."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest

import reddb
from reddb.client.rows import Result

BIG = 2**53 + 1  # which float64 does not hold
WHEN = datetime(2024, 2, 29, 12, 30, 0, 123456, UTC)


def pickled(value: Any) -> Any:
    return ForkingPickler.loads(ForkingPickler.dumps(value))


@pytest.fixture
def filled(db: Any, name: str) -> str:
    """Seven rows on a line, some with payloads, ids of both types."""
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2")
    ids = [0, 1, 2, "three", 4, 5, 6]
    db.insert(name, ids, [[n, n] for n in range(7)], [{"n": n, "tags": ["a", n]} if n % 2 else None for n in range(7)])
    return name


@pytest.mark.parametrize(
    "part",
    [slice(None), slice(0, 2), slice(2, None), slice(-2, None), slice(None, None, -1), slice(5, 1, -2), slice(9, 12)],
)
def test_slices_are_of_the_same_type(db: Any, filled: str, part: slice) -> None:
    hits = db.search(filled, [0, 0], with_vectors=True)
    every = list(hits)
    sliced = hits[part]
    assert type(sliced) is reddb.Hits
    assert list(sliced) == every[part]
    assert sliced.ids == [hit.id for hit in every[part]]
    assert sliced.payloads == [hit.payload for hit in every[part]]
    assert sliced.distances.tolist() == [hit.distance for hit in every[part]]
    assert sliced.vectors.shape == (len(every[part]), 2)
    assert list(sliced[::-1][:2]) == every[part][::-1][:2]

    result = db.execute(f"SELECT id, n FROM {filled} ORDER BY vector <-> [0, 0] LIMIT 7")
    assert type(result[part]) is reddb.Result
    assert result[part].columns == ["id", "n"]
    assert list(result[part]) == list(result)[part]


def test_half_read_iterators_leave_nothing_behind(db: Any, filled: str) -> None:
    result = db.execute(f"SELECT id FROM {filled} ORDER BY vector <-> [0, 0] LIMIT 3")
    first, second = iter(result), iter(result)
    assert next(first) == (0,)
    assert [next(second), next(first), next(first)] == [(0,), (1,), (2,)]
    del first, second
    db.ping()
    assert list(result) == [(0,), (1,), (2,)]


def test_equal_is_what_has_equal_contents(db: Any, filled: str) -> None:
    one, other = (db.search(filled, [3, 3], k=4, with_vectors=True) for _ in range(2))
    assert one == other
    assert one[0] == other[0]
    assert one[0] != other[1]
    assert one != other[:3]
    assert one != db.search(filled, [3, 3], k=4), "those have no vectors"
    assert one.index(other[2]) == 2
    row, again = db.get(filled, 1, with_vectors=True)[0], db.get(filled, 1, with_vectors=True)[0]
    assert row == again
    assert row != db.get(filled, 2, with_vectors=True)[0]
    assert row != one[0]
    select = f"SELECT id, vector, tags FROM {filled} WHERE n > 0"
    assert db.execute(select) == db.execute(select)
    assert db.execute(select) != db.execute(select)[1:]


def test_what_came_back_can_be_sent_on(db: Any, filled: str) -> None:
    many = db.search(filled, [[3, 3], [0, 0]], k=4, with_vectors=True, with_report=True)
    values = [
        *many,
        many[1][1:3],
        many[0][0],
        db.search(filled, [0, 0], k=0),
        db.search(filled, [0, 0], with_payloads=False),
        db.get(filled, [1, "three"], with_vectors=True),
        db.execute(f"SELECT id, vector, tags FROM {filled}"),
        db.execute("SHOW COLLECTIONS"),
    ]
    for value in values:
        for again in (pickled(value), copy.copy(value), copy.deepcopy(value)):
            assert type(again) is type(value)
            assert again == value
            assert repr(again) == repr(value)
    assert pickled(many[0]).report == many[0].report
    assert len(ForkingPickler.dumps(many[0][:1])) < len(ForkingPickler.dumps(many[0])), "its own rows alone are sent"


def test_ids_vectors_and_payloads_may_come_from_generators(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2")
    numbers = range(4)
    assert db.insert(name, (n for n in numbers), ([n, n] for n in numbers), ({"n": n} for n in numbers)) == 4
    rows = db.get(name, (n for n in (2, 9, 1)))
    assert [row and (row.id, row.payload) for row in rows] == [(2, {"n": 2}), None, (1, {"n": 1})]
    assert [hits.ids for hits in db.search(name, ([n, n] for n in numbers), k=1)] == [[0], [1], [2], [3]]
    assert list(db.execute(f"SELECT id FROM {name} WHERE id = $1", (n for n in [3]))) == [(3,)]
    assert db.delete(name, (n for n in (1, 2, 7))) == 2
    assert [row and row.id for row in db.get(name, iter(numbers))] == [0, None, None, 3]


def test_numpy_and_pandas_integers_are_ids(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 1 METRIC l2")
    column = pandas.Series([1, 2], dtype="Int64")
    assert db.insert(name, column, pandas.DataFrame({"x": [1.0, 2.0]})) == 2
    assert [row.id for row in db.get(name, np.int32(2))] == [2]
    assert [row.id for row in db.get(name, [np.uint8(1), 2])] == [1, 2]


def test_an_arrow_table_has_every_column(db: Any, filled: str) -> None:
    table = db.execute(f"SELECT n, id, n, vector, tags FROM {filled} WHERE id IN (4, 5) ORDER BY id").to_arrow
    with pytest.raises(reddb.RedDBError, match="column 'tags' has values of list"):
        table()
    table = db.execute(f"SELECT n, id, n, vector FROM {filled} WHERE id IN (4, 5) ORDER BY id").to_arrow()
    assert table.column_names == ["n", "id", "n", "vector"]
    assert [column.to_pylist() for column in table.columns] == [[None, 5], [4, 5], [None, 5], [[4, 4], [5, 5]]]
    assert table.column(3).type == pyarrow.list_(pyarrow.float32())
    empty = db.execute(f"SELECT n, n FROM {filled} WHERE n = 99").to_arrow()
    assert (empty.column_names, empty.num_rows) == (["n", "n"], 0)


@pytest.mark.parametrize("values", [[1, "a"], [True, 1], [2**63, -1], [1.5, BIG], [{"a": 1}, {"a": "x"}], [[1], 2]])
def test_a_column_that_arrow_cannot_hold_is_named(values: list[Any]) -> None:
    result = Result(["fine", "odd"], [[1, value] for value in values], None)
    with pytest.raises(reddb.RedDBError) as caught:
        result.to_arrow()
    assert caught.value.name == "INVALID_VALUE"
    assert "column 'odd'" in caught.value.message


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, BIG], "int64"),
        ([BIG, None], "Int64"),
        ([BIG, 0.5], "object"),
        ([2**64 - 1, 0], "object"),
        ([True, False], "bool"),
        ([True, None], "boolean"),
        ([True, 1], "object"),
        ([0.5, 1.5], "float64"),
        ([WHEN, None], "datetime64[us, UTC]"),
        ([datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)], "datetime64[us, UTC]"),
        (["x", None], "object"),
        ([None, None], "object"),
        ([{"a": [1]}, "x"], "object"),
        ([], "object"),
    ],
)
def test_a_data_frame_has_every_value_as_it_is(values: list[Any], dtype: str) -> None:
    frame = Result(["v", "v"], [[value, value] for value in values], None).to_pandas()
    assert list(frame.columns) == ["v", "v"]
    assert [str(kind) for kind in frame.dtypes] == [dtype, dtype]
    for place in range(2):
        shown = [None if value is pandas.NA or value is pandas.NaT else value for value in frame.iloc[:, place]]
        assert shown == values
        if dtype == "object":
            assert list(map(type, shown)) == list(map(type, values))


def test_a_data_frame_of_a_statement(db: Any, filled: str) -> None:
    frame = db.execute(f"SELECT id, n, vector, n FROM {filled} ORDER BY vector <-> [3.4, 3.4] LIMIT 2").to_pandas()
    assert frame.shape == (2, 4)
    assert frame["id"].tolist() == ["three", 4]
    assert str(frame.dtypes.iloc[1]) == "Int64"
    assert frame["vector"][0].dtype == np.float32
    assert db.execute(f"SELECT id FROM {filled} WHERE n = 99").to_pandas().shape == (0, 1)


MASKED = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], mask=[[False, False], [False, True]])


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (MASKED, "masked value at [1, 1]"),
        ([MASKED[0], MASKED[1]], "masked value in item 1"),
        (pandas.DataFrame({"a": pandas.array([1, None], "Float64"), "b": [1.0, 2.0]}), "at [1, 0] is a NAType"),
        (np.array([[1.0, 2.0], [3.0, None]]), "at [1, 1] is a NoneType"),
        (np.array([[1.0, 2.0], [3.0, 4.0]], object), "of Python objects"),
        ([[1.0, 2.0], [3.0, "4"]], "not texts"),
        ([[True, False], [True, True]], "not truth values"),
        ([[1j, 2], [3, 4]], "not complex numbers"),
        (np.zeros((2, 2), "datetime64[s]"), "not dates"),
        ([[1.0, 2.0], [3.0]], "one length"),
        ([[1.0, 2.0], [3.0, 10**400]], "of Python objects"),
        (np.zeros((2, 2, 1)), "shape (2, 2, 1)"),
        (5, "shape ()"),
        (None, "is a NoneType"),
        ({1: [1.0, 2.0]}, "is a dict"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(db: Any, name: str, vectors: Any, said: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2")
    for call in (
        lambda: db.insert(name, [1, 2], vectors),
        lambda: db.upsert(name, [1, 2], vectors),
        lambda: db.search(name, vectors),
    ):
        with pytest.raises(reddb.RedDBError) as caught:
            call()
        assert caught.value.name == "INVALID_VECTOR"
        assert said in str(caught.value)
    assert db.execute(f"SELECT count(*) FROM {name}")[0] == (0,)


def test_masked_ids_are_refused(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 1 METRIC l2")
    ids = np.ma.masked_array([1, 2, 3], mask=[False, False, True])
    for call in (
        lambda: db.insert(name, ids, [[1], [2], [3]]),
        lambda: db.get(name, ids),
        lambda: db.delete(name, ids),
    ):
        with pytest.raises(reddb.RedDBError, match="row 2: the id is masked"):
            call()
    assert db.insert(name, ids[:2], np.ma.masked_array([[1.0], [2.0]])) == 2, "nothing is hidden in those"
