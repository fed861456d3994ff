"""The likeliest mistakes in a SELECT or a VECTOR SEARCH, and the exact words that each is answered with.

`make golden` writes the answers of today into select_mistakes.txt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reddb.errors import RedDBError
from reddb.fields import Field, FieldType
from reddb.grammar import parse
from reddb.query.binder import bind
from tests.engine.partitions import collection

FIELDS = [Field("year", FieldType.INT), Field("title", FieldType.TEXT), Field("price", FieldType.FLOAT)]
CATALOG = {"docs": collection(dim=2, metric="cosine", fields=FIELDS)}
PATH = Path(__file__).parent / "select_mistakes.txt"
CASES = [case.removesuffix("\n").split("\n---\n") for case in PATH.read_text().split("===\n")]


def answer(text: str) -> str:
    parameters: list[Any] = [5] if "$1" in text else []
    try:
        bind(parse(text), text, parameters, CATALOG)
    except RedDBError as error:
        return str(error)
    return "no mistake"


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_a_mistake_is_answered_in_these_words(text: str, expected: str) -> None:
    assert answer(text) == expected


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_a_mistake_is_shown_at_its_place(text: str, expected: str) -> None:
    lines = expected.split("\n")
    assert "^" in lines[2]
    assert lines[2].index("^") < len(lines[1])


def rewrite() -> None:
    """Write the answers of today."""
    PATH.write_text("===\n".join(f"{text}\n---\n{answer(text)}\n" for text, _ in CASES))
