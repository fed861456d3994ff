"""`reddb shell`: from the words of the command line to an exit code.

    reddb shell [url]              reads from the terminal, or from a pipe
    reddb shell [url] -c "…"       runs these and exits
    reddb shell [url] -f FILE      runs this file and exits; - is the standard input

Exit codes: 0 all went well, 1 a statement or command failed, 2 no connection, 130 ended by Ctrl-C, 141 its reader went
away. At a terminal a failed statement is shown and the next one is read; elsewhere it ends the run, so that a script
does not go on upon a wrong state.
"""

from __future__ import annotations

import io
import os
import sys

from reddb.client.shell.commands import run_lines
from reddb.client.shell.complaint import Complaint, Failed, Leave
from reddb.client.shell.connection import Connection
from reddb.client.shell.output import Output
from reddb.client.shell.script import open_script
from reddb.client.shell.session import Session
from reddb.errors import RedDBError

_INTERRUPTED = 130  # as of a process that SIGINT ended
_PIPE_BROKEN = 141  # as of a process that SIGPIPE ended


def run_shell(url: str, command: str | None, file: str | None, form: str) -> int:
    """Run the shell and return the exit code."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):  # files are UTF-8 whatever the locale is
            stream.reconfigure(encoding="utf-8", errors="strict")
    is_interactive = command is None and file is None and sys.stdin.isatty() and sys.stdout.isatty()
    output = Output(is_interactive)
    try:
        session = Session(Connection(url), output, form)
    except RedDBError as error:
        output.complain(str(error))
        return 2
    try:
        if is_interactive:
            from reddb.client.shell.terminal import run_terminal

            run_terminal(session)
            return 0
        return _run(session, command, file)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush complains
        return _PIPE_BROKEN
    finally:
        output.close()
        session.connection.close()


def _run(session: Session, command: str | None, file: str | None) -> int:
    try:
        if command is not None:
            run_lines(session, command.splitlines(keepends=True), None)
        elif file is None or file == "-":
            run_lines(session, sys.stdin, "stdin")
        else:
            with open_script(file) as lines:
                run_lines(session, lines, file)
    except Complaint as error:
        session.output.complain(str(error))
        return 1
    except Failed:
        return 1 if session.connection.is_open() else 2
    except Leave:
        return 0
    return 0
