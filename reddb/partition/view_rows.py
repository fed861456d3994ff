"""Rows of a view as the source of expressions and of results: what is asked for is fetched then, and once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reddb import limits
from reddb.accountant import spend
from reddb.fields import unpack_payload
from reddb.keys import value_at
from reddb.types import Metric, Payload, Vectors

if TYPE_CHECKING:
    from reddb.partition.view import Addresses, View


class ViewRows:
    """The rows at some addresses (n,); with metric and query (dim,) or their distances (n,) they have a "distance"."""

    def __init__(
        self,
        view: View,
        addresses: Addresses,
        query: tuple[Metric, Vectors] | None = None,
        distances: NDArray[np.float64] | None = None,
    ) -> None:
        self.rows = len(addresses)
        self._view = view
        self._addresses = addresses
        self._query = query
        self._distances = distances
        self._families: dict[str, Mapping[str, pa.Array]] = {}
        self._vectors: Vectors | None = None
        self._payloads: list[Payload] | None = None
        self.bytes_read = 0  # of payloads and vectors

    def families(self, path: str) -> Mapping[str, pa.Array]:
        """The arrays (n,) of a path by their family."""
        if path not in self._families:
            if path == "distance":
                self._families[path] = {"float": pa.array(self._far())}
            else:
                self._families[path] = self._view.families(path, self._addresses)
        return self._families[path]

    def vectors(self) -> Vectors:
        """A copy, (n, dim)."""
        if self._vectors is None:
            self._vectors = self._view.vectors(self._addresses)
            self.bytes_read += self._vectors.nbytes
        return self._vectors

    def plain(self, path: tuple[str, ...]) -> list[Any]:
        """The values of a column exactly as they were given, (n,)."""
        match path:
            case ("id",):
                return list(self._view.row_ids(self._addresses))
            case ("vector",):
                spend(len(self._addresses) * self._view.collection.dim * 4)
                return list(self.vectors())
            case ("distance",):
                return list(self._far().tolist())
            case _:
                return [value_at(payload, path) for payload in self._all_payloads()]

    def payload_keys(self) -> list[str]:
        """The keys of the payloads, in the order they first appear."""
        return list(dict.fromkeys(key for payload in self._all_payloads() for key in payload))

    def payload_values(self, key: str) -> list[Any]:
        """What the payloads have at this very key, (n,)."""
        return [payload.get(key) for payload in self._all_payloads()]

    def _far(self) -> NDArray[np.float64]:
        if self._distances is None:
            assert self._query is not None
            self._distances = self._view.distances(*self._query, self._addresses)
        return self._distances

    def _all_payloads(self) -> list[Payload]:
        if self._payloads is None:
            if self.rows > limits.UNCOUNTED_ROWS:
                spend(self._view.payload_bytes(self._addresses) * limits.VALUES_PER_BYTE)
            contents = self._view.payloads(self._addresses)
            self.bytes_read += sum(map(len, contents))
            self._payloads = [unpack_payload(content) for content in contents]
        return self._payloads
