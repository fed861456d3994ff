"""A file that is there whole or not at all; a pipe or a device in its place is written to when all is there.

Invariant: a file that exists is replaced by a whole one, through a name that no other file has, or stays as it is.
"""

from __future__ import annotations

import gzip
import io
import os
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from reddb.client.transfer.formats import FileFormat
from reddb.client.transfer.problem import TransferError

BROKEN_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)  # what reading a file that is cut, or is none, raises
_NAME_CHARS = 80  # of the file's own name in that of its part


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which becomes that of `path` when all went well, and is gone otherwise. Raises OSError."""
    path = path.resolve()  # of a link, what it points to is replaced
    if path.exists() and not path.is_file():
        with tempfile.TemporaryFile() as file:
            yield cast("BinaryIO", file)
            file.seek(0)
            with path.open("wb") as target:
                if target.isatty():
                    raise TransferError(f"{path} is a terminal", "copy to stdout")
                shutil.copyfileobj(file, target)
        return
    part = path.with_name(f".{path.name[:_NAME_CHARS]}.{secrets.token_hex(4)}.part")
    try:
        opened = part.open("xb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    with opened as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def compressed(file: BinaryIO, form: FileFormat) -> Iterator[BinaryIO]:
    """The file, or one whose bytes get there compressed."""
    if not form.is_compressed:
        yield file
        return
    with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
        yield cast("BinaryIO", packed)


@contextmanager
def text_of(file: BinaryIO, form: FileFormat) -> Iterator[TextIO]:
    """The text of a file, each line with its own end; the file stays open."""
    raw = cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="rb")) if form.is_compressed else file
    text = io.TextIOWrapper(raw, "utf-8-sig", newline="")
    try:
        yield text
    finally:
        text.detach()
