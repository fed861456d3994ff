"""Clients on both sides of a fork: nobody gets another process's answer, and the parent goes on undisturbed."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reddb
from tests.server.harness import Server

ROWS = 50
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # threads and forks are the point


class Child:
    """A forked process that says what a call gives there, or which error."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._pipe, child_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.write(child_end, self._said(call).encode())
            finally:
                os._exit(0)
        os.close(child_end)

    def said(self) -> str:
        """Waits for its end."""
        with open(self._pipe, "rb") as pipe:
            text = pipe.read().decode()
        assert os.waitpid(self.pid, 0)[1] == 0
        return text

    @staticmethod
    def _said(call: Callable[[], Any]) -> str:
        try:
            return str(call())
        except reddb.RedDBError as error:
            return error.name
        except BaseException:
            return traceback.format_exc()


@pytest.fixture(scope="module")
def rows(server: Server) -> Iterator[str]:
    """A collection whose row n lies at n."""
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION forks KIND vector DIM 1 METRIC l2")
        db.insert("forks", range(ROWS), [[n] for n in range(ROWS)])
        yield "forks"
        db.execute("DROP COLLECTION forks")


def wrong_answers(db: reddb.Client, numbers: range, rounds: int = 3) -> list[Any]:
    """Answers that are not those of these numbers."""
    asked = [(n, db.search("forks", [n], k=1).ids) for _ in range(rounds) for n in numbers]
    return [(n, ids) for n, ids in asked if ids != [n]]


def test_both_sides_ask_at_once(server: Server, rows: str) -> None:
    with reddb.connect(server.url) as db:
        statement = db.prepare(f"SELECT id FROM {rows} WHERE id = $1")
        assert wrong_answers(db, range(3)) == []
        children = [Child(lambda part=part: wrong_answers(db, range(part, ROWS, 3))) for part in range(3)]
        assert wrong_answers(db, range(ROWS)) == []
        assert [child.said() for child in children] == ["[]"] * 3
        assert Child(lambda: list(statement.execute([7]))).said() == "[(7,)]"
        assert Child(db.close).said() == "None"
        assert list(statement.execute([8])) == [(8,)], "the connection of the parent is the one it was"


def test_a_fork_in_the_midst_of_other_threads_requests(server: Server, rows: str) -> None:
    """A thread of the parent holds the client's lock at the moment of the fork, and is not there in the child."""
    done, wrong = threading.Event(), []
    with reddb.connect(server.url) as db:

        def ask(part: int) -> None:
            while not done.is_set():
                wrong.extend(wrong_answers(db, range(part, ROWS, 4), 1))

        threads = [threading.Thread(target=ask, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        try:
            children = [Child(lambda: wrong_answers(db, range(ROWS), 1)) for _ in range(6)]
            assert [child.said() for child in children] == ["[]"] * 6
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert wrong == []


def test_sessions_and_transactions_stay_with_the_parent(server: Server, rows: str) -> None:
    with reddb.connect(server.url) as db, db.session() as session:
        session.execute("SET ef = 12")
        with db.transaction() as tx:
            tx.insert(rows, [1000], [[1000]])
            assert Child(lambda: tx.insert(rows, [1001], [[1001]])).said() == "OTHER_PROCESS"
            assert Child(lambda: tx.__exit__(None, None, None)).said() == "OTHER_PROCESS"
            assert Child(lambda: tx.__exit__(ValueError, ValueError(), None)).said() == "None"
            assert Child(lambda: session.execute("SHOW ef")).said() == "OTHER_PROCESS"
            assert Child(session.close).said() == "None"
        assert [row is not None for row in db.get(rows, [1000, 1001])] == [True, False]
        assert session.execute("SHOW ef")[0][1] == "12"
        db.delete(rows, 1000)


def _search_in_pool(n: int) -> list[Any]:
    return _inherited.search("forks", [n], k=1).ids


_inherited: reddb.Client


def test_a_pool_of_processes(server: Server, rows: str) -> None:
    global _inherited
    with reddb.connect(server.url) as _inherited, multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(_search_in_pool, range(ROWS)) == [[n] for n in range(ROWS)]
        hits = pool.apply(_inherited_search, (5,))
        assert hits == _inherited.search("forks", [5], k=2)
        spawned = multiprocessing.get_context("spawn").Process(target=print, args=(_inherited,))
        with pytest.raises(reddb.RedDBError, match="cannot be pickled") as caught:
            spawned.start()
        assert caught.value.name == "OTHER_PROCESS"


def _inherited_search(n: int) -> reddb.Hits:
    return _inherited.search("forks", [n], k=2)


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_the_asynchronous_client_in_loops_and_processes(server: Server, rows: str, runner: str) -> None:
    import uvloop

    run = {"asyncio": asyncio.run, "uvloop": uvloop.run}[runner]
    db = reddb.aio.connect(server.url)

    async def ask() -> list[Any]:
        found = await asyncio.gather(*(db.search(rows, [n], k=1) for n in range(ROWS)))
        return [(n, hits.ids) for n, hits in enumerate(found) if hits.ids != [n]]

    async def ask_beside_children() -> list[Any]:
        assert await ask() == []
        asking = asyncio.create_task(ask())
        await asyncio.sleep(0)  # its requests are under way
        children = [Child(lambda: asyncio.run(ask())), Child(lambda: run(ask()))]
        wrong = await asking + await ask()
        return wrong + [said for child in children if (said := child.said()) != "[]"]

    assert run(ask()) == run(ask()) == [], "one loop after the other"
    assert run(ask_beside_children()) == []
    told: list[list[Any]] = []
    threads = [threading.Thread(target=lambda: told.append(run(ask()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [[], [], []], "several loops at once"
    run(db.close())


CALLS: dict[str, Callable[[reddb.Client], Any]] = {
    "execute": lambda db: db.execute("SELECT 1"),
    "prepare": lambda db: db.prepare("SELECT 1"),
    "insert": lambda db: db.insert("c", [99], [[1]]),
    "upsert": lambda db: db.upsert("c", [1], [[1]]),
    "delete": lambda db: db.delete("c", 1),
    "get": lambda db: db.get("c", 1),
    "search": lambda db: db.search("c", [1]),
    "ping": lambda db: db.ping(),
    "session": lambda db: db.session().execute("SELECT 1"),
    "transaction": lambda db: db.transaction().__enter__(),
}


def test_an_embedded_database_stays_with_its_process(tmp_path: Path) -> None:
    url = f"file:{tmp_path / 'data'}"
    db = reddb.connect(url)
    db.execute("CREATE COLLECTION c KIND vector DIM 1 METRIC l2")
    statement = db.prepare("INSERT INTO c (id, vector) VALUES ($1, [1])")
    stored = 0
    for name, call in CALLS.items():
        statement.execute([stored])
        stored += 1
        child = Child(lambda call=call: call(db))
        db.insert("c", [stored], [[1]])
        stored += 1
        assert child.said() == "OTHER_PROCESS", name
    assert Child(lambda: statement.execute([98])).said() == "OTHER_PROCESS"
    with db.transaction() as tx:
        tx.insert("c", [stored], [[1]])
        assert Child(lambda: tx.insert("c", [97], [[1]])).said() == "OTHER_PROCESS"
    stored += 1
    assert Child(db.close).said() == "None"
    assert Child(lambda: reddb.connect(url)).said() == "DATA_IN_USE"
    waiting, go_on = os.pipe()
    child = Child(lambda: os.read(waiting, 1))
    db.close()
    with reddb.connect(url) as again:  # the child that lives holds no lock
        assert sorted(row[0] for row in again.execute("SELECT id FROM c")) == list(range(stored))
    os.write(go_on, b"x")
    assert child.said() == "b'x'"
    for descriptor in (waiting, go_on):
        os.close(descriptor)


def test_a_child_that_ends_as_any_program_leaves_the_folder_alone(tmp_path: Path) -> None:
    """It runs to its end in the ordinary way: garbage is collected, modules are torn down, and nothing is written."""
    program = f"""
import os, sys, reddb
db = reddb.connect("file:{tmp_path / "data"}")
db.execute("CREATE COLLECTION c KIND vector DIM 1 METRIC l2 WITH (durability = 'flush')")
for n in range(40):
    db.insert("c", [n], [[n]])
    if n % 8 == 0:
        pid = os.fork()
        if pid == 0:
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
db.execute("CREATE ALIAS a FOR c")
db.close()
with reddb.connect("file:{tmp_path / "data"}") as db:
    assert sorted(row[0] for row in db.execute("SELECT id FROM a")) == list(range(40))
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
    command = [sys.executable, "-m", "reddb.server.main", "check", str(tmp_path / "data")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def test_threads_share_an_embedded_database(tmp_path: Path) -> None:
    """Definitions too, which go to a catalog that a thread opened."""
    told: list[Any] = []
    with reddb.connect(f"file:{tmp_path}") as db:

        def work(number: int) -> None:
            try:
                db.execute(f"CREATE COLLECTION c{number} KIND vector DIM 1 METRIC l2")
                db.insert(f"c{number}", [1], [[1]])
                db.execute(f"DROP COLLECTION c{number}")
            except BaseException as error:
                told.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert told == []
