"""EXPLAIN of a search: its segments, how each is or was searched, and how much of the exact answer was found.

Invariant: what a node says it measured was counted or measured by the search itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from reddb.partition.estimates import estimated_matches
from reddb.partition.growing_codes import GrowingCodes
from reddb.partition.search import Found, SearchReport, SegmentReport
from reddb.partition.view import SegmentView, View
from reddb.query.plan_tree import From, PlanNode
from reddb.query.predicate import Predicate
from reddb.settings import resolve
from reddb.types import Collection, SearchOptions

_WAYS = {
    "exact": "scanned exactly",
    "turbo": "scan of turbo codes",
    "hnsw": "graph over {codes}",
    "ivf": "inverted file over {codes}",
}


def search_node(view: View, options: SearchOptions, predicate: Predicate | None, set_by: str) -> PlanNode:
    """A search that was not run; `set_by` says who asked for what its options hold."""
    node = PlanNode("Search", view.collection.name, asked_for(view.collection, options, set_by))
    filters = [] if predicate is None else [filter_node(view, predicate)]
    node.children = [*filters, *segment_nodes(view)]
    return node


def searched_node(
    found: Found, options: SearchOptions, predicate: Predicate | None, set_by: str, report: SearchReport, us: float
) -> PlanNode:
    """A search that was run, and took so many microseconds."""
    view = found.view
    node = PlanNode("Search", view.collection.name, asked_for(view.collection, options, set_by))
    node.measured = {"rows": len(found.addresses), "us": us}
    if report.exact:
        node.details.setdefault("exact", True)
    if predicate is not None:
        matches = sum(segment.matches or 0 for segment in report.segments)
        node.children.append(
            PlanNode("Filter", predicate.describe(), measured={"rows": matches, "us": report.filter_us})
        )
    node.children += segment_nodes(view, {(item.partition, item.segment): item for item in report.segments})
    rank = {"rows": report.ranked, "us": report.rank_us}
    node.children.append(PlanNode("Rank", "by exact distance", measured=rank))
    return node


def recall_node(found: Found, exact: Found, us: float) -> PlanNode:
    """How many of the nearest rows were found; of rows at one distance each counts like any other."""
    wanted = len(exact.distances)
    hit = int(np.count_nonzero(found.distances <= exact.distances[-1])) if wanted else 0
    share = hit / wanted if wanted else 1.0
    return PlanNode("Recall", measured={"recall": share, "found": hit, "wanted": wanted, "us": us})


def filter_node(view: View, predicate: Predicate) -> PlanNode:
    """A filter that was not evaluated."""
    total = sum(segment.count for segment in view.segments)
    about = estimated_matches(view, predicate)
    return PlanNode("Filter", predicate.describe(), {"way": f"about {about:,} of {total:,} rows match"})


def asked_for(collection: Collection, options: SearchOptions, set_by: str) -> dict[str, Any]:
    """What the search is asked for, and who asked."""
    details: dict[str, Any] = {"metric": str(collection.metric), "k": options.k}
    if options.exact:
        return {**details, "exact": From(True, set_by)}
    if options.recall is not None:
        return {**details, "recall": From(options.recall, set_by)}
    if options.ef is not None:
        return {**details, "ef": From(options.ef, set_by)}
    defaults = resolve({}, collection.dim)
    for name in ("ef", "oversample"):
        value = collection.settings[name]
        details[name] = From(value, "default" if value == defaults[name] else "collection")
    return details


def segment_nodes(view: View, done: Mapping[tuple[int, int], SegmentReport] | None = None) -> list[PlanNode]:
    """The segments, and what was done in each."""
    return [
        _segment_node(view, place, (done or {}).get((segment.partition, segment.id)))
        for place, segment in enumerate(view.segments)
    ]


def _segment_node(view: View, place: int, done: SegmentReport | None) -> PlanNode:
    segment = view.segments[place]
    name = f"{segment.partition}.{segment.id}" if view.parts else segment.id  # several partitions may have one number
    state, way, why = _described(segment)
    node = PlanNode("Segment", name, {"state": f"{state}, {segment.count:,} rows", "way": way, "why": why})
    node.details["expired"] = view.expired_rows(place) or None
    if done is not None:
        node.details["way"] = done.strategy if done.strategy != "none" else "skipped, nothing matches"
        if done.fallback is not None:
            node.details["why"] = done.fallback
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
