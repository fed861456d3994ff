"""Log lines with fields, on stderr: columns for a person at a terminal, JSON for a machine.

Stdout is left to what a program asked for (the ready line, results).

Invariants:
  * A line is one write of at most LINE_BYTES_MAX bytes: several processes share a pipe, and what is longer may have
    others' lines in its midst. What is cut is the longest text of it, at its beginning.
  * No control character of what is logged reaches a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from reddb.terminal_text import escaped

LINE_BYTES_MAX = 4096  # PIPE_BUF of Linux: what one write puts into a pipe whole
_CUT = "…"


class _Lines:
    """Writes each line at once. Rejected: structlog's own logger, which leaves it to a buffer in how many pieces."""

    def msg(self, line: str) -> None:
        content = line.encode(errors="backslashreplace") + b"\n"
        while content:
            content = content[os.write(2, content) :]

    log = debug = info = warning = error = critical = fatal = exception = msg


def configure() -> None:
    """Set up logging for this process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        final: list[Any] = [structlog.processors.format_exc_info, _escaped, structlog.dev.ConsoleRenderer()]
    else:
        final = [structlog.processors.format_exc_info, _json_line]
    structlog.configure(
        processors=shared + final,
        logger_factory=lambda *_: _Lines(),
        cache_logger_on_first_use=True,
    )


def bind_process(name: str) -> None:
    """Put the process's name into every line it logs."""
    structlog.contextvars.bind_contextvars(process=name)


def _escaped(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For a terminal, whose colours come behind this."""
    return {key: escaped(value if isinstance(value, str) else repr(value)) for key, value in event.items()}


def _json_line(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    line = json.dumps(dict(event), default=repr)
    texts = {key: value if isinstance(value, str) else json.dumps(value, default=repr) for key, value in event.items()}
    while len(line) >= LINE_BYTES_MAX:  # it is ASCII
        longest = max(texts, key=lambda key: len(json.dumps(texts[key])))
        texts[longest] = _CUT + texts[longest][len(texts[longest]) // 2 + 1 :]
        line = json.dumps(texts)
    return line
