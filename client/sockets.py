"""The synchronous client's way to a server: one TCP connection.

A shared one has no state, so it is opened again by the first request after it was lost, and by a forked process, which
drops the one that it inherited. Before a request is sent the connection is looked at: that an idle server was restarted
is nobody's error. A session is its connection: when that is lost, or another process's, so is the session.

Reads (search, get, ping) whose connection was lost are sent again: asking twice changes nothing. A write is never
repeated by itself, for its outcome is unknown. NOT_READY means nothing happened, so it is retried for anyone; but a
COMMIT has ended its transaction then.

Ctrl-C while a request is sent ends the connection. While its answer is awaited, it tells the server to stop, waits for
that answer, and goes on as KeyboardInterrupt; the connection can be used afterwards. A write is not stopped half-way:
it was stored or not, and a read tells. When the time for a request is over it is the same, but nothing is waited for:
its answer is dropped when it comes, before that of a later request.

Invariant: a request ends within its `timeout_s`, whatever the server does.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Sequence

from reddb import errors
from reddb._version import __version__
from reddb.client import calls, forks, sessions
from reddb.client.deadline import Deadline
from reddb.client.url import ServerAddress
from reddb.wire.connection import Broken, WireConnection, encode
from reddb.wire.messages import MAGIC, VERSION, Cancel, Failure, Hello, Message, Welcome

_RECEIVE_BYTES = 256 * 1024
_PAUSE_S = 0.1  # between two attempts
_ABANDON_S = 0.1  # for a few bytes
_CANCEL_S = 5.0  # how long an interrupted request may take to end, before its connection does
GREETINGS_MAX = 10  # attempts to be greeted by a core that stays


class SocketTransport:
    """A connection to a server; `turn` is to be held while a request is under way."""

    def __init__(self, address: ServerAddress, timeout_s: float | None, *, is_session: bool = False) -> None:
        """Connect and greet. Raises UNAVAILABLE, TIMEOUT or PROTOCOL."""
        self.turn = threading.Lock()
        self._address = address
        self._timeout_s = timeout_s  # of connecting
        self._socket: socket.socket | None = None
        self._correlation = 0
        self._abandoned: set[int] = set()  # correlations whose answers nobody waits for any more
        self._is_closed = False
        self._is_session = is_session
        self._is_foreign = False  # a session that the parent of this process began
        self._server_version = ""
        self.connect()
        forks.tell(self)

    @property
    def server_version(self) -> str:
        """The release of the server that greeted last."""
        return self._server_version

    def request(self, message: Message, timeout_s: float | None) -> Sequence[Message]:
        deadline = Deadline(timeout_s)
        losses = 0
        while True:
            try:
                return self._request_once(message, deadline)
            except errors.RedDBError as error:
                losses += error.code is errors.CONNECTION_LOST
                if not calls.may_repeat(message, error, losses) or (losses and self._is_session) or deadline.is_over:
                    raise
            time.sleep(_PAUSE_S)

    def session(self) -> SocketTransport:
        """Another connection, which is a session of its own. Raises UNAVAILABLE, TIMEOUT or PROTOCOL."""
        if self._is_closed:
            raise errors.CONNECTION_LOST.error("this client was closed")
        return SocketTransport(self._address, self._timeout_s, is_session=True)

    def is_connected(self) -> bool:
        """Whether the connection stands, as far as this side can tell without asking."""
        if self._socket is not None and self._lost.poll(0):
            self._disconnect()
        return self._socket is not None

    def connect(self) -> None:
        """Connect and greet if there is no connection: a session anew. Raises UNAVAILABLE, TIMEOUT or PROTOCOL."""
        if not self.is_connected():
            try:
                self._connect(Deadline(self._timeout_s))
            except calls.Unanswered as error:
                where = f"{self._address.host}:{self._address.port}"
                raise errors.TIMEOUT.error(f"no connection to {where} within {self._timeout_s:g} s") from error

    def close(self) -> None:
        self._is_closed = True
        self._disconnect()

    def forked(self) -> None:
        self.turn = threading.Lock()  # a thread of the parent may hold the old one, and is not here to let it go
        self._is_foreign = self._is_session
        self._disconnect()  # this process's descriptor alone: the connection of the parent goes on

    def _request_once(self, message: Message, deadline: Deadline) -> Sequence[Message]:
        if self._is_closed:
            raise errors.CONNECTION_LOST.error("this client was closed")
        if not self.is_connected():
            if self._is_foreign:
                raise forks.opened_by_parent("the session")
            if self._is_session:
                raise errors.CONNECTION_LOST.error(sessions.LOST_SESSION)
            self._connect(deadline)
        return self._exchange(message, deadline)

    def _connect(self, deadline: Deadline) -> None:
        """Connect and greet, again if a core that is just dying was to take us: nothing was asked of it yet."""
        for attempt in range(1, GREETINGS_MAX + 1):
            try:
                self._connect_once(deadline)
            except calls.Unanswered:
                self._disconnect()
                raise calls.Unanswered(is_sent=False) from None
            except errors.RedDBError as error:
                self._disconnect()
                if error.code is not errors.CONNECTION_LOST or attempt == GREETINGS_MAX:
                    raise
            else:
                return
            time.sleep(_PAUSE_S)

    def _connect_once(self, deadline: Deadline) -> None:
        where = f"{self._address.host}:{self._address.port}"
        try:
            self._socket = socket.create_connection((self._address.host, self._address.port), deadline.left_s())
        except TimeoutError as error:
            raise calls.Unanswered(is_sent=False) from error
        except (OSError, UnicodeError) as error:  # a name that is none is a UnicodeError
            reason = getattr(error, "strerror", None) or error
            raise errors.UNAVAILABLE.error(f"cannot connect to {where}: {reason}") from error
        self._lost = select.poll()
        self._lost.register(self._socket, select.POLLRDHUP)  # and what is always told: reset, hung up
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wire = WireConnection(expects_hello=False)
        self._abandoned.clear()
        (welcome,) = self._exchange(Hello(MAGIC, [VERSION], f"reddb-python {__version__}"), deadline)
        if not isinstance(welcome, Welcome):
            raise errors.PROTOCOL.error(f"{where} answered Hello with {type(welcome).__name__}")
        self._server_version = welcome.server

    def _exchange(self, message: Message, deadline: Deadline) -> list[Message]:
        sock = self._socket
        assert sock is not None
        self._correlation += 1
        data = encode(message, self._correlation)
        is_sent = False
        try:
            sock.settimeout(deadline.left_s())
            sock.sendall(data)
            is_sent = True
            parts = self._receive(deadline)
        except TimeoutError as error:
            if is_sent:
                self._abandon()
            else:
                self._disconnect()  # the server may have half a message
            raise calls.Unanswered(is_sent=is_sent) from error
        except OSError as error:
            self._disconnect()
            raise _lost_underway(error.strerror or str(error)) from error
        except KeyboardInterrupt:
            if is_sent:
                self._cancel()
            else:
                self._disconnect()  # the server may have half a message
            raise
        if isinstance(parts[0], Failure):
            raise parts[0].to_error()
        return parts

    def _abandon(self) -> None:
        """Have the request stopped, and its answer dropped when it comes; where that cannot be sent, disconnect."""
        assert self._socket is not None
        try:
            self._socket.settimeout(_ABANDON_S)
            self._socket.sendall(encode(Cancel(self._correlation), 0))
            self._abandoned.add(self._correlation)
        except OSError:  # its end stops the request, too
            self._disconnect()

    def _cancel(self) -> None:
        """Have the request stopped and take its answer off the connection, or end the connection."""
        assert self._socket is not None
        try:
            self._socket.settimeout(_CANCEL_S)
            self._socket.sendall(encode(Cancel(self._correlation), 0))
            self._receive(Deadline(_CANCEL_S))
        except (errors.RedDBError, OSError, KeyboardInterrupt):  # the next request opens another one
            self._disconnect()

    def _receive(self, deadline: Deadline) -> list[Message]:
        """The parts of the answer. Raises TimeoutError."""
        sock = self._socket
        assert sock is not None
        parts: list[Message] = []
        while True:
            data = sock.recv(_RECEIVE_BYTES)
            if not data:
                self._disconnect()
                raise _lost_underway("the server closed it")
            for event in self._wire.receive_data(data):
                if isinstance(event, Broken):
                    self._disconnect()
                    raise event.error
                if event.correlation in self._abandoned:
                    if not event.more:
                        self._abandoned.discard(event.correlation)
                    continue
                if event.correlation != self._correlation and event.correlation:
                    self._disconnect()
                    raise errors.PROTOCOL.error("an answer came that belongs to another request")
                parts.append(event.message)
                if not event.more:
                    return parts
            if deadline.is_over:
                raise TimeoutError
            sock.settimeout(deadline.left_s())

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _lost_underway(reason: str) -> errors.RedDBError:
    message = f"the connection was lost before the answer came, so that the outcome is unknown: {reason}"
    return errors.CONNECTION_LOST.error(message)
