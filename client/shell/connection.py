"""The database behind the shell: a server, or a folder in this process.

A lost connection is noticed before the next statement is sent, and opened again. A statement is never sent twice:
whether the first one was done cannot be known.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import reddb
from reddb._version import __version__
from reddb.client.blocking import Client, Session
from reddb.client.sockets import SocketTransport
from reddb.client.url import ServerAddress, parse_url

_CONNECT_S = 30.0  # for an answer a person waits as long as he likes; Ctrl-C ends it


class Connection:
    """An open database."""

    def __init__(self, url: str) -> None:
        """Open it. Raises INVALID_URL, UNAVAILABLE, TIMEOUT, DATA_IN_USE, …"""
        self.url = url
        self.is_new = False  # a folder that was none before, perhaps for a mistake in its name
        self._transport: SocketTransport | None = None
        self._folder: Client | None = None
        target = parse_url(url)
        if isinstance(target, ServerAddress):
            self._transport = SocketTransport(target, _CONNECT_S, is_session=True)
            self.client = Session(self._transport, None)
        else:
            self.is_new = not os.path.lexists(os.path.join(target, "VERSION"))
            self._folder = reddb.connect(url, None)
            self.client = self._folder.session()

    @property
    def version(self) -> str:
        """What answers, with its release."""
        return (
            f"RedDB {__version__}, embedded" if self._transport is None else f"server {self._transport.server_version}"
        )

    def is_open(self) -> bool:
        return self._transport is None or self._transport.is_connected()

    def open(self) -> None:
        """Connect again if the connection was lost. Raises UNAVAILABLE, TIMEOUT or PROTOCOL."""
        if self._transport is not None:
            self._transport.connect()

    @contextmanager
    def undisturbed(self, say: Callable[[str], None]) -> Iterator[None]:
        """Within this, Ctrl-C does not stop the engine in this process, which would be left half-way through a change.

        A request to a server it does stop: `SocketTransport` says how.
        """
        if self._transport is not None:
            yield
            return
        with on_interrupt(lambda *_: say("a statement of an embedded database cannot be cancelled; wait for its end")):
            yield

    def close(self) -> None:
        self.client.close()
        if self._folder is not None:
            self._folder.close()


@contextmanager
def on_interrupt(action: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within this, Ctrl-C calls `action`."""
    before = signal.signal(signal.SIGINT, action)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
