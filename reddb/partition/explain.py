"""EXPLAIN: how a statement is done, as a tree, from what the engine itself reports.

    EXPLAIN                     the segments as they are now, how each would be searched, how many rows should match
    EXPLAIN ANALYZE             does it, and adds the rows and the microseconds of each step; a write changes nothing
    EXPLAIN ANALYZE (RECALL)    compares what a search found with the exact answer as well

Invariants:
  * What stands in square brackets was counted or measured by the statement itself; a step's time holds those of the
    steps below it. What is only estimated says "about".
  * Nothing is written, whatever statement is explained.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from reddb.partition.explain_search import filter_node, recall_node, search_node, searched_node, segment_nodes
from reddb.partition.reader import Reader
from reddb.partition.search import Found, SearchReport, search_steps
from reddb.partition.view import Addresses, View
from reddb.query.execute import run_steps, view_steps
from reddb.query.grouping import aggregate_name, key_name
from reddb.query.plan import ChangePlan, ExplainPlan, WriteKind, WritePlan
from reddb.query.plan_tree import From, PlanNode
from reddb.query.predicate import Predicate
from reddb.query.read_plans import (
    CountPlan,
    GetPlan,
    Grouping,
    Projection,
    ReadPlan,
    ScanPlan,
    SearchPlan,
    Selection,
    SelectPlan,
    ViewPlan,
)
from reddb.query.table import NOTHING, Table
from reddb.types import SearchOptions, Vectors
from reddb.wording import counted

_COLUMN = "plan"

Steps = Generator[None, None, PlanNode]


def explain_steps(plan: ExplainPlan, reader: Reader | None, table: Table = NOTHING) -> Generator[None, None, Table]:
    """The tree, as lines or as one text of JSON; a view is read from its `table`, all else by a reader."""
    inner = plan.plan
    if isinstance(inner, ViewPlan):
        tree = yield from _view(plan, inner, table)
    else:
        assert reader is not None
        tree = yield from (
            _write(plan, inner, reader) if isinstance(inner, WritePlan | ChangePlan) else _read(plan, inner, reader)
        )
    return Table([_COLUMN], [[tree.to_json()]] if plan.json else [[line] for line in tree.lines()])


# --- reads -------------------------------------------------------------------------------------------------


class _Trace:
    """What one run did, step by step."""

    def __init__(self) -> None:
        self.began = perf_counter()
        self.chosen_rows = self.scanned_rows = self.kept_rows = 0
        self.chosen_us = self.scan_us = self.condition_us = 0.0
        self.has_scanned = False
        self.searches: list[PlanNode] = []
        self.found: Found | None = None
        self.asked: tuple[Vectors, SearchOptions, Predicate | None] | None = None

    def chosen(self, rows: int) -> None:
        self.chosen_rows, self.chosen_us = rows, self.us

    @property
    def us(self) -> float:
        return 1e6 * (perf_counter() - self.began)


class _TracedView:
    """A view that notes how long its blocks take."""

    def __init__(self, view: View, trace: _Trace) -> None:
        self._view = view
        self._trace = trace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def blocks(self, predicate: Predicate | None) -> Iterator[Addresses]:
        trace, began = self._trace, perf_counter()
        trace.has_scanned = True
        for block in self._view.blocks(predicate):
            trace.scan_us += 1e6 * (perf_counter() - began)
            trace.scanned_rows += len(block)
            yield block
            began = perf_counter()
        trace.scan_us += 1e6 * (perf_counter() - began)


@dataclass(slots=True)
class _TracedCondition:
    """A condition that notes how long it takes and how many rows it keeps."""

    condition: Predicate
    trace: _Trace

    def evaluate(self, source: Any) -> NDArray[np.bool_]:
        began = perf_counter()
        kept = self.condition.evaluate(source)
        self.trace.condition_us += 1e6 * (perf_counter() - began)
        self.trace.kept_rows += int(np.count_nonzero(kept))
        return kept


def _read(plan: ExplainPlan, inner: ReadPlan, reader: Reader) -> Steps:
    view = reader.view()
    if not plan.analyze:
        return _tree(plan, inner, view, None, 0)
    trace = _Trace()
    table = yield from run_steps(
        _traced(inner, trace), cast("Any", _TracedView(view, trace)), _searching(plan, view, trace), trace
    )
    tree = _tree(plan, inner, view, trace, len(table.rows))
    rows = table.rows[0][0] if isinstance(inner, CountPlan) else len(table.rows)
    tree.measured = {"rows": rows, "us": trace.us}
    if plan.recall and trace.found is not None and trace.asked is not None:
        query, options, predicate = trace.asked
        began = perf_counter()
        exact = options._replace(exact=True, ef=None, recall=None)
        (truth,) = yield from search_steps(view, query, exact, predicate)
        tree.children.append(recall_node(trace.found, truth, 1e6 * (perf_counter() - began)))
    return tree


def _traced(inner: ReadPlan, trace: _Trace) -> ReadPlan:
    if not isinstance(inner, SelectPlan) or inner.selection.condition is None:
        return inner
    condition = cast("Predicate", _TracedCondition(inner.selection.condition, trace))
    return replace(inner, selection=replace(inner.selection, condition=condition))


def _searching(plan: ExplainPlan, view: View, trace: _Trace) -> Any:
    """Searches of the view that leave their nodes in the trace."""

    def search(
        queries: Vectors, options: SearchOptions, predicate: Predicate | None
    ) -> Generator[None, None, list[Found]]:
        report, began = SearchReport(), perf_counter()
        found = yield from search_steps(view, queries, options, predicate, report)
        us = 1e6 * (perf_counter() - began)
        trace.searches.append(searched_node(found[0], options, predicate, plan.set_by, report, us))
        trace.found, trace.asked = found[0], (queries, options, predicate)
        return found

    return search


def _tree(plan: ExplainPlan, inner: ReadPlan, view: View, trace: _Trace | None, rows: int) -> PlanNode:
    name = view.collection.name
    match inner:
        case SearchPlan():
            pages = _pages(plan, inner.options.k - inner.offset, inner.offset)
            node = PlanNode("Select", _columns(inner.projection), pages)
            node.details["distance"] = None if inner.distance_max is None else f"at most {inner.distance_max:g}"
            below = (
                [search_node(view, inner.options, inner.predicate, plan.set_by)] if trace is None else trace.searches
            )
            node.children += below
            return node
        case SelectPlan():
            return _selected(plan, inner, view, trace)
        case GetPlan():
            return PlanNode(
                "Look up", f"{counted(len(inner.ids), 'id')} in {name}", _pages(plan, inner.limit, inner.offset)
            )
        case CountPlan():
            if inner.ids is not None:
                return PlanNode("Count", f"{counted(len(inner.ids), 'id')} in {name}")
            return PlanNode("Count", "rows", children=[_scan(view, inner.predicate, trace)])
        case ScanPlan():
            pages = _pages(plan, inner.limit, inner.offset)
            return PlanNode("Select", _columns(inner.projection), pages, children=[_scan(view, inner.predicate, trace)])


def _selected(plan: ExplainPlan, inner: SelectPlan, view: View, trace: _Trace | None) -> PlanNode:
    below: list[PlanNode] = []
    if inner.nearest is not None and inner.nearest.options is not None:
        below = _nearest(plan, inner, view) if trace is None else list(trace.searches)
    if not below or (trace is not None and trace.has_scanned):
        below.append(_scanned(inner, view, trace))
    return _selection(plan, inner.selection, below, trace)


def _nearest(plan: ExplainPlan, inner: SelectPlan, view: View) -> list[PlanNode]:
    assert inner.nearest is not None
    assert inner.nearest.options is not None
    node = search_node(view, inner.nearest.options, inner.predicate, plan.set_by)
    node.details["k"] = "as many as the answer needs"
    return [node]


def _scanned(inner: SelectPlan, view: View, trace: _Trace | None) -> PlanNode:
    if inner.ids is not None:
        return PlanNode("Look up", f"{counted(len(inner.ids), 'id')} in {view.collection.name}")
    node = _scan(view, inner.predicate, trace)
    if inner.nearest is not None:
        node.details["distance"] = f"{inner.nearest.metric}, computed for every row that matches"
    return node


def _selection(plan: ExplainPlan, selection: Selection, below: list[PlanNode], trace: _Trace | None) -> PlanNode:
    """What is done with rows: each step above the one it takes rows from."""
    if selection.condition is not None:
        node = PlanNode("Filter", selection.condition.describe(), children=below)
        if trace is not None:
            node.measured = {"rows": trace.kept_rows, "us": trace.condition_us + trace.scan_us}
        below = [node]
    step = _arranged(selection)
    if step is not None:
        step.children = below
        if trace is not None:
            step.measured = {"rows": trace.chosen_rows, "us": trace.chosen_us}
        below = [step]
    pages = _pages(plan, selection.limit, selection.offset)
    return PlanNode("Select", _columns(selection.projection), pages, children=below)


def _arranged(selection: Selection) -> PlanNode | None:
    order = ", ".join(f"{key.operand}{' DESC' if key.descending else ''}" for key in selection.order) or None
    if selection.groupings:
        return _grouped(selection.groupings[0], order)
    if selection.per_group is not None:
        keys = ", ".join(map(str, selection.per_group.keys))
        return PlanNode("Group", f"by {keys}", {"rows of each": selection.per_group.rows, "order": order})
    return None if order is None else PlanNode("Order", f"by {order}")


def _grouped(grouping: Grouping, order: str | None) -> PlanNode:
    """A step that makes groups. Conditions on them name keys and aggregates by their number: here, as they are."""
    names = {key_name(place): str(key) for place, key in enumerate(grouping.keys)}
    for place, item in enumerate(grouping.aggregates):
        inside = "*" if item.operand is None else str(item.operand)
        names[aggregate_name(place)] = f"{item.name}({'DISTINCT ' if item.distinct else ''}{inside})"

    def named(text: str | None) -> str | None:
        # The longest first, for `group 1` begins `group 10`.
        for path in sorted(names, key=len, reverse=True):
            text = None if text is None else text.replace(path, names[path])
        return text

    aggregates = ", ".join(dict.fromkeys(names[aggregate_name(place)] for place in range(len(grouping.aggregates))))
    having = None if grouping.having is None else grouping.having.describe()
    details = {"aggregates": aggregates or None, "having": named(having), "order": named(order)}
    return PlanNode("Group", f"by {', '.join(map(str, grouping.keys))}" if grouping.keys else "all rows", details)


def _scan(view: View, predicate: Predicate | None, trace: _Trace | None) -> PlanNode:
    node = PlanNode("Scan", view.collection.name)
    if predicate is not None and (trace is None or not trace.has_scanned):
        node.children.append(filter_node(view, predicate))
    elif predicate is not None:
        node.children.append(PlanNode("Filter", predicate.describe()))
    for segment in segment_nodes(view):
        segment.details |= {"way": None, "why": None}
        node.children.append(segment)
    if trace is not None and trace.has_scanned:
        node.measured = {"rows": trace.scanned_rows, "us": trace.scan_us}
    return node


def _columns(projection: Projection) -> str:
    return ", ".join(name for name, _ in projection.columns)


def _pages(plan: ExplainPlan, limit: int | None, offset: int) -> dict[str, Any]:
    return {"limit": None if limit is None else From(limit, plan.limit_from), "offset": offset or None}


def _view(plan: ExplainPlan, inner: ViewPlan, table: Table) -> Steps:
    source = PlanNode("View", "one row" if inner.view is None else f"red.{inner.view}")
    if not plan.analyze:
        return _selection(plan, inner.selection, [source], None)
    began = perf_counter()
    shown = yield from view_steps(inner, table)
    source.measured = {"rows": len(table.rows)}
    tree = _selection(plan, inner.selection, [source], None)
    tree.measured = {"rows": len(shown.rows), "us": 1e6 * (perf_counter() - began)}
    return tree


# --- writes ------------------------------------------------------------------------------------------------


def _write(plan: ExplainPlan, inner: WritePlan | ChangePlan, reader: Reader) -> Steps:
    """Which rows a write would be about; ANALYZE looks at them."""
    view = reader.view()
    partitions = view.collection.number("partitions")
    details = {
        "partitions": partitions if partitions > 1 else None,
        "durability": view.collection.settings["durability"],
    }
    if isinstance(inner, WritePlan):
        ids = inner.batch.id_list()
        node = PlanNode(inner.kind.title(), view.collection.name, {"rows": len(ids), **details})
        if plan.analyze:
            began = perf_counter()
            stored = int(np.count_nonzero(view.get(ids) >= 0))
            verb = {WriteKind.INSERT: "refused", WriteKind.UPSERT: "replaced", WriteKind.DELETE: "deleted"}[inner.kind]
            node.measured = {verb: stored, "us": 1e6 * (perf_counter() - began)}
        return node
    node = PlanNode("Delete" if inner.deletes else "Update", view.collection.name, details)
    read = CountPlan(view.collection, inner.ids, "rows", inner.predicate)
    below = yield from _read(plan, read, reader)
    node.children = [below]
    return node
