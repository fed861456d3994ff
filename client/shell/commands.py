"""The meta commands, in one table that `\\?` shows, and what a line of input is: one of them, or a statement.

Raises Leave to end the shell, Complaint for a command that cannot be done, Failed for a file whose error was told.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches

import click

from reddb.client.shell.chart import render_chart
from reddb.client.shell.complaint import Complaint, Failed, Leave
from reddb.client.shell.formats import FORMATS
from reddb.client.shell.names import quoted
from reddb.client.shell.script import open_script, pieces
from reddb.client.shell.session import Session
from reddb.client.tables import render_table
from reddb.errors import RedDBError

_WATCH_S = 2.0


@dataclass(frozen=True, slots=True)
class Command:
    """A meta command: `action` gets what stands behind its name."""

    name: str
    arguments: str
    meaning: str
    action: Callable[[Session, str], None]


def perform(session: Session, text: str) -> None:
    """Do a statement or a meta command. Raises RedDBError, Complaint, Failed or Leave."""
    if not text.startswith("\\"):
        session.run(text)
        return
    name, _, arguments = text.partition(" ")
    command = COMMANDS.get(name.rstrip(";"))
    if command is None:
        near = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        raise Complaint(f"there is no command {name}", f"did you mean {near[0]}?" if near else r"\? lists them all")
    command.action(session, arguments.strip().removesuffix(";").rstrip())


def run_lines(session: Session, lines: Iterable[str], name: str | None) -> None:
    """Do all that the lines hold, up to the first failure, which is told with `name` and its line.

    Raises Failed then, and Leave.
    """
    try:
        for piece in pieces(lines):
            try:
                perform(session, piece.text)
            except (RedDBError, Complaint) as error:
                session.output.complain(str(error) if name is None else _placed(error, name, piece.line))
                raise Failed from error
    except UnicodeDecodeError as error:
        session.output.complain(f"{name or 'the input'} is not UTF-8: {error}")
        raise Failed from error


def _placed(error: RedDBError | Complaint, name: str, line: int) -> str:
    """The error with the line of the file: that of the place in the statement, where it names one."""
    if isinstance(error, RedDBError):
        line += int(error.detail.get("line", 1)) - 1
    return f"{name}:{line}: {error}"


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
    indexes = session.ask(f"SHOW INDEXES FOR {name}")
    if len(indexes):
        session.output.write("\n")
        session.output.show(indexes, "table")


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
    with open_script(arguments) as lines, suppress(Leave):  # \q ends the file that it stands in
        run_lines(session, lines, arguments)


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
    Command(r"\?", "", "this list", _help),
    Command(r"\c", "URL", "connect to another database", _connect),
    Command(r"\copy", "(SELECT …)|NAME to FILE", "write rows to .csv, .ndjson, .arrow or .parquet", _copy),
    Command(r"\copy", "NAME from FILE [upsert]", "store the rows of such a file", _copy),
    Command(r"\d", "[NAME]", "the collections, or all about one", _describe),
    Command(r"\e", "", "edit the last statement in $EDITOR", _edit),
    Command(r"\format", "[NAME]", f"show results as {', '.join(FORMATS)}", _format),
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
