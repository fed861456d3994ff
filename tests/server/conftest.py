"""Servers for the tests of this folder: one that many tests share, and new ones for tests that end them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server.harness import Server

NewServer = Callable[..., Server]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two cores that run as long as the tests do: whoever uses it leaves it running."""
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder / "data", folder).start()
    yield server
    try:
        server.stop()
    finally:
        server.close()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[NewServer]:
    """Makes servers over `tmp_path / "data"` that are gone after the test."""
    servers: list[Server] = []

    def make(cores: int = 2, data: str = "data") -> Server:
        logs = tmp_path / f"logs-{len(servers)}"
        logs.mkdir()
        servers.append(Server(tmp_path / data, logs, cores))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def name() -> str:
    """A collection name that no other test uses."""
    return f"c{next(_numbers)}"
