"""What the shell itself refuses, such as a wrong command or a file that cannot be read, and how it is left.

What the database refuses is a RedDBError.
"""

from __future__ import annotations


class Complaint(Exception):
    """A sentence for a person, and maybe a hint at what would be right."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = str(self.args[0])
        return message if self.hint is None else f"{message}\nhint: {self.hint}"


class Failed(Exception):
    """Something went wrong and was told; whoever runs a file stops with it."""


class Cancelled(Complaint):
    """Ctrl-C ended what ran; what was to come after it does not."""


class ReaderGone(Exception):
    """Nobody reads the results any more."""


class Leave(Exception):
    """The shell, or the file it runs, is to end."""
