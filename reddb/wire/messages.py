"""Every message, declared once: its kind, its fields, who sends it.

The body of a frame is a MessagePack array of the fields in the order below. `reddb.rows.RowBatch` bytes and float32
bytes travel inside it as binary.

Invariant: a decoded message has exactly the declared fields with exactly the declared types.

(Messages are not frozen: a frozen dataclass sets each field through a call, and each request makes two of them.)
"""

from __future__ import annotations

import itertools
import types
import typing
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from reddb import errors, limits
from reddb.types import Buffer
from reddb.wire.values import check_instants, pack, unpack, value_bytes

VERSION = 2
MAGIC = "reddb"


@dataclass(slots=True)
class Message:
    """A message of the protocol."""

    KIND: ClassVar[int]


# --- sent by the client ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Hello(Message):
    """The first message of a connection: `magic` is "reddb", `versions` what the client speaks."""

    KIND = 0x01
    magic: str
    versions: list[int]
    client: str


@dataclass(slots=True)
class Ping(Message):
    """Answered by Pong, from the core that serves the connection."""

    KIND = 0x02


@dataclass(slots=True)
class Query(Message):
    """One statement; `parameters` is a list for `$1` and `?`, a map for `:name`. Answered by Result."""

    KIND = 0x03
    text: str
    parameters: list[Any] | dict[str, Any]


@dataclass(slots=True)
class Insert(Message):
    """Rows as RowBatch bytes, stored all or none. Answered by Written when they are on disk and searchable."""

    KIND = 0x04
    collection: str
    batch: bytes


@dataclass(slots=True)
class Upsert(Message):
    """As Insert, but rows whose ids exist are replaced."""

    KIND = 0x05
    collection: str
    batch: bytes


@dataclass(slots=True)
class Delete(Message):
    """Ids as RowBatch bytes with dim 0; Written counts those that existed."""

    KIND = 0x06
    collection: str
    batch: bytes


@dataclass(slots=True)
class Search(Message):
    """Nearest rows for float32 `queries` of `dim` each. Answered by Hits.

    `where` is a predicate as in SELECT with its `parameters`; `ef` the candidates each segment gives, or `recall` the
    share of the true neighbours that it shall find; `with_report` asks how it was done.
    """

    KIND = 0x07
    collection: str
    dim: int
    queries: bytes
    k: int
    ef: int | None
    exact: bool
    with_payloads: bool
    with_vectors: bool
    where: str | None
    parameters: list[Any] | dict[str, Any]
    recall: float | None
    with_report: bool


@dataclass(slots=True)
class Get(Message):
    """Rows by id (RowBatch bytes with dim 0). Answered by Rows, without those that do not exist."""

    KIND = 0x08
    collection: str
    batch: bytes
    with_vectors: bool


@dataclass(slots=True)
class Cancel(Message):
    """Stop the request of that correlation number on this connection; it is answered by QUERY_CANCELLED.

    This message has no answer of its own. A number that is answered already, or a request that writes, goes on as if
    nothing had been said.
    """

    KIND = 0x09
    correlation: int


@dataclass(slots=True)
class Prepare(Message):
    """Keep a statement while the connection lasts, or until too many others were prepared. Answered by Prepared."""

    KIND = 0x0A
    text: str


@dataclass(slots=True)
class Execute(Message):
    """Run what was prepared, with `parameters` as in Query. Answered as Query is, or by UNKNOWN_STATEMENT."""

    KIND = 0x0B
    statement: int
    parameters: list[Any] | dict[str, Any]


# --- sent by one core to another ---------------------------------------------------------------------------


@dataclass(slots=True)
class Part(Message):
    """What one partition of several shall do: the message of that `kind` with this body. Answered by Changed.

    With `hold` it is checked and waits for Decide; answered by Holding.
    """

    KIND = 0x41
    partition: int
    hold: bool
    kind: int
    body: bytes


@dataclass(slots=True)
class Decide(Message):
    """Do what was held, or forget it. Answered by Changed."""

    KIND = 0x42
    hold: int
    commit: bool


@dataclass(slots=True)
class Tell(Message):
    """What this core has to say for a view (`reddb.query.views`). Answered by Result."""

    KIND = 0x43
    view: str


@dataclass(slots=True)
class Stop(Message):
    """Stop the query of this id. Answered by Written: 1 if it is being stopped, 0 if there is no such query."""

    KIND = 0x44
    query: int


@dataclass(slots=True)
class Statement(Message):
    """A statement about rows of the collection with this id, whatever its text calls it; `now_us` is its `now()`.

    Stands in a Part. Answered by Changed.
    """

    KIND = 0x45
    collection: int
    text: str
    parameters: list[Any] | dict[str, Any]
    now_us: int


@dataclass(slots=True)
class Transact(Message):
    """The statements of a transaction: kind and body of an Insert, Upsert, Delete or Statement each.

    Stands in a Part. Answered by Changed.
    """

    KIND = 0x46
    collection: int
    steps: list[Any]


@dataclass(slots=True)
class Holding(Message):
    """It can be done, and nothing else is until Decide names this number."""

    KIND = 0xC1
    hold: int


@dataclass(slots=True)
class Changed(Message):
    """How many rows were written; for RETURNING those rows as RowBatch bytes, with int64 places in the statement."""

    KIND = 0xC2
    count: int
    rows: bytes | None
    positions: bytes


# --- sent by the server ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Welcome(Message):
    """The connection is open: protocol `version`, the server's release, the core that serves it."""

    KIND = 0x81
    version: int
    server: str
    core: int


@dataclass(slots=True)
class Pong(Message):
    KIND = 0x82


@dataclass(slots=True)
class Result(Message):
    """Rows of a statement, in one or more parts (frame flag "more"). `affected` counts written rows, else None.

    `notices`, of the first part, say what is worth knowing beside the answer.
    """

    KIND = 0x83
    columns: list[str]
    rows: list[list[Any]]
    affected: int | None
    notices: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Written(Message):
    KIND = 0x84
    count: int


@dataclass(slots=True)
class Hits(Message):
    """`counts[i]` rows for the i-th query, end to end in `batch` (RowBatch bytes) and float64 `distances`.

    `report` says how the search was done, if that was asked for; `notices` what is worth knowing beside the answer.
    """

    KIND = 0x87
    counts: list[int]
    distances: bytes
    batch: bytes
    report: dict[str, Any] | None
    notices: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Rows(Message):
    """Rows as RowBatch bytes, with dim 0 where vectors were not asked for."""

    KIND = 0x88
    batch: bytes


@dataclass(slots=True)
class Prepared(Message):
    """Execute names this number; `parameters` are what the statement wants values for, as `$1` or `:name`."""

    KIND = 0x8A
    statement: int
    parameters: list[str]


@dataclass(slots=True)
class Failure(Message):
    """An error of the catalogue; `detail` holds line, column, excerpt, hint, row, … where they apply."""

    KIND = 0xFF
    number: int
    name: str
    message: str
    retryable: bool
    detail: dict[str, Any]

    @classmethod
    def from_error(cls, error: errors.RedDBError) -> Failure:
        return cls(error.code.number, error.code.name, error.message, error.code.retryable, error.detail)

    def to_error(self) -> errors.RedDBError:
        """The same error on this side. A name that a newer peer knows and we do not keeps its text."""
        code = errors.CATALOGUE.get(self.name)
        if code is None:
            kind = errors.ErrorKind.UNAVAILABLE if self.retryable else errors.ErrorKind.BUG
            code = errors.ErrorCode(self.number, self.name, kind, self.retryable, "An error of a newer server.")
        return errors.RedDBError(code, self.message, dict(self.detail))


def _types_of(annotation: Any) -> tuple[type, ...]:
    """The runtime types a field may have: `list[int] | None` gives (list, NoneType)."""
    if isinstance(annotation, types.UnionType):
        return tuple(kind for part in typing.get_args(annotation) for kind in _types_of(part))
    return (typing.get_origin(annotation) or annotation,)


def _declared(message: type[Message]) -> list[tuple[str, tuple[type, ...]]]:
    hints = typing.get_type_hints(message)
    return [(field.name, _types_of(hints[field.name])) for field in fields(message)]


_ALL = [item for item in list(globals().values()) if isinstance(item, type) and issubclass(item, Message)]
_ALL.remove(Message)
MESSAGES: dict[int, type[Message]] = {message.KIND: message for message in _ALL}
_FIELDS = {message: _declared(message) for message in _ALL}
# Every combination of types that a message's fields may have, so that one look-up accepts a good one.
_ACCEPTED = {message: set(itertools.product(*(allowed for _, allowed in _FIELDS[message]))) for message in _ALL}
_REQUEST_KINDS_END = 0x40  # the kinds before it are what clients send
_BRINGS_ROWS = (Insert, Upsert)
_WithParameters = Query | Search | Execute | Statement
assert len(MESSAGES) == len(_ALL), "two messages share a kind"


def message_bytes(message: Message) -> int:
    """About the memory of a message, which is about its length on the wire too where it holds bytes."""
    return sum(value_bytes(getattr(message, name)) for name, _ in _FIELDS[type(message)])


def encode_body(message: Message) -> bytes:
    """The message's fields as bytes."""
    return pack([getattr(message, name) for name, _ in _FIELDS[type(message)]])


def decode_message(kind: int, body: Buffer) -> Message:
    """Read a message. Raises PROTOCOL naming the field that is wrong, and for parameters that would be cut.

    Raises LIMIT_EXCEEDED for a request that is larger than its kind may be, before it is decoded.
    """
    message = MESSAGES.get(kind)
    if message is None:
        raise errors.PROTOCOL.error(f"unknown message kind {kind:#04x}")
    declared = _FIELDS[message]
    is_request = kind < _REQUEST_KINDS_END
    if is_request and len(body) > limits.REQUEST_BYTES_MAX and message not in _BRINGS_ROWS:
        raise errors.LIMIT_EXCEEDED.error(
            f"a {message.__name__} has at most {limits.REQUEST_BYTES_MAX} bytes, not {len(body)}: REQUEST_BYTES_MAX",
            hint="send less at a time; many rows go by insert and upsert",
        )
    values = unpack(body, limits.PARAMETER_ITEMS_MAX if is_request else None)
    if type(values) is not list or len(values) != len(declared):
        raise errors.PROTOCOL.error(f"{message.__name__} is an array of {len(declared)} fields")
    if tuple(map(type, values)) in _ACCEPTED[message]:
        made = message(*values)
        if isinstance(made, _WithParameters) and made.parameters:
            check_instants(body)
        return made
    name, allowed, value = next(
        (name, allowed, value)
        for (name, allowed), value in zip(declared, values, strict=True)
        if type(value) not in allowed
    )
    expected = " or ".join(kind.__name__ for kind in allowed)
    raise errors.PROTOCOL.error(f"{message.__name__}.{name} is {expected}, not {type(value).__name__}")
