"""From lark's tree to the AST: SELECT, VECTOR SEARCH and SHOW.

Invariant: nothing here recurses, however deep the tree is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lark import v_args

from reddb import errors
from reddb.grammar import ast
from reddb.grammar.transform_definitions import Clause, DefinitionBuilder

if TYPE_CHECKING:
    from lark.tree import Meta


@v_args(meta=True)
class ReadBuilder(DefinitionBuilder):
    """Builds statements that read."""

    # --- SELECT --------------------------------------------------------------------------------------------

    def star(self, meta: Meta, _: list[Any]) -> ast.Star:
        return ast.Star(span=self._span(meta))

    def star_of(self, meta: Meta, parts: list[Any]) -> ast.Star:
        return ast.Star(parts[0], span=self._span(meta))

    def select_item(self, meta: Meta, parts: list[Any]) -> ast.SelectItem:
        return ast.SelectItem(*parts, span=self._span(meta))

    def select_items(self, meta: Meta, items: list[ast.SelectItem]) -> tuple[ast.SelectItem, ...]:
        return tuple(items)

    def source(self, meta: Meta, parts: list[Any]) -> tuple[ast.Identifier, ast.Identifier | None]:
        name, alias = parts
        return name, alias

    def group_by(self, meta: Meta, keys: list[ast.Expression]) -> tuple[ast.Expression, ...]:
        return tuple(keys)

    def ascending(self, meta: Meta, _: list[Any]) -> bool:
        return False

    def descending(self, meta: Meta, _: list[Any]) -> bool:
        return True

    def nulls_first(self, meta: Meta, _: list[Any]) -> bool:
        return True

    def nulls_last(self, meta: Meta, _: list[Any]) -> bool:
        return False

    def order_item(self, meta: Meta, parts: list[Any]) -> ast.OrderBy:
        expression, descending, nulls_first = parts
        return ast.OrderBy(expression, bool(descending), nulls_first, span=self._span(meta))

    def order(self, meta: Meta, items: list[ast.OrderBy]) -> tuple[ast.OrderBy, ...]:
        return tuple(items)

    def limit(self, meta: Meta, parts: list[Any]) -> ast.Limit:
        return ast.Limit(*parts, span=self._span(meta))

    def select(self, meta: Meta, parts: list[Any]) -> ast.Select:
        distinct, items, named, where, group_by, having, order, limit, offset, options = parts
        source, alias = named or (None, None)
        return ast.Select(
            *(items, source, where, group_by or (), having, order or (), limit, offset, options or (), bool(distinct)),
            alias=alias,
            span=self._span(meta),
        )

    # --- SHOW ----------------------------------------------------------------------------------------------

    def _show(self, meta: Meta, subject: ast.Subject, parts: list[Any]) -> ast.Show:
        return ast.Show(subject, parts[0] if parts else None, span=self._span(meta))

    def show_collections(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return self._show(meta, ast.Subject.COLLECTIONS, parts)

    def show_collection(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return self._show(meta, ast.Subject.COLLECTION, parts)

    def show_aliases(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return self._show(meta, ast.Subject.ALIASES, parts)

    def show_segments(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return self._show(meta, ast.Subject.SEGMENTS, parts)

    def show_stats(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return self._show(meta, ast.Subject.STATS, parts)

    show_vector_index = show_stats

    def show_indexes(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return self._show(meta, ast.Subject.INDEXES, parts)

    def show_settings(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return ast.Show(ast.Subject.SETTINGS, like=parts[0], span=self._span(meta))

    def show_setting(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return self._show(meta, ast.Subject.SETTINGS, parts)

    def variable(self, meta: Meta, parts: list[Any]) -> ast.Identifier:
        first, *others = parts
        return self.dotted_name(meta, [self._identifier(first), *others])

    def show_sessions(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return self._show(meta, ast.Subject.SESSIONS, parts)

    def show_queries(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return self._show(meta, ast.Subject.QUERIES, parts)

    def show_errors(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return self._show(meta, ast.Subject.ERRORS, parts)

    def show_metrics(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return self._show(meta, ast.Subject.METRICS, parts)

    def show_memory(self, meta: Meta, parts: list[Any]) -> ast.Show:
        return self._show(meta, ast.Subject.MEMORY, parts)

    # --- VECTOR SEARCH -------------------------------------------------------------------------------------

    def stored_row(self, meta: Meta, ids: list[Any]) -> ast.StoredRow:
        return ast.StoredRow(ids[0], span=self._span(meta))

    def row_ids(self, meta: Meta, ids: list[Any]) -> tuple[Any, ...]:
        return tuple(ids)

    def stored_rows(self, meta: Meta, parts: list[Any]) -> ast.StoredRows:
        like, unlike = parts
        return ast.StoredRows(like, unlike or (), span=self._span(meta))

    def target(self, meta: Meta, targets: list[Any]) -> Any:
        target = targets[0]
        if isinstance(target, ast.ListLiteral):
            self._fail(errors.SYNTAX, "a vector to search for holds one number or more, and nothing else", target.span)
        return target

    def where(self, meta: Meta, parts: list[Any]) -> Clause:
        return "WHERE", self._span(meta), {"where": parts[0]}

    def metric(self, meta: Meta, parts: list[Any]) -> Clause:
        return "METRIC", self._span(meta), {"metric": parts[0]}

    def threshold(self, meta: Meta, parts: list[Any]) -> Clause:
        return "THRESHOLD", self._span(meta), {"threshold": parts[0]}

    def min_score(self, meta: Meta, parts: list[Any]) -> Clause:
        return "MIN_SCORE", self._span(meta), {"min_score": parts[0]}

    def include_vectors(self, meta: Meta, _: list[Any]) -> Clause:
        return "INCLUDE VECTORS", self._span(meta), {"include_vectors": True}

    def include_metadata(self, meta: Meta, _: list[Any]) -> Clause:
        return "INCLUDE METADATA", self._span(meta), {"include_metadata": True}

    def grouped(self, meta: Meta, parts: list[Any]) -> Clause:
        return "GROUP BY", self._span(meta), {"group_by": parts[0]}

    def limited(self, meta: Meta, parts: list[Any]) -> Clause:
        return "LIMIT (or K)", self._span(meta), {"limit": parts[0]}

    def limited_to(self, meta: Meta, parts: list[Any]) -> Clause:
        return self.limited(meta, [ast.Limit(parts[0], span=self._span(meta))])

    def offset(self, meta: Meta, parts: list[Any]) -> Clause:
        return "OFFSET", self._span(meta), {"offset": parts[0]}

    def with_options(self, meta: Meta, parts: list[Any]) -> Clause:
        return "WITH", self._span(meta), {"options": parts[0]}

    def vector_search(self, meta: Meta, parts: list[Any]) -> ast.VectorSearch:
        collection, target, *clauses = parts
        return ast.VectorSearch(collection, target, span=self._span(meta), **self._gathered(clauses))

    def search_similar(self, meta: Meta, parts: list[Any]) -> ast.VectorSearch:
        target, collection, *clauses = parts
        return self.vector_search(meta, [collection, target, *clauses])

    def search_using(self, meta: Meta, parts: list[Any]) -> ast.VectorSearch:
        collection, _, target, count, *clauses = parts
        limits = [] if count is None else [self.limited(meta, [ast.Limit(count, span=count.span)])]
        return self.vector_search(meta, [collection, target, *limits, *clauses])
