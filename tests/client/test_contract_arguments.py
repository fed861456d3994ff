"""Every argument of every public call, on all three faces: a wrong one is refused by name, and what fits is taken.

The calls are found by looking at the classes: a new one, or a new argument, has no way round this table.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any
from uuid import UUID

import numpy as np
import pytest

import reddb
from reddb.client.aio import AsyncClient, AsyncPreparedStatement

HALF = "half \ud800"
NAIVE = datetime.fromisoformat("2026-01-01")
DEEP: list[Any] = []
for _ in range(5_000):
    DEEP = [DEEP]
DIGITS = 10**5_000
NO_TEXT = [None, 5, b"x", ["x"], HALF]
NO_FLAG = [None, 1, "yes", 1.0, [True]]
NO_COUNT = [1.9, "2", True, b"2", [2], 2**70, -(2**70), DIGITS, float("nan"), Decimal(2), np.array([1, 2])]
NO_IDS = [
    *(b"x", 1.5, {1: 2}, {1, 2}, [True], [1.5], [None], [b"x"], [2**63], [-(2**63) - 1], [DIGITS], [HALF], [[1]]),
    *(np.array([1.5]), np.array([[1]]), np.array([True]), object(), [np.float64(1)]),
]
NO_VECTORS = [
    None,
    "x",
    b"x",
    True,
    {1: 2},
    [["a", "b"]],
    [[None, 1]],
    [[1, 2], [3]],
    [[1j, 2]],
    object(),
    [[DIGITS, 1]],
]
NO_VALUES = [Decimal(1), {1, 2}, b"x", object(), UUID(int=1), date(2026, 1, 1), 2**64, DIGITS, HALF, DEEP, 1j]
NO_VALUES += [NAIVE, {1: 2}, np.longdouble(1), np.zeros((2, 2)), np.datetime64("2026-01-01")]
WRONG: dict[str, list[Any]] = {
    "url": [None, 5, b"red://h", "", "file:", "http://h", "red://h:99999"],
    "timeout_s": [0, -1, float("nan"), float("inf"), 1e300, DIGITS, "5", b"5", True, [1]],
    "statement": NO_TEXT,
    "collection": NO_TEXT,
    "where": [5, b"x", ["x"], HALF, "", "n = 1;"],
    "params": [5, "x", b"x", {1: 2}, {1, 2}, *([value] for value in NO_VALUES), *({"a": value} for value in NO_VALUES)],
    "ids": NO_IDS,
    "vectors": NO_VECTORS,
    "query": NO_VECTORS,
    "payloads": [5, "x", {"a": 1}, {1, 2}, [5], ["x"], [{}, {}], *([{"a": value}] for value in NO_VALUES)],
    "k": [None, *NO_COUNT],
    "ef": NO_COUNT,
    "recall": ["0.9", True, b"1", [1.0], float("nan"), float("inf"), DIGITS, Decimal(1), np.array([1.0])],
    "exact": NO_FLAG,
    "with_payloads": NO_FLAG,
    "with_vectors": NO_FLAG,
    "with_report": NO_FLAG,
}
GOOD: dict[str, Any] = {
    "statement": "SELECT 1",
    "ids": [1],
    "vectors": [[1, 2]],
    "query": [1, 2],
}
# What an argument's refusal says in its place.
ALSO = {"where": "condition", "url": "URL|folder|form", "ids": "id", "payloads": "payload|key", "vectors": "vectors?"}


@dataclass(frozen=True)
class Argument:
    """One argument of a public call: `db.search(…, k=…)`."""

    owner: type
    call: str
    name: str


def arguments() -> Iterator[Argument]:
    for owner in (reddb.Client, AsyncClient, reddb.PreparedStatement, AsyncPreparedStatement):
        for call, function in inspect.getmembers(owner, inspect.isfunction):
            if not call.startswith("_"):
                for name in list(inspect.signature(function).parameters)[1:]:
                    yield Argument(owner, call, name)


ARGUMENTS = list(arguments())
CALLS = sorted({(item.call, item.name) for item in ARGUMENTS if item.owner is reddb.Client})
EXECUTES = sorted({item.name for item in ARGUMENTS if item.owner is reddb.PreparedStatement})


def test_both_clients_have_the_same_calls() -> None:
    for one, other in ((reddb.Client, AsyncClient), (reddb.PreparedStatement, AsyncPreparedStatement)):
        signatures = [
            {
                name: [str(item).replace("Async", "") for item in inspect.signature(function).parameters.values()]
                for name, function in inspect.getmembers(owner, inspect.isfunction)
                if not name.startswith("_")
            }
            for owner in (one, other)
        ]
        assert signatures[0] == signatures[1]
    assert inspect.signature(reddb.connect).parameters == inspect.signature(reddb.aio.connect).parameters


def test_every_argument_has_wrong_values() -> None:
    missing = {f"{item.call}({item.name}=…)" for item in ARGUMENTS if item.name not in WRONG}
    assert not missing, "say in WRONG what is wrong for it"


def refused(call: Callable[..., Any], name: str, value: Any, **words: Any) -> None:
    with pytest.raises(reddb.RedDBError) as caught:
        call(**words, **{name: value})
    error = caught.value
    assert error.code.kind in ("input", "limit"), error
    assert re.search(rf"\b({name}|{ALSO.get(name, name)})\b", error.message), error
    assert len(error.message) < 1_000


def needed(db: Any, call: str, name: str, collection: str) -> dict[str, Any]:
    """The other arguments without which there is no such call."""
    signature = inspect.signature(getattr(reddb.Client, call))
    good = GOOD | {"collection": collection}
    words = {item: good[item] for item in list(signature.parameters)[1:] if item in good and item != name}
    if call == "delete":
        words.pop("ids", None)
        words |= {} if name in ("ids", "where") else {"where": "n = 1"}
    return words


@pytest.mark.parametrize(("call", "name"), CALLS)
def test_a_wrong_argument_is_refused_by_its_name(db: Any, name: str, call: str, request: Any) -> None:
    collection = f"arguments_{call}_{name}"
    db.execute(f"CREATE COLLECTION IF NOT EXISTS {collection} KIND vector DIM 2")
    for value in WRONG[name]:
        refused(getattr(db, call), name, value, **needed(db, call, name, collection))
    assert db.execute(f"SELECT count(*) FROM {collection}")[0] == (0,), "nothing is half done"
    db.execute(f"DROP COLLECTION {collection}")


@pytest.mark.parametrize("name", EXECUTES)
def test_a_wrong_argument_of_a_prepared_statement(db: Any, name: str) -> None:
    prepared = db.prepare("SELECT 1")
    for value in WRONG[name]:
        refused(prepared.execute, name, value)
    assert list(prepared.execute()) == [(1,)]


@pytest.mark.parametrize("name", ["url", "timeout_s"])
def test_a_wrong_argument_of_connect(name: str, tmp_path: Any) -> None:
    good = {"url": f"file:{tmp_path / 'data'}"}
    for value in WRONG[name]:
        refused(reddb.connect, name, value, **{key: item for key, item in good.items() if key != name})
        refused(reddb.aio.connect, name, value, **({"url": "red://h"} if name != "url" else {}))


def test_no_parameters_are_none(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2", params=None)
    db.insert(name, [1], [[1, 2]])
    assert db.search(name, [1, 2], where="id = 1", params=None).ids == [1]
    assert db.delete(name, where="id = 1", params=None) == 1
    assert list(db.prepare("SELECT 1").execute(params=None)) == [(1,)]
    for params in ([], (), {}):
        assert list(db.execute("SELECT 1", params)) == [(1,)]


class Colour(IntEnum):
    RED = 3


def test_numbers_of_numpy_and_what_is_derived_from_plain_values(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 FIELDS (n INT, f FLOAT, ok BOOL, title TEXT, *)")
    instant = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    given = {
        "n": np.int64(-(2**63)), "f": np.float32(0.1), "ok": np.bool_(True), "title": np.str_("é"),
        "free": [np.uint8(255), (np.float64(0.5), Colour.RED)], "map": {"at": instant},
    }  # fmt: skip
    kept = {
        "n": -(2**63), "f": float(np.float32(0.1)), "ok": True, "title": "é",
        "free": [255, [0.5, 3]], "map": {"at": instant},
    }  # fmt: skip
    assert db.insert(name, [np.int32(1), np.str_("b")], [[1, 2], [3, 4]], [given, None]) == 2
    first, second = db.get(name, np.array([1, "b"], object))
    assert (first.payload, second.payload) == (kept, {})
    assert [type(first.payload[key]) for key in ("n", "f", "ok", "title")] == [int, float, bool, str]
    result = db.execute(
        f"SELECT id FROM {name} WHERE n = $1 AND f = $2 AND ok = $3 AND title = $4",
        [np.int64(-(2**63)), np.float32(0.1), np.bool_(True), np.str_("é")],
    )
    assert list(result) == [(1,)]
    assert db.search(name, [1, 2], k=np.int64(1), ef=np.uint8(9), exact=np.bool_(True)).ids == [1]
    assert db.search(name, [1, 2], k=Colour.RED, recall=np.float32(0.5)).ids == [1, "b"]
    assert [row.id for row in db.get(name, (row_id for row_id in (1, "b")))] == [1, "b"]
    assert db.delete(name, ids=np.int8(1), timeout_s=np.float32(9)) == 1
    assert db.delete(name, ids={"b": 1}.keys(), timeout_s=None) == 1


@pytest.mark.parametrize(
    ("value", "words", "remedy"),
    [
        (NAIVE, "which has no zone", "replace(tzinfo=UTC)"),
        (Decimal("0.1"), "a value of the type Decimal", "str(value)"),
        ({1, 2}, "a value of the type set", "list(value)"),
        (np.array([1, 2]), "a value of the type ndarray", "value.tolist()"),
        (np.datetime64("2026-01-01"), "a value of the type datetime64", "a datetime with a zone"),
        (UUID(int=7), "a value of the type UUID", "str(value)"),
        (2**64, "18446744073709551616, beyond 64 bits", "str(value)"),
        (object(), "a value of the type object", "int, float, str, datetime"),
    ],
)
def test_a_value_without_a_form_is_refused_by_row_key_and_remedy(
    db: Any, name: str, value: Any, words: str, remedy: str
) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2")
    with pytest.raises(reddb.RedDBError) as caught:
        db.upsert(name, [1, 2], [[1, 2], [3, 4]], [{}, {"a": {"b": [0, value]}}])
    assert caught.value.name == "INVALID_PAYLOAD"
    assert caught.value.message.startswith("row 1: the key 'a.b[1]' holds ")
    assert words in caught.value.message
    assert remedy in caught.value.detail["hint"]
    for params, place in (([1, [value]], "$2[0]"), ({"a": {"b": value}}, ":a.b")):
        with pytest.raises(reddb.RedDBError) as caught:
            db.execute("SELECT 1", params)
        assert caught.value.message.startswith(f"params: the parameter {place} holds ")
        assert words in caught.value.message
