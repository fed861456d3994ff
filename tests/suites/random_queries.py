"""Random queries over one table, as a script of sqllogictest whose answers are those of SQLite.

    python -m tests.suites.random_queries [--queries 1000] [--seed 0]

writes a script. Expressions have a type, so what is asked has a meaning in both systems: no division but by what is not
zero, no sum beyond 64 bits, no number beside a text. Floats are quarters, so they are exact however they are summed; of
two columns `g` and `h` the numbers are so large that integers and floats are told apart only if they compare exactly.
The sample beside this module is such a script, kept so that the answers stay those of one day.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence

import click

from tests.suites.dialect import tokens
from tests.suites.scripts import hashed, sorted_values

_COLUMNS = {"pk": "I", "a": "I", "b": "I", "c": "R", "d": "R", "e": "T", "f": "T"}
_LARGE = {"g": "I", "h": "R"}  # columns to be compared, not to be reckoned with
_TYPES = {"I": "INTEGER", "R": "FLOAT", "T": "TEXT"}
_WORDS = ["", "a", "B", "b", "ab", "Abc", "abc", "x_y", "50%", "it's", "zz"]
_PATTERNS = ["%", "a%", "%b%", "_", "__", "%c", "A_c", "", "x%y", "%_%"]
_COMPARISONS = ["=", "<>", "<", "<=", ">", ">=", "!="]
_LARGE_NUMBERS: dict[str, list[int | float | None]] = {
    "I": [None, 0, *(sign * (2**53 + more) for sign in (1, -1) for more in (-1, 0, 1, 2)), 2**63 - 1, -(2**63) + 1],
    "R": [None, 0.5, *(sign * number for sign in (1, -1) for number in (2.0**53, 2.0**53 + 2, 2.0**63, 1e30))],
}
_HASHED_FROM = 8  # values


class Writer:
    """Expressions by type: I an integer, R a float, T a text, and conditions."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def value(self, kind: str, depth: int) -> str:
        rng = self._rng
        if depth <= 0 or rng.random() < 0.25:
            return self._atom(kind)
        inner = self.value
        if rng.random() < 0.15:
            return f"coalesce({inner(kind, depth - 1)}, {inner(kind, depth - 1)})"
        if rng.random() < 0.1:
            return f"nullif({inner(kind, depth - 1)}, {inner(kind, depth - 1)})"
        if kind == "T":
            return f"{rng.choice(['lower', 'upper'])}({inner('T', depth - 1)})"
        left = inner(kind, depth - 1)
        right = inner(rng.choice("IR") if kind == "R" else "I", depth - 1)
        forms = [f"({left} {rng.choice('+-')} {right})", f"- {left}", f"+ {left}", f"abs({left})"]
        if kind == "I":
            forms += [f"({left} {rng.choice('/%')} {rng.choice([2, 3, 7, -4])})", f"CAST({left} AS INTEGER)"]
            forms += [f"({left} * {rng.randint(-9, 9)})", f"length({inner('T', depth - 1)})"]
        else:
            forms += [f"({left} * {rng.choice(['2', '-0.5', '4'])})", f"CAST({right} AS REAL)"]
        return rng.choice(forms)

    def _atom(self, kind: str) -> str:
        if self._rng.random() < 0.6:
            return self._rng.choice([name for name, column in _COLUMNS.items() if column == kind])
        return literal(self.constant(kind))

    def constant(self, kind: str) -> int | float | str | None:
        rng = self._rng
        if rng.random() < 0.1:
            return None
        if kind == "T":
            return rng.choice(_WORDS)
        return rng.randint(-20, 20) if kind == "I" else rng.randint(-80, 80) / 4

    def condition(self, depth: int) -> str:
        rng = self._rng
        if depth > 0 and rng.random() < 0.6:
            left, right = self.condition(depth - 1), self.condition(depth - 1)
            return rng.choice([f"NOT ({left})", f"({left} AND {right})", f"({left} OR {right})"])
        kind = rng.choice("IIRT")
        left, right = self.value(kind, 2), self.value(rng.choice("IR") if kind in "IR" else kind, 1)
        negated = rng.choice(["", "NOT "])
        listed = ", ".join(literal(self.constant(kind)) for _ in range(rng.randint(1, 4)))
        return rng.choice(
            [
                f"{left} {rng.choice(_COMPARISONS)} {right}",
                f"{left} {negated}BETWEEN {self.value(kind, 1)} AND {self.value(kind, 1)}",
                f"{left} {negated}IN ({listed})",
                f"{left} IS {negated}NULL",
                f"{self.value('T', 1)} {negated}LIKE '{rng.choice(_PATTERNS)}'",
                f"(a, c) {rng.choice(_COMPARISONS)} ({self.value('I', 0)}, {self.value('R', 0)})",
                f"{self.large()} {rng.choice(_COMPARISONS)} {self.large()}",
                f"{self.large()} {negated}BETWEEN {self.large()} AND {self.large()}",
                f"{rng.choice('gh')} {negated}IN ({self.large_number()}, {self.large_number()})",
                f"({rng.choice('gh')}, pk) {rng.choice(_COMPARISONS)} ({self.large_number()}, {rng.randint(0, 40)})",
            ]
        )

    def large(self) -> str:
        return self._rng.choice(["g", "h", "coalesce(g, h)", "coalesce(h, g)", self.large_number()])

    def large_number(self) -> str:
        return literal(self._rng.choice(_LARGE_NUMBERS[self._rng.choice("IR")]))

    def aggregate(self) -> tuple[str, str]:
        """An aggregate and its type."""
        rng = self._rng
        kind = rng.choice("IRT")
        distinct = rng.choice(["", "", "DISTINCT "])
        inner = self.value(kind, 2)
        forms = [("count(*)", "I"), (f"count({distinct}{inner})", "I")]
        forms += [(f"min({inner})", kind), (f"max({inner})", kind)]
        forms += [(f"{name}({large})", "R") for name in ("min", "max") for large in ("g", "h", "coalesce(h, g)")]
        forms += [(f"count(DISTINCT {large})", "I") for large in ("g", "h", "coalesce(h, g)")]
        if kind != "T":
            forms += [(f"sum({distinct}{inner})", kind), (f"avg({distinct}{inner})", "R")]
        return rng.choice(forms)

    def query(self) -> tuple[str, str, str]:
        """A SELECT, the types of its columns, and how its rows are sorted to be compared."""
        sql, types, sort = self._rng.choice([self._rows, self._rows, self._groups, self._whole])()
        return self._qualified(sql) if self._rng.random() < 0.3 else sql, types, sort

    def _qualified(self, sql: str) -> str:
        """The same with the table's name, or its name in this statement, before some of the columns."""
        name = self._rng.choice(["t", "x"])
        words = [
            f"{name}.{word}" if word in {**_COLUMNS, **_LARGE} and self._rng.random() < 0.7 else word
            for word in tokens(sql)
        ]
        return " ".join("t AS x" if word == "t" and name == "x" else word for word in words)

    def _where(self) -> str:
        return f" WHERE {self.condition(2)}" if self._rng.random() < 0.7 else ""

    def _rows(self) -> tuple[str, str, str]:
        rng = self._rng
        types = "".join(rng.choice("IRT") for _ in range(rng.randint(1, 3)))
        items = ", ".join(self.value(kind, 2) for kind in types)
        if rng.random() < 0.3:
            return f"SELECT DISTINCT {items} FROM t{self._where()}", types, "rowsort"
        if rng.random() < 0.2:
            return f"SELECT {self.condition(1)} FROM t{self._where()}", "I", "rowsort"
        directions = ["", " DESC", " ASC NULLS LAST", " DESC NULLS FIRST"]
        keys = [self._key(rng.choice("IRT")) + rng.choice(directions) for _ in range(rng.randint(0, 2))]
        order = ", ".join([*keys, "pk"])
        limits = ["", f" LIMIT {rng.randint(0, 9)}", f" LIMIT {rng.randint(1, 9)} OFFSET {rng.randint(0, 9)}"]
        return f"SELECT {items} FROM t{self._where()} ORDER BY {order}{rng.choice(limits)}", types, "nosort"

    def _groups(self) -> tuple[str, str, str]:
        rng = self._rng
        kinds = [rng.choice("IRT") for _ in range(rng.randint(1, 2))]
        keys = [self._key(kind) for kind in kinds]
        aggregates = [self.aggregate() for _ in range(rng.randint(0, 2))]
        items = ", ".join([*keys, *(text for text, _ in aggregates)])
        having = f" HAVING {self._having()}" if rng.random() < 0.4 else ""
        types = "".join([*kinds, *(kind for _, kind in aggregates)])
        return f"SELECT {items} FROM t{self._where()} GROUP BY {', '.join(keys)}{having}", types, "rowsort"

    def _key(self, kind: str) -> str:
        """What rows are ordered or grouped by: never a number alone, which would be the place of a column."""
        column = self._rng.choice([name for name, own in _COLUMNS.items() if own == kind and name != "pk"])
        other = self.value(kind, 1)
        if kind == "R" and self._rng.random() < 0.4:
            return self._rng.choice(["g", "h", "coalesce(g, h)", "coalesce(h, g)"])
        return self._rng.choice([column, column, f"coalesce({column}, {other})", f"nullif({column}, {other})"])

    def _having(self) -> str:
        rng = self._rng
        text, kind = self.aggregate()
        against = f"{rng.choice(_COMPARISONS)} {literal(self.constant(kind))}"
        return f"{text} {rng.choice([against, 'IS NOT NULL', 'IS NULL'])}"

    def _whole(self) -> tuple[str, str, str]:
        aggregates = [self.aggregate() for _ in range(self._rng.randint(1, 3))]
        items = ", ".join(text for text, _ in aggregates)
        return f"SELECT {items} FROM t{self._where()}", "".join(kind for _, kind in aggregates), "nosort"


def literal(value: float | str | None) -> str:
    if value is None:
        return "NULL"
    quoted = str(value).replace("'", "''")
    return f"'{quoted}'" if isinstance(value, str) else str(value)


def script(queries: int, seed: int, rows: int = 40) -> str:
    """A script of one table and so many queries."""
    return "\n".join(_records(queries, seed, rows))


def _records(queries: int, seed: int, rows: int) -> Iterator[str]:
    rng = random.Random(seed)
    writer = Writer(rng)
    oracle = sqlite3.connect(":memory:")
    for statement in _table(rng, writer, rows):
        oracle.execute(statement)
        yield f"statement ok\n{statement}\n"
    for _ in range(queries):
        sql, types, sort = writer.query()
        yield _record(sql, types, sort, oracle.execute(sql).fetchall())
    oracle.close()


def _table(rng: random.Random, writer: Writer, rows: int) -> Iterator[str]:
    columns = {**_COLUMNS, **_LARGE}
    yield f"CREATE TABLE t({', '.join(f'{name} {_TYPES[kind]}' for name, kind in columns.items())})"
    for column in ("a", "c", "e", "g", "h"):
        yield f"CREATE INDEX t_{column} ON t({column})"
    for pk in range(rows):
        values = [pk, *(writer.constant(kind) for name, kind in _COLUMNS.items() if name != "pk")]
        values += [rng.choice(_LARGE_NUMBERS[kind]) for kind in _LARGE.values()]
        yield f"INSERT INTO t VALUES ({', '.join(map(literal, values))})"


def _record(sql: str, types: str, sort: str, answer: Sequence[Sequence[object]]) -> str:
    values = sorted_values(answer, types, sort)
    shown = [hashed(values)] if len(values) >= _HASHED_FROM else values
    return "\n".join([f"query {types} {sort}", sql, "----", *shown, ""])


@click.command()
@click.option("--queries", default=1000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(queries: int, seed: int) -> None:
    """Write a script."""
    click.echo(script(queries, seed))


if __name__ == "__main__":
    main()
