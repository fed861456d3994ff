"""The catalogue of everything that can go wrong: one code, one name, one meaning.

Each `ErrorCode` below is declared once. Its `kind` decides what the system does:

    input        the request is wrong; tell the client, nothing has happened
    conflict     the request met a state it cannot change; nothing has happened
    limit        a bound was reached; nothing has happened
    unavailable  the part that must answer is away; try again
    data         a file or a frame does not say what it should; the part that holds it stops
    bug          an invariant of ours is broken

Invariants:
  * Codes and names are unique (checked at import).
  * `retryable` is true only where the same request may succeed later, unchanged, and may be sent twice.
  * An error comes out of pickle, copy and deepcopy as it went in, with the very code of the catalogue.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import Any


class ErrorKind(StrEnum):
    """What an error means for the one who asked and for the part that failed."""

    INPUT = "input"
    CONFLICT = "conflict"
    LIMIT = "limit"
    UNAVAILABLE = "unavailable"
    DATA = "data"
    BUG = "bug"


class RedDBError(Exception):
    """An error of the catalogue, with a message for this very case.

    `detail` holds plain values that help a program or a person find the place: `line`, `column`,
    `excerpt` and `hint` for statements, `row` for batches, `path` for files; `outcome` is "unknown" where a change may
    be done or not.
    """

    def __init__(self, code: ErrorCode, message: str, detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail or {}

    @property
    def name(self) -> str:
        return self.code.name

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later, and be sent again without a look at what became of this one."""
        return self.code.retryable and self.detail.get("outcome") != "unknown"

    def __reduce__(self) -> tuple[Any, ...]:
        # By its attributes: an exception is otherwise made again from its message alone.
        return _again, (type(self), self.args), self.__dict__

    def __str__(self) -> str:
        lines = [f"{self.code.name}: {self.message}"]
        if "excerpt" in self.detail:
            lines.append(str(self.detail["excerpt"]))
        if "hint" in self.detail:
            lines.append(f"hint: {self.detail['hint']}")
        return "\n".join(lines)


def _again(kind: type[RedDBError], args: tuple[Any, ...]) -> RedDBError:
    return kind.__new__(kind, *args)


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One row of the catalogue."""

    number: int
    name: str
    kind: ErrorKind
    retryable: bool
    meaning: str

    def error(self, message: str, **detail: Any) -> RedDBError:
        """Make the error to raise; `detail` values must be plain (str, int, float, bool, None)."""
        return RedDBError(self, message, detail)

    def __reduce__(self) -> tuple[Any, ...]:
        return _code, astuple(self)

    def __copy__(self) -> ErrorCode:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ErrorCode:
        return self


CATALOGUE: dict[str, ErrorCode] = {}


def _code(number: int, name: str, kind: ErrorKind, retryable: bool, meaning: str) -> ErrorCode:
    """The code of the catalogue, for codes are compared by identity; one that a newer release made, as it was."""
    return CATALOGUE.get(name) or ErrorCode(number, name, kind, retryable, meaning)


def _declare(number: int, name: str, kind: ErrorKind, meaning: str, *, retryable: bool = False) -> ErrorCode:
    code = ErrorCode(number, name, kind, retryable, meaning)
    assert name not in CATALOGUE, f"error name {name} is declared twice"
    assert all(other.number != number for other in CATALOGUE.values()), f"error number {number} is declared twice"
    CATALOGUE[name] = code
    return code


_K = ErrorKind

SYNTAX = _declare(1001, "SYNTAX", _K.INPUT, "The statement does not follow the grammar.")
NOT_SUPPORTED = _declare(1002, "NOT_SUPPORTED", _K.INPUT, "The statement is understood but not built yet.")
INVALID_PARAMETER = _declare(1003, "INVALID_PARAMETER", _K.INPUT, "A parameter is missing, unused or of a wrong type.")
INVALID_SETTING = _declare(1004, "INVALID_SETTING", _K.INPUT, "A setting is unknown or its value is out of bounds.")
INVALID_DIMENSION = _declare(1005, "INVALID_DIMENSION", _K.INPUT, "A vector has another length than the collection.")
INVALID_VECTOR = _declare(1006, "INVALID_VECTOR", _K.INPUT, "A vector holds NaN, an infinity, or no numbers.")
INVALID_ID = _declare(1007, "INVALID_ID", _K.INPUT, "An id is no 64-bit integer and no string of 1 to 255 bytes.")
INVALID_PAYLOAD = _declare(1008, "INVALID_PAYLOAD", _K.INPUT, "A payload is not a map from names to plain values.")
UNKNOWN_COLLECTION = _declare(1009, "UNKNOWN_COLLECTION", _K.INPUT, "No collection has this name.")
UNKNOWN_COLUMN = _declare(1010, "UNKNOWN_COLUMN", _K.INPUT, "The place allows no column of this name.")
INVALID_NAME = _declare(1011, "INVALID_NAME", _K.INPUT, "A name has a wrong form or length.")
INVALID_VALUE = _declare(1012, "INVALID_VALUE", _K.INPUT, "A value is of a wrong type or out of range.")
INVALID_URL = _declare(1013, "INVALID_URL", _K.INPUT, "A connection URL cannot be read.")
UNKNOWN_STATEMENT = _declare(1020, "UNKNOWN_STATEMENT", _K.INPUT, "This session has no such prepared statement.")
SESSION_NEEDED = _declare(
    1021,
    "SESSION_NEEDED",
    _K.INPUT,
    "A statement about a session came through a client, which may be shared and has none.",
)

DUPLICATE_ID = _declare(2001, "DUPLICATE_ID", _K.CONFLICT, "An inserted id exists already, or twice in one batch.")
COLLECTION_EXISTS = _declare(2002, "COLLECTION_EXISTS", _K.CONFLICT, "A collection of this name exists already.")
DATA_IN_USE = _declare(2003, "DATA_IN_USE", _K.CONFLICT, "Another process has this data folder open.")
TRANSACTION_ABORTED = _declare(
    2020, "TRANSACTION_ABORTED", _K.CONFLICT, "A statement of the transaction failed before; nothing of it is stored."
)
TRANSACTION_STATE = _declare(
    2021, "TRANSACTION_STATE", _K.CONFLICT, "A transaction is begun within one, or used or ended outside of one."
)
OTHER_PROCESS = _declare(
    2022,
    "OTHER_PROCESS",
    _K.CONFLICT,
    "A folder, session or transaction was opened by the process that forked this one.",
)
QUERY_CANCELLED = _declare(2010, "QUERY_CANCELLED", _K.CONFLICT, "The query was stopped because someone asked for it.")
CANNOT_CANCEL = _declare(
    2011, "CANNOT_CANCEL", _K.CONFLICT, "The query writes or changes something, which is not stopped half-way."
)

COLLECTION_IN_USE = _declare(
    2012, "COLLECTION_IN_USE", _K.CONFLICT, "The collection has aliases, which would name nothing."
)

LIMIT_EXCEEDED = _declare(3001, "LIMIT_EXCEEDED", _K.LIMIT, "A documented limit was exceeded.")
TOO_MANY_CONNECTIONS = _declare(
    3002, "TOO_MANY_CONNECTIONS", _K.LIMIT, "The server holds as many connections as it may.", retryable=True
)
OUT_OF_MEMORY = _declare(
    3003, "OUT_OF_MEMORY", _K.LIMIT, "There is no memory for these rows; nothing was stored.", retryable=True
)
TOO_MANY_ROWS = _declare(
    3004,
    "TOO_MANY_ROWS",
    _K.LIMIT,
    "Rows come faster than segments can be sealed; nothing of the batch was stored.",
    retryable=True,
)
TOO_MANY_FILES = _declare(
    3005,
    "TOO_MANY_FILES",
    _K.LIMIT,
    "The process or the machine has no file descriptor left; nothing of the write was stored.",
    retryable=True,
)
BUSY = _declare(
    3006,
    "BUSY",
    _K.LIMIT,
    "Others have taken the memory that this needs; nothing was done.",
    retryable=True,
)
TOO_LARGE = _declare(3007, "TOO_LARGE", _K.LIMIT, "This needs more memory than there is for its kind.")
QUERY_TOO_COSTLY = _declare(
    3011, "QUERY_TOO_COSTLY", _K.LIMIT, "The request would hold up, or held up, all others of its core, and was ended."
)
STATEMENT_TIMEOUT = _declare(
    3010, "STATEMENT_TIMEOUT", _K.LIMIT, "The query took longer than statement_timeout and was stopped."
)

UNAVAILABLE = _declare(
    4001,
    "UNAVAILABLE",
    _K.UNAVAILABLE,
    "The part that must answer is away; a write's outcome may be unknown.",
    retryable=True,
)
NOT_READY = _declare(4002, "NOT_READY", _K.UNAVAILABLE, "The collection is still recovering.", retryable=True)
CONNECTION_LOST = _declare(
    4003, "CONNECTION_LOST", _K.UNAVAILABLE, "The connection ended before the answer came.", retryable=True
)
SHUTTING_DOWN = _declare(4004, "SHUTTING_DOWN", _K.UNAVAILABLE, "The server is stopping.", retryable=True)
TIMEOUT = _declare(
    4005,
    "TIMEOUT",
    _K.UNAVAILABLE,
    "No answer came in time; where it was to a change, that may be done or not, and the error is not retryable.",
    retryable=True,
)
DISK_FULL = _declare(4006, "DISK_FULL", _K.UNAVAILABLE, "The disk is full; the write was undone.", retryable=True)

READ_ONLY = _declare(
    4020,
    "READ_ONLY",
    _K.UNAVAILABLE,
    "The core that writes these rows died again and again for want of memory: they are read, not written.",
)

CORRUPT_DATA = _declare(5001, "CORRUPT_DATA", _K.DATA, "A file does not hold what its checksum or header says.")
DISK_FAILED = _declare(5002, "DISK_FAILED", _K.DATA, "The disk refused a write or a sync; writes stop until a restart.")
UNSUPPORTED_FORMAT = _declare(5003, "UNSUPPORTED_FORMAT", _K.DATA, "A file was written by another format version.")
PROTOCOL = _declare(5004, "PROTOCOL", _K.DATA, "The peer broke the wire protocol; the connection is closed.")

LOCK_LOST = _declare(
    5005,
    "LOCK_LOST",
    _K.DATA,
    "The data folder's LOCK was removed or replaced; nothing more is written to the folder until a restart.",
)

INTERNAL = _declare(9001, "INTERNAL", _K.BUG, "An invariant is broken; please report it.")


def unforeseen(what: str, error: Exception) -> RedDBError:
    """What to tell of an exception that is none of ours: that memory is short, or that there is a bug."""
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY.error(f"{what}: there is no memory for it")
    return INTERNAL.error(f"{what}: {error!r}")
