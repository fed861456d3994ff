r"""`\copy`: rows to a file, and rows of a file into a collection.

    \copy docs to docs.parquet
    \copy (SELECT id, title FROM docs LIMIT 100) to docs.csv
    \copy docs from docs.csv.gz delimiter ';' upsert
    \copy docs from stdin csv           lines that follow, up to one of \. alone; with -c, the standard input
    \copy docs to stdout ndjson

Rows are stored in batches; where one is refused, the error names the line and says how many rows were stored before.
Nothing is written anywhere before all of it is known to come back as it was.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from stat import S_ISREG
from types import FrameType
from typing import BinaryIO, NamedTuple, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from reddb import errors
from reddb.client.rows import Row
from reddb.client.shell.complaint import Complaint
from reddb.client.shell.connection import on_interrupt
from reddb.client.shell.results import write_result
from reddb.client.shell.script import local_path
from reddb.client.shell.session import Session
from reddb.client.transfer.collection import describe, pages
from reddb.client.transfer.files import whole_file
from reddb.client.transfer.formats import KNOWN, FileFormat, file_format
from reddb.client.transfer.problem import TransferError
from reddb.client.transfer.read import Batch, Source, read_batches
from reddb.client.transfer.write import write_rows
from reddb.errors import RedDBError
from reddb.wording import counted

_COPY = re.compile(
    r"""(?: \( (?P<select> .* ) \) | (?P<name> "(?:[^"]|"")*" | [^\s"(]+ ) ) \s* \b (?P<way> to | from ) \s+
        (?P<file> '(?:[^']|'')*' | \S+ ) (?P<options> .* )""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_OPTION = re.compile(r"E?'(?:[^']|'')*'|[^\s(),=']+", re.IGNORECASE)
_OPTIONS = ("upsert", "delimiter", "format", "header", "with")
_USAGE = r"\copy docs from FILE [upsert], \copy docs to FILE, or \copy (SELECT …) to FILE"
_ROW = re.compile(r"^row \d+: ")  # of the batch, which says nothing to who sees lines
_OTHER_ROW = re.compile(r"stands in row (\d+) too$")
_END_OF_DATA = "\\."


class _Wish(NamedTuple):
    """What the words say; `path` is None for the standard input or output."""

    path: Path | None
    form: FileFormat
    upsert: bool


def copy(session: Session, arguments: str) -> None:
    """Do what the words say. Raises Complaint and RedDBError."""
    found = _COPY.fullmatch(arguments)
    if found is None or (found["select"] is not None and found["way"].lower() == "from"):
        raise Complaint(r"\copy is followed by what is copied and where", _USAGE)
    try:
        wish = _wish(found["file"], found["way"].lower(), found["options"])
        if found["select"] is not None:
            _copy_result(session, found["select"], wish)
        elif found["way"].lower() == "to":
            _copy_out(session, _unquoted(found["name"]), wish)
        else:
            _copy_in(session, _unquoted(found["name"]), wish)
    except TransferError as error:
        raise Complaint(error.message, error.hint) from error
    except OSError as error:
        raise Complaint(f"{error.filename or found['file']}: {error.strerror or error}") from error


def _wish(file: str, way: str, options: str) -> _Wish:
    is_standard = file.lower() == {"to": "stdout", "from": "stdin"}[way]
    name = delimiter = None
    upsert = False
    words = iter(_OPTION.findall(options))
    for word in words:
        match word.lower():
            case "with" | "header":  # the first line always names the columns
                pass
            case "upsert" if way == "from":
                upsert = True
            case "format":
                name = _value(words, word)
            case "delimiter":
                delimiter = _value(words, word)
            case "csv" | "tsv" | "ndjson" | "jsonl" | "arrow" | "parquet" | "csv.gz" | "tsv.gz" | "ndjson.gz" as form:
                name = form
            case _:
                near = get_close_matches(word, [*_OPTIONS, "csv", "ndjson", "parquet"], n=1, cutoff=0.8)
                hint = f"did you mean {near[0]}?" if near else "a file name with blanks stands in single quotes"
                raise Complaint(rf"\copy … {way} has no option {word}", hint)
    if is_standard:
        if name is None:
            raise Complaint(f"{file} has no suffix that tells the format", rf"add one: … {way} {file} csv, or {KNOWN}")
        return _Wish(None, file_format(name, delimiter), upsert)
    path = local_path(_text(file))
    return _Wish(path, file_format(name or path.name, delimiter), upsert)


def _value(words: Iterator[str], option: str) -> str:
    value = next(words, None)
    if value is not None and value.lower() == "as":
        value = next(words, None)
    if value is None:
        raise Complaint(f"{option} needs a value", "delimiter ';'")
    return "\t" if _text(value) == "\\t" else _text(value)


def _copy_result(session: Session, select: str, wish: _Wish) -> None:
    with _target(session, wish) as file:
        result = session.ask(select)
        write_result(file, wish.form, result)
    session.output.say(f"({counted(len(result), 'row')} to {wish.path or 'stdout'})")


def _copy_out(session: Session, name: str, wish: _Wish) -> None:
    where = wish.path or "stdout"
    client = session.connection.client
    described = describe(client, name)
    with _target(session, wish) as file, _work(session, f"{name} to {where}", described.rows) as work:

        def counted_pages() -> Iterator[list[Row]]:
            for page in pages(client, described):
                if work.is_stopped:
                    raise Complaint(f"stopped; {where} was not written")
                yield page
                work.advance_to(work.done + len(page))

        write_rows(file, wish.form, described, counted_pages())
    session.output.say(f"({counted(int(work.done), 'row')} to {where})")


@contextmanager
def _target(session: Session, wish: _Wish) -> Iterator[BinaryIO]:
    """Where the bytes go, which they do when all of them are there."""
    if wish.path is not None:
        with whole_file(wish.path) as file:
            yield file
        return
    with tempfile.TemporaryFile() as spool:
        yield cast("BinaryIO", spool)
        spool.seek(0)
        session.output.write_file(cast("BinaryIO", spool), wish.form.is_text and not wish.form.is_compressed)


def _copy_in(session: Session, name: str, wish: _Wish) -> None:
    client = session.connection.client
    write = client.upsert if wish.upsert else client.insert
    stored = 0
    with _source(session, wish) as source:
        described = describe(client, name)
        try:
            with _work(session, f"{source.name} to {name}", 1.0) as work:
                for batch in read_batches(source, wish.form, described, session.output.say):
                    try:
                        stored += write(described.name, batch.ids, batch.vectors, batch.payloads)
                    except RedDBError as error:
                        raise _placed(error, batch) from error
                    work.advance_to(batch.share)
                    if work.is_stopped:
                        raise Complaint("stopped")
        except OSError as error:
            raise _told_with(stored, f"{source.name}: {error.strerror or error}", None) from error
        except (Complaint, TransferError) as error:
            raise _told_with(stored, str(error.args[0]), error.hint) from error
    session.output.say(f"({counted(stored, 'row')} from {source.name})")


def _told_with(stored: int, message: str, hint: str | None) -> Complaint:
    """What went wrong, with what had been done before."""
    done = f"{counted(stored, 'row')} {'was' if stored == 1 else 'were'} stored"
    return Complaint(message, done if hint is None else f"{done}; {hint}")


@contextmanager
def _source(session: Session, wish: _Wish) -> Iterator[Source]:
    if wish.path is not None:
        with wish.path.open("rb") as file:
            stat = wish.path.stat()
            yield Source(str(wish.path), file, size=stat.st_size if S_ISREG(stat.st_mode) else None)
    elif session.following is None:
        yield Source("stdin", sys.stdin.buffer)
    elif session.is_interactive:
        pasted = _data(session.following)
        try:
            yield Source("stdin", lines=_typed(session, pasted))
        finally:
            deque(pasted, maxlen=0)  # what was pasted and not read is no statement
    else:
        yield Source("stdin", lines=_data(session.following))


def _data(lines: Iterable[str]) -> Generator[str, None, bool]:
    """The lines up to the mark of their end; whether there was one."""
    for line in lines:
        if line.rstrip("\r\n") == _END_OF_DATA:
            return True
        yield line
    return False


def _typed(session: Session, pasted: Generator[str, None, bool]) -> Iterator[str]:
    """The lines that came with the command, and those that a person types behind them."""
    if not (yield from pasted):
        session.output.say(f"type the lines, and end them with a line of {_END_OF_DATA} or Ctrl-D")
        yield from _data(sys.stdin)


def _placed(error: RedDBError, batch: Batch) -> Complaint:
    """The error with the line of the file that it is about."""
    message = f"{error.code.name}: {_ROW.sub('', error.message)}"
    row = error.detail.get("row")
    if isinstance(row, int) and row < len(batch.places):
        message = _OTHER_ROW.sub(lambda found: f"stands in {batch.places[int(found[1])]} too", message)
        return Complaint(f"{batch.places[row]}: {message}", error.detail.get("hint"))
    if error.code.kind is errors.ErrorKind.UNAVAILABLE:
        message += "; whether these rows were stored is unknown"
    return Complaint(f"{batch.places[0]} to {batch.places[-1]}: {message}", error.detail.get("hint"))


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


def _text(word: str) -> str:
    """What a word means, with or without single quotes."""
    found = re.fullmatch(r"E?'(.*)'", word, re.IGNORECASE | re.DOTALL)
    return word if found is None else found[1].replace("''", "'")


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
