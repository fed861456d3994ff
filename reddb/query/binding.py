"""What all parts of the binder share: looking up names, and refusing with a place.

Invariant: binding changes nothing and looks at no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from reddb import errors
from reddb.grammar import ast
from reddb.query.columns import Resolved, in_collection
from reddb.query.predicate import Predicate, bind_predicate
from reddb.query.premises import Premises, family_of_id
from reddb.query.values import Values
from reddb.query.views import PREFIX
from reddb.settings import SettingValue, check
from reddb.types import METRIC_ALIASES, Collection, Metric, RowId


class Binding:
    """One statement's values, and the catalog it is bound against."""

    def __init__(self, values: Values, catalog: Mapping[str, Collection], target: Collection | None = None) -> None:
        """`target` is what the statement's collection was when it was bound first, whatever its name means now."""
        self.values = values
        self.premises: Premises | None = None
        self._catalog = catalog
        self._target = target

    def collection(self, name: ast.Identifier) -> Collection:
        """Raises UNKNOWN_COLLECTION with the nearest name."""
        if self._target is not None:
            return self._target
        if name.text in self._catalog:
            return self._catalog[name.text]
        hint = choices(name.text, list(self._catalog)) if self._catalog else "there are no collections yet"
        self.refuse(errors.UNKNOWN_COLLECTION, f"there is no collection {name.text!r}", name, hint)

    def own_collection(self, name: ast.Identifier) -> Collection:
        """The same by its own name: what changes a collection itself takes no alias. Raises INVALID_NAME for one."""
        self.refuse_alias(name)
        return self.collection(name)

    def refuse_alias(self, name: ast.Identifier) -> None:
        """Raises INVALID_NAME for an alias."""
        known = self._catalog.get(name.text)
        if known is not None and known.name != name.text:
            message = f"{name.text} is an alias of {known.name}"
            self.refuse(errors.INVALID_NAME, message, name, f"name the collection itself, {known.name}, or DROP ALIAS")

    def check_new_name(self, name: ast.Identifier) -> None:
        """Raises INVALID_NAME for what no collection and no alias may be called."""
        if not name.text.isprintable():
            self.refuse(errors.INVALID_NAME, "a name has printable characters only", name)
        if name.text.startswith(PREFIX):
            self.refuse(errors.INVALID_NAME, f"names that begin with {PREFIX} are those of views", name)

    def metric(self, metric: ast.Identifier) -> Metric:
        """Raises INVALID_VALUE with the nearest name."""
        if metric.text in METRIC_ALIASES:
            return METRIC_ALIASES[metric.text]
        if metric.text in set(Metric):
            return Metric(metric.text)
        names = [*Metric, *METRIC_ALIASES]
        self.refuse(errors.INVALID_VALUE, f"there is no metric {metric.text!r}", metric, choices(metric.text, names))

    def resolved(self, statement: Any, collection: Collection) -> Any:
        """A statement about a collection with its columns found. Raises UNKNOWN_COLUMN at a name that is none."""
        resolved = self.values.once(in_collection, statement, collection)
        self.premises = Premises(collection, self.values, resolved.keys)
        return self.found(resolved)

    def found(self, resolved: Resolved) -> Any:
        """The same for one whose columns were looked for."""
        refusal = resolved.refusal
        if refusal is not None:
            is_quoted = self.values.text[refusal.node.span.start :].startswith('"')
            hint = "double quotes are for names; a text stands in single quotes" if is_quoted else refusal.hint
            self.refuse(errors.UNKNOWN_COLUMN, refusal.message, refusal.node, hint)
        return resolved.node

    def settings(self, options: Sequence[ast.Option]) -> dict[str, SettingValue]:
        """The settings given WITH or SET. Raises INVALID_SETTING at the wrong one."""
        given: dict[str, Any] = {option.name.text: self.values.value(option.value) for option in options}
        checked: dict[str, SettingValue] = self.at_option(options, lambda: check(given))
        return checked

    def at_option(self, options: Sequence[ast.Option], work: Any) -> Any:
        """What `work` gives; an INVALID_SETTING it raises is made to point at the option."""
        try:
            return work()
        except errors.RedDBError as error:
            wrong = next(option for option in options if option.name.text == error.detail["setting"])
            self.refuse(error.code, error.message, wrong, error.detail.get("hint"))

    def predicate(self, where: ast.Expression | None, collection: Collection) -> Predicate | None:
        """Raises INVALID_VALUE or UNKNOWN_COLUMN at the place."""
        if where is None:
            return None
        return bind_predicate(where, self.values, collection.fields, collection.metric, collection.dim)

    def ids(self, where: ast.Expression | None) -> list[RowId] | None:
        """The ids of `id = …`, `id IN (…)` and `id IN $1`, which need no look at all rows; None for all else."""
        match where:
            case ast.Comparison(operator="=", left=left, right=right) if is_id(left):
                given: tuple[ast.Expression, ...] = (right,)
            case ast.InList(operand=operand, items=items, negated=False) if is_id(operand):
                given = items
            case ast.Member(item=item, array=ast.Parameter() as array, negated=False) if is_id(item):
                given = (array,)
            case _:
                return None
        values = [item for item in given if isinstance(item, ast.Literal | ast.Parameter)]
        if len(values) < len(given) or any(map(self._has_float, values)):
            return None
        if isinstance(where, ast.Comparison):
            return self._named([self.values.row_id(value) for value in values], values[0])
        ids = [row_id for value in values for row_id in self.values.row_ids(value)]
        return self._named(ids, values[0] if len(values) == 1 else where)

    def _has_float(self, node: ast.Literal | ast.Parameter) -> bool:
        """A float is no id, but may equal one."""
        value = self.values.value(node)
        return any(isinstance(item, float) for item in (value if isinstance(value, list | tuple) else (value,)))

    def _named(self, ids: Iterable[RowId], node: ast.Node) -> list[RowId]:
        """The ids, each once; their types are noted."""
        distinct = list(dict.fromkeys(ids))
        for family in {family_of_id(row_id) for row_id in distinct}:
            self.values.ids_named.setdefault(family, node)
        return distinct

    def refuse(self, code: errors.ErrorCode, message: str, node: ast.Node, hint: str | None = None) -> NoReturn:
        raise self.values.error(code, message, node, hint)


def is_id(node: ast.Expression) -> bool:
    return is_column(node, "id")


def is_column(node: ast.Expression, name: str) -> bool:
    return isinstance(node, ast.Column) and node.path == (name,)


def choices(given: str, names: Sequence[str]) -> str:
    """A hint: the nearest of the names, or all of them."""
    near = get_close_matches(given, names, n=1)
    return f"did you mean {near[0]}?" if near else "one of " + ", ".join(map(str, names))
