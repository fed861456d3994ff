"""Inverted files: what they find, that a bitmap counts, and that the file stands alone."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from reddb.client.demo import sample
from reddb.index.ivf import InvertedFile, build, save
from reddb.index.turbo import TurboCodec
from tests.oracle import nearest, recall

K = 10
BITS = [2, 4]


@pytest.fixture(scope="module")
def real():
    """Rows and queries of unit length: 4,900 and 100."""
    vectors = sample.load().vectors
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[:4900], vectors[4900:]


def opened(folder, vectors, bits, **changes):
    codec = TurboCodec(vectors.shape[1], bits)
    save(build(vectors, codec, **({"by_l2": False, "threads": 1} | changes)), folder / "lists")
    return InvertedFile.open(folder / "lists", codec)


def recall_of(file, vectors, queries, metric, probes, count=100):
    """The K nearest of the candidates by their vectors, against the nearest of all."""
    right, _ = nearest(metric, vectors, queries, K)
    found = []
    for query, labels in zip(queries, file.search(queries, count, probes)[1], strict=True):
        labels = labels[labels >= 0]
        order, _ = nearest(metric, vectors[labels], query[None], K)
        found.append(labels[order[0]])
    return recall(found, right)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("metric", "by_l2"), [("cosine", False), ("l2", True)])
def test_real_rows_are_found(tmp_path, real, bits, metric, by_l2):
    vectors, queries = real
    file = opened(tmp_path, vectors, bits, by_l2=by_l2)
    assert (file.rows, file.count) == (4900, 70)
    few, many, all_of_them = (recall_of(file, vectors, queries, metric, probes) for probes in (2, 30, 70))
    assert few < 0.8
    assert many > 0.95
    assert all_of_them > 0.995
    assert recall_of(file, vectors, queries, metric, 1000) == all_of_them


def test_long_and_short_rows_are_found_by_inner_products(tmp_path):
    generator = np.random.default_rng(1)
    vectors = (generator.normal(size=(3000, 40)) * generator.lognormal(size=(3000, 1))).astype(np.float32)
    file = opened(tmp_path, vectors, 4)
    all_of_them, half = (recall_of(file, vectors, vectors[:100], "ip", probes, count=600) for probes in (54, 27))
    assert all_of_them > 0.97
    assert half > 0.85


@pytest.mark.parametrize("bits", BITS)
def test_rows_far_from_the_origin_are_found(tmp_path, bits):
    generator = np.random.default_rng(1)
    centres = generator.normal(size=(50, 40)) * 3 + 100
    points = (centres[generator.integers(0, 50, 3100)] + generator.normal(size=(3100, 40))).astype(np.float32)
    vectors, queries = points[:3000], points[3000:]
    assert recall_of(opened(tmp_path, vectors, bits, by_l2=True), vectors, queries, "l2", 8, count=200) > 0.97


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("by_l2", [False, True])
def test_a_bitmap_is_honoured(tmp_path, real, bits, by_l2):
    vectors, queries = real
    file = opened(tmp_path, vectors[:1003], bits, by_l2=by_l2)  # not whole bytes
    for share in (0.05, 0.5):
        allowed = np.random.default_rng(2).random(1003) < share
        found = file.search(queries, K, file.count, np.packbits(allowed, bitorder="little"))[1]
        assert (found >= 0).all()
        assert allowed[found].all()
    last = np.arange(1003) == 1002
    found = file.search(queries, K, file.count, np.packbits(last, bitorder="little"))[1]
    assert (found[:, 0] == 1002).all()
    assert (found[:, 1:] == -1).all()
    assert (file.search(queries, K, file.count, np.zeros(126, np.uint8))[1] == -1).all()
    everything = np.full(126, 255, np.uint8)
    assert np.array_equal(file.search(queries, K, 8, everything), file.search(queries, K, 8))


@pytest.mark.parametrize("by_l2", [False, True])
def test_the_place_of_a_list_says_from_how_many_probes_on_its_rows_are_found(tmp_path, real, by_l2):
    vectors, queries = real
    file = opened(tmp_path, vectors[:2000], 4, by_l2=by_l2)
    rows = np.arange(0, 2000, 100)
    for query in queries[:5]:
        places = file.places(query[None], vectors[rows])
        for probes in (1, 5, 20, file.count):
            found = file.search(query[None], 2000, probes)[1][0]
            assert np.array_equal(np.isin(rows, found), places < probes)


def test_more_lists_are_needed_for_rows_that_lie_far_from_a_query(tmp_path, real):
    vectors, queries = real
    file = opened(tmp_path, vectors, 2)
    order, _ = nearest("cosine", vectors, queries[:1], len(vectors))
    near, far = np.zeros((2, len(vectors)), np.bool_)
    near[order[0][:2000]], far[order[0][-2000:]] = True, True
    spread = np.arange(len(vectors)) % 2 == 0
    assert file.reach(queries[:1], near, 10) <= 10
    assert 5 < file.reach(queries[:1], spread, 10) < 20
    assert file.reach(queries[:1], far, 10) > 20
    assert file.reach(queries[:5], far, 10) == max(file.reach(query[None], far, 10) for query in queries[:5])
    assert file.reach(queries[:5], np.zeros(len(vectors), np.bool_), 10) == 1


@pytest.mark.parametrize("bits", BITS)
def test_bytes_behind_the_end_change_nothing(tmp_path, real, bits):
    vectors, queries = real
    file = opened(tmp_path, vectors[:1000], bits)
    clean = file.search(queries, K, 8)
    path = tmp_path / "lists"
    assert file.memory_bytes == path.stat().st_size
    with path.open("ab") as trailer:
        trailer.write(b"\xff" * 12)
    assert np.array_equal(InvertedFile.open(path, TurboCodec(384, bits)).search(queries, K, 8), clean)


def test_a_search_outlives_the_name_of_its_file(tmp_path, real):
    vectors, queries = real
    file = opened(tmp_path, vectors[:500], 2)
    before = file.search(queries, K, 8)
    (tmp_path / "lists").unlink()
    gc.collect()
    assert np.array_equal(file.search(queries, K, 8), before)


@pytest.mark.parametrize("left", [0, 3, 100, -1000])
def test_a_file_that_is_cut_is_refused(tmp_path, real, left):
    opened(tmp_path, real[0][:500], 2)
    path = tmp_path / "lists"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(RuntimeError):
        InvertedFile.open(path, TurboCodec(384, 2))


@pytest.mark.parametrize("by_l2", [False, True])
def test_one_thread_makes_the_same_file_again(tmp_path, real, by_l2):
    files = [tmp_path / "first", tmp_path / "second"]
    for path in files:
        save(build(real[0], TurboCodec(384, 2), by_l2=by_l2, threads=1), path)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_mapped_array_is_built_in_blocks(tmp_path):
    vectors = np.random.default_rng(3).normal(size=(9000, 8)).astype(np.float32)
    (tmp_path / "vectors").write_bytes(vectors.tobytes())
    mapped = np.memmap(tmp_path / "vectors", np.float32, "r", shape=vectors.shape)
    done = []
    file = opened(tmp_path, mapped, 4, by_l2=True, threads=2, progress=done.append)
    assert done == [8192, 9000]
    assert recall_of(file, vectors, vectors[:100], "l2", file.count, count=300) > 0.98


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [1, 33, 100])
@pytest.mark.parametrize("by_l2", [False, True])
def test_any_dimension_and_few_rows(tmp_path, capfd, bits, dim, by_l2):
    for rows in (1, 7) if by_l2 else (7,):
        vectors = np.random.default_rng(4).normal(size=(rows, dim)).astype(np.float32)
        found = opened(tmp_path, vectors, bits, by_l2=by_l2).search(vectors, K, 20)[1]
        assert found.shape == (rows, K)
        assert (np.sort(found, axis=1)[:, K - rows :] == np.arange(rows)).all()
        assert (np.sort(found, axis=1)[:, : K - rows] == -1).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("value", [1e-35, 5.0])
def test_rows_that_are_all_equal_are_found_by_distance_and_not_told_apart_by_products(tmp_path, value):
    vectors = np.full((300, 40), value, np.float32)
    by_distance, by_product = (
        opened(tmp_path, vectors, 2, by_l2=by_l2).search(vectors[:3], K, 300)[1] for by_l2 in (True, False)
    )
    assert all(len(set(row)) == K and min(row) >= 0 for row in by_distance.tolist())
    assert (by_product == -1).all()
