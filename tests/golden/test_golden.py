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


def test_what_only_others_have_is_refused_with_a_way_out() -> None:
    turns = Path(__file__).with_name("absent.txt").read_text().split("\n> ")[3:]
    assert len(turns) > 200
    assert [turn for turn in turns if "\nhint: " not in turn] == []


def test_there_are_enough_of_them() -> None:
    assert sum(len(statements(path.read_text())) for path in FILES) >= 250
