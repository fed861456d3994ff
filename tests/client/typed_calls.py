"""What a type checker knows of the clients' answers. Not run: `make types` reads it."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import reddb
from reddb import Hit, Hits, Result


def of_search(
    db: reddb.Client, one: np.ndarray[tuple[int], np.dtype[np.float32]], unknown: NDArray[np.float64]
) -> None:
    assert_type(db.search("c", [1.0, 2.0]), Hits)
    assert_type(db.search("c", (1, 2), k=3, where="n > :n", params={"n": 1}, exact=True), Hits)
    assert_type(db.search("c", one), Hits)
    assert_type(db.search("c", [[1.0, 2.0], [3.0, 4.0]]), list[Hits])
    assert_type(db.search("c", [one, one]), list[Hits])
    assert_type(db.search("c", one.reshape(2, 2)), list[Hits])
    assert_type(db.search("c", unknown), Any)


async def of_the_asynchronous_search(db: reddb.aio.AsyncClient, unknown: NDArray[np.float64]) -> None:
    assert_type(await db.search("c", [1.0, 2.0]), Hits)
    assert_type(await db.search("c", [[1.0, 2.0], [3.0, 4.0]], k=2), list[Hits])
    assert_type(await db.search("c", unknown), Any)


def of_places_and_slices(hits: Hits, result: Result) -> None:
    assert_type(hits[0], Hit)
    assert_type(hits[1:], Hits)
    assert_type(result[0], tuple[Any, ...])
    assert_type(result[1:], Result)
