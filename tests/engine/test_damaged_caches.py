"""Index files that are missing, cut, flipped or another segment's: told, made again, and no answer is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reddb import errors
from reddb.fields import Field, FieldType
from reddb.types import Collection, SearchOptions
from tests.engine.lives import Where
from tests.engine.partitions import Opened, collection, numbers_of
from tests.oracle import nearest

DIM, ROWS, K = 16, 3000, 10
GENERATOR = np.random.default_rng(8)
VECTORS = GENERATOR.normal(size=(ROWS, DIM)).astype(np.float32)
QUERIES = GENERATOR.normal(size=(6, DIM)).astype(np.float32)
FEW = Where("n < 30", lambda _, payload: payload["n"] < 30)

# The setting that makes each file of an index.
FILES = {
    "index.2": "hnsw",
    "graph.2.ckpt": "hnsw",
    "lists.2.ivf": "ivf",
    "index.1": "flat",
    "codes.1.tv": "flat",
    "fields.1": "flat",
    "fields.2": "ivf",
}


def removed(path: Path, other: Path) -> None:
    path.unlink()


def cut(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def emptied(path: Path, other: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def of_another_segment(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


DAMAGES: list[Callable[[Path, Path], None]] = [removed, cut, emptied, flipped, of_another_segment]


def fielded(index: str) -> Collection:
    return collection(
        dim=DIM, index=index, seal_rows=1024, segment_rows_max=2048, fields=[Field("n", FieldType.INT)]
    ).with_index("n")


def searches_are_right(opened: Opened) -> None:
    (right, _) = nearest("l2", VECTORS, QUERIES, K)
    for exact, least in ((True, 1.0), (False, 0.9)):
        found = numbers_of(opened.reader.search(QUERIES, SearchOptions(K, exact=exact)))
        assert np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, right, strict=True)]) >= least
    view = opened.reader.view()
    assert view.count(FEW.predicate(opened.collection)) == 30


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_cache_is_told_and_made_again(tmp_path, name, damage):
    of = fielded(FILES[name])
    opened = Opened(of, tmp_path)
    for first in (0, 1500):
        opened.insert(
            np.arange(first, first + 1500),
            VECTORS[first : first + 1500],
            [{"n": n} for n in range(first, first + 1500)],
        )
        opened.seal()
    assert opened.states() == ["sealed", "sealed"]
    opened.close()
    files = sorted(tmp_path.glob(f"segments/*/{name}"))
    assert len(files) == 2
    before = files[0].read_bytes()
    damage(*files)

    opened = Opened(of, tmp_path)
    if name.startswith("fields") and damage is removed:
        assert opened.partition.refused_caches == []  # a segment need not have one
        opened.close()
        return
    (refused,) = opened.partition.refused_caches
    assert refused.code in (errors.CORRUPT_DATA, errors.DISK_FAILED)
    assert str(files[0]) in refused.message
    assert [segment.record.index for segment in opened.partition.segments] == [0, int(name.split(".")[1])]
    searches_are_right(opened)
    assert opened.settle() == 1
    searches_are_right(opened)
    opened.close()

    opened = Opened(of, tmp_path)
    assert opened.partition.refused_caches == []
    assert opened.due() is None
    searches_are_right(opened)
    opened.close()
    if name.startswith("fields"):
        (made, _) = sorted(tmp_path.glob("segments/*/fields.*"))
        assert made.read_bytes() == before
