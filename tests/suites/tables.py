"""The tables of a script as collections of an embedded database: what its statements do to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import reddb
from tests.suites.dialect import NotApplicable, fields, in_words, query, refuse_missing, split, tokens

_CREATE = "CREATE COLLECTION {} KIND vector DIM 1 METRIC l2 FIELDS ({}) WITH (durability = 'none')"


class Tables:
    """Collections that stand for tables. `seal`: rows are read from sealed segments, else from the growing one."""

    def __init__(self, db: reddb.Client, seal: bool = False) -> None:
        self._db = db
        self._seal = seal
        self._columns: dict[str, list[str]] = {}
        self._rows: dict[str, int] = {}
        self._indexes: dict[str, tuple[str, list[str]]] = {}
        self._unsealed: set[str] = set()
        self._missing: dict[str, str] = {}

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query. Raises NotApplicable, RedDBError."""
        words = tokens(sql)
        for word in words:
            if word in self._missing:
                raise NotApplicable(self._missing[word])
        statement = query(sql, self._columns)
        for table in self._unsealed.intersection(words):
            self._db.execute(f"ALTER COLLECTION {table} SEAL")
            self._unsealed.discard(table)
        return [tuple(row) for row in self._db.execute(statement)]

    def change(self, sql: str) -> None:
        """What a statement does. Raises NotApplicable, RedDBError."""
        words = tokens(sql)
        for word in words:
            if word in self._missing:
                raise NotApplicable(self._missing[word])
        match [word.upper() for word in words[:3]]:
            case ["CREATE", "TABLE", _]:
                refuse_missing(words)
                self._create(words[2], words[4:-1])
            case ["DROP", "TABLE", _]:
                self._db.execute(f"DROP COLLECTION {' '.join(words[2:])}")
                self._columns.pop(words[-1], None)
            case ["CREATE", "INDEX" | "UNIQUE", _]:
                self._create_index(words)
            case ["DROP", "INDEX", _] if words[2] in self._indexes:
                self._drop_index(words[2])
            case ["INSERT", "INTO", _]:
                refuse_missing(words)
                self._insert(words[2], words[3:])
            case ["DELETE" | "UPDATE", _, _]:
                refuse_missing(words)
                self._rewrite(words)
            case ["SELECT", *_]:
                self.ask(" ".join(words))
            case _:
                refuse_missing(words)
                raise NotApplicable(f"statement {' '.join(words[:2]).upper()}")

    def give_up(self, sql: str, reason: str) -> None:
        """Ask no more of the table that a statement names, for that statement was not done."""
        words = tokens(sql)
        for place, word in enumerate(words[:-1]):
            if word.upper() in ("TABLE", "VIEW", "INTO", "FROM", "UPDATE"):
                self._missing.setdefault(words[place + 1], reason)

    def _create(self, table: str, definition: Sequence[str]) -> None:
        columns = fields(definition)
        written = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        self._db.execute(_CREATE.format(table, written))
        self._columns[table] = list(columns)
        self._rows[table] = 0

    def _create_index(self, words: Sequence[str]) -> None:
        """One index for each column, which is what there is for an index over several."""
        place = [word.upper() for word in words].index("ON")
        table = words[place + 1]
        columns = [part[0] for part in split(words[place + 3 : -1])]
        for column in columns:
            self._db.execute(f"CREATE INDEX IF NOT EXISTS ON {table} ({column})")
        self._indexes[words[place - 1]] = table, columns

    def _drop_index(self, name: str) -> None:
        table, columns = self._indexes.pop(name)
        used = {column for other, others in self._indexes.values() if other == table for column in others}
        for column in set(columns) - used:
            self._db.execute(f"DROP INDEX ON {table} ({column})")

    def _insert(self, table: str, words: Sequence[str]) -> None:
        if table not in self._columns:
            raise NotApplicable("table that is not there")
        columns = self._columns[table]
        if words[0] == "(":
            end = words.index(")")
            columns = [word for word in words[1:end] if word != ","]
            words = words[end + 1 :]
        self._unsealed |= {table} if self._seal else set()
        if words[0].upper() == "SELECT":
            payloads = [dict(zip(columns, row, strict=True)) for row in self.ask(" ".join(words))]
            ids = range(self._rows[table] + 1, self._rows[table] + len(payloads) + 1)
            self._rows[table] += len(payloads)
            self._db.insert(table, ids, [[1.0]] * len(payloads), payloads)
            return
        names = ", ".join(["id", "vector", *columns])
        for row in split(words[1:]):
            self._rows[table] += 1
            values = ", ".join([str(self._rows[table]), "[1]", *(in_words(value) for value in split(row[1:-1]))])
            self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({values})")

    def _rewrite(self, words: Sequence[str]) -> None:
        statement = in_words(words)
        if "WHERE" not in statement.upper():
            statement += " WHERE true"
        self._db.execute(statement)
