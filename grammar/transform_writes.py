"""From lark's tree to the AST: INSERT, UPSERT, UPDATE and DELETE.

Invariant: nothing here recurses, however deep the tree is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lark import v_args

from reddb import errors
from reddb.grammar import ast
from reddb.grammar.transform_reads import ReadBuilder

if TYPE_CHECKING:
    from lark import Token
    from lark.tree import Meta


@v_args(meta=True)
class WriteBuilder(ReadBuilder):
    """Builds statements that write rows."""

    def insert_columns(self, meta: Meta, columns: list[ast.Identifier]) -> tuple[ast.Identifier, ...]:
        self._refuse_second(columns, "column")
        return tuple(columns)

    def default_value(self, meta: Meta, _: list[Any]) -> ast.Default:
        return ast.Default(span=self._span(meta))

    def row(self, meta: Meta, values: list[Any]) -> tuple[ast.Span, tuple[Any, ...]]:
        return self._span(meta), tuple(values)

    def rows(self, meta: Meta, rows: list[Any]) -> list[Any]:
        return [row for item in rows for row in (item if isinstance(item, list) else [item])]

    def VALUES_WRITTEN(self, token: Token) -> list[tuple[ast.Span, tuple[ast.Value, ...]]]:
        return self._written_rows(token)

    def insert(self, meta: Meta, parts: list[Any], upsert: bool = False) -> ast.Insert:
        collection, alias, columns, rows, expiry, on_conflict, returning = parts
        for number, (span, values) in enumerate(rows):
            if len(values) != len(columns):
                message = f"row {number} needs one value for each of {len(columns)} columns and has {len(values)}"
                self._fail(errors.SYNTAX, message, span)
        values = tuple(values for _, values in rows)
        return ast.Insert(
            *(collection, columns, values, upsert, expiry, on_conflict, returning or (), alias), span=self._span(meta)
        )

    def upsert(self, meta: Meta, parts: list[Any]) -> ast.Insert:
        *before, returning = parts
        return self.insert(meta, [*before, None, returning], upsert=True)

    def ttl(self, meta: Meta, parts: list[Any]) -> ast.Ttl:
        amount, unit = parts
        if unit is not None and not (isinstance(amount, ast.Literal) and amount.is_number):
            self._fail(errors.SYNTAX, "a unit follows a number", unit.span, "TTL 1 h, or TTL '1 h', or TTL $1")
        return ast.Ttl(amount, unit, span=self._span(meta))

    def expires_at(self, meta: Meta, parts: list[Any]) -> ast.ExpiresAt:
        return ast.ExpiresAt(parts[0], span=self._span(meta))

    def do_nothing(self, meta: Meta, parts: list[Any]) -> ast.OnConflict:
        self._check_conflict_column(parts[0])
        return ast.OnConflict(update=False, span=self._span(meta))

    def do_update(self, meta: Meta, parts: list[Any]) -> ast.OnConflict:
        column, *assignments = parts
        self._check_conflict_column(column)
        given = [] if assignments == [None] else assignments
        self._refuse_second([assignment.column for assignment in given], "column")
        return ast.OnConflict(True, tuple(given), span=self._span(meta))

    def _check_conflict_column(self, column: ast.Identifier | None) -> None:
        if column is not None and column.text != "id":
            message = f"rows conflict by id only, not by {column.text}"
            self._fail(errors.NOT_SUPPORTED, message, column.span, "ON CONFLICT (id)")

    def returning(self, meta: Meta, items: list[ast.SelectItem]) -> tuple[ast.SelectItem, ...]:
        return tuple(items)

    def assignment(self, meta: Meta, parts: list[Any]) -> ast.Assignment:
        return ast.Assignment(*parts, span=self._span(meta))

    def assignments(self, meta: Meta, assignments: list[ast.Assignment]) -> tuple[ast.Assignment, ...]:
        self._refuse_second([assignment.column for assignment in assignments], "column")
        return tuple(assignments)

    def update(self, meta: Meta, parts: list[Any]) -> ast.Update:
        collection, alias, assignments, where, returning = parts
        return ast.Update(collection, assignments, where, returning or (), alias, span=self._span(meta))

    def delete(self, meta: Meta, parts: list[Any]) -> ast.Delete:
        collection, alias, where, returning = parts
        return ast.Delete(collection, where, returning or (), alias, span=self._span(meta))
