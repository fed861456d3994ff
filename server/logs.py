"""Log lines with fields, on stderr: columns for a person at a terminal, JSON for a machine.

Stdout is left to what a program asked for (the ready line, results).
"""

from __future__ import annotations

import sys
from typing import Any

import structlog


def configure() -> None:
    """Set up logging for this process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        final: list[Any] = [structlog.dev.ConsoleRenderer()]
    else:
        final = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=shared + final,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def bind_process(name: str) -> None:
    """Put the process's name into every line it logs."""
    structlog.contextvars.bind_contextvars(process=name)
