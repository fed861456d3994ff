"""`reddb shell`: from the words of the command line to an exit code.

    reddb shell [url]              reads from the terminal, or from a pipe
    reddb shell [url] -c "…"       runs these and exits
    reddb shell [url] -f FILE      runs this file and exits; - is the standard input

Several of -c and -f are done in their order, up to the first failure.

Exit codes: 0 all went well, 1 a statement or command failed, or a transaction was left open, 2 no connection, 130 ended
by Ctrl-C, 141 its reader went away. At a terminal a failed statement is shown and the next one is read; elsewhere it
ends the run, so that a script does not go on upon a wrong state.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from reddb.client.shell.commands import run_lines
from reddb.client.shell.complaint import Complaint, Failed, Leave, ReaderGone
from reddb.client.shell.connection import Connection
from reddb.client.shell.output import Output
from reddb.client.shell.script import Lines, lines_of, open_script
from reddb.client.shell.session import UNFINISHED, Session
from reddb.errors import RedDBError

_INTERRUPTED = 130  # as of a process that SIGINT ended
_PIPE_BROKEN = 141  # as of a process that SIGPIPE ended


class Script(NamedTuple):
    """What the command line asks to be run: statements as they are, or the file of this name."""

    text: str
    is_file: bool


def run_shell(url: str, scripts: Sequence[Script], form: str) -> int:
    """Run the shell and return the exit code."""
    can_write = _prepare_streams()
    is_interactive = not scripts and sys.stdin.isatty() and sys.stdout.isatty()
    output = Output(is_interactive)
    if not can_write:
        output.complain("the standard output is closed")
        return 1
    try:
        session = Session(Connection(url), output, form)
    except RedDBError as error:
        output.complain(str(error))
        return 2
    try:
        if is_interactive:
            from reddb.client.shell.terminal import run_terminal

            run_terminal(session)
            code = 0
        else:
            code = _run(session, scripts or [Script("-", True)])
        if session.roll_back():
            output.complain(UNFINISHED)
            code = code or 1
        return code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ReaderGone:
        return _PIPE_BROKEN
    except Complaint as error:  # of the output itself
        output.complain(str(error))
        return 1
    finally:
        output.close()
        session.connection.close()


def _prepare_streams() -> bool:
    """UTF-8 whatever the locale is. False where the standard output is closed."""
    is_closed = sys.stdout is None
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict", newline="\n")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    return not is_closed


def _run(session: Session, scripts: Sequence[Script]) -> int:
    for script in scripts:
        try:
            if not script.is_file:
                run_lines(session, lines_of(script.text), None)
            elif script.text == "-":
                run_lines(session, Lines(sys.stdin), "stdin")
            else:
                with open_script(script.text) as lines, suppress(Leave):  # which ends this file
                    run_lines(session, Lines(lines), script.text)
        except Complaint as error:
            session.output.complain(str(error))
            return 1
        except Failed:
            return 1 if session.connection.is_open() else 2
        except Leave:
            return 0
    return 0
