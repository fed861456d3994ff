"""Every entry that takes text or Python values: whatever is given, an answer or an error of the catalogue comes.

    python -m tests.fuzz.run [--inputs 200000] [--seed 0]      (make fuzz)

85 of 100 inputs go to an embedded database, which now and then begins anew, the others through a real server. What an
input is depends on the seed alone. The last line says how many there were, and how many violations.
"""

from __future__ import annotations

import gc
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import structlog

import reddb
from reddb.client.shell.connection import Connection
from reddb.client.shell.output import Output
from reddb.client.shell.session import Session
from reddb.grammar import parse
from tests.fuzz.calls import ask_ids, ask_names, ask_options, ask_payloads, ask_vectors, ask_where
from tests.fuzz.files import ask_file
from tests.fuzz.material import fill
from tests.fuzz.report import Report
from tests.fuzz.statements import ask_parameters, ask_setting, ask_statement
from tests.server.harness import Server

Ask = Callable[[reddb.Client, random.Random, Report], None]

# How often of a hundred.
_ENTRIES: dict[Ask, int] = {
    ask_statement: 50,
    ask_where: 14,
    ask_parameters: 10,
    ask_payloads: 7,
    ask_options: 5,
    ask_ids: 4,
    ask_vectors: 3,
    ask_names: 3,
    ask_setting: 2,
}
_FILES_SHARE = 0.02
_SERVER_SHARE = 0.15
_ANEW = 500  # inputs, after which everything begins anew
_PROGRESS_S = 5.0


def run(folder: Path, count: int, seed: int) -> Iterator[Report]:
    """Give so many inputs to databases in this folder; gives the report after each beginning, and at the end."""
    report = Report()
    parse("SHOW COLLECTIONS")
    gc.freeze()
    through_server = int(count * _SERVER_SHARE)
    rng = random.Random(seed)
    while report.asked.total() < count - through_server:
        data = folder / f"data-{report.asked.total()}"
        _ask_all(f"file:{data}", folder, rng, report, min(_ANEW, count - through_server - report.asked.total()))
        shutil.rmtree(data)
        yield report
    if through_server:
        with _server(folder) as url:
            while report.asked.total() < count:
                _ask_all(url, folder, rng, report, min(_ANEW, count - report.asked.total()))
                yield report


def _ask_all(url: str, folder: Path, rng: random.Random, report: Report, count: int) -> None:
    session = Session(Connection(url), Output(is_interactive=False), "table")
    end = report.asked.total() + count
    asks = list(_ENTRIES)
    with _session(url) if url.startswith("red:") else _same(session) as db:
        fill(db)
        while report.asked.total() < end:
            if rng.random() < _FILES_SHARE:
                ask_file(session, folder, rng, report)
            else:
                (ask,) = rng.choices(asks, list(_ENTRIES.values()))
                ask(db, rng, report)
    session.connection.close()


@contextmanager
def _session(url: str) -> Iterator[reddb.Client]:
    with reddb.connect(url) as client, client.session() as session:
        yield session


@contextmanager
def _same(session: Session) -> Iterator[reddb.Client]:
    """An embedded database has one client."""
    yield session.connection.client


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    server = Server(folder / "served", folder).start()
    try:
        yield server.url
        server.stop()
    finally:
        server.close()


@click.command()
@click.option("--inputs", "count", default=200_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(count: int, seed: int) -> None:
    """Give any inputs to every entry."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    report = Report()
    began = told = time.monotonic()
    shown = 0
    with tempfile.TemporaryDirectory() as folder:
        for report in run(Path(folder), count, seed):
            for violation in report.violations[shown:]:
                click.echo(violation)
            shown = len(report.violations)
            if time.monotonic() - told < _PROGRESS_S:
                continue
            told = time.monotonic()
            rate = report.asked.total() / (told - began)
            click.echo(f"{report.asked.total()} inputs, {len(report.violations)} violations, {rate:.0f}/s", err=True)
    for line in report.lines():
        click.echo(line)
    sys.exit(bool(report.violations))


if __name__ == "__main__":
    main()
