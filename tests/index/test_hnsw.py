"""Graphs over codes: what they find, that their settings count, and that the file is mapped and stands alone."""

from __future__ import annotations

import gc

import faiss
import numpy as np
import pytest

from reddb.client.demo import sample
from reddb.index.hnsw import Codes, GraphIndex, build, save
from tests.oracle import nearest, recall

ALL = list(Codes)
K = 10


@pytest.fixture(scope="module")
def real():
    """Rows and queries of unit length: 4,900 and 100."""
    vectors = sample.load().vectors
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[:4900], vectors[4900:]


def made(vectors, codes, **changes):
    settings = {"by_l2": False, "m": 8, "m0": 16, "ef_construction": 40, "threads": 1} | changes
    return build(vectors, codes=codes, **settings)


def opened(folder, vectors, codes, **changes):
    save(made(vectors, codes, **changes), folder / "graph")
    return GraphIndex.open(folder / "graph", vectors.shape[1], codes)


def graph_of(index):
    """The graph itself: with turbo2 and l2 it stands behind a step that takes the mean off."""
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def compared(vectors, query, labels, metric):
    """The K nearest of the candidates, by their vectors."""
    labels = labels[labels >= 0]
    order, _ = nearest(metric, vectors[labels], query[None], K)
    return labels[order[0]]


def recall_of(graph, vectors, queries, metric, ef=100):
    right, _ = nearest(metric, vectors, queries, K)
    _, found = graph.search(queries, ef, ef)
    return recall([compared(vectors, *pair, metric) for pair in zip(queries, found, strict=True)], right)


@pytest.mark.parametrize("codes", ALL)
def test_real_rows_are_found(tmp_path, real, codes):
    vectors, queries = real
    graph = opened(tmp_path, vectors, codes)
    assert graph.rows == len(vectors)
    assert recall_of(graph, vectors, queries, "cosine") > 0.97
    # By the codes alone: the finer they are, the more of the nearest come first.
    right, _ = nearest("cosine", vectors, queries, K)
    least = {Codes.F32: 0.98, Codes.F16: 0.98, Codes.SQ8: 0.97, Codes.TURBO4: 0.88, Codes.TURBO2: 0.7}
    assert recall(list(graph.search(queries, K, 200)[1]), right) > least[codes]


@pytest.mark.parametrize("codes", ALL)
def test_rows_far_from_the_origin_are_found(tmp_path, codes):
    generator = np.random.default_rng(1)
    centres = generator.normal(size=(50, 40)) * 3 + 100
    points = (centres[generator.integers(0, 50, 3100)] + generator.normal(size=(3100, 40))).astype(np.float32)
    vectors, queries = points[:3000], points[3000:]
    graph = opened(tmp_path, vectors, codes, by_l2=True)
    assert recall_of(graph, vectors, queries, "l2") > 0.97


@pytest.mark.parametrize("codes", ALL)
@pytest.mark.parametrize("by_l2", [False, True])
def test_bytes_behind_the_end_change_nothing(tmp_path, real, codes, by_l2):
    vectors, queries = real
    path = tmp_path / "graph"
    index = made(vectors[:1000], codes, by_l2=by_l2)
    save(index, path)
    clean = GraphIndex.open(path, 384, codes).search(queries, K, 50)[1]
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"\xff" * 12)
    assert np.array_equal(GraphIndex.open(path, 384, codes).search(queries, K, 50)[1], clean)
    read = faiss.read_index(str(path))  # into memory, and written again
    save(read, path)
    assert path.stat().st_size == size


@pytest.mark.parametrize("codes", ALL)
@pytest.mark.parametrize("by_l2", [False, True])
def test_links_and_codes_are_mapped(tmp_path, real, codes, by_l2):
    graph = opened(tmp_path, real[0][:500], codes, by_l2=by_l2)
    index = graph_of(graph._index)
    assert not index.hnsw.neighbors.is_owned
    assert not faiss.downcast_index(index.storage).codes.is_owned


@pytest.mark.parametrize("codes", ALL)
def test_a_search_outlives_the_name_of_its_file(tmp_path, real, codes):
    vectors, queries = real
    graph = opened(tmp_path, vectors[:500], codes)
    before = graph.search(queries, K, 50)[1]
    (tmp_path / "graph").unlink()
    gc.collect()
    assert np.array_equal(graph.search(queries, K, 50)[1], before)


def test_a_file_that_is_cut_is_refused(tmp_path, real):
    path = tmp_path / "graph"
    save(made(real[0][:500], Codes.SQ8), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(RuntimeError):
        GraphIndex.open(path, 384, Codes.SQ8)


@pytest.mark.parametrize("codes", ALL)
@pytest.mark.parametrize("by_l2", [False, True])
def test_a_bitmap_is_honoured(tmp_path, real, codes, by_l2):
    vectors, queries = real
    graph = opened(tmp_path, vectors[:1003], codes, by_l2=by_l2)  # not whole bytes
    for share in (0.1, 0.5):
        allowed = np.random.default_rng(2).random(1003) < share
        _, found = graph.search(queries, K, 200, np.packbits(allowed, bitorder="little"))
        assert (found >= 0).mean() > 0.99
        assert allowed[found[found >= 0]].all()
    last = np.arange(1003) == 1002
    _, found = graph.search(queries, K, 1003, np.packbits(last, bitorder="little"))
    assert found.max() == 1002
    assert set(np.unique(found).tolist()) <= {-1, 1002}
    assert (graph.search(queries, K, 200, np.zeros(126, np.uint8))[1] == -1).all()
    everything = np.full(126, 255, np.uint8)
    assert np.array_equal(graph.search(queries, K, 50, everything)[1], graph.search(queries, K, 50)[1])


def test_ef_reaches_the_search(tmp_path, real):
    vectors, queries = real
    graph = opened(tmp_path, vectors, Codes.SQ8, m=4, m0=8)
    right, _ = nearest("cosine", vectors, queries, K)
    few, many = (recall(list(graph.search(queries, K, ef)[1]), right) for ef in (10, 400))
    assert few < 0.9
    assert many > 0.95


@pytest.mark.parametrize("codes", ALL)
def test_settings_reach_the_graph(tmp_path, real, codes):
    vectors, _ = real
    index = graph_of(opened(tmp_path, vectors[:2000], codes, m=6, m0=20, ef_construction=33)._index)
    assert [index.hnsw.nb_neighbors(level) for level in range(3)] == [20, 6, 6]
    assert index.hnsw.efConstruction == 33
    room = np.diff(faiss.vector_to_array(index.hnsw.offsets).astype(np.int64))
    assert room.min() == 20
    assert (room > 20).mean() == pytest.approx(1 / 6, rel=0.3)  # a row in m reaches the next level


@pytest.mark.parametrize("codes", ALL)
@pytest.mark.parametrize("by_l2", [False, True])
def test_one_thread_makes_the_same_file_again(tmp_path, real, codes, by_l2):
    files = [tmp_path / "first", tmp_path / "second"]
    for path in files:
        save(made(real[0][:1000], codes, by_l2=by_l2), path)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("codes", [Codes.F32, Codes.TURBO2])
def test_a_mapped_array_is_built_in_blocks(tmp_path, codes):
    vectors = np.random.default_rng(3).normal(size=(9000, 8)).astype(np.float32)
    (tmp_path / "vectors").write_bytes(vectors.tobytes())
    mapped = np.memmap(tmp_path / "vectors", np.float32, "r", shape=vectors.shape)
    done = []
    index = made(mapped, codes, by_l2=True, m=4, m0=8, ef_construction=10, threads=2, progress=done.append)
    assert done == [8192, 9000]
    del mapped
    gc.collect()
    save(index, tmp_path / "graph")
    graph = GraphIndex.open(tmp_path / "graph", 8, codes)
    assert recall_of(graph, vectors, vectors[:100], "l2", ef=300) > 0.9


@pytest.mark.parametrize("codes", ALL)
@pytest.mark.parametrize("dim", [1, 33, 100])
@pytest.mark.parametrize("by_l2", [False, True])
def test_any_dimension_and_few_rows(tmp_path, codes, dim, by_l2):
    for rows in (1, 7):
        vectors = np.random.default_rng(4).normal(size=(rows, dim)).astype(np.float32)
        found = opened(tmp_path, vectors, codes, by_l2=by_l2).search(vectors, K, 20)[1]
        assert found.shape == (rows, K)
        assert (np.sort(found, axis=1)[:, K - rows :] == np.arange(rows)).all()
        assert (np.sort(found, axis=1)[:, : K - rows] == -1).all()


@pytest.mark.parametrize("codes", ALL)
@pytest.mark.parametrize("value", [0.0, 1e-35, 5.0])
def test_rows_that_are_all_equal_are_found(tmp_path, codes, value):
    vectors = np.full((300, 40), value, np.float32)
    for by_l2 in (False, True):
        found = opened(tmp_path, vectors, codes, by_l2=by_l2).search(vectors[:3], K, 50)[1]
        assert all(len(set(row)) == K and min(row) >= 0 for row in found.tolist())
