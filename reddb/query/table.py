"""A table of plain values: what a statement gives, and what a view is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from reddb.storage.payload_columns import families_of
from reddb.types import Vectors


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of plain values; a vector is a float32 array."""

    columns: list[str]
    rows: list[list[Any]]
