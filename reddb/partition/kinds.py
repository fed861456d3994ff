"""What a collection's kind means for its segments.

Invariant: a collection's codec is the same for all of its segments; what differs is the fit.
"""

from __future__ import annotations

from functools import lru_cache

from reddb.index.turbo import TurboCodec
from reddb.partition.codec_block import codec_block_bytes
from reddb.storage.memory import MemoryShape
from reddb.types import Collection, Kind


def codec_of(collection: Collection) -> TurboCodec | None:
    """The turbo codec of the collection's rows, None for a kind without codes."""
    if collection.kind is not Kind.TURBO:
        return None
    return _codec(collection.dim, collection.number("bits"))


def codec_of_lists(collection: Collection) -> TurboCodec:
    """The turbo codec of an inverted file, which rows of any kind may lie in."""
    return _codec(collection.dim, collection.number("bits"))


def memory_shape(collection: Collection) -> MemoryShape:
    codec = codec_of(collection)
    if codec is None:
        return MemoryShape(collection.dim, 0, 0)
    return MemoryShape(collection.dim, codec.code_bytes, codec_block_bytes(codec))


@lru_cache
def _codec(dim: int, bits: int) -> TurboCodec:
    """One for all segments: its rotation takes up to 1 MiB."""
    return TurboCodec(dim, bits)
