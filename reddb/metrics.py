"""What one process counts and measures: plain numbers, added to where things happen, told by SHOW METRICS.

Names are those that Prometheus would have; a histogram has a row for each bucket (`le`, in seconds, inclusive and
cumulative), its sum and its count. Numbers begin at 0 with the process.

Invariant: counting is an addition; nothing is formatted, summed or sorted before it is asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `type` is counter, gauge or histogram, `label` what it is counted by."""

    name: str
    type: str
    meaning: str
    label: str | None = None


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("reddb_core_up", "gauge", "1 for a core that answered, 0 for one that did not in time."),
        Metric("reddb_requests_total", "counter", "Requests by the kind of their message.", "kind"),
        Metric("reddb_errors_total", "counter", "Errors that were answered, by name.", "error"),
        Metric("reddb_task_failures_total", "counter", "Failures of tasks that no request was told of.", "task"),
        Metric("reddb_bytes_received_total", "counter", "Bytes that came from clients."),
        Metric("reddb_bytes_sent_total", "counter", "Bytes that went to clients."),
        Metric("reddb_searches_total", "counter", "Query vectors that were searched for."),
        Metric("reddb_search_seconds", "histogram", "Seconds from the turn a search came in to its answer."),
        Metric("reddb_rows_written_total", "counter", "Rows stored and rows deleted, counted by their owner."),
        Metric("reddb_commits_total", "counter", "Groups of writes that went into a log with one sync."),
        Metric("reddb_commit_seconds_total", "counter", "Seconds that those groups took to be written and synced."),
        Metric("reddb_recoveries_total", "counter", "Partitions that were opened."),
        Metric("reddb_recovery_seconds_total", "counter", "Seconds that opening them took."),
        Metric("reddb_sessions", "gauge", "Connections."),
        Metric("reddb_queries", "gauge", "Queries that go on beyond the turn they came in."),
        Metric("reddb_buffer_bytes", "gauge", "Memory that buffers, caches and queues take.", "pool"),
        Metric("reddb_buffer_peak_bytes", "gauge", "The most that they ever took.", "pool"),
        Metric("reddb_rows", "gauge", "Live rows of the partitions that this core owns."),
        Metric("reddb_expired_rows", "gauge", "Rows of them whose time has come, that wait to be deleted."),
        Metric("reddb_segments", "gauge", "Their segments, by state.", "state"),
        Metric("reddb_segment_memory_bytes", "gauge", "Memory that their segments take."),
        Metric("reddb_log_bytes", "gauge", "Bytes of their logs that a restart would read."),
    )
}


class Sample(NamedTuple):
    """One number: of which metric, with which labels, as `kind="query"`."""

    name: str
    labels: str
    value: float


class Histogram:
    """How many took how long."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        """`count` of them took so long each."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += count
        self.sum_s += seconds * count


class Metrics:
    """The numbers of one process."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.bytes_received = 0
        self.bytes_sent = 0
        self.searches = 0
        self.search_seconds = Histogram()
        self.rows_written = 0
        self.commits = 0
        self.commit_seconds = 0.0
        self.recoveries = 0
        self.recovery_seconds = 0.0

    def samples(self, gauges: Iterable[Sample]) -> Iterator[Sample]:
        """All numbers, those that are counted and the `gauges` that are read off when asked for."""
        yield from gauges
        yield from _labelled("reddb_requests_total", self.requests)
        yield from _labelled("reddb_errors_total", self.errors)
        yield Sample("reddb_bytes_received_total", "", self.bytes_received)
        yield Sample("reddb_bytes_sent_total", "", self.bytes_sent)
        yield Sample("reddb_searches_total", "", self.searches)
        yield from _buckets("reddb_search_seconds", self.search_seconds)
        yield Sample("reddb_rows_written_total", "", self.rows_written)
        yield Sample("reddb_commits_total", "", self.commits)
        yield Sample("reddb_commit_seconds_total", "", self.commit_seconds)
        yield Sample("reddb_recoveries_total", "", self.recoveries)
        yield Sample("reddb_recovery_seconds_total", "", self.recovery_seconds)


def task_failures(counts: Mapping[str, int]) -> Iterator[Sample]:
    """By the name of the task."""
    return _labelled("reddb_task_failures_total", counts)


def metric_of(sample: Sample) -> Metric:
    """A histogram's rows belong to it."""
    name = sample.name
    for ending in ("_bucket", "_sum", "_count"):
        name = name.removesuffix(ending)
    return METRICS[name]


def _labelled(name: str, counts: Mapping[str, int]) -> Iterator[Sample]:
    label = METRICS[name].label
    for value, count in sorted(counts.items()):
        yield Sample(name, f'{label}="{value}"', count)


def _buckets(name: str, histogram: Histogram) -> Iterator[Sample]:
    total = 0
    for bound, count in zip((*BUCKETS_S, "+Inf"), histogram.counts, strict=True):
        total += count
        yield Sample(f"{name}_bucket", f'le="{bound}"', total)
    yield Sample(f"{name}_sum", "", histogram.sum_s)
    yield Sample(f"{name}_count", "", total)
