"""Damages every byte of every kind of file, and says what the engine makes of each: an error, or right answers.

    python -m tests.crash.flips [places]      flips at so many places of each file, evenly spread; without it at each

A specimen is a small folder whose content is known: partitions with each kind of index, rows sealed and still in the
log, and a data folder with a catalog. Its files are damaged one at a time, in the folder itself: a byte flipped (all
its bits, and one of them), a file cut, missing, or in the place of another of its kind. Each time the folder is opened
and everything is read; then every file is put back. What comes of it is

    detected   an error of the catalogue that names the file
    harmless   all answers are right: the byte means nothing, or a cache was refused and not used
    torn       the log is whole up to a group, from which on it looks as if power was lost while that was written; the
               engine says so and has what is before. No log can tell this from damage to its last group
    unseen     all answers are right, but by luck: the byte means something, and its index was used as before
    wrong      anything else: another answer, an error that does not name the file, an exception nobody foresaw
    died       the process ended, or did not end within a minute

The engine runs in a forked child, for native code may end the process over a wrong byte. If a child dies, the damage it
was at killed it, and the next child goes on behind that.

Rule: the folder is closed while it is damaged. Thresholds below which no index is used are lowered for these few rows.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import structlog

import reddb
from reddb import errors, limits
from reddb.partition import encoder, search
from reddb.partition.checkpoint import CodesCheckpoint
from reddb.query import candidates
from reddb.storage.catalog import Catalog
from reddb.types import Collection, Kind
from tests.crash.faults import temporary_folder
from tests.engine.lives import Life, Rows, Where
from tests.engine.partitions import collection

DETECTED, HARMLESS, TORN, *BAD = OUTCOMES = "detected", "harmless", "torn", "unseen", "wrong", "died"
UNSEEN, WRONG, DIED = BAD
_CUTS = 64  # lengths that a file is cut to
_HANGING_S = 60
_MEMORY_BYTES = 4 << 30  # that a child may take: a wrong length may ask for any amount

_DIM = 8
_QUERIES = np.random.default_rng(1).normal(size=(4, _DIM)).astype(np.float32)
_FILTERS = (
    Where("n < 30", lambda _, payload: payload["n"] < 30),
    Where("t = 'text 1' AND 'even' IN tags", lambda _, payload: payload["t"] == "text 1" and payload["n"] % 2 == 0),
)
_QUESTIONS = (
    "SHOW COLLECTIONS",
    "SHOW COLLECTION docs",
    "SHOW COLLECTION notes",
    "SELECT id, n, at FROM docs LIMIT 100",
    "SELECT id, n FROM docs WHERE at >= '2024-05-03T00:00:00Z' AND n > 3 LIMIT 100",
    "SELECT id, distance FROM docs ORDER BY vector <-> [1, 2] LIMIT 10",
    "SELECT id, distance FROM notes ORDER BY vector <=> [1, 2] LIMIT 10",
)


Outcome = tuple[str, str]  # what came of it, and why


class Torn(Exception):
    """The log is whole up to a group, and nothing behind it is there: what it says, and whether that was reported."""


@dataclass
class Specimen:
    """A folder, its files, which of them to damage, and those of another collection's folder of the same rows, `twin`.
    `examine` reads everything, raises if anything is not right, and gives how rows were found.
    """

    name: str
    folder: Path
    examine: Callable[[], list[str]]
    contents: dict[str, bytes]
    damaged: list[str]
    twin: dict[str, bytes]

    def put(self, file: str, content: bytes | None) -> None:
        """As a new file, for the one before may still be mapped; None for no file or folder."""
        path = self.folder / file
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def restore(self) -> None:
        found = contents_of(self.folder)
        for file, _ in found.items() ^ self.contents.items():
            self.put(file, self.contents.get(file))


class Damage(NamedTuple):
    """What is done to one file: `content` makes its bytes then, None for no file."""

    file: str
    way: str
    what: str
    content: Callable[[], bytes | None]
    means_nothing: bool = False


class Tallies(NamedTuple):
    """Outcomes by the way of damage and the kind of file, bytes by the kind of file, and what was bad."""

    outcomes: dict[tuple[str, str], Counter[str]]
    bytes: Counter[str]
    bad: list[str]


def every_specimen(folder: Path) -> Iterator[Specimen]:
    """One by one: partitions with each index and kind of ids, and a data folder."""
    search._FEW_MATCHES = 0
    candidates._ROWS_MIN, candidates._CANDIDATE_ROWS = 0, 1
    encoder.FIT_ROWS, limits.WAL_PREALLOCATE_BYTES = 32, 256
    graph = {"metric": "cosine", "index": "hnsw", "m": 4, "m0": 8, "ef_construction": 16, "ef": 16}
    yield _partition(folder / "flat", collection(dim=_DIM, index="flat"), [40, 40], lambda n: n)
    yield _partition(folder / "hnsw", collection(dim=_DIM, kind=Kind.VECTOR, **graph), [60], "row {}".format)
    ivf = collection(dim=_DIM, metric="ip", index="ivf")
    yield _partition(folder / "ivf", ivf, [60], lambda n: n if n % 2 else f"row {n}")
    yield _data(folder / "data")


def _partition(folder: Path, of: Collection, sizes: list[int], name: Callable[[int], Any]) -> Specimen:
    """A segment of each size, and rows and deletes in the log."""
    of, other = of.with_index("n").with_index("t"), folder.with_suffix(".twin")
    states = _fill(folder, of, sizes, name)
    _fill(other, replace(of, id=2), sizes, name)
    least: list[float] = []  # recall of each search, in the folder as it is

    def examine() -> list[str]:
        life = Life(of, folder)
        try:
            recalls = _read_all(life, states)
            _, report = life.search(life.readers[0], _QUERIES, 10, ef=12)
        finally:
            life.close()
        least.extend([] if least else recalls)
        assert all(now >= before for now, before in zip(recalls, least, strict=True)), f"recall {recalls}, not {least}"
        return [*(segment.strategy for segment in report.segments), *map(str, life.owner.refused_caches)]

    contents = contents_of(folder)
    return Specimen(folder.name, folder, examine, contents, [*contents, "segments", "wal"], contents_of(other))


def _fill(folder: Path, of: Collection, sizes: list[int], name: Callable[[int], Any]) -> list[Rows]:
    """Write the rows; what there is after each group of the log."""
    generator = np.random.default_rng(7)
    life = Life(of, folder)

    def insert(first: int, last: int) -> None:
        payloads = [{"n": n, "t": f"text {n % 3}", "tags": ["even"] if n % 2 == 0 else []} for n in range(first, last)]
        vectors = generator.normal(size=(last - first, _DIM)).astype(np.float32)
        life.insert([name(n) for n in range(first, last)], vectors, payloads)

    first = 0
    for size in sizes:
        insert(first, first + size)
        life.delete([name(first + 1)])
        life.seal()
        first += size
    states = [dict(life.rows)]
    for change in (lambda: insert(100, 140), lambda: life.delete([name(0)]), lambda: insert(140, 142)):
        change()
        states.append(dict(life.rows))
        if len(states) == 2:
            life.encode()
            CodesCheckpoint(life.owner).write()
    assert life.states() == [*["sealed"] * len(sizes), "growing"]
    life.close()
    return states


def _read_all(life: Life, states: list[Rows]) -> list[float]:
    """Recall of each search. Raises AssertionError for a wrong answer, Torn where the log ended too early."""
    del life.readers[1:]
    view = life.readers[0].view()
    ids = view.row_ids(view.scan(limits.SCAN_ROWS_MAX))
    group = next((number for number, rows in enumerate(states) if list(rows) == ids), len(states) - 1)
    life.rows = states[group]
    life.check()
    recalls: list[float] = []
    for where in (None, *_FILTERS):
        life.check_search(_QUERIES, 10, where, exact=True)
        recalls += [float(np.mean(life.check_search(_QUERIES, 10, where, exact=False, ef=ef))) for ef in (None, 12)]
        if where is not None:
            predicate = where.predicate(life.collection)
            right = [row_id for row_id, (_, payload) in life.rows.items() if where.holds(row_id, payload)]
            assert view.row_ids(view.scan(len(right) + 1, 0, predicate)) == right
            assert view.count(predicate) == len(right)
    if group < len(states) - 1:
        raise Torn(f"the log ends with group {group} of {len(states) - 1}", life.owner.torn_tail is not None)
    return recalls


def _data(folder: Path) -> Specimen:
    """Two collections, and one that was dropped while its folder was still there."""
    with reddb.connect(f"file:{folder}") as db:
        fields = "n INT NOT NULL DEFAULT 7, at TIMESTAMP"
        db.execute(f"CREATE COLLECTION docs KIND vector.turbo DIM 2 METRIC l2 FIELDS ({fields})")
        db.execute("CREATE INDEX ON docs (n)")
        db.execute("CREATE COLLECTION notes KIND vector DIM 2 METRIC cosine WITH (ef = 100, durability = flush)")
        db.execute("CREATE COLLECTION gone KIND vector DIM 2")
        days = [{"n": n, "at": datetime(2024, 5, 1 + n, tzinfo=UTC)} for n in range(9)]
        db.insert("docs", range(9), np.arange(18.0).reshape(9, 2), days)
        db.insert("notes", ["a", "b", 3], [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        for name in ("docs", "notes"):
            db.execute(f"ALTER COLLECTION {name} SEAL")
        db.insert("docs", [20], [[1.0, 2.0]])
    with closing(Catalog(folder / "catalog.sqlite")) as catalog:
        catalog.drop(3)
    right: list[list[Any]] = []

    def examine() -> list[str]:
        with reddb.connect(f"file:{folder}") as db:
            answers = [list(db.execute(question)) for question in _QUESTIONS]
        right.extend([] if right else answers)
        for question, answer, wanted in zip(_QUESTIONS, answers, right, strict=True):
            assert answer == wanted, f"{question}: {sorted(set(answer) ^ set(wanted), key=str)}"
        return []

    damaged = ["VERSION", "LOCK", "catalog.sqlite", "collections", "collections/1", "collections/1/0"]
    return Specimen("data", folder, examine, contents_of(folder), damaged, {})


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def damages_to(specimen: Specimen, places: int) -> Iterator[Damage]:
    for file in specimen.damaged:
        yield Damage(file, "missing", "missing", lambda: None)
        if content := specimen.contents.get(file):
            yield from _flips(file, content, places)
            for size in _spread(len(content), min(_CUTS, places)):
                yield Damage(file, "cut", f"cut to {size} bytes", partial(content.__getitem__, slice(size)))
            yield from _swaps(specimen, file)


def _flips(file: str, content: bytes, places: int) -> Iterator[Damage]:
    """All bits of a byte, and one of them, at so many places; unless at all, where bytes are that are not zero."""
    bits = np.random.default_rng(len(content)).integers(0, 8, len(content))
    nothing = _meaningless(content)
    used = np.flatnonzero(np.frombuffer(content, np.uint8)) if places < len(content) else np.arange(len(content))
    for place in used[_spread(len(used), places)].tolist():
        for mask in (0xFF, 1 << int(bits[place])):
            what, flip = f"byte {place} of {len(content)} ^ {mask:#04x}", partial(_flipped, content, place, mask)
            yield Damage(file, "flip", what, flip, place in nothing)


def _flipped(content: bytes, place: int, mask: int) -> bytes:
    return content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]


def _swaps(specimen: Specimen, file: str) -> Iterator[Damage]:
    """A file of another segment or another collection lies in its place."""
    for where, files in (("", specimen.contents), ("its twin's ", specimen.twin)):
        for name, content in files.items():
            if kind_of(name) == kind_of(file) and content != specimen.contents[file]:
                yield Damage(file, "swap", f"replaced by {where}{name}", partial(bytes, content))


def _meaningless(content: bytes) -> range:
    """The bytes of a file that nothing vouches for: of one with a trailer the padding before it, else all may be."""
    trailer = content[-72:]
    if trailer[:8] != b"RedDBSEG":
        return range(len(content))
    return range(struct.unpack_from("<Q", trailer, 56)[0], len(content) - 72)


def kind_of(file: str) -> str:
    """Its name with n for every number."""
    return re.sub(r"\d+", "n", Path(file).name)


def _spread(count: int, wanted: int) -> list[int]:
    """So many of `count` places, or all, evenly spread, the first and the last with them."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.int64)).tolist()


def sweep(specimen: Specimen, damages: Sequence[Damage]) -> list[Outcome]:
    """What comes of each damage by itself."""
    usual = specimen.examine()
    specimen.restore()
    outcomes: list[Outcome] = []
    while len(outcomes) < len(damages):
        outcomes += _in_child(specimen, damages[len(outcomes) :], usual)
    return outcomes


def _in_child(specimen: Specimen, damages: Sequence[Damage], usual: list[str]) -> list[Outcome]:
    """The outcomes up to the damage that ends the child, or all."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
            for damage in damages:
                signal.alarm(_HANGING_S)
                os.write(writing, json.dumps(_outcome(specimen, damage, usual)).encode() + b"\n")
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as lines:
        outcomes = [tuple(json.loads(line)) for line in lines]
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if len(outcomes) < len(damages):
        specimen.restore()
        outcomes.append((DIED, signal.Signals(-ended).name if ended < 0 else f"exit {ended}"))
    return outcomes


def _outcome(specimen: Specimen, damage: Damage, usual: list[str]) -> Outcome:
    specimen.put(damage.file, damage.content())
    try:
        is_luck = specimen.examine() == usual and damage.way == "flip" and not damage.means_nothing
        outcome = (UNSEEN if is_luck else HARMLESS), ""
    except errors.RedDBError as error:
        is_named = Path(damage.file).name in f"{error.message} {error.detail.get('path')}"
        # Of a missing file the disk may say so.
        of_disk = error.code is errors.DISK_FAILED and damage.way == "missing"
        is_meant = is_named and (of_disk or error.code in (errors.CORRUPT_DATA, errors.UNSUPPORTED_FORMAT))
        outcome = (DETECTED if is_meant else WRONG), str(error)[:300]
    except Torn as torn:
        said, is_reported = torn.args
        is_meant = kind_of(damage.file) == "n.wal" and (is_reported or damage.way == "cut")
        outcome = (TORN if is_meant else WRONG), said
    except Exception as error:
        outcome = WRONG, f"{type(error).__name__}: {error}"[:300]
    specimen.restore()
    return outcome


def run(folder: Path, places: int) -> Tallies:
    """Damage every specimen in every way, flips at so many places of each file."""
    tallies = Tallies(defaultdict(Counter), Counter(), [])
    for specimen in every_specimen(folder):
        damages = list(damages_to(specimen, places))
        for file in specimen.damaged:
            tallies.bytes[kind_of(file)] += len(specimen.contents.get(file, b""))
        for damage, (result, why) in zip(damages, sweep(specimen, damages), strict=True):
            tallies.outcomes[damage.way, kind_of(damage.file)][result] += 1
            if result in BAD:
                tallies.bad.append(f"{specimen.name}/{damage.file}: {damage.what}: {result} {why}")
    return tallies


def report(tallies: Tallies) -> Iterator[str]:
    """The table, what went wrong, and the figures in one line each."""
    yield f"{'way':8} {'file':16} {'bytes':>8} {'tried':>8} " + " ".join(f"{name:>8}" for name in OUTCOMES)
    for (way, kind), counts in sorted(tallies.outcomes.items()):
        numbers = tallies.bytes[kind], counts.total(), *(counts[name] for name in OUTCOMES)
        yield f"{way:8} {kind:16} " + " ".join(f"{number:8}" for number in numbers)
    yield from tallies.bad
    for name, is_flip in (("flips", True), ("other damages", False)):
        chosen = (counts for (way, _), counts in tallies.outcomes.items() if (way == "flip") is is_flip)
        total = sum(chosen, Counter())
        yield f"{name} {total.total()}, wrong answers {total[WRONG]}, deaths {total[DIED]}, unseen {total[UNSEEN]}"


def main() -> None:
    """Print the report; exit with 1 if anything was wrong."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    folder = temporary_folder()
    try:
        tallies = run(folder, int(sys.argv[1]) if len(sys.argv) > 1 else 65_536)
    finally:
        shutil.rmtree(folder)
    sys.stdout.writelines(line + "\n" for line in report(tallies))
    sys.exit(bool(tallies.bad))


if __name__ == "__main__":
    main()
