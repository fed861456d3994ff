"""Builds, measures and writes the index of one sealed segment; for a builder process.

What is best depends on the rows, so it is measured: queries like the rows and unlike them (`reddb.partition.trials`)
are answered exactly and by the index, and the description says how many candidates, and of how many lists, each recall
needed (`reddb.partition.calibration`). A graph is kept where it is asked for, or where the processor time of a search
at recall 0.99 is less than that of a scan of the codes; an inverted file is made where it is asked for.

A graph has one node for equal vectors. Rows that no walk through it reaches are kept beside it while they are few; a
graph that falls apart says so, and nobody walks it unless told to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.disk import Disk
from reddb.index import hnsw, ivf
from reddb.index.hnsw import Codes, GraphIndex
from reddb.index.ivf import InvertedFile
from reddb.index.metrics import Distances, prepare, uses_l2
from reddb.index.turbo import BLOCK_ROWS, TurboCodec, TurboIndex
from reddb.partition.calibration import Calibration, Limits, Outcome, calibrated
from reddb.partition.graph_rows import GraphRows, Prepare, distinct_rows
from reddb.partition.kinds import codec_of, codec_of_lists
from reddb.partition.settled import (
    EXACT,
    FILE_OF,
    FLAT,
    GRAPH,
    INDEX_FILES,
    LISTS,
    ROWS_FILE,
    Description,
)
from reddb.partition.trials import DEPTH_MAX, K, Trial, Trials, spread, trial_steps
from reddb.partition.watched import Outliers, crowds_of_codes, crowds_of_nodes, outliers
from reddb.storage.checked_file import FileIdentity, add_trailer, write_checked
from reddb.storage.sealed import VECTORS, SealedSegment, identity_of
from reddb.types import Collection, Metric, Vectors

_SAMPLE_ROWS = 4096
_TRIAL_EFS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_BLOCK_ROWS = 8192
_LIKE, _UNLIKE = 64, 16  # trials of each group
_ZONE_TRIALS = 24
_HIDDEN_SHARE = 0.01  # of the rows, that may be scanned beside a graph
# Which list a neighbour lies in varies more from query to query than how deep among the codes it stands: on 100,000
# sentences 64 queries gave recall 0.982 where 0.99 was wanted.
_LIST_QUERIES = 512
_LOST_BY_CODES = 0.25  # of the neighbours that an inverted file may miss; the others lie in lists not scanned


class IndexBuilder:
    """Builds and writes the index of one sealed segment."""

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
        DISK_FULL, DISK_FAILED, or CORRUPT_DATA for vectors of what are no numbers.
        """
        for name in INDEX_FILES:  # a builder that was killed may have made another kind
            self._disk.remove_file(self._folder / name.format(number))
        codec = codec_of(self._collection)
        is_graph = graph and segment.rows > 0
        if not is_graph and codec is None:
            description = Description(EXACT, why="few rows, or a metric no index knows")
            self._write_description(description, segment.rows, number)
            return
        trials = _trials(self._collection.metric, segment)
        if is_graph and self._collection.settings["index"] == "ivf":
            self._lists(segment, number, trials)
            return
        flat = None if codec is None else self._flat(codec, segment, trials)
        if is_graph:
            made, rows, description = self._graph(segment, number, trials)
            is_asked_for = self._collection.settings["index"] == "hnsw"
            if flat is None or is_asked_for or _costs_less(description, flat[0]):
                why = "asked for" if is_asked_for else "costs less than a scan" if flat is not None else "many rows"
                add_trailer(self._disk, made, self._identity(b"hnsw", segment.rows))
                if description.has_rows:
                    self._write(ROWS_FILE, segment.rows, number, rows.parts())
                self._write_description(replace(description, why=description.why or why), segment.rows, number)
                return
            self._disk.remove_file(made)
        assert flat is not None
        self._write(FILE_OF[FLAT], segment.rows, number, flat[1])
        self._write_description(flat[0], segment.rows, number)

    # --- turbo codes ---------------------------------------------------------------------------------------

    def _flat(
        self, codec: TurboCodec, segment: SealedSegment, trials: Trials
    ) -> tuple[Description, list[NDArray[Any]]]:
        began = time.monotonic()
        metric, vectors = self._collection.metric, segment.columns.vectors
        sample = spread(segment.rows, _SAMPLE_ROWS)
        fit = codec.fit(codec.rotation.apply(prepare(metric, vectors[sample])))
        packed: list[NDArray[Any]] = [fit.mean]
        outlying: Outliers = ()
        for first in range(0, segment.rows, _BLOCK_ROWS):
            block = prepare(metric, vectors[first : first + _BLOCK_ROWS])
            missing = -len(block) % BLOCK_ROWS  # the last block is filled up with zeros, which nobody asks for
            block = np.concatenate([block, np.zeros((missing, block.shape[1]), np.float32)]) if missing else block
            normalised = codec.normalise(codec.rotation.apply(block), fit)
            outlying = outliers(normalised[: segment.rows - first], first, outlying)
            packed.append(codec.encode(normalised))
        index = TurboIndex(codec, fit, metric)
        for codes in packed[1:]:
            index.append(codes)
        crowds = crowds_of_codes(np.concatenate(packed[1:]), codec.code_bytes, segment.rows)
        build_s = time.monotonic() - began
        calibration, search_us = self._try_flat(codec, index, segment, trials)
        calibration = replace(calibration, crowds=crowds, outliers=tuple(row for _, row in outlying))
        description = Description(
            FLAT, f"turbo{codec.bits}", fit.scale, search_us, build_s, "few rows", calibration=calibration
        )
        return description, packed

    def _try_flat(
        self, codec: TurboCodec, index: TurboIndex, segment: SealedSegment, trials: Trials
    ) -> tuple[Calibration, float]:
        """What searches need, and the processor time of one."""
        distances = _distances(self._collection.metric, segment)
        deepest = min(DEPTH_MAX, segment.rows)

        def ask(trial: Trial, count: int) -> NDArray[np.int64]:
            _, (labels,) = index.search(codec.rotation.apply(self._prepare(trial.query[None])), count)
            found: NDArray[np.int64] = labels[labels < segment.rows]
            return found

        def tried(trial: Trial) -> Outcome:
            return trial.outcome(trial.depths(distances, ask(trial, deepest), segment.rows))

        calibration = calibrated(*_outcomes(trials, tried), Limits(deepest), _ZONE_TRIALS)
        count = calibration.like.needed(0.99) or deepest
        return calibration, _time_us(trials, lambda trial: ask(trial, count))

    # --- graphs --------------------------------------------------------------------------------------------

    def _graph(self, segment: SealedSegment, number: int, trials: Trials) -> tuple[Path, GraphRows, Description]:
        began = time.monotonic()
        collection = self._collection
        codes = Codes.SQ8 if collection.settings["codes"] == "auto" else Codes(str(collection.settings["codes"]))
        rows = distinct_rows(segment.columns.vectors, self._prepare)
        index = hnsw.build(
            _PreparedRows(segment.columns.vectors, self._prepare, rows.first),
            by_l2=uses_l2(collection.metric),
            codes=codes,
            m=collection.number("m"),
            m0=collection.number("m0"),
            ef_construction=collection.number("ef_construction"),
            threads=1,
            progress=self._progress,
        )
        path = self._folder / FILE_OF[GRAPH][0].format(number)
        self._save(hnsw.save, index, path)
        apart = rows.hiding(hnsw.unreached(index))
        del index
        description = Description(GRAPH, codes, build_s=time.monotonic() - began)
        if len(apart.hidden) <= _HIDDEN_SHARE * segment.rows:
            rows = apart
            with self._disk.system_path(path) as file:
                graph = GraphIndex.open(file, collection.dim, codes)
            calibration, search_us = self._try_graph(graph, rows, segment, trials)
            calibration = replace(calibration, crowds=crowds_of_nodes(rows))
            description = replace(description, search_us=search_us, calibration=calibration)
        else:
            why = f"falls apart: no links lead to {len(apart.hidden):,} of {segment.rows:,} rows, so it is not walked"
            description = replace(description, why=why)
        return path, rows, replace(description, has_rows=not rows.is_plain)

    def _try_graph(
        self, graph: GraphIndex, rows: GraphRows, segment: SealedSegment, trials: Trials
    ) -> tuple[Calibration, float]:
        """What searches need, and the processor time of one."""
        distances = _distances(self._collection.metric, segment)

        def tried(trial: Trial) -> Outcome:
            prepared, depths = self._prepare(trial.query[None]), list[int]()
            for ef in _TRIAL_EFS:
                near = np.concatenate([rows.hidden, rows.behind(graph.search(prepared, ef, ef)[1][0])])
                found = sum(depth < segment.rows for depth in trial.depths(distances, near, segment.rows))
                depths += [ef - 1] * (found - len(depths))
                if len(depths) == len(trial.near):
                    break
            return trial.outcome(depths + [segment.rows] * (len(trial.near) - len(depths)))

        calibration = calibrated(*_outcomes(trials, tried), Limits(_TRIAL_EFS[-1]), _ZONE_TRIALS)
        ef = calibration.like.needed(0.99) or _TRIAL_EFS[-1]
        return calibration, _time_us(trials, lambda trial: graph.search(self._prepare(trial.query[None]), ef, ef))

    # --- inverted files ------------------------------------------------------------------------------------

    def _lists(self, segment: SealedSegment, number: int, trials: Trials) -> None:
        began = time.monotonic()
        collection, codec = self._collection, codec_of_lists(self._collection)
        rows = _PreparedRows(segment.columns.vectors, self._prepare)
        blocks = (rows[first : first + _BLOCK_ROWS] for first in range(0, segment.rows, _BLOCK_ROWS))
        if not all(np.abs(block).max() <= limits.COORDINATE_MAX for block in blocks):  # faiss would end the process
            vectors = self._folder / VECTORS
            raise errors.CORRUPT_DATA.error(f"{vectors} holds what cannot be put into lists", path=str(vectors))
        index = ivf.build(rows, codec, by_l2=uses_l2(collection.metric), threads=1, progress=self._progress)
        path = self._folder / FILE_OF[LISTS][0].format(number)
        self._save(ivf.save, index, path)
        del index
        build_s = time.monotonic() - began
        with self._disk.system_path(path) as there:
            file = InvertedFile.open(there, codec)
        crowds = crowds_of_nodes(distinct_rows(segment.columns.vectors, self._prepare))
        calibration = replace(self._try_lists(file, segment, trials), crowds=crowds)
        add_trailer(self._disk, path, self._identity(b"ivfl", segment.rows))
        description = Description(LISTS, f"turbo{codec.bits}", 1.0, 0.0, build_s, "asked for", calibration=calibration)
        self._write_description(description, segment.rows, number)

    def _try_lists(self, file: InvertedFile, segment: SealedSegment, trials: Trials) -> Calibration:
        """Where neighbours stand among all codes, and where their lists: that tells what any search would find."""
        distances = _distances(self._collection.metric, segment)
        deepest = min(DEPTH_MAX, segment.rows)

        def tried(trial: Trial) -> Outcome:
            query = self._prepare(trial.query[None])
            depths = trial.depths(distances, file.search(query, deepest, file.count)[1][0], segment.rows)
            places = file.places(query, self._prepare(segment.columns.vectors[trial.near])).tolist()
            return trial.outcome(depths, places)

        like, unlike = _outcomes(trials, tried)
        limits = Limits(deepest, file.count, _LOST_BY_CODES)
        calibration = calibrated(like, unlike, limits, _ZONE_TRIALS)
        if calibration.like.candidates:
            count = calibration.like.candidates[-1][1]
            more = [Outcome(inf, inf, [], self._places(file, segment, distances, count))]
            calibration = replace(calibration, like=calibrated([*like, more], unlike, limits, _ZONE_TRIALS).like)
        return calibration

    def _places(self, file: InvertedFile, segment: SealedSegment, distances: Distances, count: int) -> list[int]:
        """At which place the lists of many rows' neighbours come. Neighbours are the nearest of `count` candidates of
        all lists: for far less than an exact scan takes, these are nearly all.
        """
        vectors, places = segment.columns.vectors, list[int]()
        rows = spread(segment.rows, _LIST_QUERIES)
        queries = self._prepare(vectors[rows])
        _, labels = file.search(queries, count + 1, file.count)
        for row, query, mine in zip(rows.tolist(), queries, labels, strict=True):
            found = mine[(mine >= 0) & (mine != row)]
            near = found[np.argsort(distances.keys_of_rows(vectors[row], found), kind="stable")[:K]]
            places += file.places(query[None], self._prepare(vectors[near])).tolist()
        return places

    # -------------------------------------------------------------------------------------------------------

    def _prepare(self, vectors: Vectors) -> Vectors:
        return prepare(self._collection.metric, vectors)

    def _identity(self, content: bytes, rows: int) -> FileIdentity:
        return identity_of(self._collection, self._partition, self._segment_id, content, rows)

    def _save(self, save: Callable[[Any, Path], None], index: Any, path: Path) -> None:
        """faiss writes the file itself, and says nothing of why it could not: DISK_FULL, which is tried again."""
        self._disk.check_lock()
        try:
            with self._disk.system_path(path) as file:
                save(index, file)
        except RuntimeError as error:
            raise errors.DISK_FULL.error(f"cannot write {path}: {error}", path=str(path)) from error

    def _write(self, file: tuple[str, bytes], rows: int, number: int, parts: Sequence[Any]) -> None:
        name, content = file
        write_checked(self._disk, self._folder / name.format(number), self._identity(content, rows), parts)

    def _write_description(self, description: Description, rows: int, number: int) -> None:
        self._write(("index.{}", b"indx"), rows, number, [msgpack.packb(description.to_plain())])
        self._disk.sync_folder(self._folder)


class _PreparedRows:
    """Vectors as an index wants them, made as they are asked for: a copy of all may not fit into memory."""

    def __init__(self, vectors: Vectors, prepare: Prepare, rows: NDArray[np.int32] | None = None) -> None:
        """Of all `vectors` (n, dim), or of some rows."""
        self._vectors = vectors
        self._prepare = prepare
        self._rows = rows
        self.shape = (len(vectors) if rows is None else len(rows), vectors.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Vectors:
        return self._prepare(self._vectors[rows if self._rows is None else self._rows[rows]])


def _distances(metric: Metric, segment: SealedSegment) -> Distances:
    return Distances(metric, segment.columns.vectors, segment.columns.inverse_norm)


def _trials(metric: Metric, segment: SealedSegment) -> Trials:
    """None where the index will not be asked."""
    if segment.rows <= limits.SCANNED_ROWS:
        return Trials((), ())
    steps = trial_steps(metric, _distances(metric, segment), segment.columns.vectors, _LIKE, _UNLIKE)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            trials: Trials = stop.value
            return trials


def _outcomes(trials: Trials, tried: Callable[[Trial], Outcome]) -> tuple[list[list[Outcome]], list[list[Outcome]]]:
    """Of the trials that are like the rows, and of the others."""
    like, unlike = ([[tried(trial) for trial in group] for group in groups] for groups in trials)
    return like, unlike


def _time_us(trials: Trials, search: Callable[[Trial], object]) -> float:
    """Processor time of a search for a stored row."""
    stored = trials.like[0] if trials.like else []
    began = time.thread_time()
    for trial in stored:
        search(trial)
    return 1e6 * (time.thread_time() - began) / max(len(stored), 1)


def _costs_less(graph: Description, flat: Description) -> bool:
    """Whether the graph reaches recall 0.99 for less processor time than the codes do."""
    if graph.calibration.like.needed(0.99) is None:
        return False
    return flat.calibration.like.needed(0.99) is None or graph.search_us < flat.search_us
