"""Nodes of the statements that read: SELECT, VECTOR SEARCH and SHOW. `ast.py` hands them on.

A node is a frozen dataclass with a `span`; the invariants are those of `ast.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from reddb.grammar.definitions import Option, are_distinct
from reddb.grammar.expressions import (
    Expression,
    Identifier,
    Literal,
    Node,
    Parameter,
    VectorLiteral,
    is_count,
    is_row_id,
)


@dataclass(frozen=True, slots=True)
class Star(Node):
    """`*`, or `qualifier.*`."""

    qualifier: Identifier | None = None


@dataclass(frozen=True, slots=True)
class SelectItem(Node):
    expression: Star | Expression
    alias: Identifier | None = None

    def __post_init__(self) -> None:
        assert self.alias is None or not isinstance(self.expression, Star)


@dataclass(frozen=True, slots=True)
class OrderBy(Node):
    """`nulls_first` is None where the statement does not say."""

    expression: Expression
    descending: bool = False
    nulls_first: bool | None = None


@dataclass(frozen=True, slots=True)
class Limit(Node):
    """`LIMIT count`, of groups with `PER GROUP per_group`; each a `Literal` of an int from 0, or a `Parameter`."""

    count: Literal | Parameter
    per_group: Literal | Parameter | None = None

    def __post_init__(self) -> None:
        assert is_count(self.count)
        assert self.per_group is None or is_count(self.per_group)


@dataclass(frozen=True, slots=True)
class Select(Node):
    """`source` is a collection, an alias or, with its dots, a view (`red.sessions`); without one there is one row.

    `alias` is what the source is called in this statement. `offset` is a `Literal` of an int, 0 or more, or a
    `Parameter`.
    """

    items: tuple[SelectItem, ...]
    source: Identifier | None = None
    where: Expression | None = None
    group_by: tuple[Expression, ...] = ()
    having: Expression | None = None
    order: tuple[OrderBy, ...] = ()
    limit: Limit | None = None
    offset: Literal | Parameter | None = None
    options: tuple[Option, ...] = ()
    distinct: bool = False
    alias: Identifier | None = None

    def __post_init__(self) -> None:
        assert self.items
        assert self.alias is None or self.source is not None
        assert self.offset is None or is_count(self.offset)
        assert are_distinct(self.options)


@dataclass(frozen=True, slots=True)
class StoredRow(Node):
    """The vector of a row that is stored already: `SIMILAR TO ID 7`."""

    id: Literal | Parameter

    def __post_init__(self) -> None:
        assert is_row_id(self.id)


@dataclass(frozen=True, slots=True)
class StoredRows(Node):
    """What is like some stored rows and not like others: `SIMILAR TO ID (1, 2) NOT LIKE ID (3)`."""

    like: tuple[Literal | Parameter, ...]
    unlike: tuple[Literal | Parameter, ...] = ()

    def __post_init__(self) -> None:
        assert self.like
        assert all(map(is_row_id, self.like + self.unlike))


@dataclass(frozen=True, slots=True)
class VectorSearch(Node):
    """`VECTOR SEARCH … SIMILAR TO …` and its other spellings.

    `offset` is as in `Select`; `threshold` and `min_score` are a `Literal` of a number or a `Parameter`.
    """

    collection: Identifier
    target: VectorLiteral | Parameter | StoredRow | StoredRows
    where: Expression | None = None
    metric: Identifier | None = None
    threshold: Literal | Parameter | None = None
    min_score: Literal | Parameter | None = None
    group_by: tuple[Expression, ...] = ()
    limit: Limit | None = None
    offset: Literal | Parameter | None = None
    include_vectors: bool = False
    include_metadata: bool = False
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        for bound in (self.threshold, self.min_score):
            assert not isinstance(bound, Literal) or bound.is_number
        assert self.offset is None or is_count(self.offset)
        assert are_distinct(self.options)


class Subject(StrEnum):
    """What SHOW shows; the words are the statement's, and `red.` and the word a view's name."""

    COLLECTIONS = "collections"
    COLLECTION = "collection"
    ALIASES = "aliases"
    SEGMENTS = "segments"
    STATS = "stats"
    INDEXES = "indexes"
    SETTINGS = "settings"
    SESSIONS = "sessions"
    QUERIES = "queries"
    ERRORS = "errors"
    METRICS = "metrics"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Show(Node):
    """`name` is a collection, for SETTINGS a setting; `like` a pattern of names, for SETTINGS only."""

    subject: Subject
    name: Identifier | None = None
    like: Literal | None = None

    def __post_init__(self) -> None:
        named = {Subject.COLLECTION, Subject.SEGMENTS, Subject.STATS, Subject.INDEXES, Subject.SETTINGS}
        assert self.name is None or self.subject in named
        assert self.name is not None or self.subject is not Subject.COLLECTION
        assert self.like is None or (self.subject is Subject.SETTINGS and self.name is None)
        assert self.like is None or isinstance(self.like.value, str)


Read: TypeAlias = Select | VectorSearch
