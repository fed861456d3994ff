"""The index of a sealed segment: what it is, how it is built, and how every core opens it.

    segments/<segment id>/
        index.<n>         a checked file ("indx"): one MessagePack map, see `Description`
        codes.<n>.tv      a checked file ("turb"): mean float32[padded] and packed turbo codes, whole blocks of 32 rows
        graph.<n>.ckpt    a checked file ("hnsw"): a graph as `reddb.index.hnsw` writes it
        lists.<n>.ivf     a checked file ("ivfl"): an inverted file as `reddb.index.ivf` writes it

n is the number that the manifest gives the index; index.<n> says which of the three others there is, or that there is
none because scanning the rows costs less.

What is best depends on the rows, so it is measured by whoever builds: stored rows are searched for, exactly and by the
index, and the description says how many candidates, and of how many lists, each recall needed. A graph is kept where
it is asked for, or where the processor time of a search at recall 0.99 is less than that of a scan of the codes; an
inverted file is made where it is asked for.

Invariants:
  * These files are caches: without them, or where one is damaged, the segment is scanned exactly, and a builder makes
    them again.
  * Nothing is given to faiss whose checksum was not verified, by the owner before the index was published.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgpack
import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.disk import Disk
from reddb.index import hnsw, ivf
from reddb.index.hnsw import Codes, GraphIndex
from reddb.index.ivf import InvertedFile
from reddb.index.metrics import INDEXABLE, prepare, uses_l2
from reddb.index.turbo import BLOCK_ROWS, Fit, TurboCodec, TurboIndex
from reddb.partition.encoder import depths_of
from reddb.partition.kinds import codec_of, codec_of_lists
from reddb.partition.trials import DEPTH_MAX, RECALLS, Pairs, depth_for, exact_trials, try_lists
from reddb.storage.checked_file import FileIdentity, add_trailer, open_checked, write_checked
from reddb.storage.field_index import open_field_indexes
from reddb.storage.manifest import SegmentRecord
from reddb.storage.sealed import SealedSegment, identity_of
from reddb.types import Collection, Metric, Vectors

# Numbers of a segment's index: what sealing makes at once, and what was chosen with all the rows at hand, or later.
FRESH_INDEX, SETTLED_INDEX = 1, 2

EXACT, FLAT, GRAPH, LISTS = "exact", "turbo", "hnsw", "ivf"
_FILE_OF = {FLAT: ("codes.{}.tv", b"turb"), GRAPH: ("graph.{}.ckpt", b"hnsw"), LISTS: ("lists.{}.ivf", b"ivfl")}
_INDEX_FILES = ("index.{}", *(name for name, _ in _FILE_OF.values()))
_EXACT_WORK = 4_000_000  # coordinates: about 0.4 ms of scanning, what a graph costs with its overhead
_SAMPLE_ROWS = 4096
_TRIAL_EFS = (16, 32, 64, 128, 256, 512, 1024)
_BLOCK_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Description:
    """What the index is. `candidates` are pairs: a recall at k = 10, and the candidates that reached it; `probes` the
    same with the lists of an inverted file that these candidates were taken from.
    """

    kind: str
    codes: str = ""
    scale: float = 1.0
    candidates: Pairs = ()
    search_us: float = 0.0  # processor time of one search at recall 0.99, where that was measured
    build_s: float = 0.0
    why: str = ""
    probes: Pairs = ()

    def needed(self, recall: float) -> int | None:
        """Candidates for this recall at k = 10; None where no number of them was seen to reach it."""
        return _reaching(self.candidates, recall)

    def needed_probes(self, recall: float) -> int | None:
        """Lists to scan for this recall with that many candidates; None where not even all of them would do."""
        return _reaching(self.probes, recall)


class FlatIndex(NamedTuple):
    description: Description
    turbo: TurboIndex


class Graph(NamedTuple):
    description: Description
    graph: GraphIndex


class Lists(NamedTuple):
    description: Description
    file: InvertedFile


class ExactScan(NamedTuple):
    description: Description


SettledIndex: TypeAlias = FlatIndex | Graph | Lists | ExactScan


def wants_graph(collection: Collection, rows: int) -> bool:
    """Whether a builder shall make a graph or lists of a segment of so many rows, to keep them or to compare."""
    if collection.metric not in INDEXABLE or collection.settings["index"] == "flat":
        return False
    if collection.settings["index"] in ("hnsw", "ivf"):
        return True
    flat_rows = limits.FLAT_TURBO_ROWS if codec_of(collection) is not None else _EXACT_WORK // collection.dim
    return rows > flat_rows


def lacks_index(collection: Collection, number: int, rows: int) -> bool:
    """Whether a segment was sealed with nothing but codes, or without any, and a graph or lists may serve it better."""
    return number == 0 or (number == FRESH_INDEX and wants_graph(collection, rows))


def open_index(
    disk: Disk,
    folder: Path,
    collection: Collection,
    partition: int,
    segment_id: int,
    rows: int,
    number: int,
    *,
    verify: bool,
) -> SettledIndex:
    """Map the index with this number. Raises CORRUPT_DATA naming the file."""
    if not number:
        return ExactScan(Description(EXACT, why="an index is being built"))
    of = disk, folder, collection, partition, segment_id, rows, number
    description, path, content = _index_files(*of, verify=verify)
    if path is None:
        return ExactScan(description)
    if description.kind == FLAT:
        codec = codec_of(collection)
        assert codec is not None
        values = np.frombuffer(content, np.uint8)
        mean = values[: 4 * codec.rotation.padded].view(np.float32)
        turbo = TurboIndex(codec, Fit(mean, description.scale), collection.metric)
        turbo.append(values[mean.nbytes :])
        return FlatIndex(description, turbo)
    try:
        if description.kind == GRAPH:
            return Graph(description, GraphIndex.open(path, collection.dim, Codes(description.codes)))
        return Lists(description, InvertedFile.open(path, codec_of_lists(collection)))
    except RuntimeError as error:
        raise errors.CORRUPT_DATA.error(f"{path} is no index: {error}", path=str(path)) from error


def with_sound_index(
    disk: Disk, folder: Path, collection: Collection, partition: int, record: SegmentRecord
) -> tuple[SegmentRecord, errors.RedDBError | None]:
    """The segment, without its index if that is damaged, a cache that will be built anew; and why, if so."""
    of = disk, folder, collection, partition, record.id, record.rows, record.index
    try:
        if record.index:
            _index_files(*of, verify=True)
        open_field_indexes(*of)
    except errors.RedDBError as error:
        return replace(record, index=0), error
    return record, None


def _index_files(
    disk: Disk,
    folder: Path,
    collection: Collection,
    partition: int,
    segment_id: int,
    rows: int,
    number: int,
    *,
    verify: bool,
) -> tuple[Description, Path | None, memoryview]:
    """What the index is, and the file that it has beside its description, with its content."""

    def content(name: str, kind: bytes) -> memoryview:
        identity = identity_of(collection, partition, segment_id, kind, rows)
        return open_checked(disk, folder / name, identity, verify=verify)

    plain = msgpack.unpackb(content(f"index.{number}", b"indx"), use_list=False)
    description = Description(**plain)
    if description.kind not in _FILE_OF:
        return description, None, memoryview(b"")
    name, kind = _FILE_OF[description.kind]
    name = name.format(number)
    return description, folder / name, content(name, kind)


class IndexBuilder:
    """Builds and writes the index of one sealed segment; for a builder process."""

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        collection: Collection,
        partition: int,
        segment_id: int,
        progress: Callable[[int], None],
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._collection = collection
        self._partition = partition
        self._segment_id = segment_id
        self._progress = progress

    def build(self, segment: SealedSegment, number: int, *, graph: bool) -> None:
        """Write the index files with this number, with a `graph` that or what was asked for in its place. Raises
        DISK_FULL or DISK_FAILED.
        """
        for name in _INDEX_FILES:  # a builder that was killed may have made another kind
            self._disk.remove_file(self._folder / name.format(number))
        if graph and segment.rows and self._collection.settings["index"] == "ivf":
            self._lists(segment, number)
            return
        codec = codec_of(self._collection)
        flat = None if codec is None else self._flat(codec, segment)
        if graph and segment.rows:
            made, description = self._graph(segment, number)
            is_asked_for = self._collection.settings["index"] == "hnsw"
            if flat is None or is_asked_for or _costs_less(description, flat[0]):
                why = "asked for" if is_asked_for else "costs less than a scan" if flat is not None else "many rows"
                add_trailer(self._disk, made, self._identity(b"hnsw", segment.rows))
                self._write_description(replace(description, why=why), segment.rows, number)
                return
            made.unlink()
        if flat is not None:
            identity = self._identity(b"turb", segment.rows)
            write_checked(self._disk, self._folder / f"codes.{number}.tv", identity, flat[1])
            self._write_description(flat[0], segment.rows, number)
            return
        self._write_description(Description(EXACT, why="few rows, or a metric no index knows"), segment.rows, number)

    # --- turbo codes ---------------------------------------------------------------------------------------

    def _flat(self, codec: TurboCodec, segment: SealedSegment) -> tuple[Description, list[NDArray[Any]]]:
        began = time.monotonic()
        metric, vectors = self._collection.metric, segment.columns.vectors
        sample = np.unique(np.linspace(0, segment.rows - 1, _SAMPLE_ROWS).astype(np.int64))
        fit = codec.fit(codec.rotation.apply(prepare(metric, vectors[sample])))
        packed: list[NDArray[Any]] = [fit.mean]
        for first in range(0, segment.rows, _BLOCK_ROWS):
            block = prepare(metric, vectors[first : first + _BLOCK_ROWS])
            missing = -len(block) % BLOCK_ROWS  # the last block is filled up with zeros, which nobody asks for
            block = np.concatenate([block, np.zeros((missing, block.shape[1]), np.float32)]) if missing else block
            packed.append(codec.encode(codec.normalise(codec.rotation.apply(block), fit)))
        index = TurboIndex(codec, fit, metric)
        for codes in packed[1:]:
            index.append(codes)
        build_s = time.monotonic() - began
        candidates, search_us = self._try_flat(codec, index, segment)
        description = Description(FLAT, f"turbo{codec.bits}", fit.scale, candidates, search_us, build_s, "few rows")
        return description, packed

    def _try_flat(self, codec: TurboCodec, index: TurboIndex, segment: SealedSegment) -> tuple[Pairs, float]:
        depth = min(DEPTH_MAX, segment.rows)
        depths: list[int] = []
        spent_s = 0.0
        trials = exact_trials(self._collection.metric, segment)
        for query, near in trials:
            rotated = codec.rotation.apply(prepare(self._collection.metric, query[None]))
            ranked = index.search(rotated, depth)[0]
            depths += depths_of(near, ranked, segment.rows)
        reached = [(recall, depth_for(depths, recall, depth)) for recall in RECALLS]
        candidates = tuple((recall, count) for recall, count in reached if count is not None)
        count = dict(candidates).get(0.99, depth)
        for query, _ in trials:
            began = time.thread_time()
            index.search(codec.rotation.apply(prepare(self._collection.metric, query[None])), count)
            spent_s += time.thread_time() - began
        return candidates, 1e6 * spent_s / max(len(trials), 1)

    # --- graphs --------------------------------------------------------------------------------------------

    def _graph(self, segment: SealedSegment, number: int) -> tuple[Path, Description]:
        began = time.monotonic()
        collection = self._collection
        codes = Codes.SQ8 if collection.settings["codes"] == "auto" else Codes(str(collection.settings["codes"]))
        index = hnsw.build(
            _PreparedRows(collection.metric, segment.columns.vectors),
            by_l2=uses_l2(collection.metric),
            codes=codes,
            m=collection.number("m"),
            m0=collection.number("m0"),
            ef_construction=collection.number("ef_construction"),
            threads=1,
            progress=self._progress,
        )
        path = self._folder / f"graph.{number}.ckpt"
        _save(hnsw.save, index, path)
        del index
        build_s = time.monotonic() - began
        candidates, search_us = self._try_graph(GraphIndex.open(path, collection.dim, codes), segment)
        return path, Description(GRAPH, codes, 1.0, candidates, search_us, build_s)

    def _try_graph(self, graph: GraphIndex, segment: SealedSegment) -> tuple[Pairs, float]:
        trials = exact_trials(self._collection.metric, segment)
        candidates: list[tuple[float, int]] = []
        search_us = 0.0
        for ef in _TRIAL_EFS:
            hits, spent_s = 0, 0.0
            for query, near in trials:
                prepared = prepare(self._collection.metric, query[None])
                began = time.thread_time()
                found = graph.search(prepared, ef, ef)[0]
                spent_s += time.thread_time() - began
                hits += len(np.intersect1d(found, near))
            recall = hits / max(sum(len(near) for _, near in trials), 1)
            candidates += [(wanted, ef) for wanted in RECALLS[len(candidates) :] if recall >= wanted]
            search_us = 1e6 * spent_s / max(len(trials), 1)
            if recall >= RECALLS[3] and len(candidates) >= 4:
                break
        return tuple(candidates), search_us

    # --- inverted files ------------------------------------------------------------------------------------

    def _lists(self, segment: SealedSegment, number: int) -> None:
        began = time.monotonic()
        collection, codec = self._collection, codec_of_lists(self._collection)
        rows = _PreparedRows(collection.metric, segment.columns.vectors)
        index = ivf.build(rows, codec, by_l2=uses_l2(collection.metric), threads=1, progress=self._progress)
        path = self._folder / f"lists.{number}.ivf"
        _save(ivf.save, index, path)
        del index
        build_s = time.monotonic() - began
        found = try_lists(collection.metric, segment, InvertedFile.open(path, codec))
        add_trailer(self._disk, path, self._identity(b"ivfl", segment.rows))
        codes = f"turbo{codec.bits}"
        description = Description(
            LISTS, codes, 1.0, found.candidates, found.search_us, build_s, "asked for", found.probes
        )
        self._write_description(description, segment.rows, number)

    # -------------------------------------------------------------------------------------------------------

    def _identity(self, content: bytes, rows: int) -> FileIdentity:
        return identity_of(self._collection, self._partition, self._segment_id, content, rows)

    def _write_description(self, description: Description, rows: int, number: int) -> None:
        content = msgpack.packb(asdict(description))
        write_checked(self._disk, self._folder / f"index.{number}", self._identity(b"indx", rows), [content])
        self._disk.sync_folder(self._folder)


def _save(save: Callable[[Any, Path], None], index: Any, path: Path) -> None:
    """faiss writes the file itself, and says nothing of why it could not. Raises DISK_FULL, which is tried again."""
    try:
        save(index, path)
    except RuntimeError as error:
        raise errors.DISK_FULL.error(f"cannot write {path}: {error}", path=str(path)) from error


class _PreparedRows:
    """A segment's vectors as an index wants them, made as they are asked for: a copy of all may not fit into memory."""

    def __init__(self, metric: Metric, vectors: Vectors) -> None:
        self._metric = metric
        self._vectors = vectors
        self.shape = vectors.shape

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, rows: slice) -> Vectors:
        return prepare(self._metric, self._vectors[rows])


def _reaching(pairs: Pairs, recall: float) -> int | None:
    return next((count for reached, count in pairs if reached >= recall), None)


def _costs_less(graph: Description, flat: Description) -> bool:
    """Whether the graph reaches recall 0.99 for less processor time than the codes do."""
    return graph.needed(0.99) is not None and (flat.needed(0.99) is None or graph.search_us < flat.search_us)
