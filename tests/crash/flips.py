"""Damages every byte of every kind of file, and says what the engine makes of each: an error, or right answers.

    python -m tests.crash.flips [places]      flips at so many places of each file, evenly spread; without it at each

Every processor does a share of it, in folders of its own.

The files of a specimen (flips_specimens.py) are damaged one at a time, in the folder itself: a byte flipped (all
its bits, and one of them), a file cut, missing, or in the place of another of its kind. Each time the folder is opened
and everything is read; then every file is put back. What comes of it is

    detected   an error of the catalogue that names the file
    harmless   all answers are right: the byte means nothing, or a cache was refused and not used
    unseen     all answers are right, but by luck: the byte means something, and its index was used as before
    wrong      anything else: another answer, an error that does not name the file, an exception nobody foresaw
    died       the process ended, or did not end within a minute

The engine runs in a forked child, for native code may end the process over a wrong byte. If a child dies, the damage it
was at killed it, and the next child goes on behind that.

Rule: the folder is closed while it is damaged, and was closed in order, so that no damage can pass for a torn write.
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
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog

from reddb import errors
from tests.crash.faults import temporary_folder
from tests.crash.flips_specimens import Specimen, every_specimen

DETECTED, HARMLESS, *BAD = OUTCOMES = "detected", "harmless", "unseen", "wrong", "died"
UNSEEN, WRONG, DIED = BAD
_CUTS = 64  # lengths that a file is cut to
_HANGING_S = 60
_MEMORY_BYTES = 4 << 30  # that a child may take: a wrong length may ask for any amount

Outcome = tuple[str, str]  # what came of it, and why


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
        told = f"{error.message} {error.detail.get('path')}"
        # The name of a file that is missing may be known to nobody: then it is its folder that lacks something.
        is_named = Path(damage.file).name in told or (damage.way == "missing" and Path(damage.file).parent.name in told)
        # Of a missing file the disk may say so.
        of_disk = error.code is errors.DISK_FAILED and damage.way == "missing"
        is_meant = is_named and (of_disk or error.code in (errors.CORRUPT_DATA, errors.UNSUPPORTED_FORMAT))
        outcome = (DETECTED if is_meant else WRONG), str(error)[:300]
    except Exception as error:
        outcome = WRONG, f"{type(error).__name__}: {error}"[:300]
    specimen.restore()
    return outcome


def run(folder: Path, places: int, share: int, shares: int) -> Tallies:
    """Damage every specimen in every way, flips at so many places of each file: one share of it all."""
    tallies = Tallies(defaultdict(Counter), Counter(), [])
    for specimen in every_specimen(folder):
        damages = list(damages_to(specimen, places))[share::shares]
        for file in specimen.damaged if not share else ():
            tallies.bytes[kind_of(file)] += len(specimen.contents.get(file, b""))
        for damage, (result, why) in zip(damages, sweep(specimen, damages), strict=True):
            tallies.outcomes[damage.way, kind_of(damage.file)][result] += 1
            if result in BAD:
                tallies.bad.append(f"{specimen.name}/{damage.file}: {damage.what}: {result} {why}")
    return tallies


def run_all(folder: Path, places: int) -> Tallies:
    """All of it, a share on each processor. Raises AssertionError if a share was not finished."""
    shares = os.cpu_count() or 1
    pipes = [os.pipe() for _ in range(shares)]
    for share, (reading, writing) in enumerate(pipes):
        if not os.fork():
            try:
                os.close(reading)
                outcomes, sizes, bad = run(folder / str(share), places, share, shares)
                with os.fdopen(writing, "w") as lines:
                    json.dump([[[*key, counts] for key, counts in outcomes.items()], sizes, bad], lines)
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writing)
    whole = Tallies(defaultdict(Counter), Counter(), [])
    for reading, _ in pipes:
        with os.fdopen(reading) as lines:
            outcomes, sizes, bad = json.load(lines)
        for way, kind, counts in outcomes:
            whole.outcomes[way, kind].update(counts)
        whole.bytes.update(sizes)
        whole.bad.extend(bad)
    assert {os.waitstatus_to_exitcode(os.wait()[1]) for _ in pipes} == {0}
    return whole


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
        tallies = run_all(folder, int(sys.argv[1]) if len(sys.argv) > 1 else 65_536)
    finally:
        shutil.rmtree(folder)
    sys.stdout.writelines(line + "\n" for line in report(tallies))
    sys.exit(bool(tallies.bad))


if __name__ == "__main__":
    main()
