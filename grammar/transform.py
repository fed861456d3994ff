"""From lark's tree to the AST: one method for each rule and each terminal that carries a value.

What a grammar cannot say is checked here and in transform_expressions.py: numbers in range, names short enough, no
clause, column, field or option given twice, as many values as columns, one style of parameters.

Invariant: nothing here recurses, however deep the tree is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from lark import v_args

from reddb import errors
from reddb.grammar import ast
from reddb.grammar.transform_expressions import ExpressionBuilder

if TYPE_CHECKING:
    from lark.tree import Meta

_Clause: TypeAlias = "tuple[str, ast.Span, dict[str, Any]]"


@v_args(meta=True)
class AstBuilder(ExpressionBuilder):
    """Builds one statement."""

    # --- clauses in any order ------------------------------------------------------------------------------

    # A clause is its name in a message, its span, and the fields of the node that it sets.

    def _gathered(self, clauses: list[_Clause]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, span, field in clauses:
            if fields.keys() & field.keys():
                self._fail(errors.SYNTAX, f"{name} is given twice", span)
            fields |= field
        return fields

    # --- options -------------------------------------------------------------------------------------------

    def bare_word(self, meta: Meta, names: list[ast.Identifier]) -> ast.Literal:
        return ast.Literal(names[0].text, span=self._span(meta))

    def option(self, meta: Meta, parts: list[Any]) -> ast.Option:
        name, value = parts
        return ast.Option(name, value, span=self._span(meta))

    def options(self, meta: Meta, options: list[ast.Option]) -> tuple[ast.Option, ...]:
        self._refuse_second([option.name for option in options], "option")
        return tuple(options)

    # --- collections ---------------------------------------------------------------------------------------

    def if_not_exists(self, meta: Meta, _: list[Any]) -> bool:
        return True

    if_exists = if_not_exists

    def dimension(self, meta: Meta, literals: list[ast.Literal]) -> ast.Literal:
        return literals[0]

    def create_collection(self, meta: Meta, parts: list[Any]) -> ast.CreateCollection:
        if_not_exists, name, kind, dim, metric, fields, options = parts
        return ast.CreateCollection(
            name, kind, dim, metric, fields or (), options or (), bool(if_not_exists), span=self._span(meta)
        )

    def drop_collection(self, meta: Meta, parts: list[Any]) -> ast.DropCollection:
        if_exists, name = parts
        return ast.DropCollection(name, bool(if_exists), span=self._span(meta))

    def truncate_collection(self, meta: Meta, parts: list[Any]) -> ast.TruncateCollection:
        if_exists, name = parts
        return ast.TruncateCollection(name, bool(if_exists), span=self._span(meta))

    def show_collections(self, meta: Meta, _: list[Any]) -> ast.ShowCollections:
        return ast.ShowCollections(span=self._span(meta))

    def show_collection(self, meta: Meta, names: list[ast.Identifier]) -> ast.ShowCollection:
        return ast.ShowCollection(names[0], span=self._span(meta))

    def show_segments(self, meta: Meta, names: list[ast.Identifier]) -> ast.ShowSegments:
        return ast.ShowSegments(names[0], span=self._span(meta))

    def show_indexes(self, meta: Meta, names: list[ast.Identifier]) -> ast.ShowIndexes:
        return ast.ShowIndexes(names[0], span=self._span(meta))

    def show_stats(self, meta: Meta, names: list[ast.Identifier]) -> ast.ShowStats:
        return ast.ShowStats(names[0], span=self._span(meta))

    def show_settings(self, meta: Meta, _: list[Any]) -> ast.ShowSettings:
        return ast.ShowSettings(span=self._span(meta))

    # --- fields --------------------------------------------------------------------------------------------

    def brackets(self, meta: Meta, _: list[Any]) -> str:
        return "[]"

    def field_type(self, meta: Meta, parts: list[Any]) -> ast.Identifier:
        name, brackets = parts
        text = name.text.upper() + (brackets or "")
        self._check_name(text, self._span(meta))
        return ast.Identifier(text, span=self._span(meta))

    def not_null(self, meta: Meta, _: list[Any]) -> _Clause:
        return "NOT NULL", self._span(meta), {"not_null": True}

    def default(self, meta: Meta, parts: list[Any]) -> _Clause:
        return "DEFAULT", self._span(meta), {"default": parts[0]}

    def field(self, meta: Meta, parts: list[Any]) -> ast.FieldDefinition:
        name, field_type, *clauses = parts
        return ast.FieldDefinition(name, field_type, span=self._span(meta), **self._gathered(clauses))

    def fields(self, meta: Meta, fields: list[ast.FieldDefinition]) -> tuple[ast.FieldDefinition, ...]:
        self._refuse_second([field.name for field in fields], "field")
        return tuple(fields)

    def create_index(self, meta: Meta, parts: list[Any]) -> ast.CreateIndex:
        if_not_exists, name, collection, field = parts
        return ast.CreateIndex(collection, field, name, bool(if_not_exists), span=self._span(meta))

    def drop_index(self, meta: Meta, parts: list[Any]) -> ast.DropIndex:
        if_exists, collection, field = parts
        return ast.DropIndex(collection, field, bool(if_exists), span=self._span(meta))

    # --- ALTER COLLECTION ----------------------------------------------------------------------------------

    def seal(self, meta: Meta, _: list[Any]) -> ast.Seal:
        return ast.Seal(span=self._span(meta))

    def compact(self, meta: Meta, _: list[Any]) -> ast.Compact:
        return ast.Compact(span=self._span(meta))

    def checkpoint(self, meta: Meta, _: list[Any]) -> ast.Checkpoint:
        return ast.Checkpoint(span=self._span(meta))

    def rebuild(self, meta: Meta, parts: list[Any]) -> ast.Rebuild:
        return ast.Rebuild(parts[0] or (), span=self._span(meta))

    def set_options(self, meta: Meta, options: list[ast.Option]) -> ast.SetOptions:
        return ast.SetOptions(self.options(meta, options), span=self._span(meta))

    def add_field(self, meta: Meta, fields: list[ast.FieldDefinition]) -> ast.AddField:
        return ast.AddField(fields[0], span=self._span(meta))

    def drop_field(self, meta: Meta, names: list[ast.Identifier]) -> ast.DropField:
        return ast.DropField(names[0], span=self._span(meta))

    def alter_collection(self, meta: Meta, parts: list[Any]) -> ast.AlterCollection:
        return ast.AlterCollection(*parts, span=self._span(meta))

    # --- rows ----------------------------------------------------------------------------------------------

    def insert_columns(self, meta: Meta, columns: list[ast.Identifier]) -> tuple[ast.Identifier, ...]:
        self._refuse_second(columns, "column")
        return tuple(columns)

    def row(self, meta: Meta, values: list[ast.Value]) -> tuple[ast.Span, tuple[ast.Value, ...]]:
        return self._span(meta), tuple(values)

    def insert(self, meta: Meta, parts: list[Any], upsert: bool = False) -> ast.Insert:
        collection, columns, *rows = parts
        for number, (span, values) in enumerate(rows, 1):
            if len(values) != len(columns):
                message = f"row {number} needs one value for each of {len(columns)} columns and has {len(values)}"
                self._fail(errors.SYNTAX, message, span)
        return ast.Insert(collection, columns, tuple(values for _, values in rows), upsert, span=self._span(meta))

    def upsert(self, meta: Meta, parts: list[Any]) -> ast.Insert:
        return self.insert(meta, parts, upsert=True)

    def assignment(self, meta: Meta, parts: list[Any]) -> ast.Assignment:
        return ast.Assignment(*parts, span=self._span(meta))

    def update(self, meta: Meta, parts: list[Any]) -> ast.Update:
        collection, *assignments, where = parts
        self._refuse_second([assignment.column for assignment in assignments], "column")
        return ast.Update(collection, tuple(assignments), where, span=self._span(meta))

    def delete(self, meta: Meta, parts: list[Any]) -> ast.Delete:
        collection, where = parts
        return ast.Delete(collection, where, span=self._span(meta))

    # --- SELECT --------------------------------------------------------------------------------------------

    def star(self, meta: Meta, _: list[Any]) -> ast.Star:
        return ast.Star(span=self._span(meta))

    def count_star(self, meta: Meta, _: list[Any]) -> ast.CountStar:
        return ast.CountStar(span=self._span(meta))

    def select_item(self, meta: Meta, parts: list[Any]) -> ast.SelectItem:
        return ast.SelectItem(*parts, span=self._span(meta))

    def select_items(self, meta: Meta, items: list[ast.SelectItem]) -> tuple[ast.SelectItem, ...]:
        return tuple(items)

    def ascending(self, meta: Meta, _: list[Any]) -> bool:
        return False

    def descending(self, meta: Meta, _: list[Any]) -> bool:
        return True

    def order(self, meta: Meta, parts: list[Any]) -> ast.OrderBy:
        expression, descending = parts
        return ast.OrderBy(expression, bool(descending), span=self._span(meta))

    def select(self, meta: Meta, parts: list[Any]) -> ast.Select:
        items, collection, where, order, limit, offset, options = parts
        return ast.Select(items, collection, where, order, limit, offset, options or (), span=self._span(meta))

    # --- VECTOR SEARCH -------------------------------------------------------------------------------------

    def stored_row(self, meta: Meta, ids: list[Any]) -> ast.StoredRow:
        return ast.StoredRow(ids[0], span=self._span(meta))

    def target(self, meta: Meta, targets: list[Any]) -> ast.VectorLiteral | ast.Parameter | ast.StoredRow:
        target: ast.VectorLiteral | ast.ListLiteral | ast.Parameter | ast.StoredRow = targets[0]
        if isinstance(target, ast.ListLiteral):
            self._fail(errors.SYNTAX, "a vector to search for holds one number or more, and nothing else", target.span)
        return target

    def where(self, meta: Meta, parts: list[Any]) -> _Clause:
        return "WHERE", self._span(meta), {"where": parts[0]}

    def metric(self, meta: Meta, parts: list[Any]) -> _Clause:
        return "METRIC", self._span(meta), {"metric": parts[0]}

    def threshold(self, meta: Meta, parts: list[Any]) -> _Clause:
        return "THRESHOLD", self._span(meta), {"threshold": parts[0]}

    def min_score(self, meta: Meta, parts: list[Any]) -> _Clause:
        return "MIN_SCORE", self._span(meta), {"min_score": parts[0]}

    def include_vectors(self, meta: Meta, _: list[Any]) -> _Clause:
        return "INCLUDE VECTORS", self._span(meta), {"include_vectors": True}

    def include_metadata(self, meta: Meta, _: list[Any]) -> _Clause:
        return "INCLUDE METADATA", self._span(meta), {"include_metadata": True}

    def limit(self, meta: Meta, parts: list[Any]) -> _Clause:
        return "LIMIT (or K)", self._span(meta), {"limit": parts[0]}

    def with_options(self, meta: Meta, parts: list[Any]) -> _Clause:
        return "WITH", self._span(meta), {"options": parts[0]}

    def vector_search(self, meta: Meta, parts: list[Any]) -> ast.VectorSearch:
        collection, target, *clauses = parts
        return ast.VectorSearch(collection, target, span=self._span(meta), **self._gathered(clauses))

    def search_similar(self, meta: Meta, parts: list[Any]) -> ast.VectorSearch:
        target, collection, *clauses = parts
        return self.vector_search(meta, [collection, target, *clauses])

    # --- EXPLAIN -------------------------------------------------------------------------------------------

    def analyze(self, meta: Meta, _: list[Any]) -> bool:
        return True

    def explain(self, meta: Meta, parts: list[Any]) -> ast.Explain:
        analyze, statement = parts
        return ast.Explain(statement, bool(analyze), span=self._span(meta))
