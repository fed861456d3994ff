"""Rows of a batch as the source of expressions and of results; columns are made when they are first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from reddb.fields import unpack_payload
from reddb.keys import value_at
from reddb.query.sources import RowsAtHand
from reddb.rows import RowBatch
from reddb.types import Payload, Vectors


class BatchRows:
    """All rows (n,) of a batch."""

    def __init__(self, batch: RowBatch) -> None:
        self.rows = len(batch)
        self._batch = batch
        self._source = RowsAtHand(batch.id_list(), self._contents, lambda: batch.vectors)

    def families(self, path: str) -> Mapping[str, Any]:
        """The arrays (n,) of a path by their family."""
        return self._source.families(path)

    def vectors(self) -> Vectors:
        return self._batch.vectors

    @property
    def bytes_read(self) -> int:
        return 0  # its size was checked before the rows were written

    def plain(self, path: tuple[str, ...]) -> list[Any]:
        """The values of a column exactly as they were given, (n,)."""
        match path:
            case ("id",):
                return list(self._batch.id_list())
            case ("vector",):
                return list(self._batch.vectors)
        return [value_at(payload, path) for payload in self.payloads]

    def payload_keys(self) -> list[str]:
        """The keys of the payloads, in the order they first appear."""
        return list(dict.fromkeys(key for payload in self.payloads for key in payload))

    def payload_values(self, key: str) -> list[Any]:
        """What the payloads have at this very key, (n,)."""
        return [payload.get(key) for payload in self.payloads]

    @cached_property
    def payloads(self) -> list[Payload]:
        """Each row's payload, {} where it has none."""
        return [unpack_payload(content) for content in self._contents()]

    def _contents(self) -> list[bytes]:
        return [b""] * self.rows if self._batch.payloads is None else self._batch.payloads.split()
