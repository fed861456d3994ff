"""The shell as a person uses it: a real pseudo-terminal, a real server."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import reddb
from tests.client.terminals import CTRL_C, CTRL_D, CTRL_R, ENTER, PASTE, PASTED, PROMPT, TAB, UP, Terminal
from tests.server.harness import Server, children, wait_for

OpenTerminal = Callable[..., Terminal]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of our own: what is listed, completed and paged depends on all collections there are."""
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder / "data", folder, cores=1).start()
    yield server
    try:
        server.stop()
    finally:
        server.close()


@pytest.fixture
def terminal(server: Server, tmp_path: Path) -> Iterator[OpenTerminal]:
    """Opens terminals that are gone after the test."""
    opened: list[Terminal] = []

    def open_terminal(url: str = "", **more: object) -> Terminal:
        opened.append(Terminal([url or server.url], tmp_path / "state", **more))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


@pytest.fixture(scope="module", autouse=True)
def _books(server: Server) -> None:
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION IF NOT EXISTS books KIND vector.turbo DIM 2 METRIC l2 FIELDS (heading TEXT)")
        db.upsert("books", [1, 2, 3], [[0, 0], [3, 4], [0, 2]], [{"heading": word} for word in ("a", "b", "c")])


def test_a_conversation(server: Server, terminal: OpenTerminal):
    shell = terminal()
    shell.expect(f"RedDB {reddb.__version__} · server {reddb.__version__} · {server.url} · \\? for help")
    # A statement over several lines runs when it is complete.
    shell.enter("SELECT id")
    shell.expect("...> ")
    shell.type("FROM books" + ENTER)
    shell.expect("...> ")
    shell.type("WHERE id = 2;" + ENTER)
    assert shell.expect("(1 row, ").split("\n")[-2].strip() == "2"
    # A failed statement is shown with its place, and the next one is read.
    shown = shell.answer("SELECT id FRM books;")
    assert shown.startswith("SYNTAX: expected ")
    assert shown.endswith("found FRM\nSELECT id FRM books;\n          ^^^\nhint: did you mean FROM?\n")
    assert "heading" in shell.answer(r"\d books")
    assert re.search(r"books +vector\.turbo +2 +l2 +3\n", shell.answer(r"\l"))
    # Commands that change how results are shown.
    select = "SELECT id, heading FROM books WHERE id = 3;"
    assert "vertical display is on" in shell.answer(r"\x")
    assert "id        3\nheading   c\n" in shell.answer(select)
    assert "vertical display is off" in shell.answer(r"\x")
    assert "timing is off" in shell.answer(r"\timing")
    assert "(1 row)\n" in shell.answer(select)
    assert "did you mean \\watch?" in shell.answer(r"\wach")
    # Distances as bars: 0, 2 and 5.
    shell.answer("VECTOR SEARCH books SIMILAR TO [0, 0] LIMIT 3;")
    nearest, next_, farthest = [line.count("█") for line in shell.answer(r"\plot").splitlines() if line]
    assert nearest == 0
    assert next_ == pytest.approx(farthest * 2 / 5, abs=1)
    assert farthest > 50
    assert "not for a terminal" in shell.answer(r"\format arrow") + shell.answer(select)
    shell.enter("exit")
    assert shell.wait() == 0


def test_completion(server: Server, terminal: OpenTerminal):
    shell = terminal()

    def complete(prefix: str, rest: str) -> None:
        shell.type(prefix + TAB)
        shell.expect(rest)

    # A keyword, a field, a collection, a keyword in lower case; each prefix has one continuation here.
    shell.expect(PROMPT)
    complete("SELEC", "SELECT")
    complete(" head", "ing")
    complete(" FROM boo", "ks")
    complete(" wher", "where")
    shell.type(" id = 1;" + ENTER)
    assert shell.expect("(1 row, ").split("\n")[-2].strip() == "a"
    # A collection made a moment ago, a setting, a command.
    assert "(done" in shell.answer("CREATE COLLECTION zebra KIND vector DIM 1;")
    shell.expect(PROMPT)
    complete("ALTER COLLECTION zeb", "ra")
    complete(" SET (overs", "ample")
    shell.type(" = 7);" + ENTER)
    shell.expect("(done, ")
    shell.expect(PROMPT)
    complete(r"\tim", "ing")
    shell.type(ENTER)
    shell.expect("timing is off")
    with reddb.connect(server.url) as db:
        assert dict(db.execute("SHOW COLLECTION zebra"))["oversample"] == 7
        db.execute("DROP COLLECTION zebra")


def test_ctrl_c_clears_the_line_and_ctrl_d_leaves(terminal: OpenTerminal):
    shell = terminal()
    shell.expect(PROMPT)
    shell.type("SELECT nonsense")
    shell.expect("nonsense")
    shell.type(CTRL_C)
    shell.expect("\n")
    assert "(1 row, " in shell.answer("SELECT id FROM books WHERE id = 1;")
    shell.expect(PROMPT)
    shell.type(CTRL_D)
    assert shell.wait() == 0
    assert "UNKNOWN" not in shell.text


def test_history_is_kept_for_its_owner_alone(terminal: OpenTerminal, tmp_path: Path):
    path = tmp_path / "state" / "reddb" / "history"
    path.parent.mkdir(parents=True)
    path.touch(0o644)
    first = terminal()
    first.answer("SELECT heading FROM books WHERE id = 2;")
    first.enter(r"\q")
    assert first.wait() == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second = terminal()
    second.expect(PROMPT)
    second.type(UP + UP + ENTER)
    assert second.expect("(1 row, ").split("\n")[-2].strip() == "b"


def test_watch_is_stopped_by_ctrl_c(terminal: OpenTerminal):
    shell = terminal()
    shell.answer("SELECT id FROM books WHERE id = 3;")
    shell.enter(r"\watch 0.1")
    for _ in range(3):
        shell.expect("every 0.1 s, Ctrl-C stops")
        shell.expect("(1 row, ")
    shell.type(CTRL_C)
    shell.expect("stopped watching")
    assert "(1 row, " in shell.answer("SELECT id FROM books WHERE id = 1;")


def test_ctrl_c_cancels_what_runs_and_nothing_else(tmp_path: Path, terminal: OpenTerminal):
    server = Server(tmp_path / "data", tmp_path, cores=1).start()
    try:
        shell = terminal(server.url)
        assert "(0 rows, " in shell.answer("SHOW COLLECTIONS;")
        (core,) = server.core_pids().values()
        # A core that stands still: its statements take as long as we like.
        for presses in (1, 2):
            os.kill(core, signal.SIGSTOP)
            shell.enter("SHOW COLLECTIONS;")
            asked = wait_for(lambda: _unread_bytes(server.port), "the statement at the server")
            shell.type(CTRL_C)
            wait_for(lambda before=asked: _unread_bytes(server.port) > before, "the wish to cancel it")
            if presses == 2:  # a server that does not answer that either
                shell.type(CTRL_C)
                shell.expect("cancelled; the connection was closed")
            os.kill(core, signal.SIGCONT)
            if presses == 1:
                shell.expect("cancelled\n")
            shown = shell.answer("SHOW COLLECTIONS;")
            assert "(0 rows, " in shown
            assert ("settings of the lost session are gone" in shown) == (presses == 2)
        server.stop()
    finally:
        server.close()


def test_ctrl_c_leaves_the_wait_for_a_seal_and_keeps_the_connection(tmp_path: Path, terminal: OpenTerminal):
    server = Server(tmp_path / "data", tmp_path, cores=1).start()
    try:
        shell = terminal(server.url)
        shell.answer("CREATE COLLECTION c KIND vector DIM 1 METRIC l2;")
        shell.answer("INSERT INTO c (id, vector) VALUES (1, [1]);")
        assert "(done" in shell.answer("ALTER COLLECTION c SEAL;")
        shell.answer("INSERT INTO c (id, vector) VALUES (2, [2]);")
        (core,) = server.core_pids().values()
        (builder,) = [pid for pid, words in children(core).items() if "reddb.server.builder" in words]
        os.kill(builder, signal.SIGSTOP)  # a job takes as long as we like
        shell.enter("ALTER COLLECTION c SEAL;")
        shell.expect("s · Ctrl-C stops waiting, the work goes on")
        shell.type(CTRL_C)
        shell.expect("no longer waiting\nhint: the work goes on")
        shown = shell.answer("SELECT max(id) FROM c;")
        assert "connect" not in shown
        assert shown.splitlines()[2].strip() == "2"
        os.kill(builder, signal.SIGCONT)
        with reddb.connect(server.url) as db:
            states = lambda: [row[2] for row in db.execute("SHOW SEGMENTS FOR c")]  # noqa: E731
            wait_for(lambda: states().count("sealed") == 2, "the segment that nobody waits for")
        server.stop()
    finally:
        server.close()


def test_what_is_pasted_runs_on_behind_a_failure(terminal: OpenTerminal):
    shell = terminal()
    shell.expect(PROMPT)
    statements = ["SELECT id FRM books;", "SELECT max(id) AS most FROM books;", "SELECT min(id) AS least FROM books;"]
    shell.type(f"{PASTE}{chr(10).join(statements)}{PASTED}{ENTER}")
    shell.expect("SYNTAX")
    shell.expect("most\n")
    shell.expect("least\n")
    # So do rows among statements, and what is no row is not taken for a statement.
    lines = [r"\copy books from stdin csv upsert", "id,vector,heading", '5,"[1, 1]",x', r"\."]
    lines.append("SELECT heading FROM books WHERE id = 5;")
    shell.expect(PROMPT)
    shell.type(f"{PASTE}{chr(10).join(lines)}{PASTED}{ENTER}")
    shell.expect("(1 row from stdin)")
    shell.expect("\nx\n")
    shell.answer("DELETE FROM books WHERE id = 5;")


@pytest.mark.parametrize("typed", ["", "SELECT half", "SELECT id FROM books;"])
def test_the_history_is_searched_whatever_is_typed(terminal: OpenTerminal, typed: str):
    shell = terminal()
    shell.answer("SELECT heading FROM books WHERE id = 2;")
    shell.answer("SELECT id FROM books LIMIT 1;")
    shell.expect(PROMPT)
    shell.type(typed + CTRL_R + "head")
    assert "ing FROM books WHERE id = 2;" in shell.expect("I-search backward: head").replace(typed, "", 1)
    shell.type(ENTER + ENTER)
    assert shell.expect("(1 row, ").split("\n")[-2].strip() == "b"


def test_no_control_character_of_a_value_reaches_the_terminal(server: Server, terminal: OpenTerminal):
    family, evil = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\x1b]0;owned\x07\x9b31m"
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION evil KIND vector DIM 1")
        db.insert("evil", [1], [[1]], [{"word": evil + family, "list": [evil, None, {"a": True}]}])
    shell = terminal()
    for form in ("table", "vertical", "csv", "json", "ndjson"):
        shell.answer(rf"\format {form}")
        shown = shell.answer("SELECT word, list FROM evil;")
        assert family in shown
        assert "owned" in shown
        assert "null, {" in shown.replace('""', '"')
    shell.answer(r"\copy evil to stdout csv")
    shell.answer("SELECT word::INT FROM evil;")
    assert "\x1b]" not in shell.raw
    assert "\x9b" not in shell.raw
    shell.answer("DROP COLLECTION evil;")


def _unread_bytes(port: int) -> int:
    """The bytes that the server's side of connections to this port holds and has not read."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    queues = [line[4] for line in lines if int(line[1].partition(":")[2], 16) == port]
    return sum(int(queue.partition(":")[2], 16) for queue in queues)


def test_it_connects_again_and_repeats_nothing(tmp_path: Path, terminal: OpenTerminal):
    server = Server(tmp_path / "data", tmp_path, cores=1).start()
    try:
        shell = terminal(server.url)
        assert "(done" in shell.answer("CREATE COLLECTION c KIND vector DIM 1;")
        server.stop()
        assert "UNAVAILABLE: cannot connect" in shell.answer("INSERT INTO c (id, vector) VALUES (1, [1]);")
        server.start()
        shown = shell.answer("SELECT count(*) FROM c;")
        assert f"connected to {server.url}; settings of the lost session are gone" in shown
        assert re.search(r"\n +0\n", shown), "the insert was not sent again"
        server.stop()
    finally:
        server.close()


def test_a_tall_result_goes_through_the_pager(terminal: OpenTerminal, tmp_path: Path):
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho PAGED\ncat\n")
    pager.chmod(0o755)
    shell = terminal(lines=6, PAGER=str(pager))
    assert "PAGED" not in shell.answer("SELECT id FROM books WHERE id = 1;")
    assert "PAGED" in shell.answer("SELECT id FROM books LIMIT 3;")


def test_a_wide_result_fits_the_terminal(server: Server, terminal: OpenTerminal):
    long = "x" * 80
    with reddb.connect(server.url) as db:
        db.upsert("books", [9], [[1, 1]], [{"heading": long}])
    shell = terminal(columns=60)
    select = "SELECT id, heading, vector FROM books WHERE id = 9;"
    table = shell.answer(select)
    assert "x…" in table
    assert max(map(len, table.splitlines())) == 60
    shell.answer(r"\x")
    assert f"heading   {long}" in shell.answer(select)
    shell.answer("DELETE FROM books WHERE id = 9;")


def test_the_editor_fills_the_next_prompt(terminal: OpenTerminal, tmp_path: Path):
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/= 1/= 2/' \"$1\"\n")
    editor.chmod(0o755)
    shell = terminal(EDITOR=str(editor), VISUAL=str(editor))
    shell.answer("SELECT heading FROM books WHERE id = 1;")
    shell.enter(r"\e")
    shell.expect("id = 2;")
    shell.type(ENTER)
    assert shell.expect("(1 row, ").split("\n")[-2].strip() == "b"


def test_another_database(tmp_path: Path, terminal: OpenTerminal):
    shell = terminal()
    assert "INVALID_URL" in shell.answer(r"\c http://nowhere")
    assert "books" in shell.answer(r"\l")  # the old one stays
    folder = f"file:{tmp_path / 'folder'}"
    assert f"connected to {folder}, RedDB {reddb.__version__}, embedded" in shell.answer(rf"\c {folder}")
    assert "books" not in shell.answer(r"\l")


def test_a_bar_shows_how_far_a_copy_is(terminal: OpenTerminal, tmp_path: Path):
    shell = terminal()
    path = tmp_path / "books.ndjson"
    shown = shell.answer(rf"\copy books to {path}")
    assert "━" in shown
    assert f"(3 rows to {path})" in shown


def test_colours_are_left_out_on_request(terminal: OpenTerminal):
    coloured, plain = terminal(), terminal(NO_COLOR="1")
    for shell in (coloured, plain):
        assert "SYNTAX" in shell.answer("SELECT;")
    assert "\x1b[31m\x1b[1mSYNTAX" in coloured.raw
    assert "\x1b[31m" not in plain.raw[plain.raw.index("SYNTAX") - 20 :]
