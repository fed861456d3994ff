"""What all entries are fuzzed with: statements as pieces, values of every kind, and the collections that are asked."""

from __future__ import annotations

import random
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

import reddb
from reddb.fields import Field, FieldType
from tests.golden.conversation import FILES, statements

CORPUS = [
    *Path(__file__).parents[1].joinpath("grammar/corpus.sql").read_text().splitlines(),
    *(statement for path in FILES for statement in statements(path.read_text()) if not statement.startswith("\\")),
]
FIELDS = [
    Field("title", FieldType.TEXT),
    Field("year", FieldType.INT),
    Field("price", FieldType.FLOAT),
    Field("ok", FieldType.BOOL),
    Field("at", FieldType.TIMESTAMP),
    Field("tags", FieldType.TEXTS),
    Field("nums", FieldType.INTS),
    Field("meta", FieldType.JSON),
]
COLLECTIONS = [("docs", "vector.turbo", "l2"), ("books", "vector", "cosine"), ("items", "vector.turbo", "l2")]
NAMES = ["docs", "books", "items", '"docs"', "Docs", "nowhere", "red", "", "é", "a" * 300, "a\0b", "a;b", "half \ud800"]
EXTREMES = [
    *(
        "'",
        '"',
        "/*",
        "--",
        "[",
        "]",
        "(",
        ")",
        ";",
        ",",
        ".",
        "\x00",
        "é",
        "”",
        "$",
        "1e",
        "<",
        "::",
        "NULL",
        "*",
        "||",
    ),
    *(
        "9223372036854775807",
        "-9223372036854775808",
        "1e308",
        "1e999",
        "0",
        "''",
        "[]",
        "[0, 0]",
        "'[1, 2]'",
        "$1",
        "?",
    ),
    *(":a", "9" * 5_000, "1" + "0" * 30, "\ud800", "\U0001f600", "\x1b[2J", "CASE", "DEFAULT", "EXCLUDED.", "vector"),
]
_PIECE = re.compile(r"\w+|\s+|.", re.DOTALL)
_CREATE = "CREATE COLLECTION {} KIND {} DIM 2 METRIC {} FIELDS ({}, *)"
_ROWS = 50
_REPEATS = [2, 10, 100, 3_000]


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


class Strange:
    """A value whose own methods fail."""

    def __repr__(self) -> str:
        raise RuntimeError("no words for it")

    def __index__(self) -> int:
        raise RuntimeError("no number for it")


VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**70, 10**5_000, 0.5, 1e308, -0.0, 5e-324),
    *(
        float("nan"),
        float("inf"),
        "",
        "x",
        "'",
        "ü☃",
        "a" * 300,
        "half \ud800",
        "a\0b",
        "\x1b[2J",
        "9" * 5_000,
        "x" * 70_000,
    ),
    *([], [1, 2], [1.5, -2], ["a", "b"], [None], [[1]], (1, 2), {}, {"a": 1}, {1: 2}, {"a": {"b": [1, {}]}}, {1, 2}),
    *(
        b"bytes",
        bytearray(2),
        "[1, 2]",
        "2026-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        _nested(20),
        _nested(3_000),
    ),
    *(datetime(2026, 1, 1, tzinfo=UTC), datetime.min.replace(tzinfo=UTC), datetime.fromisoformat("2026-01-01")),
    *(date(2026, 1, 1), Decimal("0.1"), UUID(int=7), 1j, object(), Strange(), range(3), iter([1])),
    *(
        np.int64(-5),
        np.uint64(2**64 - 1),
        np.float32(0.1),
        np.bool_(True),
        np.str_("é"),
        np.float64("nan"),
        np.longdouble(1),
    ),
    *(
        np.datetime64("2026-01-01"),
        np.array(3),
        np.array([1, 2]),
        np.array([1.5, 2]),
        np.array([[1, 2]]),
        np.array(["a"]),
    ),
    *(np.ma.masked_array([1, 2], [0, 1]), np.zeros(3, "f2"), np.zeros(0), np.array([None, 1]), np.array([1, 2], ">f8")),
]


def any_value(rng: random.Random) -> Any:
    """One of the values, now and then within a list or a map."""
    value = rng.choice(VALUES)
    match rng.randrange(8):
        case 0:
            return [value]
        case 1:
            return {rng.choice(["a", "title", "year", "id", "expires_at", "", "é", "half \ud800", "a" * 300]): value}
        case 2:
            return [rng.choice(VALUES), value]
    return value


def mutated(rng: random.Random, text: str, others: list[str] = CORPUS) -> str:
    """The text with a few changes, or with none."""
    pieces = _PIECE.findall(text) or [" "]
    for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
        at = rng.randrange(len(pieces))
        end = at + rng.randint(1, 6)
        match rng.randrange(6):
            case 0:
                pieces[at:end] = []
            case 1:
                pieces[at:end] = pieces[at:end] * 2
            case 2:
                pieces[at : at + 2] = pieces[at : at + 2][::-1]
            case 3:
                pieces[at] = rng.choice(EXTREMES)
            case 4:
                found = _PIECE.findall(rng.choice(others)) or [" "]
                begin = rng.randrange(len(found))
                pieces[at:at] = found[begin : begin + rng.randint(1, 8)]
            case 5 if rng.random() < 0.05:
                pieces[at:end] = pieces[at:end] * rng.choice(_REPEATS)
        if not pieces:
            pieces = [" "]
    return "".join(pieces)


def fill(db: reddb.Client, but: str = "") -> None:
    """Make the collections anew, each with rows, and drop whatever else there is but one."""
    for (alias,) in db.execute("SELECT name FROM red.aliases"):
        db.execute(f"DROP ALIAS {_quoted(alias)}")
    for (name,) in db.execute("SELECT name FROM red.collections WHERE name <> $1", [but]):
        db.execute(f"DROP COLLECTION {_quoted(name)}")
    fields = ", ".join(f"{item.name} {item.type}" for item in FIELDS)
    for name, kind, metric in COLLECTIONS:
        db.execute(_CREATE.format(name, kind, metric, fields))
        payloads = [{"title": f"title {n}", "year": 1990 + n, "tags": ["a", f"t{n % 5}"]} for n in range(_ROWS)]
        db.insert(name, range(_ROWS), [[n % 7, n % 5 + 1] for n in range(_ROWS)], payloads)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
