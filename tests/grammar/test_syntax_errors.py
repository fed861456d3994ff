"""Wrong statements: the exact words of each error, and that nothing but errors of the catalogue comes out.

`make golden` writes the words of today into syntax_errors.txt.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from reddb.errors import RedDBError
from reddb.grammar import keywords, parse, parse_script, render, split_statements

HERE = Path(__file__).parent
PATH = HERE / "syntax_errors.txt"
CASES = [
    tuple(case.removesuffix("\n").split("\n---\n"))
    for case in PATH.read_bytes().decode().split("===\n")  # bytes: one case holds \r\n
]
CORPUS = (HERE / "corpus.sql").read_text("utf-8").splitlines()


def message(text: str) -> str:
    with pytest.raises(RedDBError) as caught:
        parse(text)
    return str(caught.value)


def rewrite() -> None:
    """Write the words of today."""
    PATH.write_bytes("===\n".join(f"{text}\n---\n{message(text)}\n" for text, _ in CASES).encode())


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_message(text: str, expected: str) -> None:
    assert message(text) == expected


def test_an_empty_text_is_an_error() -> None:
    with pytest.raises(RedDBError) as caught:
        parse("")
    assert caught.value.message == "the statement is empty"


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_the_place_is_in_the_text(text: str, expected: str) -> None:
    with pytest.raises(RedDBError) as caught:
        parse(text)
    detail = caught.value.detail
    line = text.split("\n")[detail["line"] - 1]
    assert 1 <= detail["column"] <= len(line) + 1
    shown, carets = detail["excerpt"].split("\n")
    assert max(len(shown), len(carets)) <= 100
    start, end = carets.index("^"), len(carets)
    if end <= len(shown):
        found = shown[start:end]
        assert found in line


def mutated(rng: random.Random) -> str:
    """A corpus line with a few pieces dropped, doubled, swapped, or replaced by a piece of another line."""
    pieces = re.findall(r"\w+|\s+|.", rng.choice(CORPUS))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(pieces))
        match rng.randrange(5):
            case 0:
                pieces[at] = ""
            case 1:
                pieces[at] *= 2
            case 2:
                pieces[at : at + 2] = pieces[at : at + 2][::-1]
            case 3:
                pieces[at] = rng.choice(re.findall(r"\w+|\s+|.", rng.choice(CORPUS)))
            case 4:
                pieces[at] = rng.choice(
                    ["'", '"', "/*", "--", "[", "]", "(", ")", ";", "\x00", "é", "”", "$", "1e", "<"]
                )
    return "".join(pieces)


def test_mutated_statements_parse_or_are_refused() -> None:
    rng = random.Random(20_240_607)
    read = refused = 0
    for _ in range(5_000):
        text = mutated(rng)
        split_statements(text)
        try:
            statements = parse_script(text)
        except RedDBError:  # any other exception fails the test
            refused += 1
        else:
            read += 1
            assert parse_script(";".join(map(render, statements))) == statements
    assert read > 500
    assert refused > 2_000


def test_every_misspelled_first_word_is_recognised() -> None:
    words = "ALTER CREATE DELETE DROP EXPLAIN INSERT SEARCH SELECT SHOW TRUNCATE UPDATE UPSERT VECTOR"
    for word in words.split():
        assert word in keywords()
        with pytest.raises(RedDBError) as caught:
            parse(word[:-1] + " docs")
        assert caught.value.detail["hint"] == f"did you mean {word}?"
