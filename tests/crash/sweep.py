"""Kills a real server at thousands of system calls, restarts it, and compares with what its clients were told.

    python -m tests.crash.sweep [--points 2000] [--seed 0] [--crashes 20] [--chain n]

A server with two cores and its builders runs under tests/crash/shim.c and a mixed load. A run without crashes tells
how many calls there are of each kind; then each crash point is one of three draws: a call of the recovery, any call,
or a call of one kind on one kind of file, so that rare ones are met as well. Each strikes before, amid or after its
call, and kills the server or the process that made it. A data folder lives through `--crashes` of them and is stopped
in order at the end; `--chain n` runs one folder alone.

The seed decides points and operations, not what the processes do at the same time: a replay makes the same plans.

Ends with code 1 on the first violation; its data folder, the log of the server and what every client did are kept.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from tests.crash.oracle import Violation
from tests.crash.sweep_chain import Chain
from tests.crash.sweep_control import (
    ANY_CELL,
    CELLS,
    KINDS,
    TARGETS,
    Control,
    Moment,
    Plan,
    Victim,
    cell_name,
    compile_shim,
)

CRASHES = 20  # that a folder lives through
LONE_SHARE = 0.5  # of the crashes that kill one process alone
_CORE_DEATHS_MAX = 5  # under one supervisor: it waits longer and longer before it starts a core again
# What cores and builders write. The supervisor is not aimed at alone, for everyone dies with it; other draws meet it.
_CELLS_OF_CORES = [cell for cell in range(CELLS) if TARGETS[cell % len(TARGETS)] in ("log", "manifest", "segment")]


@dataclass(frozen=True)
class Measured:
    """Calls that a life of a server makes: until everything has answered, and in all, by cell."""

    recovery: int
    by_cell: list[int]


@dataclass
class Tally:
    """What was hit."""

    cells: Counter[int] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def points(self) -> int:
        return self.cells.total()

    def add(self, plan: Plan, control: Control) -> None:
        assert control.struck is not None
        self.cells[control.struck] += 1
        self.others.update([plan.moment.name.lower(), f"{plan.victim.name.lower()} killed", f"by a {control.role}"])

    def table(self) -> str:
        """Kinds of calls against kinds of files."""
        lines = [f"{'points hit':<14}" + "".join(f"{target:>10}" for target in TARGETS)]
        for number, kind in enumerate(KINDS):
            counts = [self.cells[number * len(TARGETS) + column] for column in range(len(TARGETS))]
            lines.append(f"{kind:<14}" + "".join(f"{count or '-':>10}" for count in counts))
        return "\n".join([*lines, ", ".join(f"{what} {count}" for what, count in sorted(self.others.items()))])


class Sweep:
    """Chains of crashes, by one seed."""

    def __init__(self, folder: Path, seed: int, crashes: int = CRASHES, lone_share: float = LONE_SHARE) -> None:
        """Everything is written below `folder`."""
        self.tally = Tally()
        self.folder = folder
        self.control = Control(compile_shim(folder), folder / "control")
        self._seed = seed
        self._crashes = crashes
        self._lone_share = lone_share
        self._measured: list[Measured] = []

    def measure(self) -> list[Measured]:
        """A first life of a folder, and a later one."""
        chain = self._chain("measure")
        try:
            for _ in range(2):
                self.control.arm(None)
                chain.live()
                self._measured.append(Measured(chain.calls_of_recovery, self.control.by_cell()))
        finally:
            chain.close()
        shutil.rmtree(chain.folder)
        return self._measured

    def run(self, points: int, only: int | None = None) -> Iterator[str]:
        """Chain after chain, or one of them; gives a line for each. Raises Violation."""
        number = only or 0
        while self.tally.points < points and (only is None or number == only):
            self._run_chain(number, min(self._crashes, points - self.tally.points))
            yield f"chain {number}: {self.tally.points} points"
            number += 1

    def _run_chain(self, number: int, crashes: int) -> None:
        chooser = random.Random(f"seed {self._seed}, chain {number}")
        chain = self._chain(str(number))
        plan: Plan | None = None
        core_deaths = 0
        try:
            for position in range(crashes):
                plan = self._plan(chooser, is_first=position == 0, may_live=core_deaths < _CORE_DEATHS_MAX)
                chain.crash(plan)
                core_deaths = core_deaths + (self.control.role == "core") if chain.is_running else 0
                self.tally.add(plan, self.control)
            self.control.arm(None)
            chain.compare()
            chain.stop()
            chain.compare()
            chain.stop()
        except Violation as violation:
            (chain.folder / "history.txt").write_text("\n".join(chain.history) + "\n")
            raise Violation(
                f"seed {self._seed}, chain {number}, point {self.tally.points}: {violation}\n"
                f"the last plan was: {plan}\nkept: {chain.folder}"
            ) from violation
        finally:
            chain.close()
        shutil.rmtree(chain.folder)

    def _chain(self, name: str) -> Chain:
        folder = self.folder / f"chain-{name}"
        folder.mkdir()
        return Chain(folder, self.control, f"seed {self._seed}, chain {name}")

    def _plan(self, chooser: random.Random, *, is_first: bool, may_live: bool) -> Plan:
        measured = self._measured[0 if is_first else 1]
        moment = chooser.choice(list(Moment))
        victim = Victim.PROCESS if chooser.random() < self._lone_share and may_live else Victim.SERVER
        draw = chooser.random()
        if draw < 0.2:
            return Plan(ANY_CELL, chooser.randint(1, measured.recovery), moment, victim)
        if draw < 0.5:
            return Plan(ANY_CELL, chooser.randint(1, sum(measured.by_cell)), moment, victim)
        cells = _CELLS_OF_CORES if victim is Victim.PROCESS else range(CELLS)
        cell = chooser.choice([cell for cell in cells if measured.by_cell[cell]])
        return Plan(cell, chooser.randint(1, measured.by_cell[cell]), moment, victim)


@click.command()
@click.option("--points", default=2000, show_default=True, help="Crashes in all.")
@click.option("--seed", default=0, show_default=True, help="Decides points and operations.")
@click.option("--crashes", default=CRASHES, show_default=True, help="Crashes of one data folder.")
@click.option("--chain", type=int, default=None, help="Run this folder's crashes alone.")
def main(points: int, seed: int, crashes: int, chain: int | None) -> None:
    """Crash a server at many calls and compare."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # not without stopping the server
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    sweep = Sweep(folder, seed, crashes)
    violations = 0
    try:
        for measured in sweep.measure():
            counts = ", ".join(f"{cell_name(cell)} {n}" for cell, n in enumerate(measured.by_cell) if n)
            click.echo(f"a run makes {sum(measured.by_cell)} calls, {measured.recovery} of them to recover: {counts}")
        for line in sweep.run(points, chain):
            click.echo(line)
    except Violation as violation:
        violations = 1
        click.echo(f"VIOLATION {violation}")
    else:
        shutil.rmtree(folder)
    finally:  # also when it is stopped before its end
        took_s = time.monotonic() - began
        click.echo(sweep.tally.table())
        click.echo(f"{took_s / max(sweep.tally.points, 1):.2f} s a point, seed {seed}")
        click.echo(f"crash points {sweep.tally.points}, violations {violations}")
    sys.exit(violations)


if __name__ == "__main__":
    main()
