"""The memory of what clients send: frames until they are whole, requests until they are answered.

    a small frame    is read whatever others do: all that there can be of them fit the pool
    a large frame    needs its whole length before more than its beginning is read. Where there is no room, its
                     connection is not read until there is, and after `limits.FRAME_WAIT_S` it is refused with BUSY
    a request        is counted as what it becomes when it is read, before it is

What is refused is skipped as it comes, and the connection goes on. Rejected: counting what has arrived, with which many
frames that are half there keep one another from ever being whole.

Invariants:
  * While others wait, a frame that comes slower than `limits.FRAME_BYTES_PER_S_MIN` is given up.
  * What a connection holds is given back when it ends, what a request holds when the request does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

from reddb import errors, limits
from reddb.accountant import Accountant, Charge
from reddb.server import tasks
from reddb.wire.connection import Event, Received, WireConnection
from reddb.wire.frames import Frame, HalfFrame
from reddb.wire.messages import Cancel, Execute, Query, Search
from reddb.wire.values import decoded_bytes, value_bytes

_ALWAYS_LOOKED_AT = {Query.KIND, Execute.KIND}


class Reading:
    """Whether a connection is read: not while there is a reason against it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reasons: set[str] = set()

    def connected(self, transport: asyncio.Transport | None) -> None:
        """The connection is there, or is gone."""
        self._transport = transport

    def pause(self, reason: str) -> None:
        if self._transport is not None and not self._reasons:
            self._transport.pause_reading()
        self._reasons.add(reason)

    def resume(self, reason: str) -> None:
        """The reason is none any more; it may never have been one."""
        if reason not in self._reasons:
            return
        self._reasons.remove(reason)
        if self._transport is not None and not self._reasons:
            self._transport.resume_reading()


class Intake:
    """What one connection sends."""

    def __init__(
        self,
        arrivals: Arrivals,
        accountant: Accountant,
        reading: Reading,
        refuse: Callable[[int, errors.RedDBError], None],
    ) -> None:
        """`refuse` answers a request that was not read, by its correlation."""
        self.wire = WireConnection(expects_hello=True, admit=self._admit)
        self.reading = reading
        self._refuse = refuse
        self._arrivals = arrivals
        self._frames = accountant["frames"]
        self._requests = accountant["requests"]
        self._charged: dict[int, int] = {}
        self._half: HalfFrame | None = None

    def receive_data(self, data: bytes) -> list[Event]:
        """What the client said with these bytes and those before."""
        events = self.wire.receive_data(data)
        if self.wire.half is not self._half:
            self._end_half()
            self._begin_half()
        for event in events:
            # What a small search became is counted once it is read: looking at each before would cost too much.
            if isinstance(event, Received) and type(event.message) is Search and event.message.where is not None:
                return [event for event in events if self._has_memory(event)]
        return events

    def answered(self, correlation: int) -> None:
        """The request has ended."""
        self._requests.give_back(self._charged.pop(correlation, 0))

    def close(self, running: Collection[int]) -> None:
        """The connection has ended; `running` are the requests that go on."""
        self._end_half()
        for correlation in [number for number in self._charged if number not in running]:
            self.answered(correlation)

    def refuse_half(self, error: errors.RedDBError) -> None:
        """Skip the frame that is coming in."""
        assert self._half is not None
        correlation = self._half.correlation
        self.wire.skip()
        self._end_half()
        self._refuse(correlation, error)

    def _admit(self, frame: Frame) -> bool:
        kind, size = frame.kind, len(frame.body)
        if kind in _ALWAYS_LOOKED_AT or (size > limits.SMALL_FRAME_BYTES and kind == Search.KIND):
            size = max(size, decoded_bytes(frame.body))
        elif kind == Cancel.KIND:  # it has no answer, and is done at once
            return True
        return self._charge(frame.correlation, size + limits.REQUEST_BYTES)

    def _has_memory(self, event: Event) -> bool:
        message = event.message if isinstance(event, Received) else None
        if not isinstance(message, Search) or not message.parameters:
            return True
        is_counted = self._charged.get(event.correlation, 0) > limits.SMALL_FRAME_BYTES + limits.REQUEST_BYTES
        return is_counted or self._charge(event.correlation, value_bytes(message.parameters))

    def _charge(self, correlation: int, size: int) -> bool:
        """Count it for a request; False if that was refused."""
        try:
            self._requests.take(size)
        except errors.RedDBError as error:
            self._refuse(correlation, error)
            return False
        self._charged[correlation] = self._charged.get(correlation, 0) + size
        return True

    def _begin_half(self) -> None:
        self._half = self.wire.half
        if self._half is None:
            return
        if self._half.size <= limits.SMALL_FRAME_BYTES:
            self._frames.put(self._half.size)
        else:
            self._arrivals.begin(self, self._half)

    def _end_half(self) -> None:
        if self._half is None:
            return
        if self._half.size <= limits.SMALL_FRAME_BYTES:
            self._frames.give_back(self._half.size)
        else:
            self._arrivals.end(self)
        self._half = None


@dataclass(slots=True)
class _Arrival:
    """A large frame that is coming in, or waits to; at `seen_at` there were `seen` bytes of it."""

    size: int
    charge: Charge
    began: float
    seen: int
    seen_at: float


class Arrivals:
    """The large frames that come in on all connections of a core."""

    def __init__(self, accountant: Accountant) -> None:
        self._pool = accountant["frames"]
        self._loop = asyncio.get_running_loop()
        self._coming: dict[Intake, _Arrival] = {}
        self._waiting: dict[Intake, _Arrival] = {}
        self._watching: asyncio.TimerHandle | None = None

    def begin(self, intake: Intake, half: HalfFrame) -> None:
        """Let the frame come, wait, or refuse it."""
        now, held = self._loop.time(), intake.wire.held
        fits = self._pool.has_room(half.size)
        try:
            # One that waits counts with what has come of it; one too large for the pool is refused with its own size.
            waits = not fits and not self._pool.is_too_large(half.size)
            charge = Charge(self._pool, held if waits else half.size)
        except errors.RedDBError as error:
            intake.refuse_half(error)
            return
        (self._coming if fits else self._waiting)[intake] = _Arrival(half.size, charge, now, held, now)
        if not fits:
            intake.reading.pause("memory")
        if self._watching is None:
            self._watching = tasks.later("watch of frames", limits.FRAME_WATCH_S, self._watch)

    def end(self, intake: Intake) -> None:
        """The frame is whole, or will never be."""
        arrival = self._coming.pop(intake, None)
        if arrival is None:
            arrival = self._waiting.pop(intake, None)
            if arrival is None:  # refused at once
                return
            intake.reading.resume("memory")
        arrival.charge.release()
        self._let_in()

    def _let_in(self) -> None:
        """Those that fit now, in the order in which they came."""
        for intake, arrival in list(self._waiting.items()):
            if self._pool.has_room(arrival.size - arrival.charge.size):
                arrival.charge.resize(arrival.size)
                arrival.began = arrival.seen_at = self._loop.time()
                self._coming[intake] = self._waiting.pop(intake)
                intake.reading.resume("memory")

    def _watch(self) -> None:
        """Give up those that waited for too long, and those that come too slowly."""
        now = self._loop.time()
        for intake, arrival in list(self._coming.items()):
            held = intake.wire.held
            if held > arrival.seen:
                arrival.seen, arrival.seen_at = held, now
            expected = (now - arrival.began - 2 * limits.FRAME_WATCH_S) * limits.FRAME_BYTES_PER_S_MIN
            if now - arrival.seen_at > limits.FRAME_STALLED_S or (self._waiting and held < expected):
                intake.refuse_half(_too_slow(held, arrival.size))
        for intake, arrival in list(self._waiting.items()):
            if now - arrival.began > limits.FRAME_WAIT_S:
                intake.refuse_half(self._pool.refusal(arrival.size))
        more = self._coming or self._waiting
        self._watching = tasks.later("watch of frames", limits.FRAME_WATCH_S, self._watch) if more else None


def _too_slow(held: int, size: int) -> errors.RedDBError:
    message = f"the message came too slowly while it held memory: {held} of its {size} bytes"
    return errors.BUSY.error(message, hint="send fewer rows at once, or try again in a moment")
