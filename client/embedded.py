"""A data folder opened in this process, as a transport: threads and sessions take turns.

Invariants:
  * One request is under way at a time, whoever asks.
  * In a process that was forked every request is refused, and nothing there touches the folder: not its lock, not its
    log, not at its end.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

from reddb import errors
from reddb.client import forks
from reddb.wire.messages import Message


class Engine(Protocol):
    """What `reddb.database.Database` is: a client of a server must not load it."""

    def request(self, message: Message, timeout_s: float | None, session: Any) -> Sequence[Message]: ...

    def new_session(self) -> Any: ...

    def close(self) -> None: ...

    def leave_to_parent(self) -> None: ...


class EmbeddedTransport:
    """A folder."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turn = threading.Lock()
        self._is_foreign = False
        forks.tell(self)

    @property
    def turn(self) -> threading.Lock:
        """To be held while a request is under way. Raises OTHER_PROCESS in a process that was forked."""
        if self._is_foreign:
            raise forks.opened_by_parent("the folder")
        return self._turn

    def request(self, message: Message, timeout_s: float | None) -> Sequence[Message]:
        return self._engine.request(message, timeout_s, None)

    def session(self) -> EmbeddedSession:
        return EmbeddedSession(self, self._engine, self._engine.new_session())

    def close(self) -> None:
        if not self._is_foreign:
            with self._turn:
                self._engine.close()

    def forked(self) -> None:
        self._is_foreign = True
        self._engine.leave_to_parent()


class EmbeddedSession:
    """One session with a folder, which takes turns with all others."""

    def __init__(self, folder: EmbeddedTransport, engine: Engine, session: Any) -> None:
        """Use `EmbeddedTransport.session`."""
        self._folder = folder
        self._engine = engine
        self._session = session
        self._is_closed = False

    @property
    def turn(self) -> threading.Lock:
        return self._folder.turn

    def request(self, message: Message, timeout_s: float | None) -> Sequence[Message]:
        if self._is_closed:
            raise errors.CONNECTION_LOST.error("the session was closed")
        return self._engine.request(message, timeout_s, self._session)

    def session(self) -> EmbeddedSession:
        return self._folder.session()

    def close(self) -> None:
        """Forget what it had set, and the transaction it was in."""
        self._is_closed = True
