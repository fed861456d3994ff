"""The plain types that every layer shares.

Invariants:
  * A smaller distance is nearer, for every metric.
  * An id is an `int` within 64 bits or a `str` of 1 to 255 UTF-8 bytes; `True` is no id.
  * Row numbers (`int`, from 0) never leave the partition; ids never enter an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reddb.fields import EXPIRES_AT, NO_FIELDS, Fields

RowId: TypeAlias = int | str
Payload: TypeAlias = dict[str, Any]
Buffer: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]
Vectors: TypeAlias = NDArray[np.float32]  # (n, dim), C-contiguous
IdColumn: TypeAlias = NDArray[np.int64] | Sequence[RowId]  # an array where all are integers


class Kind(StrEnum):
    """How a collection finds its rows."""

    VECTOR = "vector"
    TURBO = "vector.turbo"


class Metric(StrEnum):
    """What "near" means; formulas stand in `reddb.index.metrics`."""

    COSINE = "cosine"
    L2 = "l2"
    IP = "ip"
    MANHATTAN = "manhattan"
    CHEBYSHEV = "chebyshev"
    HAMMING = "hamming"
    JACCARD = "jaccard"
    PEARSON = "pearson"


# What an index that knows only l2 and inner products can find, and codes can estimate: the vectors are prepared for it.
INDEXABLE = frozenset({Metric.L2, Metric.COSINE, Metric.IP, Metric.PEARSON})

# Columns that every row or result has of its own, so that no payload key may be called so.
RESERVED_NAMES = frozenset({"id", "vector", "distance", "score"})
# What no declared field may be called: these, and the key that is a field of every collection.
RESERVED_FIELD_NAMES = RESERVED_NAMES | {EXPIRES_AT.name}

METRIC_ALIASES = {
    "euclidean": Metric.L2,
    "inner_product": Metric.IP,
    "dot": Metric.IP,
    "l1": Metric.MANHATTAN,
    "linf": Metric.CHEBYSHEV,
    "correlation": Metric.PEARSON,
}


class SearchOptions(NamedTuple):
    """How to search.

    `ef` is the number of candidates a segment gives, None for its default; `recall` asks for the number that gave this
    share of the true neighbours when the segment's index was measured.
    """

    k: int
    ef: int | None = None
    exact: bool = False
    recall: float | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """One row of the catalog: what is fixed when a collection is created, its settings, and what it indexes.

    `indexes` are the paths of its indexes, as `column_path` writes them, in alphabetical order.
    """

    id: int
    name: str
    kind: Kind
    dim: int
    metric: Metric
    settings: dict[str, int | str]
    fields: Fields = NO_FIELDS
    indexes: tuple[str, ...] = ()

    @property
    def has_free_keys(self) -> bool:
        """Whether rows may have keys that are no declared fields."""
        return bool(self.settings["free_keys"])

    @property
    def is_logged(self) -> bool:
        """Whether writes go to the log; if not, they are lost with their core until they are sealed."""
        return self.settings["durability"] != "none"

    def to_plain(self) -> dict[str, Any]:
        """The same as a map of plain values, for the catalog and the control channel."""
        return {
            "id": self.id,
            "name": self.name,
            "kind": str(self.kind),
            "dim": self.dim,
            "metric": str(self.metric),
            "settings": self.settings,
            "fields": self.fields.to_plain(),
            "indexes": list(self.indexes),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Collection:
        return cls(
            id=plain["id"],
            name=plain["name"],
            kind=Kind(plain["kind"]),
            dim=plain["dim"],
            metric=Metric(plain["metric"]),
            settings=plain["settings"],
            fields=Fields.from_plain(plain["fields"]),
            indexes=tuple(plain["indexes"]),
        )

    def with_settings(self, changed: dict[str, int | str]) -> Collection:
        """The same collection with some settings changed."""
        return replace(self, settings={**self.settings, **changed})

    def with_index(self, path: str) -> Collection:
        """The same collection with an index on the field at this path."""
        return replace(self, indexes=tuple(sorted({*self.indexes, path})))

    def without_index(self, path: str) -> Collection:
        """The same collection without one."""
        return replace(self, indexes=tuple(item for item in self.indexes if item != path))

    def number(self, setting: str) -> int:
        """The value of a setting that is a number."""
        return int(self.settings[setting])
