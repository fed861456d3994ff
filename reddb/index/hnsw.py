"""An HNSW graph over codes: built by one process, written to one file, mapped and searched by many.

(Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using HNSW graphs", 2016.)

What a row takes in the file, for `dim` coordinates, of which turbo codes make `padded` rotated ones:

    codes   bytes       what they are
    f32     4 dim       the vector itself
    f16     2 dim       half precision; a coordinate beyond 65,504 becomes infinite
    sq8     dim         256 equal steps between the least and the greatest value of each coordinate in a sample
    turbo4  padded / 2  rotated, 15 equal steps within 2.5 standard deviations of each coordinate's mean
    turbo2  padded / 4  rotated, the mean taken off, the 4 Lloyd-Max levels of the normal, with one scale
    links   4 m0 + 12   and 4 m more for each higher level, which one row in m reaches

The file is faiss's own format and stands alone: scales and means are in it. Bytes behind its end are not read.

The graph of turbo codes is built over sq8 and searched over the turbo codes. Rejected: building over them (2 bits
make poor links, and some of faiss's scalar codes abort the process when two codes are compared), and product
quantisers with the codebook of `turbo` (the same recall at 2 to 4 times the processor time: no SIMD for them).
turbo4 is not Lloyd-Max, as `turbo` is: equal steps have a fifth more squared error, but the recall is the same and
a search takes a sixth less time.

Invariants:
  * Row r of the vectors is label r of a search.
  * A process that maps a file copies 12 bytes a row; links and codes are shared pages.
  * With one thread, the same vectors and settings give the same file.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from reddb.index import faiss_files
from reddb.index.rotation import Rotation
from reddb.index.turbo import TurboCodec
from reddb.types import Vectors

_BLOCK_ROWS = 8192  # between two reports of progress; also what is rotated at a time
_SAMPLE_ROWS = 16_384  # that codes are fitted to
_TURBO4_DEVIATIONS = 2.5  # gives equal steps the least squared error on the normal, 0.0114; with 2.25 or 2.75, 0.012


class Codes(StrEnum):
    """What a graph compares a query with."""

    F32 = "f32"
    F16 = "f16"
    SQ8 = "sq8"
    TURBO4 = "turbo4"
    TURBO2 = "turbo2"

    @property
    def rotated(self) -> bool:
        return self in (Codes.TURBO4, Codes.TURBO2)


# Of a row's code, and numbers of the codebook, for so many (padded) dimensions.
_CODE_BYTES: dict[Codes, Callable[[int], int]] = {
    Codes.F32: lambda dim: 4 * dim,
    Codes.F16: lambda dim: 2 * dim,
    Codes.SQ8: lambda dim: dim,
    Codes.TURBO4: lambda dim: -(-dim // 2),
    Codes.TURBO2: lambda dim: -(-dim // 4),
}
_TRAINED: dict[Codes, Callable[[int], int]] = {
    Codes.F32: lambda dim: 0,
    Codes.F16: lambda dim: 0,
    Codes.SQ8: lambda dim: 2 * dim,
    Codes.TURBO4: lambda dim: 2 * dim,
    Codes.TURBO2: lambda dim: 7,  # four levels and the three limits between them
}


class GraphIndex:
    """A graph that lies in a mapped file. Rows are numbered as they were built."""

    def __init__(self, index: faiss.Index, rotation: Rotation | None) -> None:
        self.rows = index.ntotal
        self._index = index  # owns the mapping
        self._rotation = rotation

    @classmethod
    def open(cls, path: Path, dim: int, codes: Codes) -> GraphIndex:
        """Map a file of `save`; `dim` and `codes` are those it was built with. RuntimeError if faiss cannot read it."""
        # Not IO_FLAG_MMAP, which maps inverted lists only and copies a graph.
        rotation = _rotation(dim) if codes.rotated else None
        padded = rotation.padded if rotation else dim
        index = faiss_files.read(path, padded, faiss.IO_FLAG_MMAP_IFC)
        if index.d != padded:
            raise RuntimeError(f"it has {index.d} dimensions, not {padded}")
        return cls(index, rotation)

    def fault(self, codes: Codes) -> str | None:
        """What a search would stumble over, in words; looks at every link."""
        try:
            index = faiss_files.opened(self._index).index
        except RuntimeError as error:
            return str(error)
        dim = self._index.d
        return faiss_files.graph_fault(index, dim, _TRAINED[codes](dim), _CODE_BYTES[codes](dim))

    def search(
        self, queries: Vectors, count: int, ef: int, bitmap: NDArray[np.uint8] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The `count` nearest rows by code for each query (q, dim), and what their codes say of their distances: twice
        (q, count), -1 where fewer are found.

        `ef` candidates are kept on the way, at least `count`. With a `bitmap` only rows r are found whose bit r % 8
        of byte r // 8 is 1; the candidates are chosen without it, so of few such rows only some are found.
        """
        rotated = self._rotation.apply(queries) if self._rotation else queries
        parameters: Any = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]  # not in faiss's stubs
        # Always set: the 16 of fresh parameters wins over what the index says. The others stay as they are:
        # with `bounded_queue` off faiss ignores the selector, and is no faster; with `check_relative_distance` off
        # a search takes `ef` steps even when it is done, up to a sixth more time for the same recall.
        parameters.efSearch = ef
        if bitmap is not None:
            parameters.sel = _selector(bitmap)
        # Through faiss's wrapper: what it checks costs 0.3 us, of 50 and more that a search takes.
        found: tuple[NDArray[np.float32], NDArray[np.int64]]
        found = self._index.search(rotated, count, params=parameters)
        return found


class RowSource(Protocol):
    """Vectors float32 (n, dim) that are read a slice at a time: an array, or what makes them as they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Vectors: ...


def build(
    vectors: RowSource,
    *,
    by_l2: bool,
    codes: Codes,
    m: int,
    m0: int,
    ef_construction: int,
    threads: int,
    progress: Callable[[int], None] | None = None,
) -> faiss.Index:
    """Link `vectors`, float32 (n, dim), n at least 1, finite, perhaps a mapped file, and give what `save` takes.
    Nearest is by distance if `by_l2`, else by inner product. A row has up to `m0` links on the lowest level, `m` on
    each higher one. `progress` gets the number of rows done. `threads` is set for all of faiss in this process.
    """
    faiss.omp_set_num_threads(threads)
    coder = _Coder(vectors, by_l2, Codes.SQ8 if codes.rotated else codes)
    graph: Any = faiss.IndexHNSW(coder.storage, m)  # type: ignore[arg-type]  # the stubs lack this form
    graph.hnsw.set_nb_neighbors(0, m0)  # before the first row; 2 m without it
    graph.hnsw.efConstruction = ef_construction
    for first in range(0, len(vectors), _BLOCK_ROWS):
        graph.add(vectors[first : first + _BLOCK_ROWS])
        if progress is not None:
            progress(graph.ntotal)
    return recode(graph, vectors, by_l2=by_l2, codes=codes) if codes.rotated else graph


def recode(graph: faiss.IndexHNSW, vectors: RowSource, *, by_l2: bool, codes: Codes) -> faiss.Index:
    """Replace the codes in a graph built over the same `vectors`; the links stay. `graph` itself is used up."""
    coder = _Coder(vectors, by_l2, codes)
    for first in range(0, len(vectors), _BLOCK_ROWS):
        coder.storage.add(coder.prepare(vectors[first : first + _BLOCK_ROWS]))
    graph.storage = coder.storage
    graph.d = coder.storage.d
    # The constructor made Python the owner of the first codes. It is to free these, and faiss the new ones.
    coder.storage.this.disown()  # type: ignore[attr-defined]  # of every SWIG object; not in the stubs
    graph.own_fields = True
    vars(graph).pop("referenced_objects", None)
    if coder.mean is None or not by_l2:  # taking the mean off moves the products with a query all alike
        return graph
    centering = faiss.CenteringTransform(coder.storage.d)
    faiss.copy_array_to_vector(coder.mean, centering.mean)
    centering.is_trained = True
    return faiss.IndexPreTransform(centering, graph)


def unreached(index: faiss.Index) -> NDArray[np.int64]:
    """The rows that no walk from where searches begin comes to, on any level: a search cannot find them."""
    while isinstance(index, faiss.IndexPreTransform):
        index = faiss.downcast_index(index.index)
    graph: Any = index
    entry, levels = graph.hnsw.entry_point, faiss.vector_to_array(graph.hnsw.levels)
    offsets = faiss.vector_to_array(graph.hnsw.offsets).astype(np.int64)
    links, m0 = faiss.vector_to_array(graph.hnsw.neighbors), graph.hnsw.nb_neighbors(0)
    is_reached = np.zeros(len(levels), np.bool_)
    is_reached[entry] = True
    frontier = np.array([entry])
    while len(frontier):
        lowest = links[offsets[frontier][:, None] + np.arange(m0)].reshape(-1)
        higher = [links[offsets[node] + m0 : offsets[node + 1]] for node in frontier[levels[frontier] > 1].tolist()]
        near = np.unique(np.concatenate([lowest, *higher]))  # -1 where a row has fewer links
        frontier = near[near >= 0]
        frontier = frontier[~is_reached[frontier]]
        is_reached[frontier] = True
    return np.flatnonzero(~is_reached)


def save(index: faiss.Index, path: Path) -> None:
    """Write what `build` made. RuntimeError if the file cannot be written."""
    faiss.write_index(index, str(path))


class _Coder:
    """Codes fitted to a sample of `vectors`: the empty `storage` for them, and what is done to rows before."""

    def __init__(self, vectors: RowSource, by_l2: bool, codes: Codes) -> None:
        dim = vectors.shape[1]
        metric = faiss.METRIC_L2 if by_l2 else faiss.METRIC_INNER_PRODUCT
        self.rotation = _rotation(dim) if codes.rotated else None
        self.mean: Vectors | None = None
        self.storage: faiss.Index
        if codes is Codes.F32:
            self.storage = faiss.IndexFlat(dim, metric)
            return
        kind = {
            Codes.F16: faiss.ScalarQuantizer.QT_fp16,
            Codes.SQ8: faiss.ScalarQuantizer.QT_8bit,
            Codes.TURBO4: faiss.ScalarQuantizer.QT_4bit,
            Codes.TURBO2: faiss.ScalarQuantizer.QT_2bit_tqmse,
        }[codes]
        storage = faiss.IndexScalarQuantizer(self.rotation.padded if self.rotation else dim, kind, metric)
        if codes is Codes.TURBO4:
            storage.sq.rangestat = faiss.ScalarQuantizer.RS_meanstd
            storage.sq.rangestat_arg = _TURBO4_DEVIATIONS
        sample = self.prepare(vectors[:: -(-len(vectors) // _SAMPLE_ROWS)])
        storage.train(sample)
        if codes is Codes.TURBO2:
            # Training gave the levels for vectors of length 1, whatever the sample: those of the normal over sqrt(d).
            fit = TurboCodec(dim, 2).fit(sample)
            self.mean = fit.mean
            levels = faiss.vector_to_array(storage.sq.trained) * np.float32(fit.scale * np.sqrt(storage.d))
            faiss.copy_array_to_vector(levels, storage.sq.trained)
        self.storage = storage

    def prepare(self, rows: Vectors) -> Vectors:
        """What the storage is given for rows (n, dim)."""
        if self.rotation is not None:
            rows = self.rotation.apply(rows)
        return rows if self.mean is None else rows - self.mean


def _selector(bitmap: NDArray[np.uint8]) -> faiss.IDSelectorBitmap:
    """What lets the rows of a bitmap pass; it keeps the array alive. The number that faiss counts is that of bytes."""
    return faiss.IDSelectorBitmap(np.ascontiguousarray(bitmap))  # type: ignore[call-arg, arg-type]  # not in the stubs


@lru_cache
def _rotation(dim: int) -> Rotation:
    """One for all graphs of a dimension: it takes up to 1 MiB."""
    return Rotation(dim)
