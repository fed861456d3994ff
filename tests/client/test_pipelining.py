"""Many requests at once on one connection: each gets its own answer, and the right one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

import reddb
from reddb.client.demo.sample import Sample
from tests import oracle
from tests.server.harness import Server

K = 10


@pytest.fixture(scope="module")
def docs(server: Server, sample: Sample) -> Iterator[str]:
    """The sample, stored on the shared server."""
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION docs KIND vector.turbo DIM 384")
        db.insert("docs", sample.ids, sample.vectors, sample.payloads)
        yield "docs"
        db.execute("DROP COLLECTION docs")


def queries_of(sample: Sample, count: int) -> np.ndarray:
    """Real queries, and stored rows moved a little."""
    moved = sample.vectors[np.linspace(0, 4999, count - 12).astype(int)] + np.float32(0.01)
    return np.concatenate([[vector for _, vector in sample.queries], moved]).astype(np.float32)


async def test_two_hundred_searches_at_once(server: Server, docs: str, sample: Sample) -> None:
    queries = queries_of(sample, 200)
    async with reddb.aio.connect(server.url) as db:
        exact = await asyncio.gather(*(db.search(docs, query, K, exact=True) for query in queries))
        turbo = await asyncio.gather(*(db.search(docs, query, K) for query in queries))
        statement = f"SELECT id, distance FROM {docs} ORDER BY vector <=> $1 LIMIT {K}"
        told = await asyncio.gather(*(db.execute(statement, [query]) for query in queries))
        together = await db.search(docs, queries, K)
    right, right_distances = oracle.nearest("cosine", sample.vectors, queries, K)
    found = 0
    for number, (by_scan, by_code, by_statement, hits) in enumerate(zip(exact, turbo, told, together, strict=True)):
        ids, distances = sample.ids[right[number]].tolist(), right_distances[number]
        assert by_scan.ids == ids
        np.testing.assert_allclose(by_scan.distances, distances, rtol=0, atol=1e-12)
        # Whatever else asks at the same time: the answer to one query is one answer.
        assert by_code.ids == hits.ids == [row[0] for row in by_statement]
        assert by_code.distances.tolist() == hits.distances.tolist() == [row[1] for row in by_statement]
        found += len(set(by_code.ids) & set(ids))
    assert found >= 0.99 * K * len(queries)


async def test_payloads_belong_to_their_rows(server: Server, docs: str, sample: Sample) -> None:
    texts = dict(zip(sample.ids.tolist(), sample.payloads, strict=True))
    async with reddb.aio.connect(server.url) as db:
        answers = await asyncio.gather(*(db.search(docs, vector, 50) for _, vector in sample.queries))
    for hits in answers:
        assert [hit.payload for hit in hits] == [texts[hit.id] for hit in hits]


async def test_requests_of_every_kind_at_once(server: Server, docs: str, sample: Sample, name: str) -> None:
    query = sample.queries[0][1]
    async with reddb.aio.connect(server.url) as db:
        await db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 2")
        work = []
        for number in range(100):
            work += [
                db.insert(name, [number], [[number, 1]]),
                db.search(docs, query, number % 7),
                db.get(docs, [int(sample.ids[number])]),
                db.execute(f"SELECT id FROM {docs} LIMIT {number % 5 + 1}"),
                db.execute("SELEC nothing"),
            ]
        answers = await asyncio.gather(*work, return_exceptions=True)
        for number in range(100):
            written, hits, rows, result, error = answers[5 * number : 5 * number + 5]
            assert written == 1
            assert len(hits) == number % 7
            assert rows[0].id == sample.ids[number]
            assert len(result) == number % 5 + 1
            assert isinstance(error, reddb.RedDBError)
            assert error.name == "SYNTAX"
        assert (await db.execute(f"SELECT count(*) FROM {name}"))[0] == (100,)


async def test_three_thousand_requests_at_once(server: Server, docs: str, sample: Sample) -> None:
    """More than the server takes of one connection at a time: it reads on when it has answered."""
    async with reddb.aio.connect(server.url) as db:
        ids = [int(sample.ids[number]) for number in range(3000)]
        rows = await asyncio.gather(*(db.get(docs, row_id) for row_id in ids))
    assert [row.id for (row,) in rows] == ids


async def test_a_large_result_does_not_hold_up_others(server: Server, docs: str, sample: Sample) -> None:
    async with reddb.aio.connect(server.url) as db:
        large = asyncio.create_task(db.execute(f"SELECT * FROM {docs} LIMIT 5000"))
        small = await asyncio.gather(*(db.search(docs, vector, 1) for _, vector in sample.queries))
        result = await large
    assert [row[0] for row in result] == sample.ids.tolist()
    assert np.array_equal(np.stack([row[1] for row in result]), sample.vectors)
    assert all(len(hits) == 1 for hits in small)
