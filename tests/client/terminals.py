"""A shell at a real pseudo-terminal: keys in, what a person would see out.

Rules: nothing is waited for by time alone; `expect` reads until the text is there, and fails with all that was read.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from tests.server.harness import REDDB

PROMPT = "reddb> "
CTRL_C = "\x03"
CTRL_D = "\x04"
CTRL_R = "\x12"
PASTE, PASTED = "\x1b[200~", "\x1b[201~"  # what a terminal puts around what is pasted
UP = "\x1b[A"
TAB = "\t"
ENTER = "\r"
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[()][A-Za-z0-9]|[=>78])|\r|\x07")
_DEADLINE_S = 15.0
_NOT_INHERITED = ("PAGER", "LESS", "NO_COLOR", "COLUMNS", "LINES")  # what a run of tests may have set


class Terminal:
    """`reddb shell` with the given words, at a terminal of `lines` by `columns`."""

    def __init__(self, words: Sequence[str], state: Path, lines: int = 50, columns: int = 120, **more: str) -> None:
        """`state` is XDG_STATE_HOME; `more` are further variables of the environment."""
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
        environment |= {"TERM": "xterm", "XDG_STATE_HOME": str(state), "PROMPT_TOOLKIT_NO_CPR": "1", **more}
        self.process = subprocess.Popen(
            [str(REDDB), "shell", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C comes as a signal
        )
        os.close(theirs)
        self.raw = ""
        self._seen = 0  # characters of `text` that an `expect` has passed

    @property
    def text(self) -> str:
        """All that was written, without colours and movements."""
        return _ESCAPE.sub("", self.raw)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def enter(self, line: str) -> None:
        """Type a line at the prompt, which must be there, and press Enter."""
        self.expect(PROMPT)
        self.type(line + ENTER)

    def expect(self, wanted: str) -> str:
        """What was written before `wanted` and after what the last `expect` found."""
        deadline = time.monotonic() + _DEADLINE_S
        while (at := self.text.find(wanted, self._seen)) < 0:
            readable, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, f"waited {_DEADLINE_S:g} s in vain for {wanted!r} in\n{self.text[self._seen :]}"
            assert self._read(), f"the shell ended, and did not write {wanted!r}:\n{self.text[self._seen :]}"
        before = self.text[self._seen : at]
        self._seen = at + len(wanted)
        return before

    def answer(self, line: str) -> str:
        """What the shell writes for a line, up to the next prompt, without the line itself as it was typed."""
        self.enter(line)
        self.expect("\n")
        shown = self.expect(PROMPT)
        self._seen -= len(PROMPT)
        return shown

    def wait(self) -> int:
        """The exit code, once the shell has ended."""
        deadline = time.monotonic() + _DEADLINE_S
        while self._read(deadline):
            pass
        return self.process.wait(_DEADLINE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(_DEADLINE_S)
        os.close(self._ours)

    def _read(self, deadline: float | None = None) -> bool:
        """Read what there is; False at the end."""
        if deadline is not None:
            assert select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))[0], "the shell goes on"
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # how a terminal says that its other end is gone
            return False
        self.raw += piece.decode(errors="replace")
        return bool(piece)
