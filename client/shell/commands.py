"""The meta commands, in one table that `\\?` shows, and what a line of input is: one of them, or a statement.

Raises Leave to end the shell, Complaint for a command that cannot be done, Failed for a file whose error was told.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches

import click

from reddb.client.shell.chart import render_chart
from reddb.client.shell.complaint import Cancelled, Complaint, Failed, Leave
from reddb.client.shell.formats import FORMATS
from reddb.client.shell.names import quoted
from reddb.client.shell.script import Lines, is_unicode, open_script, pieces
from reddb.client.shell.session import Session
from reddb.client.tables import render_table
from reddb.client.transfer.formats import KNOWN
from reddb.errors import RedDBError

_WATCH_S = 2.0
_DEPTH_MAX = 32  # files that include each other
_COMMAND = re.compile(r"(?P<name>\\[^\s;(]*);*(?P<arguments>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    """A meta command: `action` gets what stands behind its name."""

    name: str
    arguments: str
    meaning: str
    action: Callable[[Session, str], None]


def perform(session: Session, text: str) -> None:
    """Do a statement or a meta command. Raises RedDBError, Complaint, Failed or Leave."""
    if not is_unicode(text):
        raise Complaint("this is not UTF-8")
    if not text.startswith("\\"):
        session.run(text)
        return
    found = _COMMAND.fullmatch(text)
    assert found is not None
    name, arguments = found["name"], found["arguments"].strip().removesuffix(";").rstrip()
    if name in _OF_PSQL:
        raise Complaint(f"there is no command {name}", _OF_PSQL[name])
    command = COMMANDS.get(name)
    if command is None:
        near = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        raise Complaint(f"there is no command {name}", f"did you mean {near[0]}?" if near else r"\? lists them all")
    command.action(session, arguments)


def run_lines(session: Session, lines: Lines, name: str | None, goes_on: bool = False) -> None:
    """Do all that the lines hold, up to the first failure, or, with `goes_on`, on behind it.

    A failure is told with `name` and its line. Raises Failed behind it, and Leave.
    """
    before, session.following = session.following, None if name is None and not session.is_interactive else lines
    failure: Exception | None = None
    try:
        for piece in pieces(lines):
            try:
                perform(session, piece.text)
            except (RedDBError, Complaint, OSError, MemoryError, RecursionError) as error:
                session.output.complain(_told(error) if name is None else _placed(error, name, piece.line))
                failure = error
                if not goes_on or isinstance(error, Cancelled):
                    break
    except UnicodeDecodeError as error:
        session.output.complain(f"{name or 'the input'} is not UTF-8: {error}")
        failure = error
    except OSError as error:
        session.output.complain(f"cannot read {name or 'the input'}: {error.strerror or error}")
        failure = error
    finally:
        session.following = before
    if failure is not None:
        raise Failed from failure


def _told(error: BaseException) -> str:
    """What a person reads of it."""
    if isinstance(error, RedDBError | Complaint):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return "there is not enough memory" if isinstance(error, MemoryError) else "it nests too deep"


def _placed(error: BaseException, name: str, line: int) -> str:
    """The error with the line of the file: that of the place in the statement, where it names one."""
    if isinstance(error, RedDBError):
        line += int(error.detail.get("line", 1)) - 1
    return f"{name}:{line}: {_told(error)}"


# --- the commands ------------------------------------------------------------------------------------------


def _help(session: Session, arguments: str) -> None:
    rows = [(f"{item.name} {item.arguments}".rstrip(), item.meaning) for item in _TABLE]
    session.output.write(render_table(["command", "meaning"], rows, session.output.look()) + "\n")
    session.output.say("A statement ends with a semicolon. Tab completes, Ctrl-C cancels, Ctrl-R searches the history.")


def _connect(session: Session, arguments: str) -> None:
    if not arguments:
        raise Complaint(r"\c needs a URL", r"\c red://127.0.0.1:5050")
    session.change_connection(arguments)
    session.output.say(f"connected to {session.connection.url}, {session.connection.version}")


def _copy(session: Session, arguments: str) -> None:
    from reddb.client.shell.copying import copy  # late: bars of progress take a tenth of a script's start to load

    copy(session, arguments)


def _describe(session: Session, arguments: str) -> None:
    if not arguments:
        _list(session, arguments)
        return
    name = quoted(arguments)
    session.output.show(session.ask(f"SHOW COLLECTION {name}"), "table")
    _add(session, f"SHOW INDEXES FOR {name}")


def _describe_more(session: Session, arguments: str) -> None:
    _describe(session, arguments)
    if arguments:
        _add(session, f"SHOW STATS FOR {quoted(arguments)}")
        _add(session, f"SHOW SEGMENTS FOR {quoted(arguments)}")


def _add(session: Session, statement: str) -> None:
    """A further table, unless it is empty."""
    result = session.ask(statement)
    if len(result):
        session.output.write("\n")
        session.output.show(result, "table")


def _list(session: Session, arguments: str) -> None:
    session.output.show(session.ask("SHOW COLLECTIONS"), "table")


def _edit(session: Session, arguments: str) -> None:
    if not session.is_interactive:
        raise Complaint(r"\e needs a terminal")
    try:
        edited = click.edit(session.last_statement + "\n", extension=".sql", require_save=False)
    except click.ClickException as error:
        raise Complaint(error.format_message(), "set EDITOR to your editor") from error
    session.draft = (edited or "").strip()


def _format(session: Session, arguments: str) -> None:
    if arguments and arguments not in FORMATS:
        raise Complaint(f"there is no format {arguments}", f"formats are {', '.join(FORMATS)}")
    session.form = arguments or session.form
    session.output.say(f"the format is {session.form}")


def _include(session: Session, arguments: str) -> None:
    if not arguments:
        raise Complaint(r"\i needs a file")
    if session.depth == _DEPTH_MAX:
        raise Complaint(f"{arguments} is included by itself, or files include each other {_DEPTH_MAX} deep")
    session.depth += 1
    try:
        with open_script(arguments) as lines, suppress(Leave):  # \q ends the file that it stands in
            run_lines(session, Lines(lines), arguments)
    finally:
        session.depth -= 1


def _indexes(session: Session, arguments: str) -> None:
    session.output.show(session.ask(f"SHOW INDEXES FOR {quoted(arguments)}" if arguments else "SHOW INDEXES"), "table")


def _language(session: Session, arguments: str) -> None:
    from reddb.grammar.readable import statement_rules  # late: the grammar is read for it

    rules = statement_rules(arguments.rstrip("?"))
    if not rules:
        raise Complaint(f"no statement begins with {arguments}", r"\h alone lists them all")
    session.output.write("\n".join(rules) + "\n")
    if not arguments:
        session.output.say(r"\h and its first words shows one of them with its parts; LANGUAGE.md has examples.")


def _output(session: Session, arguments: str) -> None:
    session.output.redirect(arguments or None)
    session.output.say(f"results go to {arguments}" if arguments else "results are shown here")


def _plot(session: Session, arguments: str) -> None:
    if session.last_result is None:
        raise Complaint("there is no result to plot yet", "search first: VECTOR SEARCH docs SIMILAR TO …")
    width = shutil.get_terminal_size().columns
    session.output.write(render_chart(session.last_result, arguments or "distance", width) + "\n")


def _quit(session: Session, arguments: str) -> None:
    raise Leave


def _timing(session: Session, arguments: str) -> None:
    session.timing = _switched(arguments, session.timing)
    session.output.say(f"timing is {'on' if session.timing else 'off'}")


def _vertical(session: Session, arguments: str) -> None:
    is_on = _switched(arguments, session.form == "vertical")
    session.form = "vertical" if is_on else "table"
    session.output.say(f"vertical display is {'on' if is_on else 'off'}")


def _watch(session: Session, arguments: str) -> None:
    if not session.last_statement:
        raise Complaint("there is no statement to watch yet")
    try:
        seconds = float(arguments or _WATCH_S)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:
        raise Complaint(f"{arguments} is no number of seconds from 0.1 to 86400")
    statement = session.last_statement
    try:
        while True:
            session.output.say(f"{datetime.now().astimezone():%H:%M:%S}, every {seconds:g} s, Ctrl-C stops")
            session.run(statement)
            time.sleep(seconds)
    except KeyboardInterrupt:
        if not session.is_interactive:
            raise
        session.output.say("stopped watching")


def _switched(arguments: str, before: bool) -> bool:
    if arguments not in ("", "on", "off"):
        raise Complaint(f"{arguments} is neither on nor off")
    return arguments == "on" if arguments else not before


_TABLE = (
    Command(r"\?", "", "this list; so does help", _help),
    Command(r"\c", "URL", "connect to another database", _connect),
    Command(r"\copy", "(SELECT …)|NAME to FILE|stdout [FORMAT]", f"write rows: {KNOWN}", _copy),
    Command(r"\copy", "NAME from FILE|stdin [FORMAT] [upsert] [delimiter ';']", "store the rows of such a file", _copy),
    Command(r"\d", "[NAME]", "the collections, or all about one", _describe),
    Command(r"\d+", "[NAME]", "the same with what it holds and its segments", _describe_more),
    Command(r"\di", "[NAME]", "the indexes of fields", _indexes),
    Command(r"\dt", "[NAME]", r"as \d", _describe),
    Command(r"\e", "", "edit the last statement in $EDITOR", _edit),
    Command(r"\format", "[NAME]", f"show results as {', '.join(FORMATS)}", _format),
    Command(r"\h", "[WORDS]", "the statements of the language, or those that begin so", _language),
    Command(r"\i", "FILE", "run the statements and commands of a file", _include),
    Command(r"\l", "", "the collections", _list),
    Command(r"\o", "[FILE]", "write results to a file, or show them here again", _output),
    Command(r"\plot", "[COLUMN]", "the distances of the last result as bars", _plot),
    Command(r"\q", "", "leave; so do exit, quit and Ctrl-D", _quit),
    Command(r"\timing", "[on|off]", "say how long a statement took", _timing),
    Command(r"\watch", "[SECONDS]", "run the last statement again and again", _watch),
    Command(r"\x", "[on|off]", "show each value on a line of its own", _vertical),
)
COMMANDS = {command.name: command for command in _TABLE}
# What people type who know psql, and what they would find here.
_OF_PSQL = {
    r"\du": "there are no users yet",
    r"\dg": "there are no users yet",
    r"\dn": r"there are no schemas; \d lists the collections",
    r"\df": "REFERENCE.md has the functions",
    r"\conninfo": r"SHOW SESSIONS tells, and \c URL connects to another database",
    r"\g": "a statement ends with a semicolon",
    r"\set": "SET name = value sets a variable of the session, SHOW SETTINGS lists them",
    r"\pset": r"\format shows results in another way, \x a value on each line",
    r"\!": "leave with \\q, or stop the shell with Ctrl-Z where there is one around it",
}
