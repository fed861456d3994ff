"""What a statement asks to be done, checked and with its parameters in place.

Invariant: a plan names no column, setting or collection that was not checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from reddb.rows import RowBatch
from reddb.types import Collection, Kind, Metric, RowId, SearchOptions, Vectors


@dataclass(frozen=True, slots=True)
class Projection:
    """The columns of a result: (what it is called, which column it shows), and whether `*` adds the payload's keys."""

    columns: tuple[tuple[str, str], ...]
    all_payload: bool = False

    def needs(self, column: str) -> bool:
        return any(shown == column for _, shown in self.columns)


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The nearest rows. `query` is float32 (1, dim), or the id of the stored row whose vector is meant."""

    collection: Collection
    query: Vectors | RowId
    options: SearchOptions
    offset: int
    projection: Projection


@dataclass(frozen=True, slots=True)
class GetPlan:
    """Rows by id, in the order of the ids; those that do not exist are left out."""

    collection: Collection
    ids: list[RowId]
    limit: int
    offset: int
    projection: Projection


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """Rows in the order they came."""

    collection: Collection
    limit: int
    offset: int
    projection: Projection


@dataclass(frozen=True, slots=True)
class CountPlan:
    """The number of rows, or of those ids that exist."""

    collection: Collection
    ids: list[RowId] | None
    name: str


class WriteKind(StrEnum):
    INSERT = "insert"
    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class WritePlan:
    """Rows to write; a delete's batch has dim 0."""

    collection: Collection
    kind: WriteKind
    batch: RowBatch


@dataclass(frozen=True, slots=True)
class CreatePlan:
    """A collection to create; `settings` are complete."""

    name: str
    kind: Kind
    dim: int
    metric: Metric
    settings: dict[str, int]
    if_not_exists: bool

    def to_plain(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": str(self.kind),
            "dim": self.dim,
            "metric": str(self.metric),
            "settings": self.settings,
            "if_not_exists": self.if_not_exists,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> CreatePlan:
        return cls(**{**plain, "kind": Kind(plain["kind"]), "metric": Metric(plain["metric"])})


@dataclass(frozen=True, slots=True)
class DropPlan:
    name: str
    if_exists: bool


@dataclass(frozen=True, slots=True)
class ShowPlan:
    """All collections, or the one named."""

    name: str | None


ReadPlan: TypeAlias = SearchPlan | GetPlan | ScanPlan | CountPlan
Plan: TypeAlias = ReadPlan | WritePlan | CreatePlan | DropPlan | ShowPlan
