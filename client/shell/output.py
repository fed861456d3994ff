"""Where results go: to a terminal, through a pager where they are taller than it, into a pipe, or into a file.

Invariants:
  * Without a terminal nothing is coloured, cut or paged, and only results go to stdout.
  * No control character of a value, a name or a message reaches a terminal, whatever the format is.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

import click

from reddb.client.rows import Result
from reddb.client.shell.complaint import Complaint, ReaderGone
from reddb.client.shell.formats import FOR_A_PERSON, render
from reddb.client.shell.script import local_path
from reddb.client.tables import PLAIN, Look
from reddb.terminal_text import escaped

_PIECE_BYTES = 1 << 16
_STATUS_LINES = 3  # that stay below a result: how many rows, a blank, the prompt


class Output:
    """The standard output, or the file that takes its place.

    What writes to it raises Complaint where that fails, and ReaderGone where nobody reads it any more.
    """

    def __init__(self, is_interactive: bool) -> None:
        self.is_interactive = is_interactive
        self._colours = is_interactive and "NO_COLOR" not in os.environ
        self._file: BinaryIO | None = None
        self._path = ""

    def show(self, result: Result, form: str) -> None:
        """Write a result. Raises Complaint for bytes that would go to a terminal."""
        content = render(result, form, self.look())
        if isinstance(content, bytes):
            self._write_bytes(content)
        elif form in FOR_A_PERSON:
            self.write(content)
        else:
            self._write_text(content)

    def look(self) -> Look:
        """How a table is shown where it goes."""
        if self._file is not None or not self.is_interactive:
            return PLAIN
        return Look(shutil.get_terminal_size().columns, self._colours)

    def write(self, text: str) -> None:
        """Write whole lines, which hold no control characters but those of colours."""
        if self._file is not None:
            self._write_bytes(text.encode())
        elif self.is_interactive and text.count("\n") > shutil.get_terminal_size().lines - _STATUS_LINES:
            click.echo_via_pager(text, color=self._colours)
        else:
            self._print(text)

    def write_file(self, file: BinaryIO, is_text: bool) -> None:
        """Write all that a file holds."""
        if is_text and self._is_terminal():
            self._write_text(file.read().decode())
            return
        while piece := file.read(_PIECE_BYTES):
            self._write_bytes(piece)

    def status(self, text: str) -> None:
        """A line under a result: how many rows, how long."""
        self._print(self._dim(text) + "\n")

    def say(self, text: str) -> None:
        """A line about the shell itself, which must not stand among the results that a program reads."""
        if self.is_interactive:
            self._print(self._dim(escaped(text)) + "\n")
        else:
            _print_error(escaped(text) if sys.stderr.isatty() else text)

    def complain(self, text: str) -> None:
        """A line that says what went wrong, its first word in red at a terminal."""
        if sys.stderr.isatty():
            text = escaped(text)
        name, colon, rest = text.partition(":")
        if self._colours and colon:
            text = click.style(name, fg="red", bold=True) + colon + rest
        with suppress(OSError):  # what cannot be written is told where it was written
            sys.stdout.flush()
        _print_error(text)

    def redirect(self, path: str | None) -> None:
        """Results go to this file from now on, or, without one, where they went at first."""
        self.close()
        if path is not None:
            try:
                self._file = local_path(path).open("wb")
            except OSError as error:
                raise Complaint(f"cannot write {path}: {error.strerror}") from error
            self._path = path

    def close(self) -> None:
        """End the file that results go to."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # each write was flushed, or complained about
                file.close()

    def _dim(self, text: str) -> str:
        return click.style(text, dim=True) if self._colours else text

    def _is_terminal(self) -> bool:
        return sys.stdout.isatty() if self._file is None else self._file.isatty()

    def _write_text(self, text: str) -> None:
        """Write lines of values as they are, but for what a terminal would obey."""
        if self._is_terminal():
            text = escaped(text)
        self.write(text)

    def _write_bytes(self, content: bytes) -> None:
        if self._file is not None:
            try:
                self._file.write(content)
                self._file.flush()
            except OSError as error:
                path = self._path
                self.close()
                raise Complaint(f"cannot write {path}: {error.strerror}", "results are shown here again") from error
        elif sys.stdout.isatty():
            raise Complaint("arrow is binary and not for a terminal", "send it into a pipe, or to a file with \\o FILE")
        else:
            with _standard_output():
                sys.stdout.flush()
                sys.stdout.buffer.write(content)
                sys.stdout.buffer.flush()

    def _print(self, text: str) -> None:
        with _standard_output():
            sys.stdout.write(text)
            sys.stdout.flush()


@contextmanager
def _standard_output() -> Iterator[None]:
    """Raises ReaderGone or Complaint where it cannot be written; what is left in its buffer is then given up."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):  # else the interpreter's last flush complains again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise ReaderGone from error
        raise Complaint(f"cannot write the results: {error.strerror}") from error


def _print_error(text: str) -> None:
    with suppress(OSError):  # there is no other place to tell it
        print(text, file=sys.stderr, flush=True)
