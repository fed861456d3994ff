"""What the rows of a collection have had: asked of its segments when a statement names something, and remembered.

Invariant: what was found once is not looked for again; a dead row counts as one that had it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from reddb.storage.payload_columns import Family
from reddb.storage.segment_rows import INT_ID

if TYPE_CHECKING:
    from reddb.partition.view import SegmentView, View


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was found: paths, as names are compared, and families of ids."""

    paths: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)


class KnownRows:
    """The rows of the view that is given when one is needed."""

    def __init__(self, view: Callable[[], View], remembered: Remembered) -> None:
        self._view = view
        self._remembered = remembered

    @cached_property
    def _segments(self) -> Sequence[SegmentView]:
        return self._view().segments

    def has_rows(self) -> bool:
        return any(segment.count for segment in self._segments)

    def has_path(self, path: str) -> bool:
        """Whether any row has had a value at this path, as names are compared."""
        if path not in self._remembered.paths:
            if not any(segment.filter.has_path(path, segment.count) for segment in self._segments):
                return False
            self._remembered.paths.add(path)
        return True

    def has_ids(self, family: str) -> bool:
        """Whether any row's id has been of this family, TEXT or INT."""
        if family not in self._remembered.ids:
            for segment in self._segments:
                is_int = segment.rows.columns.id_bytes[: segment.count] == INT_ID
                if np.any(is_int if family == Family.INT else ~is_int):
                    self._remembered.ids.add(family)
                    break
        return family in self._remembered.ids

    def paths(self) -> list[str]:
        """Those that were looked at, for hints."""
        return sorted({path for segment in self._segments for path in segment.filter.known_paths()})
