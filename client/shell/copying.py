r"""`\copy`: rows to a file, and rows of a file into a collection.

    \copy docs to docs.parquet
    \copy (SELECT id, title FROM docs LIMIT 100) to docs.csv
    \copy docs from docs.ndjson
    \copy docs from docs.ndjson upsert

Rows are stored in batches; where one is refused, the error names the line and says how many rows were stored before. A
file is written beside its place and takes it when it is whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from reddb import errors
from reddb.client.rows import Row
from reddb.client.shell.complaint import Complaint
from reddb.client.shell.connection import on_interrupt
from reddb.client.shell.copy_read import Batch, read_batches
from reddb.client.shell.copy_write import whole_file, write_pages, write_result
from reddb.client.shell.exporting import describe, pages
from reddb.client.shell.session import Session
from reddb.errors import RedDBError

_ROW = re.compile(r"^row \d+: ")  # of the batch, which says nothing to who sees lines
_NAME = r'(?P<name>"(?:[^"]|"")*"|[^\s"(]+)'
_SELECT = re.compile(r"\((?P<select>.*)\)\s+to\s+(?P<file>\S.*)", re.IGNORECASE | re.DOTALL)
_TO = re.compile(_NAME + r"\s+to\s+(?P<file>\S.*)", re.IGNORECASE)
_FROM = re.compile(_NAME + r"\s+from\s+(?P<file>\S.*?)(?P<upsert>\s+upsert)?", re.IGNORECASE)
_USAGE = r"\copy docs from FILE [upsert], \copy docs to FILE, or \copy (SELECT …) to FILE"


def copy(session: Session, arguments: str) -> None:
    """Do what the words say. Raises Complaint and RedDBError."""
    try:
        if found := _SELECT.fullmatch(arguments):
            _copy_result(session, found["select"], _path(found["file"]))
        elif found := _TO.fullmatch(arguments):
            _copy_out(session, _unquoted(found["name"]), _path(found["file"]))
        elif found := _FROM.fullmatch(arguments):
            _copy_in(session, _unquoted(found["name"]), _path(found["file"]), bool(found["upsert"]))
        else:
            raise Complaint(r"\copy is followed by what is copied and where", _USAGE)
    except OSError as error:
        raise Complaint(f"{error.filename or 'the file'}: {error.strerror or error}") from error


def _copy_result(session: Session, select: str, path: Path) -> None:
    with whole_file(path) as part:
        result = session.ask(select)
        write_result(part, path.suffix, result)
    session.output.say(f"({len(result):,} rows to {path})")


def _copy_out(session: Session, name: str, path: Path) -> None:
    described = describe(session, name)
    with whole_file(path) as part, _work(session, f"{name} to {path.name}", described.rows) as work:

        def counted() -> Iterator[list[Row]]:
            for page in pages(session, described):
                if work.is_stopped:
                    raise Complaint(f"stopped; {path} was not written")
                yield page
                work.advance_to(work.done + len(page))

        write_pages(part, path.suffix, described, counted())
    session.output.say(f"({work.done:,} rows to {path})")


def _copy_in(session: Session, name: str, path: Path, upsert: bool) -> None:
    described = describe(session, name)
    client = session.connection.client
    write = client.upsert if upsert else client.insert
    stored = 0
    try:
        with _work(session, f"{path.name} to {name}", 1.0) as work:
            for batch in read_batches(path, described):
                try:
                    stored += write(described.name, batch.ids, batch.vectors, batch.payloads)
                except RedDBError as error:
                    raise _placed(error, path, batch) from error
                work.advance_to(batch.share)
                if work.is_stopped:
                    raise Complaint("stopped")
    except Complaint as error:
        raise Complaint(str(error.args[0]), f"{stored:,} rows were stored") from error
    session.output.say(f"({stored:,} rows from {path})")


def _placed(error: RedDBError, path: Path, batch: Batch) -> Complaint:
    """The error with the line of the file that it is about."""
    message = f"{error.code.name}: {_ROW.sub('', error.message)}"
    row = error.detail.get("row")
    if isinstance(row, int) and row < len(batch.places):
        return Complaint(f"{path}:{batch.places[row]}: {message}")
    if error.code.kind is errors.ErrorKind.UNAVAILABLE:
        message += "; whether these rows were stored is unknown"
    return Complaint(f"{path}:{batch.places[0]} to {batch.places[-1]}: {message}")


class _Work:
    """How far a copy is, and whether Ctrl-C asked for its end."""

    def __init__(self, progress: Progress, description: str, total: float) -> None:
        self.done: float = 0
        self.is_stopped = False
        self._progress = progress
        self._task = progress.add_task(description, total=total)

    def advance_to(self, done: float) -> None:
        self.done = done
        self._progress.update(self._task, completed=done)


@contextmanager
def _work(session: Session, description: str, total: float) -> Iterator[_Work]:
    """Work with a bar at a terminal, which Ctrl-C ends after the batch that is under way."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not session.is_interactive
    ) as progress:
        work = _Work(progress, description, total)

        def stop(number: int, frame: FrameType | None) -> None:
            work.is_stopped = True

        with on_interrupt(stop):
            yield work


def _path(text: str) -> Path:
    """The file that is meant, with or without single quotes."""
    if len(text) > 1 and text.startswith("'") and text.endswith("'"):
        text = text[1:-1].replace("''", "'")
    return Path(text).expanduser()


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
