"""What a statement takes for granted of the rows: keys that some have, and ids of the types that it names.

Binding looks at no row, so this is asked where the rows are, before the statement is run:

    keys    a free key that no row has had is told by a notice, with the nearest name
    ids     an id compared with a type that no row's id has is the error that a field's type gives

Where there are no rows nothing is wrong with either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from reddb import errors
from reddb.grammar import ast
from reddb.keys import nearest
from reddb.query.values import Values
from reddb.storage.payload_columns import Family
from reddb.types import Collection, RowId

_IDS = {Family.INT: "an integer", Family.TEXT: "a string"}


class Known(Protocol):
    """What the rows of a collection have, or have had; paths are as names are compared."""

    def has_rows(self) -> bool: ...

    def has_path(self, path: str) -> bool: ...

    def has_ids(self, family: str) -> bool: ...

    def paths(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Premises:
    """Those of one statement about a collection; its values know which ids it names."""

    collection: Collection
    values: Values
    keys: Mapping[str, ast.Column]  # by their paths as names are compared

    @property
    def are_none(self) -> bool:
        return not self.keys and not self.values.ids_named

    def notices(self, known: Known) -> list[str]:
        """What is worth a notice. Raises INVALID_VALUE at an id of a type that no row's id has."""
        # What is known is remembered, so that it costs nothing: whether there are rows at all is asked last.
        wrong = [family for family in self.values.ids_named if not known.has_ids(family)]
        unknown = [(path, key) for path, key in self.keys.items() if not known.has_path(path)]
        if not (wrong or unknown) or not known.has_rows():
            return []
        for family in wrong:
            message = _wrong_ids(self.collection, family)
            raise self.values.error(errors.INVALID_VALUE, message, self.values.ids_named[family])
        return [self._notice(path, key, known) for path, key in unknown]

    def _notice(self, path: str, key: ast.Column, known: Known) -> str:
        if self.values.text[key.span.start :].startswith('"'):
            hint: str | None = "double quotes are for names; a text stands in single quotes"
        else:
            hint = nearest(path, [*known.paths(), *(item.name for item in self.collection.fields)])
        return f"no row of {self.collection.name} has {'.'.join(key.path)}{f'; {hint}' if hint else ''}"


def check_id_types(collection: Collection, ids: Iterable[RowId], known: Known) -> None:
    """The same for ids that are no statement's. Raises INVALID_VALUE naming the first of the wrong type."""
    for family, row_id in {family_of_id(row_id): row_id for row_id in ids}.items():
        if not known.has_ids(family) and known.has_rows():
            raise errors.INVALID_VALUE.error(f"{_wrong_ids(collection, family)}: {row_id!r}")


def family_of_id(row_id: RowId) -> Family:
    return Family.TEXT if isinstance(row_id, str) else Family.INT


def _wrong_ids(collection: Collection, family: str) -> str:
    other = Family.INT if family == Family.TEXT else Family.TEXT
    return f"every id of {collection.name} is {_IDS[other]}, and this is {_IDS[Family(family)]}"
