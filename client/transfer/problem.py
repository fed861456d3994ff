"""What a copy is refused with. What the database refuses is a RedDBError."""

from __future__ import annotations


class TransferError(Exception):
    """A sentence that names the place, and maybe a hint at what would be right."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
