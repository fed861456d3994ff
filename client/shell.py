"""The shell: statements in, aligned tables out.

    reddb shell [url]              reads statements from the terminal or a pipe; each ends with a semicolon
    reddb shell [url] -c "…"       runs these and exits

Exit codes: 0 all went well, 1 a statement failed, 2 no connection. At a terminal a failed statement is shown and the
next one is read; in a pipe and with -c it ends the run, so that a script does not go on upon a wrong state.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TextIO

from reddb import errors
from reddb.client.blocking import Client
from reddb.client.rows import Result
from reddb.client.sockets import SocketTransport
from reddb.client.tables import render_table
from reddb.client.url import ServerAddress, parse_url
from reddb.errors import RedDBError
from reddb.grammar import split_statements

_PROMPT = "reddb> "
_PROMPT_MORE = "  ...> "
_TIMEOUT_S = 3600.0  # a person waits as long as he likes; Ctrl-C ends it


def run_shell(url: str, command: str | None, source: TextIO = sys.stdin, out: TextIO = sys.stdout) -> int:
    """Run the shell and return the exit code."""
    is_terminal = command is None and source.isatty()
    try:
        address = parse_url(url)
        if not isinstance(address, ServerAddress):
            raise errors.INVALID_URL.error("the shell speaks to a server; start one with: reddb serve --data PATH")
        client = Client(SocketTransport(address, _TIMEOUT_S))
    except RedDBError as error:
        _complain(error)
        return 2
    with client:
        statements = _given(command) if command is not None else _read(source, is_terminal)
        for statement in statements:
            if not _run(client, statement, out) and not is_terminal:
                return 1
    return 0


def _run(client: Client, statement: str, out: TextIO) -> bool:
    began = time.monotonic()
    try:
        result = client.execute(statement)
    except RedDBError as error:
        _complain(error)
        return False
    except KeyboardInterrupt:
        client.close()
        return False
    _show(result, (time.monotonic() - began) * 1000, out)
    return True


def _show(result: Result, elapsed_ms: float, out: TextIO) -> None:
    if not result.columns and result.affected is None:
        print(f"(done, {elapsed_ms:.1f} ms)", file=out, flush=True)
        return
    if result.columns:
        print(render_table(result.columns, result), file=out)
    count = len(result) if result.affected is None else result.affected
    print(f"({count} {'row' if count == 1 else 'rows'}, {elapsed_ms:.1f} ms)", file=out, flush=True)


def _complain(error: RedDBError) -> None:
    print(error, file=sys.stderr)


def _given(command: str) -> list[str]:
    """The statements of -c; the last one may go without its semicolon."""
    statements, rest = split_statements(command)
    return [*statements, rest] if rest.strip() else statements


def _read(source: TextIO, is_terminal: bool) -> Iterator[str]:
    """Statements as they are completed, line by line."""
    text = ""
    while True:
        if is_terminal:
            print(_PROMPT_MORE if text.strip() else _PROMPT, end="", flush=True)
        line = source.readline()
        if not line:
            break
        statements, text = split_statements(text + line)
        yield from statements
    if text.strip():
        yield text
