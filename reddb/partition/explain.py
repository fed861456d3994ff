"""EXPLAIN: how a read is done, from what the engine itself reports.

    EXPLAIN            the segments as they are now, and how each would be searched
    EXPLAIN ANALYZE    does it, and shows what was done and how long each phase took

Invariant: no figure here is made up: it was counted or measured by the search itself.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from reddb.partition.growing_codes import GrowingCodes
from reddb.partition.reader import Reader
from reddb.partition.search import SearchReport
from reddb.partition.view import SegmentView, View
from reddb.query.execute import Table, query_vector, run
from reddb.query.plan import CountPlan, ExplainPlan, GetPlan, ScanPlan, SearchPlan

_COLUMNS = ["step", "detail"]


def explain(plan: ExplainPlan, reader: Reader) -> Table:
    """Rows of what and how."""
    inner = plan.plan
    if isinstance(inner, SearchPlan):
        steps = _search(inner, reader, analyze=plan.analyze)
    else:
        steps = _read(inner, reader, analyze=plan.analyze)
    return Table(_COLUMNS, [[step, str(detail)] for step, detail in steps])


def _search(plan: SearchPlan, reader: Reader, *, analyze: bool) -> list[tuple[str, Any]]:
    options, view = plan.options, reader.view()
    steps: list[tuple[str, Any]] = [
        ("search", f"{plan.collection.name}, k {options.k}, {plan.collection.metric}"),
        ("filter", "none" if plan.predicate is None else plan.predicate.describe()),
    ]
    if not analyze:
        return steps + [
            (_place(view, segment.partition, segment.id), describe(segment) + _waiting(view, place))
            for place, segment in enumerate(view.segments)
        ]
    report = SearchReport()
    began = perf_counter()
    (found,) = reader.search(query_vector(plan, view), options, plan.predicate, report)
    total_us = 1e6 * (perf_counter() - began)
    for segment in report.segments:
        matches = "" if segment.matches is None else f", {segment.matches} match the filter"
        detail = f"{segment.strategy}, {segment.candidates} candidates{matches}, {segment.us:.0f} us"
        steps.append((_place(view, segment.partition, segment.segment), detail))
    return [
        *steps,
        ("segments visited", sum(segment.strategy != "none" for segment in report.segments)),
        ("ranked by exact distance", report.ranked),
        ("rows", len(found.addresses)),
        ("exact", "true" if report.exact else "false"),
        ("filter us", f"{report.filter_us:.0f}"),
        ("candidates us", f"{report.candidates_us - report.filter_us:.0f}"),
        ("rank us", f"{report.rank_us:.0f}"),
        ("total us", f"{total_us:.0f}"),
    ]


def _read(plan: GetPlan | ScanPlan | CountPlan, reader: Reader, *, analyze: bool) -> list[tuple[str, Any]]:
    predicate = None if isinstance(plan, GetPlan) else plan.predicate
    ids = None if isinstance(plan, ScanPlan) else plan.ids
    way = f"look up {len(ids)} ids" if ids is not None else "scan in the order the rows came"
    if isinstance(plan, CountPlan) and ids is None:
        way = "count live rows" if predicate is None else "count the rows of the filter's masks"
    steps: list[tuple[str, Any]] = [
        ("read", f"{plan.collection.name}: {way}"),
        ("filter", "none" if predicate is None else predicate.describe()),
        ("segments", len(reader.view().segments)),
    ]
    if analyze:
        began = perf_counter()
        table = run(plan, reader.view())
        steps += [("rows", len(table.rows)), ("total us", f"{1e6 * (perf_counter() - began):.0f}")]
    return steps


def _place(view: View, partition: int, segment: int) -> str:
    """Which segment; several partitions may each have one of this number."""
    return f"partition {partition}, segment {segment}" if view.parts else f"segment {segment}"


def _waiting(view: View, place: int) -> str:
    expired = view.expired_rows(place)
    return f"; {expired} rows have expired and wait to be deleted" if expired else ""


def describe(segment: SegmentView) -> str:
    """What a segment is and how it is searched."""
    index = segment.index
    if index is None:
        return f"growing, {segment.count} rows: scanned exactly"
    if isinstance(index, GrowingCodes):
        encoded = index.block.encoded if index.block.needed else 0
        return f"growing, {segment.count} rows: {encoded} by turbo codes, the rest exactly"
    described = index.description
    way = {
        "exact": "scanned exactly",
        "turbo": "scan of turbo codes",
        "hnsw": f"graph over {described.codes}",
        "ivf": f"inverted file over {described.codes}",
    }
    return f"sealed, {segment.count} rows: {way[described.kind]} ({described.why})"
