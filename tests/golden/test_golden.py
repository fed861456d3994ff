"""Every conversation goes word by word as it is written, with a folder in this process and over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import reddb
from tests.golden.conversation import FILES, converse, statements
from tests.server.harness import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("golden")
    server = Server(folder / "data", folder).start()
    yield server
    server.stop()


@pytest.fixture(params=["embedded", "server"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "embedded":
        yield f"file:{tmp_path / 'data'}"
        return
    url = request.getfixturevalue("server").url
    yield url
    with reddb.connect(url) as db:
        for (alias,) in db.execute("SELECT name FROM red.aliases"):
            db.execute(f'DROP ALIAS "{alias}"')
        for (name,) in db.execute("SELECT name FROM red.collections"):
            db.execute(f'DROP COLLECTION "{name}"')


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_conversation_goes_as_it_is_written(path: Path, url: str) -> None:
    text = path.read_text()
    assert converse(text, url) == text


def test_there_are_enough_of_them() -> None:
    assert sum(len(statements(path.read_text())) for path in FILES) >= 250
