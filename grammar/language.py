"""The language as lark reads it: built once, at first use, from the two grammar files.

Invariants:
  * The keywords, and which of them are reserved, are read from the grammar; there is no second list.
  * Brackets and NOTs nest at most STATEMENT_DEPTH_MAX deep, known before a tree is built, and between two of them
    lie at most four nodes (OR, AND, a predicate, a distance): whoever walks the AST may recurse.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from lark import Lark, Token
from lark.lark import PostLex

from reddb import errors, limits

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a text may be as a whole; rules of statements.lark.
STATEMENT, CONDITION = "start", "expression"


class _DepthGuard(PostLex):
    """Counts open brackets and the NOTs before them while the tokens pass by.

    A count of the brackets in the text would not see `NOT NOT NOT …`, which nests as well.
    """

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        open_nots: list[int] = []  # for each open bracket, the NOTs right before it
        depth = nots = 0
        for token in stream:
            kind = token.type
            if kind == "_NOT":
                nots += 1
                depth += 1
            elif kind in {"LPAR", "LSQB"}:
                open_nots.append(nots)
                nots = 0
                depth += 1
            elif kind in {"RPAR", "RSQB"} and open_nots:
                depth -= nots + 1
                nots = open_nots.pop()
                depth -= nots
                nots = 0
            elif nots:
                depth -= nots
                nots = 0
            if depth > limits.STATEMENT_DEPTH_MAX:
                raise errors.LIMIT_EXCEEDED.error(
                    "brackets and NOTs nest deeper than STATEMENT_DEPTH_MAX, which is "
                    f"{limits.STATEMENT_DEPTH_MAX} levels"
                )
            yield token


@cache
def language() -> Lark:
    """The parser's tables."""
    files = resources.files(__package__)
    # Joined, not imported by lark: its %import would need a second list of all the terminals.
    grammar = "".join(files.joinpath(name).read_text("utf-8") for name in ("terminals.lark", "statements.lark"))
    return Lark(
        grammar,
        start=[STATEMENT, CONDITION],
        parser="lalr",
        lexer="basic",
        postlex=_DepthGuard(),
        propagate_positions=True,
    )


@cache
def keywords() -> frozenset[str]:
    """All keywords, in upper case."""
    return frozenset(terminal.name[1:] for terminal in language().terminals if terminal.name.startswith("_"))


@cache
def reserved_words() -> frozenset[str]:
    """The keywords that are a name only in double quotes, in upper case."""
    names = {rule.expansion[0].name for rule in language().rules if rule.origin.name == "name"}
    return frozenset(word for word in keywords() if f"_{word}" not in names)
