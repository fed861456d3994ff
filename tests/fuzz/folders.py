"""Data folders and backups of strangers: whatever they hold, an error of the catalogue comes or a right answer.

    python -m tests.fuzz.folders [--cases 100000] [--seed 0] [--only 17]      (make folders)

A case takes a small folder or backup, does one thing to it or a few, and gives it to one command. Files are damaged,
swapped, or replaced by links, FIFOs, sockets, folders and giants with holes (`folder_damage.py`); or what they say is
changed and their checksums are made right again (`folder_forgery.py`), so that it is the values that are met. What is
opened is read in every way, and now and then written to. Cases run in forked children, for a death must be told from
an answer. Violations:

    bug       an exception that is no error of the catalogue, or INTERNAL
    wrong     another answer than that of the intact folder, where only bytes were damaged
    hang      no end within 20 seconds of processor time, or two minutes
    death     the child ended
    growth    memory that one case takes beyond a bound
    outside   anything beside the target was made, changed or removed

What a case is depends on the seed and its number alone, and `--only` does one again. Nothing is synced: no power is cut
here.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import click
import structlog

import reddb
from reddb import errors
from reddb.backup.backup import run_backup
from reddb.backup.restore import run_restore
from reddb.check import run_check
from tests.crash.faults import temporary_folder
from tests.fuzz.folder_damage import CANARY, damage
from tests.fuzz.folder_forgery import forge, hot_journal, reseal
from tests.fuzz.folder_specimens import (
    Specimen,
    Tree,
    answers_of,
    empty,
    lower_thresholds,
    make_specimens,
    put,
    read_rest,
    state_of,
    write_to,
)
from tests.server.harness import Server

_HANGING_S, _WORKING_S = 120, 20  # of time, for a FIFO makes one wait; of processor time, whatever else goes on
_GROWTH_MIB = 400  # in one case; what a case takes is a few
_MEMORY_BYTES = 3 << 30  # that a child may take: a wrong length may ask for any amount
_CASES_OF_A_CHILD = 2_000
_CANARY = b"precious\n"
_ON_DATA = {"open": 8, "check": 3, "repair": 4, "backup": 2, "write": 4}
_ON_BACKUP = {"restore": 8, "restore to": 4, "restore with archive": 2, "backup on": 1, "open": 2}
_SERVED_SHARE = 0.002


@dataclass
class Tally:
    """What came of it."""

    cases: int = 0
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def line(self) -> str:
        return (
            f"cases {self.cases}, answered {self.answered}, refused {self.refused.total()}, "
            f"violations {len(self.violations)}"
        )


class Case:
    """One folder, what is done to it, and what is done with it."""

    def __init__(self, specimens: list[Specimen], seed: int, number: int, folder: Path) -> None:
        self.rng = rng = Random(f"{seed} {number}")
        self.number = number
        self.specimen = rng.choice(specimens)
        commands = _ON_BACKUP if self.specimen.is_backup else _ON_DATA
        (self.command,) = rng.choices(list(commands), list(commands.values()))
        if not self.specimen.is_backup and rng.random() < _SERVED_SHARE:
            self.command = "serve"
        self.folder = folder
        self.tree: Tree = dict(self.specimen.tree)
        self.done: list[str] = []
        self.is_forged = False
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            self._mutate()

    def _mutate(self) -> None:
        rng = self.rng
        if not self.tree:
            return
        database = self.tree.get("catalog.sqlite")
        if rng.random() < 0.01 and isinstance(database, bytes) and len(database) > 512:
            self.tree["catalog.sqlite-journal"] = hot_journal(database, str(self.folder / CANARY / "file"))
            self.done.append("a journal that names the canary")
            self.is_forged = True
        elif rng.random() < 0.5:
            self.done.append(damage(self.tree, rng))
        else:
            self.done.append(forge(self.tree, rng))
            self.is_forged = True
        if self.specimen.is_backup and rng.random() < 0.8:
            reseal(self.tree)
            self.is_forged = True

    def __str__(self) -> str:
        return f"case {self.number}: {self.command} {self.specimen.name}, {'; '.join(self.done)}"

    def run(self) -> str:
        """Empty where an answer came, else the name of the error. Raises what is a violation."""
        target, made = self.folder / "target", self.folder / "made"
        for path in (target, made, self.folder / "archive"):
            empty(path)
        made.rmdir()
        put(self.tree, target, self.folder)
        before = state_of(target)
        try:
            answers = self._do(target, made)
        except reddb.RedDBError as error:
            if errors.CATALOGUE.get(error.name) is not error.code or error.code is errors.INTERNAL:
                raise
            answers, name = None, error.name
        is_only_read = self.command not in ("open", "write", "repair", "serve")
        assert not is_only_read or state_of(target) == before, "what should be read alone was changed"
        assert not list(self.folder.glob("made.partial*")), "a part of a folder was left"
        if answers is None:
            return name
        if answers and len(self.done) == 1 and not self.is_forged and self.command not in ("repair", "restore to"):
            assert answers == self.specimen.answers, f"{answers}"
        return ""

    def _do(self, target: Path, made: Path) -> list[object]:
        """What is read in the end, nothing where something else was done."""
        match self.command:
            case "check":
                run_check(target, _ignore)
                return []
            case "repair":
                run_check(target, _ignore, repair=True)
                return self._read(target)
            case "backup" | "backup on":
                base = target if self.command == "backup on" else None
                source = self.folder / "intact" if base is not None else target
                run_backup(source, made, _ignore, base)
                shutil.rmtree(made)
                return []
            case "serve":
                return self._serve(target)
            case "open" | "write":
                return self._read(target)
        self._restore(target, made)
        return self._read(made)

    def _restore(self, target: Path, made: Path) -> None:
        rng = self.rng
        if self.command == "restore to":
            names = [f"docs/{number}:" for number in range(2)]
            lsn = rng.choice([0, 0, 1, 4, 5, 6, 9, 10**30])
            to_lsn = rng.choice([[str(lsn)], [f"{rng.choice(names)}{lsn}"], [f"{name}{lsn}" for name in names], ["x"]])
            if rng.random() < 0.3:
                return run_restore(target, made, _ignore, to_time_us=rng.choice([0, 1, time.time_ns() // 1000, 2**62]))
            return run_restore(target, made, _ignore, to_lsn=to_lsn)
        if self.command == "restore with archive":
            logs = {
                path.removeprefix("collections/"): content for path, content in self.tree.items() if "/wal/" in path
            }
            put(
                {path.replace("/wal/", "/"): content for path, content in logs.items()},
                self.folder / "archive",
                self.folder,
            )
            return run_restore(target, made, _ignore, archive=self.folder / "archive")
        return run_restore(target, made, _ignore)

    def _read(self, data: Path) -> list[object]:
        with reddb.connect(f"file:{data}") as db:
            answers = answers_of(db)
            read_rest(db)
            if self.command == "write":
                write_to(db)
                answers_of(db)
        return answers

    def _serve(self, data: Path) -> list[object]:
        logs = self.folder / "served"
        empty(logs)
        server = Server(data, logs)
        try:
            try:
                server.start()
            except AssertionError as error:
                raise _error_in(server.stderr()) from error
            with reddb.connect(server.url) as db:
                answers = answers_of(db)
                read_rest(db)
            server.stop()
        finally:
            server.close()
        return answers


def _error_in(stderr: str) -> errors.RedDBError:
    """What a server that did not start said of it. Raises AssertionError where it is no error of the catalogue."""
    found = re.search(r"^Error: ([A-Z_]+): ", stderr, re.MULTILINE)
    assert found is not None, stderr
    assert "Traceback" not in stderr, stderr
    return errors.CATALOGUE[found[1]].error(stderr)


def _ignore(line: str) -> None:
    line.encode()  # as whoever prints it


# --- children ----------------------------------------------------------------------------------------------


def _child(specimens: list[Specimen], seed: int, numbers: range, folder: Path, output: int) -> None:
    """Run the cases, a line for each; ends with the first that leaves this process in doubt."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    os.fsync = os.fdatasync = lambda descriptor: None
    outside = _outside(folder)
    for number in numbers:
        case = Case(specimens, seed, number, folder)
        signal.alarm(_HANGING_S)
        signal.setitimer(signal.ITIMER_PROF, _WORKING_S)
        most = _most_mib()
        violation = name = ""
        try:
            name = case.run()
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-3:]
            at = " ← ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(where))
            violation = f"bug: {type(error).__name__}: {str(error)[:300]} ({at})"
        if _most_mib() > most + _GROWTH_MIB:
            violation += f" growth: {_most_mib() - most} MiB"
        if _outside(folder) != outside:
            violation += f" outside: {outside} was, {_outside(folder)} is"
        told = {"command": case.command, "name": name, "violation": violation and f"{case}: {violation}"}
        os.write(output, json.dumps(told).encode() + b"\n")
        if violation and _outside(folder) != outside:
            return
    signal.alarm(0)
    signal.setitimer(signal.ITIMER_PROF, 0)


def _outside(folder: Path) -> object:
    """All that is beside what a case may touch."""
    canary = {path.name: path.read_bytes() for path in sorted((folder / CANARY).iterdir())}
    known = ("target", "made", "archive", "served")
    return canary, sorted(name for name in os.listdir(folder) if name not in known)


def _most_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _prepare(folder: Path, specimens: list[Specimen]) -> None:
    for left in folder.glob("made.partial*"):  # of a child that was killed
        shutil.rmtree(left)
    empty(folder / CANARY)
    (folder / CANARY / "file").write_bytes(_CANARY)
    intact = next(item for item in specimens if not item.is_backup)
    empty(folder / "intact")
    put(dict(intact.tree), folder / "intact", folder)


def _run_child(specimens: list[Specimen], seed: int, numbers: range, folder: Path) -> Iterator[dict[str, str]]:
    """What comes of the cases, as far as the child comes; the one that ends it is the last."""
    _prepare(folder, specimens)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            _child(specimens, seed, numbers, folder, writing)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    count, case = 0, None
    with os.fdopen(reading) as lines:
        for line in lines:
            count += 1
            yield json.loads(line)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended and count < len(numbers):
        case = Case(specimens, seed, numbers[count], folder)
        how = (
            "hang"
            if -ended in (signal.SIGALRM, signal.SIGPROF)
            else f"death: {signal.Signals(-ended).name if ended < 0 else ended}"
        )
        yield {"command": case.command, "name": "", "violation": f"{case}: {how}"}


def run(folder: Path, cases: range, seed: int) -> Iterator[Tally]:
    """Give so many folders to every command; gives the tally now and then, and at the end."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    specimens = _made(folder)
    tally, number = Tally(), cases.start
    while number < cases.stop:
        numbers = range(number, min(number + _CASES_OF_A_CHILD, cases.stop))
        for told in _run_child(specimens, seed, numbers, folder):
            number += 1
            tally.cases += 1
            tally.commands[told["command"]] += 1
            if told["violation"]:
                tally.violations.append(told["violation"])
            elif told["name"]:
                tally.refused[told["name"]] += 1
            else:
                tally.answered += 1
            yield tally
    yield tally


def _made(folder: Path) -> list[Specimen]:
    made = folder / "specimens"
    made.mkdir()
    specimens = list(make_specimens(made))
    shutil.rmtree(made)
    return specimens


@click.command()
@click.option("--cases", default=100_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--only", type=int, help="The number of the one case to be run.")
def main(cases: int, seed: int, only: int | None) -> None:
    """Give strangers' folders to every command."""
    lower_thresholds()
    folder = temporary_folder()
    began = told = time.monotonic()
    shown, tally = 0, Tally()
    try:
        for tally in run(folder, range(cases) if only is None else range(only, only + 1), seed):
            for violation in tally.violations[shown:]:
                click.echo(violation)
            shown = len(tally.violations)
            if time.monotonic() > told + 30:
                told = time.monotonic()
                click.echo(f"{tally.line()}, {tally.cases / (told - began):.0f}/s", err=True)
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)
    click.echo(f"commands: {', '.join(f'{name} {count}' for name, count in tally.commands.most_common())}")
    click.echo(f"refused: {', '.join(f'{name} {count}' for name, count in tally.refused.most_common())}")
    click.echo(f"{tally.line()}, {tally.cases / (time.monotonic() - began):.0f}/s")
    sys.exit(bool(tally.violations))


if __name__ == "__main__":
    main()
