"""REFERENCE.md is what `make reference` makes, and says something of everything there is."""

from __future__ import annotations

import re

from reddb.grammar.language import keywords
from tests.reference import PATH, reference


def test_it_is_made_of_the_grammar_and_the_tables():
    assert PATH.read_text() == reference(), "make reference"


def test_each_keyword_stands_in_a_rule():
    syntax = "\n".join(re.findall(r"```text\n(.*?)```", reference(), re.DOTALL))
    assert [word for word in sorted(keywords()) if not re.search(rf"\b{word}\b", syntax)] == []


def test_each_rule_that_is_named_is_there():
    syntax = "\n".join(re.findall(r"```text\n(.*?)```", reference(), re.DOTALL))
    defined = set(re.findall(r"^(\w+):", syntax, re.MULTILINE))
    assert set(re.findall(r"\b[a-z][a-z_]+\b", syntax)) - {"name", "vector_column"} <= defined
