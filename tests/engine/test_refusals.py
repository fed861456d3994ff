"""How a statement is refused: short, and with a hint where there is a way."""

from __future__ import annotations

from typing import Any

import pytest

from reddb import errors
from reddb.grammar import parse
from reddb.query.binder import bind
from reddb.query.plan import Plan
from tests.engine.partitions import collection

CATALOG = {
    "docs": collection(dim=2, metric="cosine"),
    "points": collection(dim=2, metric="l2"),
    "dots": collection(dim=2, metric="ip"),
}


def plan(text: str, parameters: Any = ()) -> Plan:
    return bind(parse(text), text, parameters, CATALOG)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


HUGE = {"text": "x" * 1_000_000, "bytes": b"x" * 1_000_000, "nested": nested(1000), "map": {"a": "x" * 1_000_000}}


@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize(
    "text",
    ["SELECT id FROM docs LIMIT $1", "SELECT id FROM docs WHERE id = $1", "VECTOR SEARCH docs SIMILAR TO $1"],
)
def test_a_refusal_repeats_no_huge_value(text, value):
    """What a peer may send, the answer need not send back."""
    with pytest.raises(errors.RedDBError) as caught:
        plan(text, (HUGE[value],))
    assert caught.value.name in ("INVALID_VALUE", "INVALID_ID")
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("SELECT id FROM dcs LIMIT 1", "did you mean docs?"),
        ("SELECT id FROM zzz LIMIT 1", "one of docs, points, dots"),
        ("CREATE COLLECTION c KIND vector.tubro DIM 2", "did you mean vector.turbo?"),
        ("CREATE COLLECTION c KIND vector.turbo DIM 2 METRIC cos", "did you mean cosine?"),
        ("CREATE COLLECTION c KIND vector.turbo DIM 2 WITH (bit = 4)", "did you mean bits?"),
        ("SELECT id FROM docs ORDER BY vector <=> [1, 2] WITH (exakt = true)", "did you mean exact?"),
        ("UPDATE docs SET a = 1", "UPDATE c SET … WHERE …; WHERE TRUE means all rows"),
        ("SHOW SEGMENTS FOR dcs", "did you mean docs?"),
        ("ALTER COLLECTION docs SET (oversampel = 4)", "did you mean oversample?"),
        ("CREATE COLLECTION c KIND vector.turbo DIM 2 METRIC hamming", "KIND vector searches hamming exactly"),
    ],
)
def test_a_refusal_shows_the_way(text, hint):
    with pytest.raises(errors.RedDBError) as caught:
        plan(text)
    assert caught.value.detail["hint"] == hint
