"""The listening socket, and what is said to those who cannot be served."""

from __future__ import annotations

import contextlib
import socket

from reddb import errors, limits
from reddb.wire.connection import encode
from reddb.wire.messages import Failure


def listen(host: str, port: int) -> socket.socket:
    """A socket that clients can connect to. Raises UNAVAILABLE."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise errors.UNAVAILABLE.error(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    listener.setblocking(False)
    return listener


def refuse(client: socket.socket) -> None:
    """Tell a client that there are too many, and close its connection."""
    error = errors.TOO_MANY_CONNECTIONS.error(f"the server holds {limits.CONNECTIONS_MAX} connections")
    client.setblocking(False)
    with client, contextlib.suppress(OSError):  # it may be gone, or not read: then it learns nothing
        client.send(encode(Failure.from_error(error), 0))
