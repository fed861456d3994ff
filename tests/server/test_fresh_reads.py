"""A read on one core sees what another core has just acknowledged, while rows are sealed and merged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import reddb
from tests.server.conftest import NewServer
from tests.server.harness import Server, client_on

PAIRS = 1000
DIM = 16
IDS = 400  # few enough that rows are replaced and deleted all the time
BATCH = 16
FILLING = 24  # more rows a pair, so that there is always something to seal and to merge
FAR = np.random.default_rng(1).normal(100, 1, size=(FILLING, DIM)).astype(np.float32)


@pytest.fixture
def server(new_server: NewServer) -> Iterator[Server]:
    server = new_server(cores=2).start()
    yield server
    server.stop()


def segments(db: reddb.Client) -> list[int]:
    return [row[1] for row in db.execute("SHOW SEGMENTS FOR c")]


class Pairs:
    """Writes through one client, reads at once through another, and compares with a dict."""

    def __init__(self) -> None:
        self.live: dict[int, int] = {}
        self.stale: list[str] = []
        self._rng = np.random.default_rng(2)

    def run(self, number: int, writer: reddb.Client, reader: reddb.Client) -> None:
        row_ids = self._rng.choice(IDS, BATCH, replace=False).tolist()
        if number % 4 == 3:
            writer.delete("c", row_ids) if number % 8 == 3 else writer.delete("c", where="n IN $1", params=[row_ids])
            for row_id in row_ids:
                self.live.pop(row_id, None)
            self._expect(number, [row and row.payload for row in reader.get("c", row_ids)], [None] * BATCH)
        else:
            vectors = self._rng.normal(size=(BATCH, DIM)).astype(np.float32)
            payloads = [{"n": row_id, "version": number} for row_id in row_ids]
            writer.upsert("c", row_ids, vectors, payloads)
            self.live |= dict.fromkeys(row_ids, number)
            if number % 2:
                found = reader.search("c", vectors[:3], k=1)
                seen = [(hits.ids, hits.payloads) for hits in found]
                self._expect(
                    number,
                    seen,
                    [([row_id], [payload]) for row_id, payload in zip(row_ids[:3], payloads[:3], strict=True)],
                )
            else:
                self._expect(number, [row and row.payload for row in reader.get("c", row_ids)], payloads)
        if number % 5 == 0:
            counted = list(reader.execute("SELECT count(*) FROM c WHERE n IS NOT NULL"))
            self._expect(number, counted, [(len(self.live),)])
            ((newest,),) = reader.execute("SELECT count(*) FROM c WHERE version = $1", [number])
            self._expect(number, newest, sum(version == number for version in self.live.values()))

    def _expect(self, number: int, seen: object, wanted: object) -> None:
        if seen != wanted:
            self.stale.append(f"pair {number}: {seen} is not {wanted}")


def test_no_read_is_older_than_the_write_before_it(server: Server) -> None:
    with client_on(server, 0) as first, client_on(server, 1) as second:
        first.execute(f"CREATE COLLECTION c KIND vector.turbo DIM {DIM} METRIC l2 WITH (seal_rows = 1024)")
        pairs = Pairs()
        shown: set[int] = set()
        for number in range(PAIRS):
            writer, reader = (first, second) if number % 3 else (second, first)
            pairs.run(number, writer, reader)
            writer.upsert("c", list(range(10_000 + number, 10_000 + number + FILLING)), FAR)
            if number % 20 == 0:
                shown.update(segments(first))
        assert pairs.stale == []
        jobs = server.stderr()
        assert jobs.count('"job": "seal"') >= 8, "rows were sealed meanwhile"
        assert jobs.count('"job": "merge"') >= 2, "and merged"
        assert len(shown) > 8
        rows = second.execute("SELECT n, version FROM c WHERE n >= 0 LIMIT 1000")
        assert {row[0]: row[1] for row in rows} == pairs.live
