"""The coloured parts of a text: what the parser reads as a keyword is one, and any text has spans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reddb.grammar import SpanKind, keywords, lexical_spans


def parts(text: str) -> list[tuple[str, str]]:
    return [(text[start:end], str(kind)) for start, end, kind in lexical_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "select title From docs -- WHERE\nlimit 10;",
            [
                *(("select", "keyword"), ("title", "name"), ("From", "keyword"), ("docs", "name")),
                *(("-- WHERE", "comment"), ("limit", "keyword"), ("10", "number")),
            ],
        ),
        ("'it''s FROM' \"a \"\"FROM\"", [("'it''s FROM'", "string"), ('"a ""FROM"', "name")]),
        (
            "[1, -2.5e3] = $1 :name ?",
            [("[1, -2.5e3]", "number"), ("$1", "parameter"), (":name", "parameter"), ("?", "parameter")],
        ),
        (
            "a -5 .5 1e9 x::INT",
            [("a", "name"), ("5", "number"), (".5", "number"), ("1e9", "number"), ("x", "name"), ("INT", "name")],
        ),
        ("/* FROM */ x /* FROM", [("/* FROM */", "comment"), ("x", "name"), ("/* FROM", "comment")]),
        ("x = 'FROM", [("x", "name"), ("'FROM", "string")]),
        ('SELECT "FROM', [("SELECT", "keyword"), ('"FROM', "name")]),
    ],
)
def test_parts(text: str, expected: list[tuple[str, str]]):
    assert parts(text) == expected


def test_every_keyword_is_one():
    for word in keywords():
        assert parts(word.lower()) == [(word.lower(), str(SpanKind.KEYWORD))]


@given(st.text(alphabet=st.one_of(st.sampled_from("'\"-/*[]().,;$:?= \n09eEaF"), st.characters()), max_size=60))
def test_any_text_has_spans_in_order(text: str):
    end = 0
    for start, stop, _ in lexical_spans(text):
        assert end <= start < stop <= len(text)
        end = stop
