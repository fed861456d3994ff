"""From lark's tree to the AST: one method for each rule and each terminal that carries a value.

What a grammar cannot say is checked here and in the other transform modules: numbers in range, names short enough, no
clause, column, field or option given twice, as many values as columns, one style of parameters.

Invariant: nothing here recurses, however deep the tree is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lark import v_args

from reddb import errors
from reddb.grammar import ast
from reddb.grammar.transform_definitions import Clause
from reddb.grammar.transform_writes import WriteBuilder

if TYPE_CHECKING:
    from lark.tree import Meta

_EXPLAIN_HINT = "ANALYZE, RECALL and FORMAT json (or text) stand in the parentheses"
_SWITCH = {True: True, False: False, "on": True, "off": False, None: True}


@v_args(meta=True)
class AstBuilder(WriteBuilder):
    """Builds one statement."""

    # --- EXPLAIN -------------------------------------------------------------------------------------------

    def analyze(self, meta: Meta, _: list[Any]) -> Clause:
        return "ANALYZE", self._span(meta), {"analyze": True}

    def explain_option(self, meta: Meta, parts: list[Any]) -> Clause:
        name, word = parts
        span = self._span(meta)
        value = None if word is None else word.value
        if name.text in ("analyze", "recall") and value in _SWITCH:
            return name.text.upper(), span, {name.text: _SWITCH[value]}
        if name.text == "format" and value in ("json", "text"):
            return "FORMAT", span, {"json": value == "json"}
        message = f"EXPLAIN has no option {self._text[span.start : span.end]}"
        self._fail(errors.SYNTAX, message, span, _EXPLAIN_HINT)

    def explain(self, meta: Meta, parts: list[Any]) -> ast.Explain:
        analyze, *options, statement = parts
        clauses: list[Clause] = [] if options == [None] else options
        if analyze is not None:
            clauses = [analyze, *clauses]
        given = self._gathered(clauses)
        if given.get("recall") and not given.get("analyze"):
            span = next(span for _, span, field in clauses if "recall" in field)
            self._fail(errors.SYNTAX, "RECALL is measured by ANALYZE", span, "EXPLAIN ANALYZE (RECALL) SELECT …")
        return ast.Explain(statement, span=self._span(meta), **given)

    # --- the session ---------------------------------------------------------------------------------------

    def set_variable(self, meta: Meta, parts: list[Any]) -> ast.SetVariable:
        return ast.SetVariable(*parts, span=self._span(meta))

    def reset_variable(self, meta: Meta, parts: list[Any]) -> ast.ResetVariable:
        return ast.ResetVariable(parts[0], span=self._span(meta))

    def all(self, meta: Meta, _: list[Any]) -> None:
        return None

    def kill(self, meta: Meta, parts: list[Any]) -> ast.Kill:
        return ast.Kill(parts[0], span=self._span(meta))

    def prepare(self, meta: Meta, parts: list[Any]) -> ast.Prepare:
        return ast.Prepare(*parts, span=self._span(meta))

    def execute(self, meta: Meta, parts: list[Any]) -> ast.Execute:
        name, *arguments = parts
        return ast.Execute(name, () if arguments == [None] else tuple(arguments), span=self._span(meta))

    def deallocate(self, meta: Meta, parts: list[Any]) -> ast.Deallocate:
        return ast.Deallocate(parts[0], span=self._span(meta))

    def begin(self, meta: Meta, _: list[Any]) -> ast.Begin:
        return ast.Begin(span=self._span(meta))

    def commit(self, meta: Meta, _: list[Any]) -> ast.Commit:
        return ast.Commit(span=self._span(meta))

    def rollback(self, meta: Meta, _: list[Any]) -> ast.Rollback:
        return ast.Rollback(span=self._span(meta))
