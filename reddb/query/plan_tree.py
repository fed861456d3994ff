"""A plan as a tree that EXPLAIN shows: as lines of text, or as JSON.

    Limit 10 (statement)
    └─ Search docs: metric cosine, ef 192 (default)
       ├─ Filter year >= 2000: about 1,200 of 100,000 rows
       └─ Segment 3: sealed, 65,536 rows, scan of turbo codes  [rows 60, 412 us]

    {"node": "Limit", "count": {"value": 10, "from": "statement"}, "measured": {…}, "plans": [{"node": "Search", …}]}

Invariant: what stands in square brackets, and under "measured", was measured or counted while the statement ran.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_BRANCH, _LAST, _THROUGH, _BLANK = "├─ ", "└─ ", "│  ", "   "


@dataclass(frozen=True, slots=True)
class From:
    """A value and where it comes from: default, collection, session, statement, or what was measured."""

    value: Any
    source: str

    def __str__(self) -> str:
        return f"{_shown(self.value)} ({self.source})"


@dataclass(slots=True)
class PlanNode:
    """One step. `details` are shown in their order; one whose value is None is left out."""

    name: str
    subject: Any = None
    details: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, int | float] = field(default_factory=dict)
    children: list[PlanNode] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The tree as text, a step in each line."""
        yield self._line()
        for number, child in enumerate(self.children, 1):
            is_last = number == len(self.children)
            first, *others = child.lines()
            yield (_LAST if is_last else _BRANCH) + first
            for line in others:
                yield (_BLANK if is_last else _THROUGH) + line

    def to_json(self) -> str:
        """The tree as JSON."""
        return json.dumps(self._plain(), indent=2, ensure_ascii=False)

    def _line(self) -> str:
        head = self.name if self.subject is None else f"{self.name} {_shown(self.subject)}"
        details = [_detail(name, value) for name, value in self.details.items() if value is not None]
        measured = [
            f"{_figure(value)} us" if name == "us" else f"{name} {_figure(value)}"
            for name, value in self.measured.items()
        ]
        return (
            head + (f": {', '.join(details)}" if details else "") + (f"  [{', '.join(measured)}]" if measured else "")
        )

    def _plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"node": self.name}
        if self.subject is not None:
            plain["subject"] = _plain(self.subject)
        plain |= {name: _plain(value) for name, value in self.details.items() if value is not None}
        if self.measured:
            plain["measured"] = self.measured
        if self.children:
            plain["plans"] = [child._plain() for child in self.children]
        return plain


def _detail(name: str, value: Any) -> str:
    """`name value`; a flag is its name alone, and a text that is a whole phrase stands for itself."""
    if value is True:
        return name
    return str(value) if name in ("state", "way", "why") else f"{name} {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, int | float):
        return str(value)
    return _figure(value)


def _figure(value: int | float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.4g}"


def _plain(value: Any) -> Any:
    if isinstance(value, From):
        return {"value": value.value, "from": value.source}
    return value
