"""The prompt: what a person types at a terminal, until Ctrl-D or `\\q`.

Enter runs what is complete and begins a new line otherwise. The history is a file in $XDG_STATE_HOME/reddb that only
its owner can read, for statements hold data.
"""

from __future__ import annotations

import os
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus, is_searching
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from reddb._version import __version__
from reddb.client.shell.commands import run_lines
from reddb.client.shell.complaint import Failed, Leave
from reddb.client.shell.completion import ShellCompleter
from reddb.client.shell.highlighting import STYLE, StatementLexer
from reddb.client.shell.output import Output
from reddb.client.shell.script import is_complete, is_unicode, lines_of, local_path
from reddb.client.shell.session import Session

_PROMPT = FormattedText([("class:prompt", "reddb"), ("", "> ")])
_PROMPT_MORE = FormattedText([("class:prompt-more", "  ...> ")])


def run_terminal(session: Session) -> None:
    """Read and run until the end."""
    connection = session.connection
    session.output.say(rf"RedDB {__version__} · {connection.version} · {connection.url} · \? for help")
    os.environ.setdefault("LESS", "-FRSX")  # of the pager: colours, long lines to the side, and no page for what fits
    prompt: PromptSession[str] = PromptSession(
        message=_PROMPT,
        prompt_continuation=_PROMPT_MORE,
        multiline=True,
        key_bindings=_keys(),
        history=_history(session.output),
        auto_suggest=AutoSuggestFromHistory(),
        completer=ShellCompleter(session),
        complete_while_typing=False,
        complete_in_thread=True,  # a server that does not answer must not freeze the keyboard
        lexer=StatementLexer(),
        style=STYLE,
    )
    while True:
        try:
            text = prompt.prompt(default=session.take_draft())
            run_lines(session, lines_of(text), None, goes_on=True)  # or what was pasted behind a failure would be lost
        except KeyboardInterrupt:
            continue  # the line that was typed is gone, the shell is not
        except Failed:
            continue
        except (EOFError, Leave):
            return


def _keys() -> KeyBindings:
    """Enter runs what is complete; whatever else it means (a new line, the match of a search) it means otherwise."""
    keys = KeyBindings()
    is_ready = Condition(lambda: is_complete(get_app().current_buffer.text))

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER) & ~is_searching & is_ready)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return keys


class _History(FileHistory):
    """The file, for as long as it can be written."""

    def __init__(self, path: Path, output: Output) -> None:
        super().__init__(str(path))
        self._path = path
        self._output = output
        self._is_kept = True

    def store_string(self, string: str) -> None:
        if not self._is_kept or not is_unicode(string):
            return
        try:
            super().store_string(string)
        except OSError as error:
            self._is_kept = False
            self._output.complain(f"no history is kept any more: {self._path}: {error.strerror}")


def _history(output: Output) -> History:
    folder = local_path(os.environ.get("XDG_STATE_HOME") or "~/.local/state") / "reddb"
    path = folder / "history"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        os.fchmod(descriptor, 0o600)  # it may be there, and open to others
        os.close(descriptor)
    except OSError as error:
        output.complain(f"no history is kept: {path}: {error.strerror}")
        return InMemoryHistory()
    return _History(path, output)
