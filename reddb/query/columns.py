"""What the names in a statement mean: every column is found before anything is bound.

    w.id, x.j.k        what stands before a column's name is what the statement calls the collection, or an error
    USERID             the field that is declared as userId (`reddb.keys`)
    excluded.hits      within ON CONFLICT … SET: what was to be inserted
    SELECT … AS d      ORDER BY and GROUP BY know what the SELECT calls its items; other clauses do not

A collection's name, or alias, wins over a key that is called so: `w.k` is the column k of w, `w.w.k` a part of its
column w. What is no column is refused, with the nearest name; where free keys are allowed it is one that rows may have.

Invariant: a statement that was resolved has its columns as they are declared, none with a qualifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NoReturn

from reddb.fields import Fields, FieldType
from reddb.grammar import ast
from reddb.keys import folded, nearest
from reddb.storage.payload_columns import column_path
from reddb.types import RESERVED_NAMES, Collection

_EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that there are: `own`, those of every row, and fields; with `free_keys` any other may be there too.

    `qualifier` is what may stand before them; `hidden` what cannot, because it was given an alias. `hint` is told of
    an unknown one.
    """

    fields: Fields
    own: frozenset[str] = RESERVED_NAMES
    free_keys: bool = False
    qualifier: str | None = None
    hidden: str | None = None
    hint: str | None = None

    @classmethod
    def of(cls, collection: Collection, name: str, alias: ast.Identifier | None) -> Columns:
        """Those of a collection that the statement calls by `name` or, where it gives one, by an alias."""
        called, hidden = (name, None) if alias is None else (alias.text, name)
        return cls(collection.fields, free_keys=collection.has_free_keys, qualifier=called, hidden=hidden)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A name that is no column."""

    message: str
    node: ast.Node
    hint: str | None


@dataclass(frozen=True, slots=True)
class Resolved:
    """A statement or condition with its columns.

    `keys` are the free keys and parts of fields that it asks rows for, by their paths as names are compared.
    """

    node: Any
    keys: Mapping[str, ast.Column] = field(default_factory=dict)
    refusal: Refusal | None = None


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def resolve(node: Any, columns: Columns) -> Resolved:
    """Find the columns of a statement, or of a condition."""
    resolver = _Resolver(columns)
    try:
        resolved = resolver.of(node)
    except _Refused as refused:
        return Resolved(node, refusal=refused.refusal)
    return Resolved(resolved, resolver.keys)


def in_collection(node: Any, collection: Collection) -> Resolved:
    """The same for a statement about a collection."""
    name: Any = node.source if isinstance(node, ast.Select) else node.collection
    return resolve(node, Columns.of(collection, name.text, getattr(node, "alias", None)))


def condition_in(node: Any, collection: Collection) -> Resolved:
    """The same for a condition without a statement, about a collection by its own name."""
    return condition_called(node, collection, collection.name)


def condition_called(node: Any, collection: Collection, name: str) -> Resolved:
    """The same where the collection is called by a name."""
    return resolve(node, Columns.of(collection, name, None))


class _Resolver:
    """Rewrites one statement."""

    def __init__(self, columns: Columns) -> None:
        self.keys: dict[str, ast.Column] = {}
        self._columns = columns
        self._aliases: Mapping[str, ast.Expression] = {}  # what the SELECT calls its items
        self._known: frozenset[str] = frozenset()  # those of them that the clause at hand knows
        self._has_excluded = False
        self._written: set[str] = set()  # what an INSERT says, so that rows have it once it is done

    def of(self, node: Any) -> Any:
        """The same node with its columns found."""
        match node:
            case ast.Column():
                return self._column(node)
            case tuple():
                resolved = tuple(map(self.of, node))
                return node if all(new is old for new, old in zip(resolved, node, strict=True)) else resolved
            case ast.Select():
                return self._select(node)
            case ast.Star(qualifier=ast.Identifier() as qualifier):
                self._check_qualifier(qualifier.text, qualifier)
                return replace(node, qualifier=None)
            case ast.Insert():
                return self._insert(node)
            case ast.OnConflict():
                self._has_excluded = True
                resolved = self._parts(node)
                self._has_excluded = False
                return resolved
            case ast.Assignment():
                return replace(node, column=self._target(node.column, asks=True), value=self.of(node.value))
            case ast.Node():
                return self._parts(node)
        return node

    def _parts(self, node: ast.Node, *without: str) -> Any:
        changed = {}
        for part in fields(node):
            old = getattr(node, part.name)
            if part.name not in without and (new := self.of(old)) is not old:
                changed[part.name] = new
        return replace(node, **changed) if changed else node

    # --- statements ----------------------------------------------------------------------------------------

    def _select(self, node: ast.Select) -> ast.Select:
        self._aliases = {
            item.alias.text: item.expression
            for item in node.items
            if item.alias is not None and not isinstance(item.expression, ast.Star)
        }
        resolved: ast.Select = self._parts(node, "order", "group_by")
        self._known = frozenset(self._aliases)
        order = self.of(node.order)
        undeclared = frozenset(name for name in self._aliases if self._columns.fields.get(name) is None)
        group_by = []
        for key in node.group_by:  # an alias is a key alone, not a part of one
            self._known = undeclared if isinstance(key, ast.Column) else frozenset()
            group_by.append(self.of(key))
        return replace(resolved, order=order, group_by=tuple(group_by))

    def _insert(self, node: ast.Insert) -> ast.Insert:
        columns = tuple(self._target(column, asks=False) for column in node.columns)
        seen: set[str] = set()
        for column in columns:
            if column.text in seen:
                self._refuse(f"the column {column.text} is given twice", column)
            seen.add(column.text)
        self._written = {folded(name) for name in seen}
        resolved: ast.Insert = self._parts(node, "columns", "rows")  # there are no columns in a list of values
        return replace(resolved, columns=columns)

    def _target(self, name: ast.Identifier, *, asks: bool) -> ast.Identifier:
        """A column that is written; with `asks` a free one that no row has is worth a notice."""
        found = self._found((name.text,), name, asks=asks)
        return name if found == (name.text,) else ast.Identifier(found[0], span=name.span)

    # --- names ---------------------------------------------------------------------------------------------

    def _column(self, node: ast.Column) -> ast.Column:
        path = node.path
        if len(path) == 1 and path[0] in self._known:
            return node
        if len(path) > 1 and self._has_excluded and folded(path[0]) == _EXCLUDED:
            found = (_EXCLUDED, *self._found(path[1:], node))
        elif len(path) > 1 and self._is_qualifier(path[0]):
            found = self._found(path[1:], node)
        else:
            self._check_hidden(path, node)
            found = self._found(path, node)
        return node if found == path else ast.Column(found, span=node.span)

    def _found(self, path: tuple[str, ...], node: ast.Node, *, asks: bool = True) -> tuple[str, ...]:
        """The path of a column without its qualifier, as it is declared."""
        columns = self._columns
        name, *inner = path
        own = folded(name)
        if own in columns.own:
            if inner:
                self._refuse(f"there is no column {'.'.join(path)} here", node, f"{own} has no parts")
            return (own,)
        declared = columns.fields.get(name)
        if declared is None:
            self._check_free(path, node)
            self._ask(path, node, asks=asks)
            return path
        if inner and declared.type is not FieldType.JSON:
            message = (
                f"there is no column {'.'.join(path)} here: {declared.name} is {declared.type}, which has no parts"
            )
            self._refuse(message, node)
        if inner:
            self._ask((declared.name, *inner), node, asks=asks)
        return (declared.name, *inner)

    def _ask(self, path: tuple[str, ...], node: ast.Node, *, asks: bool) -> None:
        """Whether rows have a value there, only they can tell."""
        if asks and folded(path[0]) not in self._written:
            self.keys.setdefault(folded(column_path(path)), ast.Column(path, span=node.span))

    def _check_free(self, path: tuple[str, ...], node: ast.Node) -> None:
        """Refuse a name that is no field, unless it may be a key that rows have."""
        columns, name, written = self._columns, path[0], ".".join(path)
        item = self._aliases.get(name) if len(path) == 1 and isinstance(node, ast.Column) else None
        if item is not None and not _mentions(item, name):
            hint = f"only ORDER BY and GROUP BY know what the SELECT calls {name}: repeat its expression here"
            if columns.free_keys:
                hint += f"; a key of the rows is {columns.qualifier}.{name}"
            self._refuse(f"there is no column {name} here", node, hint)
        if columns.free_keys:
            return
        names = [*sorted(columns.own - {"distance", "score"}), *(item.name for item in columns.fields)]
        message, near = f"there is no column {written} here", nearest(name, names)
        if len(path) > 1 and columns.qualifier is not None:
            message += f": {name} is neither {columns.qualifier} nor a field of it"
            near = nearest(name, [columns.qualifier, *names])
        elif near is None and names:
            is_value = isinstance(node, ast.Column)
            near = f"the columns are {', '.join(names)}{'; a text stands in single quotes' if is_value else ''}"
        self._refuse(message, node, columns.hint or near)

    def _is_qualifier(self, name: str) -> bool:
        return self._columns.qualifier is not None and folded(name) == folded(self._columns.qualifier)

    def _check_hidden(self, path: tuple[str, ...], node: ast.Node) -> None:
        columns = self._columns
        is_hidden = len(path) > 1 and columns.hidden is not None and folded(path[0]) == folded(columns.hidden)
        if is_hidden and columns.fields.get(path[0]) is None:
            message = f"{path[0]} is called {columns.qualifier} in this statement"
            self._refuse(message, node, ".".join([str(columns.qualifier), *path[1:]]))

    def _check_qualifier(self, name: str, node: ast.Node) -> None:
        if not self._is_qualifier(name):
            self._check_hidden((name, "*"), node)
            hint = None if self._columns.qualifier is None else nearest(name, [self._columns.qualifier])
            self._refuse(f"this statement reads nothing that is called {name}", node, hint)

    def _refuse(self, message: str, node: ast.Node, hint: str | None = None) -> NoReturn:
        raise _Refused(Refusal(message, node, hint))


def _mentions(item: ast.Expression, name: str) -> bool:
    """Whether the expression of an item reads a column of this name, so that the name is no invention of the SELECT."""
    return any(isinstance(node, ast.Column) and folded(node.path[0]) == folded(name) for node in ast.walk(item))
