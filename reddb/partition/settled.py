"""The index of a sealed segment: its files, what was measured of it, and how every core opens it.

    segments/<segment id>/
        index.<n>         a checked file ("indx"): one MessagePack map, see `Description`
        codes.<n>.tv      a checked file ("turb"): mean float32[padded] and packed turbo codes, whole blocks of 32 rows
        graph.<n>.ckpt    a checked file ("hnsw"): a graph as `reddb.index.hnsw` writes it
        rows.<n>          a checked file ("rows"): what is behind its nodes (`reddb.partition.graph_rows`), or none
        lists.<n>.ivf     a checked file ("ivfl"): an inverted file as `reddb.index.ivf` writes it

n is the number that the manifest gives the index; index.<n> says which of the others there are, or that there is none
because scanning the rows costs less. How they are made and measured: `reddb.partition.index_builder`.

Invariants:
  * These files are caches: without them, or where one is damaged, the segment is scanned exactly, and a builder makes
    them again.
  * Nothing is given to faiss whose checksum was not verified, by the owner before the index was published.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from reddb import errors, limits
from reddb.described import NotDescribed, from_msgpack, map_of, record_of
from reddb.disk import Disk
from reddb.index.hnsw import Codes, GraphIndex
from reddb.index.ivf import InvertedFile
from reddb.index.turbo import BLOCK_ROWS, Fit, TurboIndex
from reddb.partition.calibration import UNKNOWN, Calibration
from reddb.partition.graph_rows import GraphRows
from reddb.partition.kinds import codec_of, codec_of_lists
from reddb.storage.checked_file import open_checked
from reddb.storage.field_index import open_field_indexes
from reddb.storage.manifest import SegmentRecord
from reddb.storage.sealed import identity_of
from reddb.types import INDEXABLE, Collection
from reddb.wording import shown

# Numbers of a segment's index: what sealing makes at once, and what was chosen with all the rows at hand, or later.
FRESH_INDEX, SETTLED_INDEX = 1, 2

EXACT, FLAT, GRAPH, LISTS = "exact", "turbo", "hnsw", "ivf"
FILE_OF = {FLAT: ("codes.{}.tv", b"turb"), GRAPH: ("graph.{}.ckpt", b"hnsw"), LISTS: ("lists.{}.ivf", b"ivfl")}
ROWS_FILE = ("rows.{}", b"rows")
INDEX_FILES = ("index.{}", *(name for name, _ in (*FILE_OF.values(), ROWS_FILE)))
_EXACT_WORK = 4_000_000  # coordinates: about 0.4 ms of scanning, what a graph costs with its overhead


@dataclass(frozen=True, slots=True)
class Description:
    """What the index is, and what it was measured to need."""

    kind: str
    codes: str = ""
    scale: float = 1.0
    search_us: float = 0.0  # processor time of one search at recall 0.99, where that was measured
    build_s: float = 0.0
    why: str = ""
    has_rows: bool = False  # whether there is a file of the rows behind a graph's nodes
    calibration: Calibration = UNKNOWN

    def to_plain(self) -> dict[str, Any]:
        """The same as a map of plain values."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "calibration": self.calibration.to_plain()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any], rows: int) -> Description:
        """Of so many rows, as a file says. Raises NotDescribed."""
        description = record_of(cls, plain, calibration=Calibration.from_plain(plain["calibration"], rows))
        if description.kind not in (EXACT, *FILE_OF):
            raise NotDescribed(f"has {shown(description)}")
        if description.kind == GRAPH and description.codes not in set(Codes):
            raise NotDescribed(f"has a graph of {shown(description.codes)}")
        return description


class FlatIndex(NamedTuple):
    description: Description
    turbo: TurboIndex


class Graph(NamedTuple):
    description: Description
    graph: GraphIndex
    rows: GraphRows | None  # None where node r is row r


class Lists(NamedTuple):
    description: Description
    file: InvertedFile


class ExactScan(NamedTuple):
    description: Description


SettledIndex: TypeAlias = FlatIndex | Graph | Lists | ExactScan

_OUTDATED = Description(EXACT, why="its index is of an earlier build, which measured less; it is built anew")


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
    files = _Files(disk, folder, collection, partition, segment_id, rows, number, verify)
    description = files.description()
    content = files.content_of(description)
    if content is None:
        return ExactScan(description)
    if description.kind == FLAT:
        return FlatIndex(description, _turbo(files, description, content))
    path = files.path(FILE_OF[description.kind][0])
    try:
        with disk.system_path(path) as file:
            if description.kind == LISTS:
                found: Lists | Graph = Lists(description, InvertedFile.open(file, codec_of_lists(collection)))
            else:
                found = _graph(files, file, description)
    except RuntimeError as error:
        raise files.damaged(path, f"is no index: {error}") from error
    indexed = found.file.rows if isinstance(found, Lists) else found.graph.rows
    wanted = found.rows.nodes if isinstance(found, Graph) and found.rows is not None else rows
    if indexed != wanted:
        raise files.damaged(path, f"is an index of {indexed} rows, not of {wanted}")
    return found


def _graph(files: _Files, path: Path, description: Description) -> Graph:
    """Raises RuntimeError for one that cannot be searched."""
    codes = Codes(description.codes)
    graph = GraphIndex.open(path, files.collection.dim, codes)
    fault = graph.fault(codes) if files.verify else None
    if fault is not None:
        raise RuntimeError(fault)
    return Graph(description, graph, files.graph_rows() if description.has_rows else None)


def _turbo(files: _Files, description: Description, content: memoryview) -> TurboIndex:
    """Raises CORRUPT_DATA unless they are codes of all the rows."""
    codec, path = codec_of(files.collection), files.path(FILE_OF[FLAT][0])
    if codec is None:
        raise files.damaged(path, "has codes, which this kind of collection has not")
    values, mean_bytes = np.frombuffer(content, np.uint8), 4 * codec.rotation.padded
    if len(values) != mean_bytes + (files.rows + -files.rows % BLOCK_ROWS) * codec.code_bytes:
        raise files.damaged(path, f"has {len(values)} bytes, which are not the codes of {files.rows} rows")
    fit = Fit(values[:mean_bytes].view(np.float32), description.scale)
    if not fit.is_sound:
        raise files.damaged(path, "has codes of no numbers")
    turbo = TurboIndex(codec, fit, files.collection.metric)
    turbo.append(values[mean_bytes:])
    return turbo


def with_sound_index(
    disk: Disk, folder: Path, collection: Collection, partition: int, record: SegmentRecord
) -> tuple[SegmentRecord, errors.RedDBError | None]:
    """The segment, without its index if that is damaged, a cache that will be built anew; and why, if so.

    It is opened, as every core will: its checksum says that it is what was written, not that we wrote it.
    """
    of = disk, folder, collection, partition, record.id, record.rows, record.index
    try:
        if open_index(*of, verify=True).description is _OUTDATED:
            return replace(record, index=0), None
        open_field_indexes(*of)
    except errors.RedDBError as error:
        return replace(record, index=0), error
    return record, None


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of one index."""

    disk: Disk
    folder: Path
    collection: Collection
    partition: int
    segment_id: int
    rows: int
    number: int
    verify: bool

    def description(self) -> Description:
        try:
            plain = map_of(from_msgpack(self._content("index.{}", b"indx")))
            return Description.from_plain(plain, self.rows) if "calibration" in plain else _OUTDATED
        except NotDescribed as error:
            raise self.damaged(self.path("index.{}"), str(error)) from error

    def content_of(self, description: Description) -> memoryview | None:
        """The file that there is beside the description."""
        return self._content(*FILE_OF[description.kind]) if description.kind in FILE_OF else None

    def graph_rows(self) -> GraphRows:
        try:
            return GraphRows.read(self._content(*ROWS_FILE), self.rows)
        except ValueError as error:
            raise self.damaged(self.path(ROWS_FILE[0]), str(error)) from error

    def path(self, name: str) -> Path:
        return self.folder / name.format(self.number)

    def damaged(self, path: Path, what: str) -> errors.RedDBError:
        return errors.CORRUPT_DATA.error(f"{path} {what}", path=str(path))

    def _content(self, name: str, kind: bytes) -> memoryview:
        identity = identity_of(self.collection, self.partition, self.segment_id, kind, self.rows)
        return open_checked(self.disk, self.path(name), identity, verify=self.verify)
