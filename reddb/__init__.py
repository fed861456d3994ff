"""RedDB: a vector database with a small SQL.

import reddb
with reddb.connect("red://127.0.0.1:5050") as db: ...          # a server
with reddb.connect("file:./data") as db: ...                   # a folder, in this process
async with reddb.aio.connect("red://127.0.0.1:5050") as db: ...
"""

from __future__ import annotations

from reddb import aio
from reddb._version import __version__
from reddb.client import arguments
from reddb.client.blocking import Client, PreparedStatement, Session, Transaction
from reddb.client.embedded import EmbeddedTransport
from reddb.client.rows import Hit, Hits, Result, Row
from reddb.client.sockets import SocketTransport
from reddb.client.url import ServerAddress, parse_url
from reddb.errors import ErrorCode, ErrorKind, RedDBError

__all__ = [
    "Client",
    "ErrorCode",
    "ErrorKind",
    "Hit",
    "Hits",
    "PreparedStatement",
    "RedDBError",
    "Result",
    "Row",
    "Session",
    "Transaction",
    "__version__",
    "aio",
    "connect",
]


def connect(url: str, timeout_s: float | None = 30.0) -> Client:
    """Open a database: `red://host:port` for a server, `file:path` for a folder in this process.

    A folder that is not there is made: look at `red.collections` where a mistake in its name would go unseen.

    `timeout_s` is how many seconds connecting, and each call that does not say so itself, may take; None for no limit.
    Raises INVALID_URL, UNAVAILABLE or TIMEOUT for a server; DATA_IN_USE, CORRUPT_DATA, … for a folder.
    """
    target = parse_url(url)
    limit_s = arguments.timeout(timeout_s)
    if isinstance(target, ServerAddress):
        return Client(SocketTransport(target, limit_s), limit_s)
    # Only here: a client of a server must not load the engine and faiss.
    from reddb.database import Database

    return Client(EmbeddedTransport(Database(target)), limit_s)
