"""What a file made of an index, looked at before it is searched: faiss believes every number that it reads.

A checksum says that a file is what was written, not who wrote it: a link to a row that there is not would have faiss
read memory that is not its own.

    read               an index of a file, no part of it out of proportion to the file
    graph_fault        what is wrong with a graph, in words: every link is looked at, 30 ms for a million rows
    lists_fault        the same of an inverted file, but for its packed codes, which faiss does not show

Invariant: nothing is searched in here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

_TIMES_FILE = 16


class Opened(NamedTuple):
    """An index, and the mean that is taken off what it is given, if it is told one."""

    index: Any
    centering: Any | None


def read(path: Path, dim: int, flags: int = 0) -> Any:
    """An index of vectors (dim,). Raises RuntimeError for what faiss cannot read."""
    # It counts tables that are never made too: eight times the bytes of each centroid, and a matrix for the mean.
    faiss.set_deserialization_vector_byte_limit(_TIMES_FILE * path.stat().st_size + 8 * dim * dim)
    try:
        return faiss.read_index(str(path), flags)
    except MemoryError as error:
        raise RuntimeError("it asks for more memory than there is") from error


def opened(index: Any) -> Opened:
    """The index in what was read. Raises RuntimeError for anything but one that a mean may be taken off before."""
    if not isinstance(index, faiss.IndexPreTransform):
        return Opened(index, None)
    chain: Any = index.chain
    centering: Any = faiss.downcast_VectorTransform(chain.at(0)) if chain.size() == 1 else None
    if not isinstance(centering, faiss.CenteringTransform) or centering.mean.size() != index.d:
        raise RuntimeError("it begins with another transformation than taking a mean off")
    return Opened(faiss.downcast_index(index.index), centering)


def graph_fault(index: Any, dim: int, trained: int, code_bytes: int) -> str | None:
    """Of a graph over codes of vectors (dim,): of so many bytes each, with a codebook of so many numbers."""
    if not isinstance(index, faiss.IndexHNSW) or index.d != dim:
        return f"it is a {type(index).__name__} of {index.d} dimensions"
    storage: Any = faiss.downcast_index(index.storage)
    if not isinstance(storage, faiss.IndexFlat | faiss.IndexScalarQuantizer) or storage.d != dim:
        return f"it has codes in a {type(storage).__name__} of {storage.d} dimensions"
    if storage.ntotal != index.ntotal or storage.codes.size() != index.ntotal * code_bytes:
        return f"it has {storage.codes.size()} bytes of codes for {index.ntotal} rows"
    if storage.code_size != code_bytes or (
        isinstance(storage, faiss.IndexScalarQuantizer) and storage.sq.trained.size() != trained
    ):
        return "it has another codebook"
    return _links_fault(index.hnsw, index.ntotal)


def _links_fault(graph: Any, rows: int) -> str | None:
    levels, offsets, links = (_view(part) for part in (graph.levels, graph.offsets, graph.neighbors))
    widths = faiss.vector_to_array(graph.cum_nneighbor_per_level).astype(np.int64)
    if len(levels) != rows or len(offsets) != rows + 1 or not rows:
        return f"it has {len(levels)} levels and {len(offsets)} places of links for {rows} rows"
    if not 1 <= levels.min() <= levels.max() < len(widths) or widths[0] or (np.diff(widths) <= 0).any():
        return "it has levels that there are not"
    if offsets[0] or offsets[-1] != len(links) or (np.diff(offsets.astype(np.int64)) != widths[levels]).any():
        return "it has links that belong to no row"
    entry = graph.entry_point
    if not 0 <= entry < rows or levels[entry] != graph.max_level + 1 or graph.max_level != levels.max() - 1:
        return f"it begins at row {entry} of {rows}"
    if links.min() < -1 or links.max() >= rows:
        return "it has links to rows that there are not"
    for level in range(1, graph.max_level + 1):
        there = np.flatnonzero(levels > level)
        near = links[offsets[there].astype(np.int64)[:, None] + np.arange(widths[level], widths[level + 1])]
        if (levels[near[near >= 0]] <= level).any():
            return f"it has links on level {level} to rows that do not reach it"
    return None


def lists_fault(index: Any, dim: int, columns: int) -> str | None:
    """Of lists of codes of so many nibbles, of vectors (dim,)."""
    if not isinstance(index, faiss.IndexIVFPQFastScan) or index.d != dim or index.by_residual:
        return f"it is a {type(index).__name__} of {index.d} dimensions"
    quantizer: Any = faiss.downcast_index(index.quantizer)
    lists: Any = index.invlists
    if not isinstance(quantizer, faiss.IndexFlat) or (quantizer.d, quantizer.ntotal) != (dim, index.nlist):
        return "it has no centroid for each list"
    if quantizer.codes.size() != 4 * dim * index.nlist or index.nlist < 1 or lists.nlist != index.nlist:
        return "it has no centroid for each list"
    pq = index.pq
    shape = (
        index.M,
        index.M2,
        index.ksub,
        index.nbits,
        pq.M,
        pq.ksub,
        pq.d,
        pq.centroids.size(),
        index.bbs,
        index.implem,
        index.qbs,
    )
    if shape != (columns, columns, 16, 4, columns, 16, dim, 16 * dim, 32, 0, 0):
        return "it has another codebook"
    numbers = [
        faiss.rev_swig_ptr(lists.get_ids(at), size) for at in range(index.nlist) if (size := lists.list_size(at))
    ]
    found = np.sort(np.concatenate([np.empty(0, np.int64), *numbers]))
    if not np.array_equal(found, np.arange(index.ntotal)):
        return f"it does not have each of {index.ntotal} rows once"
    return None


def _view(vector: Any) -> NDArray[Any]:
    """What a vector of faiss holds, in place."""
    size = vector.size()
    array: NDArray[Any] = faiss.rev_swig_ptr(vector.data(), size) if size else np.empty(0, np.int64)
    return array
