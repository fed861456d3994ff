"""Patterns of LIKE: both ways to compare a text agree, and neither pattern nor text makes them slow."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from reddb import limits
from reddb.query import patterns
from reddb.query.patterns import matches, matching


@pytest.mark.parametrize(
    ("pattern", "text", "does"),
    [
        ("%ef%", "red.collection.c.ef_construction", True),
        ("red.collection.c_.kind", "red.collection.c1.kind", True),
        ("red.collection.c_.kind", "redXcollection.c1.kind", False),
        ("EF", "ef", True),
        ("ef", "ef_construction", False),
        ("%", "", True),
        ("a.b", "aXb", False),
        (r"100\%", "100%", True),
        (r"100\%", "1000", False),
    ],
)
def test_a_pattern_of_names(pattern: str, text: str, does: bool) -> None:
    assert matching([text], pattern, ignore_case=True) == [does]


def test_piece_by_piece_is_as_by_re2() -> None:
    """RE2 says what is right: random patterns over few letters, so that many match."""
    rng = random.Random(0)
    for number in range(3000):
        letters = "abAB%_ük\u212aß\n" if number % 2 else "ab"
        text = "".join(rng.choices(letters, k=rng.randrange(14)))
        pattern = "".join(rng.choices(letters + "%%__", k=rng.randrange(9)))
        for ignore_case in (False, True):
            read = patterns._read(pattern, ignore_case)
            (right,) = pc.match_substring_regex(pa.array([text]), read.regex, ignore_case=ignore_case).to_pylist()
            assert patterns._is_match(text, read) == right, (text, pattern, ignore_case)


def test_the_same_letters_are_alike_as_for_re2() -> None:
    letters = [chr(number) for number in range(0x250) if chr(number).lower() != chr(number).upper()] + ["\u212a", "ẞ"]
    for letter in letters:
        regex = rf"\A\x{{{ord(letter):x}}}\z"
        alike = pc.match_substring_regex(pa.array(letters), regex, ignore_case=True).to_pylist()
        right = {ord(other) for other, is_alike in zip(letters, alike, strict=True) if is_alike} - {ord(letter)}
        assert right == set(patterns._others(letter)) & set(map(ord, letters)), letter


def test_long_texts_and_short_ones_stand_together() -> None:
    long = "x" * 100_000
    texts = pa.array([long + "b", None, "ab", long, "b"], pa.large_string())
    assert matches(texts, "%_b", ignore_case=False).to_pylist() == [True, None, True, False, False]


def test_the_costliest_pattern_looks_at_each_character_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A text of a whole payload: no more comparisons of arrays than the pattern has characters."""
    compared = 0
    leftmost = patterns._leftmost

    def counted(characters: np.ndarray, piece: patterns.Piece, ignore_case: bool) -> int | None:
        nonlocal compared
        compared += len(characters) * len(piece)
        return leftmost(characters, piece, ignore_case)

    monkeypatch.setattr(patterns, "_leftmost", counted)
    text = "ab" * (limits.PAYLOAD_BYTES_MAX // 2)
    for pattern in ("%_" * 100 + "ü", "%a" + "_" * 250 + "c%", "%a_b" * 60 + "c", "%" + "a" * 250 + "%"):
        compared = 0
        assert matching([text], pattern, ignore_case=True) == [False]
        assert compared <= len(text) * limits.PATTERN_CHARS_MAX
