"""From lark's tree to the AST: collections, fields, options, indexes and aliases.

Invariant: nothing here recurses, however deep the tree is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from lark import v_args

from reddb import errors
from reddb.grammar import ast
from reddb.grammar.transform_expressions import ExpressionBuilder

if TYPE_CHECKING:
    from lark.tree import Meta

Clause: TypeAlias = "tuple[str, ast.Span, dict[str, Any]]"

_TURBO = "vector.turbo"


@v_args(meta=True)
class DefinitionBuilder(ExpressionBuilder):
    """Builds definitions."""

    # --- clauses in any order ------------------------------------------------------------------------------

    # A clause is its name in a message, its span, and the fields of the node that it sets.

    def _gathered(self, clauses: list[Clause]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, span, field in clauses:
            if fields.keys() & field.keys():
                self._fail(errors.SYNTAX, f"{name} is given twice", span)
            fields |= field
        return fields

    # --- options -------------------------------------------------------------------------------------------

    def on(self, meta: Meta, _: list[Any]) -> ast.Identifier:
        return ast.Identifier("on", span=self._span(meta))

    def default_word(self, meta: Meta, _: list[Any]) -> ast.Identifier:
        return ast.Identifier("default", span=self._span(meta))

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
        if_not_exists, name, kind, dim, metric, declared, options = parts
        fields, free_keys = declared or ((), ())
        options = self.options(meta, [*free_keys, *(options or ())])
        return ast.CreateCollection(
            name, kind, dim, metric, fields, options, bool(if_not_exists), span=self._span(meta)
        )

    def drop_collection(self, meta: Meta, parts: list[Any]) -> ast.DropCollection:
        if_exists, name = parts
        return ast.DropCollection(name, bool(if_exists), span=self._span(meta))

    def truncate_collection(self, meta: Meta, parts: list[Any]) -> ast.TruncateCollection:
        if_exists, name = parts
        return ast.TruncateCollection(name, bool(if_exists), span=self._span(meta))

    def create_vector(self, meta: Meta, parts: list[Any]) -> ast.CreateCollection:
        if_not_exists, name, dim, metric = parts
        kind = ast.Identifier(_TURBO, span=self._span(meta))
        return ast.CreateCollection(name, kind, dim, metric, if_not_exists=bool(if_not_exists), span=self._span(meta))

    def described(self, meta: Meta, options: list[ast.Option]) -> tuple[ast.Option, ...]:
        return self.options(meta, options)

    def create_with_options(self, meta: Meta, parts: list[Any]) -> ast.CreateCollection:
        """`CREATE COLLECTION docs (dimension = 384, metric = 'cosine')`."""
        if_not_exists, name, described, options = parts
        given = {option.name.text: option for option in described}
        for option in described:
            if option.name.text not in ("dimension", "metric", "kind"):
                hint = "dimension, metric and kind stand here, settings behind WITH"
                self._fail(errors.SYNTAX, f"{option.name.text} is no property of a collection", option.name.span, hint)
        dim = given["dimension"].value if "dimension" in given else None
        if not isinstance(dim, ast.Literal) or type(dim.value) is not int or dim.value < 0:
            span = self._span(meta) if dim is None else dim.span
            self._fail(errors.SYNTAX, "dimension is a whole number", span, "(dimension = 384)")
        words = {key: self._word(given[key].value) for key in ("kind", "metric") if key in given}
        kind = words.get("kind") or ast.Identifier("vector", span=self._span(meta))
        return ast.CreateCollection(
            name, kind, dim, words.get("metric"), (), options or (), bool(if_not_exists), span=self._span(meta)
        )

    def _word(self, value: ast.Literal | ast.Parameter) -> ast.Identifier:
        if not isinstance(value, ast.Literal) or not isinstance(value.value, str) or not value.value:
            self._fail(errors.SYNTAX, "a name is expected here", value.span)
        return ast.Identifier(value.value.lower(), span=value.span)

    # --- fields --------------------------------------------------------------------------------------------

    def not_null(self, meta: Meta, _: list[Any]) -> Clause:
        return "NOT NULL", self._span(meta), {"not_null": True}

    def default(self, meta: Meta, parts: list[Any]) -> Clause:
        return "DEFAULT", self._span(meta), {"default": parts[0]}

    def field(self, meta: Meta, parts: list[Any]) -> ast.FieldDefinition:
        name, field_type, *clauses = parts
        return ast.FieldDefinition(self._as_written(name), field_type, span=self._span(meta), **self._gathered(clauses))

    def _as_written(self, name: ast.Identifier) -> ast.Identifier:
        """A field is called as it is declared: capitals stay, though they tell no two names apart."""
        written = self._text[name.span.start : name.span.end]
        return name if written.startswith('"') else ast.Identifier(written, span=name.span)

    def fields(self, meta: Meta, parts: list[Any]) -> tuple[tuple[ast.FieldDefinition, ...], tuple[ast.Option, ...]]:
        """The fields, and the setting that a star at their end stands for."""
        *fields, star = parts
        # Names that differ in the case of ASCII letters only, which is what bytes are lowered by, are one name.
        alike = [replace(field.name, text=field.name.text.encode().lower().decode()) for field in fields]
        self._refuse_second(alike, "field")
        if star is None:
            return tuple(fields), ()
        name, value = ast.Identifier("free_keys", span=star.span), ast.Literal(True, span=star.span)
        return tuple(fields), (ast.Option(name, value, span=star.span),)

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
        return ast.AlterCollection(parts[0], parts[-1], span=self._span(meta))

    def vector_column(self, meta: Meta, names: list[ast.Identifier]) -> None:
        if names[0].text != "vector":
            message = f"there is no column of vectors {names[0].text}"
            self._fail(errors.UNKNOWN_COLUMN, message, self._span(meta), "the vector of a row is its column vector")

    def vacuum(self, meta: Meta, names: list[ast.Identifier]) -> ast.AlterCollection:
        return ast.AlterCollection(names[0], ast.Compact(span=self._span(meta)), span=self._span(meta))

    def flush(self, meta: Meta, names: list[ast.Identifier]) -> ast.AlterCollection:
        return ast.AlterCollection(names[0], ast.Checkpoint(span=self._span(meta)), span=self._span(meta))

    # --- aliases -------------------------------------------------------------------------------------------

    def or_replace(self, meta: Meta, _: list[Any]) -> bool:
        return True

    def create_alias(self, meta: Meta, parts: list[Any]) -> ast.CreateAlias:
        or_replace, name, collection = parts
        return ast.CreateAlias(name, collection, bool(or_replace), span=self._span(meta))

    def alter_alias(self, meta: Meta, parts: list[Any]) -> ast.AlterAlias:
        return ast.AlterAlias(*parts, span=self._span(meta))

    def drop_alias(self, meta: Meta, parts: list[Any]) -> ast.DropAlias:
        if_exists, name = parts
        return ast.DropAlias(name, bool(if_exists), span=self._span(meta))
