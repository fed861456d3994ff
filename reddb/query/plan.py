"""What a statement asks to be done, checked and with its parameters in place.

Invariant: a plan names no column, setting or collection that was not checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from reddb.fields import NO_FIELDS, Fields
from reddb.query.read_plans import CountPlan as CountPlan
from reddb.query.read_plans import GetPlan as GetPlan
from reddb.query.read_plans import Projection as Projection
from reddb.query.read_plans import ReadPlan as ReadPlan
from reddb.query.read_plans import ScanPlan as ScanPlan
from reddb.query.read_plans import SearchPlan as SearchPlan
from reddb.query.read_plans import SelectPlan as SelectPlan
from reddb.query.read_plans import ViewPlan as ViewPlan
from reddb.query.views import View
from reddb.query.write_plans import ChangePlan as ChangePlan
from reddb.query.write_plans import TransactionCommand as TransactionCommand
from reddb.query.write_plans import WriteKind as WriteKind
from reddb.query.write_plans import WritePlan as WritePlan
from reddb.settings import SettingValue
from reddb.types import Collection, Kind, Metric


@dataclass(frozen=True, slots=True)
class CreatePlan:
    """A collection to create; `settings` are complete."""

    name: str
    kind: Kind
    dim: int
    metric: Metric
    settings: dict[str, SettingValue]
    if_not_exists: bool
    fields: Fields = NO_FIELDS

    def to_plain(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": str(self.kind),
            "dim": self.dim,
            "metric": str(self.metric),
            "settings": self.settings,
            "if_not_exists": self.if_not_exists,
            "fields": self.fields.to_plain(),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> CreatePlan:
        fields = Fields.from_plain(plain["fields"])
        return cls(**{**plain, "kind": Kind(plain["kind"]), "metric": Metric(plain["metric"]), "fields": fields})


@dataclass(frozen=True, slots=True)
class DropPlan:
    name: str
    if_exists: bool


@dataclass(frozen=True, slots=True)
class SettingsPlan:
    """Settings of a collection to change; `settings` are only those that are given."""

    name: str
    settings: dict[str, SettingValue]


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """The field at this path of a collection's payloads gets an index (`create`), or has none any more."""

    name: str
    path: str
    create: bool

    def changed(self, collection: Collection) -> Collection:
        """The collection as the plan wants it."""
        return collection.with_index(self.path) if self.create else collection.without_index(self.path)


@dataclass(frozen=True, slots=True)
class FieldsPlan:
    """The declared fields of a collection, all of them, as they shall be."""

    name: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class TruncatePlan:
    """A collection to empty."""

    name: str
    if_exists: bool


class AliasChange(StrEnum):
    """What there must be before: no such alias, one, or whatever."""

    CREATE = "create"
    ALTER = "alter"
    PUT = "put"


@dataclass(frozen=True, slots=True)
class AliasPlan:
    """Another name for a collection."""

    name: str
    collection: str
    change: AliasChange


@dataclass(frozen=True, slots=True)
class DropAliasPlan:
    name: str
    if_exists: bool


class Work(StrEnum):
    """What ALTER COLLECTION asks the owner of a partition to do with its segments."""

    SEAL = "seal"
    COMPACT = "compact"
    REBUILD = "rebuild"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class WorkPlan:
    """Work on the segments of a collection; the answer comes when it is done. A rebuild may change settings first."""

    collection: Collection
    work: Work
    settings: dict[str, SettingValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShowPlan:
    """All rows of a view; of one collection, of the setting with this name, or of those with names like a pattern."""

    view: View
    collection: Collection | None = None
    name: str | None = None
    like: str | None = None


@dataclass(frozen=True, slots=True)
class KillPlan:
    """The query with this id shall stop."""

    query: int


@dataclass(frozen=True, slots=True)
class ExplainPlan:
    """How a statement is or would be done; `analyze` does it and measures, `recall` compares with the exact answer.

    `limit_from` and `set_by` say who asked for its LIMIT and for how it searches.
    """

    plan: ReadPlan | ViewPlan | WritePlan | ChangePlan
    analyze: bool
    recall: bool = False
    json: bool = False
    limit_from: str = "default"
    set_by: str = "statement"


# Changes of the catalog, which whoever owns it makes.
CatalogPlan: TypeAlias = (
    CreatePlan | DropPlan | SettingsPlan | IndexPlan | FieldsPlan | TruncatePlan | AliasPlan | DropAliasPlan
)
Plan: TypeAlias = (
    ReadPlan
    | ViewPlan
    | WritePlan
    | ChangePlan
    | CreatePlan
    | DropPlan
    | SettingsPlan
    | IndexPlan
    | FieldsPlan
    | TruncatePlan
    | AliasPlan
    | DropAliasPlan
    | WorkPlan
    | ShowPlan
    | KillPlan
    | ExplainPlan
    | TransactionCommand
)
