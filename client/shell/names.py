"""The names that a database knows, for completion: asked when they are wanted, kept until a definition changes them."""

from __future__ import annotations

from reddb.client.shell.connection import Connection
from reddb.client.transfer.collection import FIELD
from reddb.client.transfer.collection import quoted as in_quotes
from reddb.errors import RedDBError


def quoted(name: str) -> str:
    """A name in the double quotes of the language; one that has them already stays as it is."""
    if len(name) > 1 and name.startswith('"') and name.endswith('"'):
        return name
    return in_quotes(name)


class Names:
    """Collections and their declared fields."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._collections: list[str] | None = None
        self._fields: dict[str, list[str]] = {}
        self._settings: list[str] | None = None

    def forget(self) -> None:
        """Ask again when they are wanted next."""
        self._collections = None
        self._fields = {}

    def collections(self) -> list[str]:
        if self._collections is None:
            rows = self._show("SHOW COLLECTIONS")
            if rows is None:
                return []
            self._collections = [str(row[0]) for row in rows]
        return self._collections

    def fields(self, collection: str) -> list[str]:
        if collection not in self._fields:
            rows = self._show(f"SHOW COLLECTION {quoted(collection)}")
            if rows is None:
                return []
            names = [str(row[0]) for row in rows]
            self._fields[collection] = [name.removeprefix(FIELD) for name in names if name.startswith(FIELD)]
        return self._fields[collection]

    def settings(self) -> list[str]:
        """Those of the server and of the session."""
        if self._settings is None:
            rows = self._show("SHOW SETTINGS")
            if rows is None:
                return []
            self._settings = [str(row[0]) for row in rows]
        return self._settings

    def _show(self, statement: str) -> list[tuple[object, ...]] | None:
        """The rows, or None where there is no answer: the next statement that is run says why, a Tab does not."""
        try:
            return list(self._connection.client.execute(statement)) if self._connection.is_open() else None
        except RedDBError:
            return None
