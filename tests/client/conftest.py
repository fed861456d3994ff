"""The three faces of the database, each asked in the same words: sync client, async client, embedded."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reddb
from reddb.client.demo.sample import Sample, load
from tests.server.harness import Server

_numbers = itertools.count()


class AwaitedStatement:
    """An asynchronous prepared statement, in the same way."""

    def __init__(self, runner: asyncio.Runner, statement: Any) -> None:
        self._runner = runner
        self._statement = statement
        self.parameters = statement.parameters

    def execute(self, *args: Any, **words: Any) -> Any:
        return self._runner.run(self._statement.execute(*args, **words))


class AwaitedClient:
    """The asynchronous client as the synchronous one: each call runs until its answer is there."""

    def __init__(self, url: str, timeout_s: float | None = 30.0) -> None:
        self._runner = asyncio.Runner()
        self._client: Any = self._runner.run(self._connect(url, timeout_s))
        self._ends_runner = True

    def session(self) -> AwaitedClient:
        return self._with(self._client.session())

    def transaction(self) -> AwaitedClient:
        return self._with(self._client.transaction())

    def __enter__(self) -> AwaitedClient:
        self._runner.run(self._client.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._runner.run(self._client.__aexit__(*error))
        if self._ends_runner:
            self.close()

    def _with(self, client: Any) -> AwaitedClient:
        """The same of what the client made."""
        made = AwaitedClient.__new__(AwaitedClient)
        made._runner, made._client, made._ends_runner = self._runner, client, False
        return made

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **words: Any) -> Any:
            return self._runner.run(getattr(self._client, name)(*args, **words))

        return call

    def prepare(self, *args: Any, **words: Any) -> AwaitedStatement:
        return AwaitedStatement(self._runner, self._runner.run(self._client.prepare(*args, **words)))

    def close(self) -> None:
        async def close() -> None:
            await self._client.close()
            await asyncio.sleep(0)  # the transport lets go of its socket in the next turn

        self._runner.run(close())
        if self._ends_runner:
            self._runner.close()

    async def _connect(self, url: str, timeout_s: float | None) -> reddb.aio.AsyncClient:
        return await reddb.aio.connect(url, timeout_s)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two cores that run as long as the tests do."""
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder / "data", folder).start()
    yield server
    try:
        server.stop()
    finally:
        server.close()


@pytest.fixture(params=["sync", "async", "embedded"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A database behind one of its faces."""
    if request.param == "embedded":
        client: Any = reddb.connect(f"file:{tmp_path / 'embedded'}")
    else:
        url = request.getfixturevalue("server").url
        client = reddb.connect(url) if request.param == "sync" else AwaitedClient(url)
    yield client
    client.close()


@pytest.fixture
def name() -> str:
    """A collection name that no other test uses."""
    return f"c{next(_numbers)}"


@pytest.fixture(scope="session")
def sample() -> Sample:
    return load()
