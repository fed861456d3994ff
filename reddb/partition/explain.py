"""EXPLAIN: how a statement is done, as a tree, from what the engine itself reports.

    EXPLAIN                     the segments as they are now, how each would be searched, how many rows should match
    EXPLAIN ANALYZE             does it, and adds the rows and the microseconds of each step; a write changes nothing
    EXPLAIN ANALYZE (RECALL)    compares with the exact answer as well

Invariants:
  * No figure in square brackets is made up: it was counted or measured by the statement itself.
  * What is only estimated says "about".
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from reddb.partition.estimates import estimated_matches
from reddb.partition.growing_codes import GrowingCodes
from reddb.partition.reader import Reader
from reddb.partition.search import Found, SearchReport, SegmentReport
from reddb.partition.view import SegmentView, View
from reddb.query.plan_tree import From, PlanNode
from reddb.query.predicate import Predicate
from reddb.settings import resolve
from reddb.types import Collection, SearchOptions, Vectors

_WAYS = {
    "exact": "scanned exactly",
    "turbo": "scan of turbo codes",
    "hnsw": "graph over {codes}",
    "ivf": "inverted file over {codes}",
}


def search_node(view: View, options: SearchOptions, predicate: Predicate | None) -> PlanNode:
    """A search that was not run."""
    node = PlanNode("Search", view.collection.name, _asked(view.collection, options))
    node.children = [
        *([] if predicate is None else [filter_node(view, predicate)]),
        *(_segment_node(view, segment) for segment in view.segments),
    ]
    return node


def measured_search(
    reader: Reader, query: Vectors, options: SearchOptions, predicate: Predicate | None
) -> tuple[PlanNode, Found]:
    """A search that was run, and what it found."""
    report = SearchReport()
    began = perf_counter()
    (found,) = reader.search(query, options, predicate, report)
    node = search_node(found.view, options, predicate)
    node.measured = {"rows": len(found.addresses), "us": _us_since(began)}
    done = {(segment.partition, segment.segment): segment for segment in report.segments}
    node.children = [
        *([] if predicate is None else [_measured_filter(found.view, predicate, report)]),
        *(
            _segment_node(found.view, segment, done.get((segment.partition, segment.id)))
            for segment in found.view.segments
        ),
        PlanNode("Rank", "by exact distance", measured={"rows": report.ranked, "us": report.rank_us}),
    ]
    return node, found


def recall_of(
    reader: Reader, query: Vectors, options: SearchOptions, predicate: Predicate | None, found: Found
) -> PlanNode:
    """How many of the nearest rows were found; of rows at one distance each counts as any other."""
    exact = options._replace(exact=True, ef=None, recall=None)
    began = perf_counter()
    (truth,) = reader.search(query, exact, predicate)
    us = _us_since(began)
    wanted = len(truth.distances)
    hit = int(np.count_nonzero(found.distances <= truth.distances[-1])) if wanted else 0
    share = hit / wanted if wanted else 1.0
    return PlanNode("Recall", measured={"recall": share, "found": hit, "wanted": wanted, "us": us})


def filter_node(view: View, predicate: Predicate) -> PlanNode:
    """A filter that was not evaluated."""
    total = sum(segment.count for segment in view.segments)
    about = estimated_matches(view, predicate)
    return PlanNode("Filter", predicate.describe(), {"way": f"about {about:,} of {total:,} rows match"})


def _measured_filter(view: View, predicate: Predicate, report: SearchReport) -> PlanNode:
    matches = sum(segment.matches or 0 for segment in report.segments)
    return PlanNode("Filter", predicate.describe(), measured={"rows": matches, "us": report.filter_us})


def _asked(collection: Collection, options: SearchOptions) -> dict[str, Any]:
    """What the search is asked for, and who asked."""
    details: dict[str, Any] = {"metric": str(collection.metric), "k": options.k}
    if options.exact:
        return {**details, "exact": From(True, "statement")}
    if options.recall is not None:
        return {**details, "recall": From(options.recall, "statement")}
    if options.ef is not None:
        return {**details, "ef": From(options.ef, "statement")}
    defaults = resolve({}, collection.dim)
    for name in ("ef", "oversample"):
        value = collection.settings[name]
        details[name] = From(value, "default" if value == defaults[name] else "collection")
    return details


def _segment_node(view: View, segment: SegmentView, done: SegmentReport | None = None) -> PlanNode:
    name = f"{segment.partition}.{segment.id}" if view.parts else segment.id  # several partitions may have one number
    state, way, why = _described(segment)
    node = PlanNode("Segment", name, {"state": f"{state}, {segment.count:,} rows", "way": way, "why": why})
    if done is not None:
        node.details["way"] = done.strategy if done.strategy != "none" else "skipped, nothing matches"
        node.measured = {"candidates": done.candidates, "us": done.us}
    return node


def _described(segment: SegmentView) -> tuple[str, str, str | None]:
    """What a segment is, how it is searched, and why so."""
    index = segment.index
    if index is None:
        return "growing", "scanned exactly", None
    if isinstance(index, GrowingCodes):
        encoded = index.block.encoded if index.block.needed else 0
        return "growing", f"{encoded:,} by turbo codes, the rest exactly", None
    described = index.description
    return "sealed", _WAYS[described.kind].format(codes=described.codes), described.why or None


def _us_since(began: float) -> float:
    return 1e6 * (perf_counter() - began)
