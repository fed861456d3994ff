"""What is counted adds up, and stands in the table."""

from __future__ import annotations

import pytest

from reddb.metrics import BUCKETS_S, METRICS, Histogram, Metrics, Sample, metric_of


def test_a_histogram_counts_up_to_and_with_each_bound() -> None:
    metrics = Metrics()
    metrics.search_seconds.observe(BUCKETS_S[0])
    metrics.search_seconds.observe(BUCKETS_S[0] * 1.01, 3)
    metrics.search_seconds.observe(BUCKETS_S[-1] + 1)
    told = {(name, labels): value for name, labels, value in metrics.samples(iter(()))}
    counts = [told["reddb_search_seconds_bucket", f'le="{bound}"'] for bound in (*BUCKETS_S, "+Inf")]
    assert counts == [1, *[4] * (len(BUCKETS_S) - 1), 5]
    assert told["reddb_search_seconds_count", ""] == 5
    assert told["reddb_search_seconds_sum", ""] == pytest.approx(BUCKETS_S[0] * (1 + 3 * 1.01) + BUCKETS_S[-1] + 1)


def test_every_sample_stands_in_the_table_with_its_label() -> None:
    metrics = Metrics()
    metrics.requests["query"] += 1
    metrics.errors["SYNTAX"] += 2
    samples = list(metrics.samples([Sample("reddb_rows", "", 7)]))
    assert {metric_of(sample).name for sample in samples} <= set(METRICS)
    assert Sample("reddb_requests_total", 'kind="query"', 1) in samples
    assert Sample("reddb_errors_total", 'error="SYNTAX"', 2) in samples
    assert Sample("reddb_rows", "", 7) in samples
    for metric in METRICS.values():
        assert metric.type in ("counter", "gauge", "histogram")
        assert metric.meaning.endswith(".")
        assert metric.name.endswith("_total") == (metric.type == "counter")


def test_bounds_go_up() -> None:
    assert sorted(set(BUCKETS_S)) == list(BUCKETS_S)
    assert len(Histogram().counts) == len(BUCKETS_S) + 1
