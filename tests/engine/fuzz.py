"""Mutated statements against a database: whatever is asked, an answer or an error of the catalogue comes, and soon.

    python -m tests.engine.fuzz [--statements 200000] [--seed 0]      (make fuzz)

A statement is one of the corpus or of the conversations, with pieces dropped, doubled, swapped, repeated, or replaced
by pieces of others and by extremes; its parameters are of any kind. It is parsed and bound by itself first, which is
measured in processor time, and then asked of an embedded database, which now and then begins anew.

Anything but an answer or an error of the catalogue is a violation, and so is INTERNAL, which stands for a bug.
"""

from __future__ import annotations

import gc
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import structlog

import reddb
from reddb import errors
from reddb.fields import Field, FieldType
from reddb.grammar import ast, parse
from reddb.query.binder import bind
from reddb.query.values import parameter_keys
from reddb.types import Kind
from tests.engine.partitions import collection
from tests.golden.conversation import FILES, statements

CORPUS = [
    *Path(__file__).parents[1].joinpath("grammar/corpus.sql").read_text().splitlines(),
    *(statement for path in FILES for statement in statements(path.read_text()) if not statement.startswith("\\")),
]
_PIECE = re.compile(r"\w+|\s+|.", re.DOTALL)
_EXTREMES = [
    *("'", '"', "/*", "--", "[", "]", "(", ")", ";", ",", ".", "\x00", "é", "”", "$", "1e", "<", "::", "NULL", "*"),
    *("9223372036854775807", "-9223372036854775808", "1e308", "0", "''", "[]", "[0, 0]", "'[1, 2]'", "$1", "?", ":a"),
]
_VALUES: list[Any] = [
    *(None, True, 0, 1, -1, 2**63 - 1, 2**70, 0.5, 1e308, float("nan"), float("inf"), "", "x", "'", "ü☃", "a" * 300),
    *([], [1, 2], [1.5, -2], ["a", "b"], [None], [[1]], {}, {"a": 1}, b"bytes", "[1, 2]", "2026-01-01T00:00:00Z"),
]
_FIELDS = [
    Field("title", FieldType.TEXT),
    Field("year", FieldType.INT),
    Field("price", FieldType.FLOAT),
    Field("ok", FieldType.BOOL),
    Field("at", FieldType.TIMESTAMP),
    Field("tags", FieldType.TEXTS),
    Field("nums", FieldType.INTS),
    Field("meta", FieldType.JSON),
]
_CREATE = "CREATE COLLECTION {} KIND {} DIM 2 METRIC {} FIELDS ({})"
_COLLECTIONS = [("docs", "vector.turbo", "l2"), ("books", "vector", "cosine"), ("items", "vector.turbo", "l2")]
_ROWS = 50
_ANEW = 500  # statements, after which everything begins anew
_PROGRESS_S = 5.0
_REPEATS = [2, 10, 100, 3_000]


@dataclass
class Report:
    """What came of it. `slowest_s` is of parsing and binding one statement, in processor time."""

    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: str = ""

    @property
    def statements(self) -> int:
        return self.answered + self.refused.total() + len(self.violations)


def mutated(rng: random.Random) -> str:
    """A statement with a few changes, or with none."""
    pieces = _PIECE.findall(rng.choice(CORPUS))
    for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
        at = rng.randrange(len(pieces))
        end = at + rng.randint(1, 6)
        match rng.randrange(6):
            case 0:
                pieces[at:end] = []
            case 1:
                pieces[at:end] = pieces[at:end] * 2
            case 2:
                pieces[at : at + 2] = pieces[at : at + 2][::-1]
            case 3:
                pieces[at] = rng.choice(_EXTREMES)
            case 4:
                others = _PIECE.findall(rng.choice(CORPUS))
                begin = rng.randrange(len(others))
                pieces[at:at] = others[begin : begin + rng.randint(1, 8)]
            case 5 if rng.random() < 0.05:
                pieces[at:end] = pieces[at:end] * rng.choice(_REPEATS)
        if not pieces:
            pieces = [" "]
    return "".join(pieces)


def run(database: Path, count: int, seed: int) -> Iterator[Report]:
    """Ask so many statements of a database in this folder; gives the report after each begin anew, and at the end."""
    rng = random.Random(seed)
    report = Report()
    catalog = {
        name: replace(collection(dim=2, metric=metric, kind=Kind(kind), fields=_FIELDS), name=name)
        for name, kind, metric in _COLLECTIONS
    }
    parse("SHOW COLLECTIONS")
    gc.freeze()
    for first in range(0, count, _ANEW):
        with reddb.connect(f"file:{database / str(first)}") as db:
            _fill(db)
            for _ in range(min(_ANEW, count - first)):
                _ask(db, catalog, mutated(rng), rng, report)
        shutil.rmtree(database / str(first))
        yield report


def _fill(db: reddb.Client) -> None:
    fields = ", ".join(f"{item.name} {item.type}" for item in _FIELDS)
    for name, kind, metric in _COLLECTIONS:
        db.execute(_CREATE.format(name, kind, metric, fields))
        payloads = [{"title": f"title {n}", "year": 1990 + n, "tags": ["a", f"t{n % 5}"]} for n in range(_ROWS)]
        db.insert(name, range(_ROWS), [[n % 7, n % 5] for n in range(_ROWS)], payloads)


def _ask(db: reddb.Client, catalog: Any, text: str, rng: random.Random, report: Report) -> None:
    try:
        db.execute(text, _bind(catalog, text, rng, report))
        report.answered += 1
    except reddb.RedDBError as error:
        if error.code is errors.INTERNAL:
            report.violations.append(f"{text!r}: {error}")
        else:
            report.refused[error.name] += 1
        if error.code is errors.TRANSACTION_ABORTED:
            with suppress(reddb.RedDBError):  # where that was said by a COMMIT, it has ended
                db.execute("ROLLBACK")
    except Exception as error:
        report.violations.append(f"{text!r}: {error!r}")


def _bind(catalog: Any, text: str, rng: random.Random, report: Report) -> Any:
    """Parse and bind by themselves. Returns parameters for the statement."""
    params: Any = []
    began = time.thread_time()
    with suppress(reddb.RedDBError):  # the database is to say the same
        tree = parse(text)
        ended = time.thread_time()
        keys = parameter_keys(tree)
        given = [rng.choice(_VALUES) for _ in keys]
        params = given if not keys or isinstance(keys[0], int) else dict(zip(keys, given, strict=True))
        began += time.thread_time() - ended
        if not isinstance(tree, ast.SessionCommand):
            bind(tree, text, params, catalog)
    took_s = time.thread_time() - began
    if took_s > report.slowest_s:
        report.slowest_s, report.slowest = took_s, text
    return params


@click.command()
@click.option("--statements", "count", default=200_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(count: int, seed: int) -> None:
    """Ask mutated statements."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    report = Report()
    began = time.monotonic()
    told = began
    with tempfile.TemporaryDirectory() as folder:
        for report in run(Path(folder), count, seed):
            if time.monotonic() - told < _PROGRESS_S:
                continue
            told = time.monotonic()
            rate = report.statements / (time.monotonic() - began)
            click.echo(f"{report.statements} statements, {len(report.violations)} violations, {rate:.0f}/s", err=True)
    for violation in report.violations[:20]:
        click.echo(violation)
    shown = report.slowest if len(report.slowest) < 200 else f"{report.slowest[:200]}…"
    click.echo(f"refused: {', '.join(f'{name} {number}' for name, number in report.refused.most_common())}")
    click.echo(f"slowest to read: {1000 * report.slowest_s:.1f} ms, {len(report.slowest)} characters: {shown}")
    click.echo(
        f"mutated statements {report.statements}, answered {report.answered}, refused {report.refused.total()}, "
        f"violations {len(report.violations)}"
    )
    sys.exit(bool(report.violations))


if __name__ == "__main__":
    main()
