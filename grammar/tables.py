"""Lark's tables in a file beside the byte code, for every process needs them and making them takes 0.3 s.

    sha256 of the rest, 32 bytes | what Lark.save wrote

The file is named after the module that made them, with a digest of the grammar, of that module, and of lark's release.

Invariants:
  * Who may write the file may write the byte code as well; it is trusted as much, and no more.
  * A file that is not whole is not used; it is put in place at once, for other processes may do the same.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from hashlib import sha256
from importlib.util import cache_from_source
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import lark
from lark import Lark

if TYPE_CHECKING:
    from collections.abc import Callable

_CHECKSUM_BYTES = 32


def kept_tables(grammar: str, made_by: str, make: Callable[[str], Lark]) -> Lark:
    """What `make` makes of the grammar, from the file if there is one; `made_by` is the path of the module."""
    path = _path(grammar, made_by)
    kept = _read(path)
    if kept is not None:
        return Lark.load(BytesIO(kept))
    tables = make(grammar)
    if not sys.dont_write_bytecode:
        with suppress(OSError):  # there is nowhere to keep them: they are made again next time
            _write(path, tables)
    return tables


def _path(grammar: str, made_by: str) -> Path:
    made_of = (grammar, Path(made_by).read_text("utf-8"), lark.__version__)
    digest = sha256("\0".join(made_of).encode()).hexdigest()[:16]
    return Path(cache_from_source(made_by)).with_suffix(f".{digest}.tables")


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, kept = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    return kept if sha256(kept).digest() == checksum else None


def _write(path: Path, tables: Lark) -> None:
    content = BytesIO()
    tables.save(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(sha256(content.getvalue()).digest() + content.getvalue())
    unfinished.replace(path)
