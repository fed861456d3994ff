"""The bundled sample: 5,000 WordNet glosses with their embeddings, and 12 queries that are not among them.

Files, in this folder (README.md says where they come from):

    vectors.npy     float16 (5000, 384), rows of unit length
    texts.jsonl.gz  one JSON object a row, in the same order: id, text, section
    queries.npy     float16 (12, 384)
    queries.jsonl   as texts.jsonl.gz

Invariant: row i of `vectors`, `ids` and `payloads` is one entry.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Sample:
    """The sample in memory; each query is its text and its float32 vector."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    payloads: list[dict[str, Any]]
    queries: list[tuple[str, NDArray[np.float32]]]


def load() -> Sample:
    """Read the sample from the installed package."""
    folder = files("reddb.client.demo")
    entries = _entries(gzip.decompress(folder.joinpath("texts.jsonl.gz").read_bytes()))
    queries = _entries(folder.joinpath("queries.jsonl").read_bytes())
    sample = Sample(
        ids=np.array([entry["id"] for entry in entries], np.int64),
        vectors=_vectors("vectors.npy"),
        payloads=[{"text": entry["text"], "section": entry["section"]} for entry in entries],
        queries=[(query["text"], vector) for query, vector in zip(queries, _vectors("queries.npy"), strict=True)],
    )
    assert len(sample.ids) == len(sample.vectors)
    return sample


def _entries(lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def _vectors(name: str) -> NDArray[np.float32]:
    # Stored as float16, half the size; for unit vectors the rounding moves a cosine distance by less than 0.001.
    with files("reddb.client.demo").joinpath(name).open("rb") as file:
        stored: NDArray[np.float16] = np.load(file, allow_pickle=False)
    return stored.astype(np.float32)
