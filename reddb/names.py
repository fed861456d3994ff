"""What collections are called: each by its name, and by any number of aliases.

Invariant: no alias has the name of a collection; iteration gives the collections' own names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reddb.types import Collection


class Names(Mapping[str, Collection]):
    """The collections that there are, found by either kind of name."""

    def __init__(self) -> None:
        self._collections: dict[str, Collection] = {}
        self._aliases: dict[str, int] = {}

    def __getitem__(self, name: str) -> Collection:
        if name in self._collections:
            return self._collections[name]
        wanted = self._aliases[name]
        for collection in self._collections.values():
            if collection.id == wanted:
                return collection
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._collections)

    def __len__(self) -> int:
        return len(self._collections)

    @property
    def aliases(self) -> dict[str, str]:
        """The name of the collection that each alias stands for."""
        names = {item.id: item.name for item in self._collections.values()}
        return {alias: names[number] for alias, number in sorted(self._aliases.items()) if number in names}

    def put(self, collection: Collection) -> None:
        """It exists, or has changed; one that had its name before is no more."""
        self._collections[collection.name] = collection

    def remove(self, collection_id: int) -> None:
        """It does not exist any more."""
        self._collections = {name: item for name, item in self._collections.items() if item.id != collection_id}

    def set_aliases(self, aliases: Mapping[str, int]) -> None:
        """What each alias stands for, by the collection's id: all of them."""
        self._aliases = dict(aliases)

    def clear(self) -> None:
        self._collections.clear()
        self._aliases.clear()
