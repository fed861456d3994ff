"""pgvector's regression files asked of a database: how many of their statements it answers as PostgreSQL does.

    python -m tests.suites.pgvector FOLDER      (the folder `test` of a checkout of pgvector)

FOLDER/expected/*.out hold each statement of FOLDER/sql/*.sql followed by what psql printed. A table `t` of vectors is a
collection for each metric, so that every operator is asked of a collection of its own metric; rows have the ids 1, 2, …

Only words are translated: a cast to vector is dropped where a text may stand for a vector, and read back from a row
where it stands alone. A statement is right, wrong, or not applicable for a reason that is counted. Whole numbers agree
exactly, others in six digits.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import click
import numpy as np
import structlog

import reddb
from tests.suites.dialect import NotApplicable
from tests.suites.sqllogic import Report

_METRICS = {"<->": "l2", "<#>": "ip", "<=>": "cosine", "<+>": "manhattan"}
_TYPES = {"halfvec": "halfvec", "sparsevec": "sparsevec", r"bit\b": "bit", r"\bB'": "bit"}
_ARRAYS = r"ARRAY\[|::\w+( precision)?\[\]|'\{"
_NOT_HERE = {
    **{f"(?i){pattern}": f"type {name}" for pattern, name in _TYPES.items()},
    r"\b(hamming|jaccard)": "type bit",
    r"(?i)(array_fill|array_agg|unnest|vector_accum|vector_combine|vector_avg|\bavg|\bsum)\(": "aggregate of vectors",
    _ARRAYS: "array of PostgreSQL",
    r"(?i)\b(SELECT COUNT\(\*\) FROM \()|LATERAL": "subquery",
    r"l2_normalize": "l2_normalize",
    r"binary_quantize": "binary_quantize",
    r"subvector": "subvector",
    r"vector_cmp|val = '|ORDER BY val;|vector (<|<=|=|!=|>=|>) '": "vectors compared",
    r"'::vector (\+|-|\*|\|\|) '": "arithmetic of vectors",
    r"(?i)^(SET|SHOW|RESET) ": "setting of PostgreSQL",
    r"(?i)^\\copy|UNLOGGED": "command of PostgreSQL",
    r"::vector\(": "vector(n)",
    r"(?i)USING (hnsw|ivfflat) .*WITH \((?!lists = [13]\))": "bounds of its own indexes",
    r"CREATE INDEX ON t \(": "index on vectors compared",
}
_LITERAL = re.compile(r"SELECT '([^']*)'::vector")
_ENDS = re.compile(r";\n|(?<=\))\n")  # of a statement; a command of psql has no ;
_UNPRINTED = re.compile(r"\s*$|\(\d+ rows?\)|NOTICE|DETAIL|HINT")  # lines that are no rows
_ZERO = re.compile(r"\[0(,\s*0)*\]")


def statements(folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Each statement of the files: the file's name, the statement without `;`, the lines that psql printed."""
    for path in sorted((folder / "sql").glob("*.sql")):
        printed = (folder / "expected" / f"{path.stem}.out").read_text()
        written = _ENDS.split(re.sub(r"--.*\n", "", path.read_text()))
        places = []
        at = 0
        for statement in filter(None, map(str.strip, written)):
            at = printed.index(statement, at) + len(statement)
            places.append((statement, at))
        for (statement, begin), (after, end) in zip(places, [*places[1:], ("", len(printed))], strict=True):
            lines = printed[begin : end - len(after)].lstrip(";\n").splitlines()
            yield path.stem, statement, [line for line in lines if not line.startswith("-- ")]


class Translated:
    """The table `t` of one file."""

    def __init__(self, db: reddb.Client) -> None:
        self._db = db
        self._columns: dict[str, int] = {}
        self._rows = 0
        self._zero = False
        self._null = False

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Its rows. Raises NotApplicable, RedDBError."""
        for pattern, reason in _NOT_HERE.items():
            if re.search(pattern, statement):
                raise NotApplicable(reason)
        if made := re.fullmatch(r"CREATE TABLE t \(val vector\((\d+)\)\)", statement):
            return self._create(int(made[1]))
        if alone := _LITERAL.fullmatch(statement):
            return self._read_back(alone[1])
        if re.match(r"SELECT (\w+\('|round\(|')", statement):
            return self._rows_of(re.sub(r"::(vector|numeric|real)\b", "", statement))
        if not self._columns:
            raise NotApplicable("table of another type")
        if statement.startswith("INSERT INTO t (val) VALUES"):
            return self._insert(re.findall(r"\(('[^']*'|NULL)\)", statement))
        if search := re.fullmatch(r"SELECT \* FROM t ORDER BY val (<..?>|<[-#=+]>) '([^']*)'( LIMIT \d+)?", statement):
            return self._search(search[1], search[2], search[3] or "")
        if statement == "SELECT COUNT(*) FROM t":
            if self._null:
                raise NotApplicable("row without a vector")
            return self._rows_of("SELECT count(*) FROM t_l2")
        if re.match("CREATE INDEX ON t USING", statement):
            return self._each("ALTER COLLECTION {} SEAL")
        if statement in ("TRUNCATE t", "DROP TABLE t"):
            return self._empty(statement.split()[0])
        raise NotApplicable(f"statement {' '.join(statement.split()[:2])}")

    def _create(self, dimensions: int) -> list[tuple[Any, ...]]:
        self._columns = {f"t_{metric}": dimensions for metric in _METRICS.values()}
        self._rows = 0
        self._zero = self._null = False
        for metric in _METRICS.values():
            self._db.execute(f"CREATE COLLECTION t_{metric} KIND vector DIM {dimensions} METRIC {metric}")
        return []

    def _insert(self, values: Sequence[str]) -> list[tuple[Any, ...]]:
        """A row without a vector is left out."""
        self._null = self._null or "NULL" in values
        vectors = [value for value in values if value != "NULL"]
        self._zero = self._zero or any(_ZERO.fullmatch(value.strip("'")) for value in vectors)
        rows = ", ".join(f"({self._rows + number}, {vector})" for number, vector in enumerate(vectors, 1))
        self._rows += len(vectors)
        return self._each(f"INSERT INTO {{}} (id, vector) VALUES {rows}")

    def _search(self, operator: str, vector: str, limit: str) -> list[tuple[Any, ...]]:
        if operator == "<=>" and (self._zero or _ZERO.fullmatch(vector)):
            raise NotApplicable("cosine of a zero vector, there NaN")
        return self._rows_of(f"SELECT vector FROM t_{_METRICS[operator]} ORDER BY vector {operator} '{vector}'{limit}")

    def _empty(self, verb: str) -> list[tuple[Any, ...]]:
        answer = self._each(f"{verb} COLLECTION {{}}")
        if verb == "DROP":
            self._columns = {}
        self._rows = 0
        self._zero = self._null = False
        return answer

    def _each(self, statement: str) -> list[tuple[Any, ...]]:
        for name in self._columns:
            self._db.execute(statement.format(name))
        return []

    def _read_back(self, text: str) -> list[tuple[Any, ...]]:
        """A vector that stands alone, by way of a row."""
        self._db.execute(f"CREATE COLLECTION one KIND vector DIM {text.count(',') + 1}")
        try:
            return self._rows_of(f"INSERT INTO one (id, vector) VALUES (1, '{text}') RETURNING vector")
        finally:
            self._db.execute("DROP COLLECTION one")

    def _rows_of(self, statement: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._db.execute(statement)]


def problem(translated: Translated, statement: str, printed: Sequence[str]) -> str | None:
    """What is wrong about the answer. Raises NotApplicable."""
    error = next((line for line in printed if line.startswith("ERROR:")), None)
    rows = [line.strip() for line in printed if not _UNPRINTED.match(line)][2:]  # below the names and a line of -
    try:
        answer = translated.run(statement)
    except reddb.RedDBError as refusal:
        if error is None and "COORDINATE_M" in str(refusal):
            raise NotApplicable("coordinates beyond the bounds here") from refusal
        return None if error else f"refused: {str(refusal).splitlines()[0]}"
    if error and re.search("for (hnsw|ivfflat) index", error):
        raise NotApplicable("bounds of its own indexes")
    if error:
        return f"expected {error}, got {answer}"
    if rows == ["NaN"] and len(answer) == 1:
        raise NotApplicable("cosine of a zero vector, there NaN")
    same = [_same(*pair) for pair in zip(answer, rows, strict=False)]
    if all(same) and 0 < len(rows) < len(answer) and "ORDER BY" in statement:
        raise NotApplicable("rows that its lists miss")
    return None if all(same) and len(rows) == len(answer) else f"expected {rows}, got {answer}"


def _same(row: Sequence[Any], written: str) -> bool:
    (value,) = row
    if isinstance(value, np.ndarray):
        theirs = np.array([float(number) for number in written.strip("[]").split(",")], np.float32)
        return value.tobytes() == theirs.tobytes()
    whole = bool(re.fullmatch(r"-?\d+", written))
    return value == int(written) if whole else math.isclose(value, float(written), rel_tol=1e-6)


def run(folder: Path, place: Path, report: Report) -> None:
    """Ask every statement of the files in `folder`, of a database in `place` for each file."""
    for name, written in groupby(statements(folder), key=itemgetter(0)):
        with reddb.connect(f"file:{place / name}") as db:
            translated = Translated(db)
            for _, statement, printed in written:
                try:
                    wrong = problem(translated, statement, printed)
                except NotApplicable as reason:
                    report.not_applicable[str(reason)] += 1
                    continue
                if wrong:
                    report.wrong.append(f"{name}: {statement}\n    {wrong}")
                else:
                    report.right += 1


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
def main(folder: Path) -> None:
    """Ask the regression files in FOLDER."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    report = Report()
    with tempfile.TemporaryDirectory() as place:
        run(folder, Path(place), report)
    for wrong in report.wrong:
        click.echo(wrong)
    for line in report.lines():
        click.echo(line)
    sys.exit(bool(report.wrong))


if __name__ == "__main__":
    main()
