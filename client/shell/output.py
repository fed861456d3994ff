"""Where results go: to a terminal, through a pager where they are taller than it, into a pipe, or into a file.

Invariant: without a terminal nothing is coloured, cut or paged, and only results go to stdout.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import BinaryIO

import click

from reddb.client.rows import Result
from reddb.client.shell.complaint import Complaint
from reddb.client.shell.formats import render
from reddb.client.tables import PLAIN, Look

_STATUS_LINES = 3  # that stay below a result: how many rows, a blank, the prompt


class Output:
    """The standard output, or the file that takes its place."""

    def __init__(self, is_interactive: bool) -> None:
        self.is_interactive = is_interactive
        self._colours = is_interactive and "NO_COLOR" not in os.environ
        self._file: BinaryIO | None = None

    def show(self, result: Result, form: str) -> None:
        """Write a result. Raises Complaint for bytes that would go to a terminal."""
        content = render(result, form, self.look())
        if isinstance(content, bytes):
            self._write_bytes(content)
        else:
            self.write(content)

    def look(self) -> Look:
        """How a table is shown where it goes."""
        if self._file is not None or not self.is_interactive:
            return PLAIN
        return Look(shutil.get_terminal_size().columns, self._colours)

    def write(self, text: str) -> None:
        """Write whole lines."""
        if self._file is not None:
            self._file.write(text.encode())
            self._file.flush()
        elif self.is_interactive and text.count("\n") > shutil.get_terminal_size().lines - _STATUS_LINES:
            click.echo_via_pager(text, color=self._colours)
        else:
            sys.stdout.write(text)
            sys.stdout.flush()

    def status(self, text: str) -> None:
        """A line under a result: how many rows, how long."""
        print(self._dim(text), flush=True)

    def say(self, text: str) -> None:
        """A line about the shell itself, which must not stand among the results that a program reads."""
        print(self._dim(text), file=sys.stdout if self.is_interactive else sys.stderr, flush=True)

    def complain(self, text: str) -> None:
        """A line that says what went wrong, its first word in red at a terminal."""
        name, colon, rest = text.partition(":")
        if self._colours and colon:
            text = click.style(name, fg="red", bold=True) + colon + rest
        sys.stdout.flush()
        print(text, file=sys.stderr, flush=True)

    def redirect(self, path: str | None) -> None:
        """Results go to this file from now on, or, without one, where they went at first."""
        self.close()
        if path is not None:
            try:
                self._file = Path(path).expanduser().open("wb")
            except OSError as error:
                raise Complaint(f"cannot write {path}: {error.strerror}") from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _dim(self, text: str) -> str:
        return click.style(text, dim=True) if self._colours else text

    def _write_bytes(self, content: bytes) -> None:
        if self._file is not None:
            self._file.write(content)
            self._file.flush()
        elif sys.stdout.isatty():
            raise Complaint("arrow is binary and not for a terminal", "send it into a pipe, or to a file with \\o FILE")
        else:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
