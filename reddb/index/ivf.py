"""An inverted file over turbo codes: rows in lists by the nearest of a few centroids, a search scans the nearest lists.

(Sivic and Zisserman, "Video Google", 2003; Jégou, Douze and Schmid, "Product quantization for nearest neighbor
search", 2011.) The codes are those of `reddb.index.turbo`, of the rotated rows themselves and not of what is left
beside a centroid: so a query has one table for all lists, and the codes rank as well as a scan of all of them. For
l2 the mean of all rows is taken off first: distances to centroids are computed from lengths, and far from zero float32
would lose what tells lists apart.

The file is faiss's own format and stands alone: centroids, codebook, codes and row numbers are in it. Bytes behind its
end are not read. What a row takes, beside one 32-bit number a coordinate for each of the centroids, sqrt(n) of them:

    code       padded / 2 bytes with 4 bits, padded / 4 with 2; lists are filled up to whole blocks of 32 rows
    numbers    8 bytes for the row's, and in memory 4 for its list's

As many lists as the root of the rows: on two real sets of 100,000 and 262,144 rows a half to three times as many cost
the same for the same recall, and training costs as the square of them.

Invariants:
  * Row r of the vectors is label r of a search.
  * A process that opens a file copies all of it: faiss cannot map the packed lists.
  * With one thread, the same vectors and codec give the same file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from reddb.index import faiss_files
from reddb.index.hnsw import RowSource
from reddb.index.turbo import TurboCodec
from reddb.types import Vectors

_BLOCK_ROWS = 8192  # between two reports of progress; also what is rotated at a time
_FIT_ROWS = 16_384  # that codes are fitted to
_TRAINING_ROWS = 64  # for each list; with 256 a search finds no more
_TRAINING_ROUNDS = 10
_SEED = 0x1F
_COUNTED_ROWS = 16_384  # of those that match, to see where they lie: 40 us


class InvertedFile:
    """Lists in the memory of this process. Rows are numbered as they were built."""

    def __init__(self, index: Any, codec: TurboCodec, memory_bytes: int) -> None:
        self._whole = index  # owns the lists
        self._mean: Vectors | None = None
        if isinstance(index, faiss.IndexPreTransform):
            chain: Any = index.chain
            centering: Any = faiss.downcast_VectorTransform(chain.at(0))
            self._mean = faiss.vector_to_array(centering.mean)
            index = faiss.downcast_index(index.index)
        self._index = index
        self.rows = index.ntotal
        self.count = index.nlist
        self.memory_bytes = memory_bytes
        self._rotation = codec.rotation
        self._step = max(index.ntotal // _COUNTED_ROWS, 1)
        self._lists = self._lists_of_rows()

    @classmethod
    def open(cls, path: Path, codec: TurboCodec) -> InvertedFile:
        """Read a file of `save` that was built with this codec. RuntimeError if faiss cannot read it."""
        whole = faiss_files.read(path, codec.rotation.padded)
        index = faiss_files.opened(whole).index
        # All of it is copied into this process, so looking at it costs little.
        fault = faiss_files.lists_fault(index, codec.rotation.padded, codec.columns)
        if fault is not None:
            raise RuntimeError(fault)
        return cls(whole, codec, path.stat().st_size)

    def search(
        self, queries: Vectors, count: int, probes: int, bitmap: NDArray[np.uint8] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The `count` nearest rows by code in the `probes` nearest lists of each query (q, dim), and what their codes
        say of their distances, twice (q, count); -1 where there are fewer rows, or where a query tells no code from
        another. With a `bitmap` only rows r are found whose bit r % 8 of byte r // 8 is 1.
        """
        parameters: Any = faiss.SearchParametersIVF()
        parameters.nprobe = min(probes, self.count)
        if bitmap is not None:
            # It keeps the array alive. The number that faiss counts is that of bytes.
            parameters.sel = faiss.IDSelectorBitmap(np.ascontiguousarray(bitmap))  # type: ignore[call-arg, arg-type]
        found: tuple[NDArray[np.float32], NDArray[np.int64]]
        found = self._index.search(self._rotated(queries), count, params=parameters)
        return found

    def reach(self, queries: Vectors, rows: NDArray[np.bool_], probes: int) -> int:
        """How many lists hold, for each query (q, dim), the same share of some of the `rows` (n,) as `probes` lists
        hold of all: more than these where such rows lie far from a query.
        """
        held = np.bincount(self._lists[:: self._step][rows[:: self._step]], minlength=self.count)
        near: NDArray[np.int64] = self._quantizer.assign(self._rotated(queries), self.count)
        passed = np.cumsum(held[near], axis=1)
        return int((passed * self.count < passed[:, -1:] * probes).sum(axis=1).max()) + 1

    def depths(self, query: Vectors, rows: NDArray[np.int64], probes: int) -> NDArray[np.float32]:
        """How far into a scan of the `probes` nearest lists of a query (1, dim) that of each of the rows (n,) comes:
        from 0 to 1.
        """
        depth = np.ones(self.count, np.float32)
        depth[self._quantizer.assign(self._rotated(query), probes)[0]] = np.arange(probes) / probes
        found: NDArray[np.float32] = depth[self._lists[rows]]
        return found

    def places(self, query: Vectors, rows: Vectors) -> NDArray[np.int64]:
        """How many lists a search for a query (1, dim) comes to before that of each of the rows (n, dim): (n,)."""
        place = np.empty(self.count, np.int64)
        place[self._quantizer.assign(self._rotated(query), self.count)[0]] = np.arange(self.count)
        lists: NDArray[np.int64] = self._quantizer.assign(self._rotated(rows), 1)[:, 0]
        return place[lists]

    def _rotated(self, vectors: Vectors) -> Vectors:
        rotated = self._rotation.apply(vectors)
        return rotated if self._mean is None else rotated - self._mean

    @property
    def _quantizer(self) -> Any:
        return self._index.quantizer

    def _lists_of_rows(self) -> NDArray[np.int32]:
        lists = np.empty(self.rows, np.int32)
        inverted: Any = self._index.invlists
        for number in range(self.count):
            size = inverted.list_size(number)
            if size:  # an empty one has no array
                lists[faiss.rev_swig_ptr(inverted.get_ids(number), size)] = number
        return lists


def build(
    vectors: RowSource,
    codec: TurboCodec,
    *,
    by_l2: bool,
    threads: int,
    progress: Callable[[int], None] | None = None,
) -> faiss.Index:
    """Put `vectors`, float32 (n, dim), n at least 1, finite, perhaps a mapped file, into lists: what `save` takes.
    Nearest is by distance if `by_l2`, else by inner product. `progress` gets the number of rows done. `threads` is set
    for all of faiss in this process.
    """
    faiss.omp_set_num_threads(threads)
    lists, padded = max(isqrt(len(vectors)), 1), codec.rotation.padded
    metric = faiss.METRIC_L2 if by_l2 else faiss.METRIC_INNER_PRODUCT
    fit = codec.fit(_sample(vectors, codec, _FIT_ROWS))
    mean = fit.mean if by_l2 else np.zeros_like(fit.mean)
    centroids = faiss.IndexFlat(padded, metric)
    _train(centroids, lists, _sample(vectors, codec, _TRAINING_ROWS * lists) - mean, spherical=not by_l2)
    index = faiss.IndexIVFPQFastScan(centroids, padded, lists, codec.columns, 4, metric)
    # As for flat codes the codebook is ours, and for the rows themselves.
    index.by_residual = False
    codebook = codec.centroids(replace(fit, mean=fit.mean - mean))
    faiss.copy_array_to_vector(codebook.reshape(-1), index.pq.centroids)
    index.is_trained = True
    for first in range(0, len(vectors), _BLOCK_ROWS):
        index.add(codec.rotation.apply(vectors[first : first + _BLOCK_ROWS]) - mean)
        if progress is not None:
            progress(index.ntotal)
    if not by_l2:
        return index
    centering = faiss.CenteringTransform(padded)
    faiss.copy_array_to_vector(mean, centering.mean)
    centering.is_trained = True
    return faiss.IndexPreTransform(centering, index)


def save(index: faiss.Index, path: Path) -> None:
    """Write what `build` made. RuntimeError if the file cannot be written."""
    faiss.write_index(index, str(path))


def _sample(vectors: RowSource, codec: TurboCodec, rows: int) -> Vectors:
    """At most so many of them, rotated."""
    return codec.rotation.apply(vectors[:: -(-len(vectors) // rows)])


def _train(centroids: faiss.IndexFlat, count: int, sample: Vectors, *, spherical: bool) -> None:
    """Fill `centroids` by k-means. For inner products they are of unit length: else long ones would draw all rows."""
    clustering: Any = faiss.Clustering(sample.shape[1], count)
    clustering.niter = _TRAINING_ROUNDS
    clustering.seed = _SEED
    clustering.spherical = spherical
    clustering.min_points_per_centroid = 1  # fewer make it print a warning
    clustering.max_points_per_centroid = _TRAINING_ROWS
    clustering.train(sample, centroids)
