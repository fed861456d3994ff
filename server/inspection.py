"""What a core says of itself and of the others: views that every core has a part of, and KILL.

A core that gives no answer within a bounded time, because it died or hangs, is named in the view by a row of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from reddb import errors, limits
from reddb.accountant import Accountant
from reddb.introspection import memory_rows, memory_samples, metrics_rows
from reddb.metrics import METRICS, Metrics, Sample, task_failures
from reddb.partition.figures import owned_samples
from reddb.partition.reader import PartitionReader
from reddb.query.execute import Table
from reddb.query.views import VIEWS, View
from reddb.server import tasks
from reddb.server.mailbox import PeerLink
from reddb.server.registry import Registry
from reddb.wire.messages import Message, Result, Stop, Tell, Written


class Inspection:
    """Answers for this core, and asks the others."""

    def __init__(
        self,
        core: int,
        cores: int,
        registry: Registry,
        metrics: Metrics,
        accountant: Accountant,
        owned: Callable[[], Iterable[PartitionReader]],
        link: Callable[[int], PeerLink | None],
    ) -> None:
        """`owned` gives the partitions that this core writes, `link` the way to another core."""
        self._core = core
        self._cores = cores
        self._registry = registry
        self._metrics = metrics
        self._accountant = accountant
        self._owned = owned
        self._link = link

    async def gather(self, view: View) -> Table:
        """The rows of all cores, in the order of the cores."""
        parts = await tasks.together(*(self._rows_of(core, view) for core in range(self._cores)))
        return Table(view.column_names, [row for part in parts for row in part])

    async def kill(self, query: int) -> None:
        """Stop a query on whichever core it runs. Raises INVALID_VALUE, CANNOT_CANCEL or UNAVAILABLE."""
        core = query % limits.CORES_MAX
        if core == self._core:
            is_stopped = self._stop(query)
        elif 0 <= core < self._cores and query > 0:
            answer = await self._ask(core, Stop(query))
            if not isinstance(answer, Written):
                raise errors.UNAVAILABLE.error(f"core {core}, where query {query} would run, does not answer")
            is_stopped = answer.count > 0
        else:
            is_stopped = False
        if not is_stopped:
            raise errors.INVALID_VALUE.error(f"no query {query} runs", hint="SHOW QUERIES")

    def answer(self, message: Tell | Stop) -> Message:
        """What another core asked."""
        if isinstance(message, Stop):
            return Written(int(self._stop(message.query)))
        view = VIEWS[message.view]
        return Result(view.column_names, self._rows(view.name), None)

    def _stop(self, query: int) -> bool:
        return self._registry.stop(query, errors.QUERY_CANCELLED.error("the query was stopped by KILL"))

    async def _rows_of(self, core: int, view: View) -> list[list[Any]]:
        if core == self._core:
            return self._rows(view.name)
        answer = await self._ask(core, Tell(view.name))
        return answer.rows if isinstance(answer, Result) else [_no_answer(core, view)]

    async def _ask(self, core: int, message: Message) -> Message | None:
        """Its answer; None if it gives none in time. Raises what it refuses with."""
        link = self._link(core)
        if link is None:
            return None
        try:
            return await asyncio.wait_for(link.request(message), limits.PEER_ANSWER_S)
        except TimeoutError:
            return None
        except errors.RedDBError as error:
            if error.code is errors.UNAVAILABLE:
                return None
            raise

    def _rows(self, view: str) -> list[list[Any]]:
        match view:
            case "sessions":
                return list(self._registry.session_rows())
            case "queries":
                return list(self._registry.query_rows())
            case "memory":
                return memory_rows(self._core, self._accountant)
        assert view == "metrics"
        return metrics_rows(self._core, self._metrics, self._gauges())

    def _gauges(self) -> Iterator[Sample]:
        yield Sample("reddb_core_up", "", 1)
        yield from task_failures(tasks.failures)
        yield Sample("reddb_sessions", "", self._registry.sessions)
        yield Sample("reddb_queries", "", self._registry.queries)
        yield from memory_samples(self._accountant)
        yield from owned_samples(self._owned())


def _no_answer(core: int, view: View) -> list[Any]:
    """The row that names a core without an answer."""
    if view.name == "metrics":
        up = METRICS["reddb_core_up"]
        return [core, up.name, "", up.type, 0.0, up.meaning]
    told = {"core": core, "state": "no answer", "pool": "no answer"}
    return [told.get(name) for name in view.column_names]
