"""Nodes of the statements about a session, and of EXPLAIN: `ast.py` hands them on.

A node is a frozen dataclass with a `span`; the invariants are those of `ast.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from reddb.grammar.definitions import Definition
from reddb.grammar.expressions import Expression, Identifier, Literal, Node, Parameter, is_count
from reddb.grammar.reads import Read, Show
from reddb.grammar.writes import Transaction, Write


@dataclass(frozen=True, slots=True)
class SetVariable(Node):
    """`SET name = value`, for the session; the name holds its dots."""

    name: Identifier
    value: Literal | Parameter


@dataclass(frozen=True, slots=True)
class ResetVariable(Node):
    """`RESET name`, or all of them."""

    name: Identifier | None = None


@dataclass(frozen=True, slots=True)
class Kill(Node):
    """Stop the query of this number."""

    id: Literal | Parameter

    def __post_init__(self) -> None:
        assert is_count(self.id)


Plain: TypeAlias = Definition | Show | Write | Read


@dataclass(frozen=True, slots=True)
class Explain(Node):
    """`recall` compares with the exact answer; only with `analyze`."""

    statement: Plain
    analyze: bool = False
    recall: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        assert self.analyze or not self.recall


@dataclass(frozen=True, slots=True)
class Prepare(Node):
    name: Identifier
    statement: Plain | Explain


@dataclass(frozen=True, slots=True)
class Execute(Node):
    name: Identifier
    arguments: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Deallocate(Node):
    """Forget a prepared statement, or all of them."""

    name: Identifier | None = None


SessionCommand: TypeAlias = SetVariable | ResetVariable | Kill | Prepare | Execute | Deallocate
Statement: TypeAlias = Plain | Explain | SessionCommand | Transaction
