"""Scripts of sqllogictest asked of a database: how many of their queries it answers as other systems did.

    python -m tests.suites.sqllogic [FOLDER] [--every 23]      (make suites ARGS=FOLDER)

FOLDER holds the public suite or a part of it (https://www.sqlite.org/sqllogictest), all its *.test files; without it
the sample beside this module is asked. With `--every N` each N-th record of a file is, so that a part stands for all.
Every second file is read from sealed segments.

A query is right, wrong, or not applicable, and then for a reason that is counted: the language lacks the construct, or
a refusal here is an answer in SQLite (a division by zero is NULL there). Any other refusal is wrong.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import structlog

import reddb
from tests.suites.dialect import NotApplicable
from tests.suites.scripts import Query, Statement, agree, hashed, records, sorted_values
from tests.suites.tables import Tables

SAMPLE = Path(__file__).with_name("sample.test")
_PROGRESS_S = 10.0

# Refusals that are answers in SQLite, by what they say.
_REFUSED_HERE = {
    r"division by zero": "division by zero, there NULL",
    r"integer overflow": "integer overflow, there a float",
    r"does not compare with": "values of two types compared",
    r"a condition is true or false": "number as a condition",
    r"is BOOL and": "truth as a number",
    r"STATEMENT_\w+_MAX": "statement beyond a limit",
    r"is given twice": "column set twice, there the last counts",
    r"neither in GROUP BY nor in an aggregate": "column beside an aggregate",
}


@dataclass
class Report:
    """What came of queries, and of the statements that changed tables; `wrong` says where and what."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    not_applicable: Counter[str] = field(default_factory=Counter)
    statements: int = 0

    @property
    def run(self) -> int:
        return self.right + len(self.wrong)

    def lines(self) -> Iterator[str]:
        for reason, count in self.not_applicable.most_common():
            yield f"{count:>9}  not applicable: {reason}"
        yield (
            f"queries run {self.run}, right {self.right}, wrong {len(self.wrong)}; statements right {self.statements}; "
            f"not applicable {self.not_applicable.total()}"
        )


def run(script: str, name: str, folder: Path, report: Report, every: int = 1, seal: bool = False) -> None:
    """Ask each `every`-th query of a script of a new database in this folder."""
    with reddb.connect(f"file:{folder}") as db:
        tables = Tables(db, seal)
        for number, record in enumerate(records(script)):
            if isinstance(record, Query) and number % every:
                continue
            if record.for_others:
                report.not_applicable["written for another system"] += isinstance(record, Query)
                continue
            try:
                problem = _asked(tables, record) if isinstance(record, Query) else _changed(tables, record)
            except NotApplicable as reason:
                report.not_applicable[str(reason)] += 1
                continue
            if problem:
                report.wrong.append(f"{name}:{record.line}: {record.sql}\n    {problem}")
            elif isinstance(record, Query):
                report.right += 1
            else:
                report.statements += 1


def _asked(tables: Tables, query: Query) -> str | None:
    """What is wrong about the answer. Raises NotApplicable."""
    try:
        rows = tables.ask(query.sql)
    except reddb.RedDBError as error:
        return _refusal(error)
    if any(len(row) != len(query.types) for row in rows):
        return f"expected {len(query.types)} columns, got {len(rows[0])}"
    values = sorted_values(rows, query.types, query.sort)
    if agree(values, query.expected):
        return None
    shown = values if len(values) == len(query.expected) else [hashed(values)]
    return f"expected {_short(query.expected)}, got {_short(shown)}"


def _changed(tables: Tables, statement: Statement) -> str | None:
    """What is wrong about what came of it. Raises NotApplicable."""
    try:
        tables.change(statement.sql)
    except NotApplicable as reason:
        tables.give_up(statement.sql, str(reason))
        raise
    except reddb.RedDBError as error:
        if not statement.ok:
            return None
        tables.give_up(statement.sql, "table that a statement did not reach")
        return _refusal(error)
    return None if statement.ok else "it succeeds"


def _refusal(error: reddb.RedDBError) -> str:
    message = str(error)
    for pattern, reason in _REFUSED_HERE.items():
        if re.search(pattern, message):
            raise NotApplicable(reason)
    return f"refused: {message.splitlines()[0]}"


def _short(values: Sequence[str]) -> str:
    return f"{list(values[:12])}{' …' if len(values) > 12 else ''}"


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--every", default=1, show_default=True, help="Ask each N-th query.")
def main(folder: Path | None, every: int) -> None:
    """Ask the scripts in FOLDER, or the sample."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    report = Report()
    told = began = time.monotonic()
    paths = sorted(folder.rglob("*.test")) if folder else [SAMPLE]
    for number, path in enumerate(paths):
        with tempfile.TemporaryDirectory() as place:
            run(path.read_text(), path.name, Path(place) / "data", report, every, seal=number % 2 == 1)
        if time.monotonic() - told > _PROGRESS_S:
            told = time.monotonic()
            rate = report.run / (told - began)
            done = f"{number + 1} of {len(paths)} files, {report.run} queries, {len(report.wrong)} wrong"
            click.echo(f"{done}, {rate:.0f}/s", err=True)
    for wrong in report.wrong[:50]:
        click.echo(wrong)
    for line in report.lines():
        click.echo(line)
    sys.exit(bool(report.wrong))


if __name__ == "__main__":
    main()
