"""How many rows a filter should match, from a look at some of them.

Of each segment SAMPLE_ROWS rows, evenly spread, are looked at; of a segment with no more than these, all.
"""

from __future__ import annotations

import numpy as np

from reddb.partition.view import Addresses, View, address
from reddb.partition.view_rows import ViewRows
from reddb.query.predicate import Predicate

SAMPLE_ROWS = 1024


def estimated_matches(view: View, predicate: Predicate) -> int:
    """Rows that match, deaths not looked at: exact where every segment is small."""
    total = 0.0
    for place, segment in enumerate(view.segments):
        if segment.count:
            sampled = _spread(place, segment.count)
            total += np.count_nonzero(predicate.evaluate(ViewRows(view, sampled))) * segment.count / len(sampled)
    return round(total)


def _spread(place: int, count: int) -> Addresses:
    return address(place, np.unique(np.linspace(0, count - 1, min(count, SAMPLE_ROWS), dtype=np.int64)))
