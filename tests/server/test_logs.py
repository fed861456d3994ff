"""Log lines as whoever reads them gets them: whole, however long, and without a word that a terminal obeys."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from reddb.server.logs import LINE_BYTES_MAX
from tests.server.harness import REDDB

WRITER = """
import sys, structlog
from reddb.server import logs
logs.configure()
logs.bind_process(sys.argv[1])
log = structlog.get_logger()
for number in range(200):
    log.warning("an event", number=number, text=sys.argv[1] * (40 * (number + 1)), more=["x" * 300] * (number % 30))
try:
    raise ValueError("y" * 9_000)
except ValueError:
    log.exception("a bug")
"""


def write_lines(*writers: str) -> list[str]:
    """What several processes write into one pipe."""
    reading, writing = os.pipe()
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, writer], stdin=subprocess.DEVNULL, stderr=writing)
        for writer in writers
    ]
    os.close(writing)
    with os.fdopen(reading) as lines:
        found = lines.read().splitlines()
    assert [process.wait(60) for process in running] == [0] * len(running)
    return found


def test_lines_of_several_processes_stay_whole() -> None:
    lines = write_lines("a", "b", "c")
    assert len(lines) == 3 * 201
    assert max(map(len, lines)) < LINE_BYTES_MAX
    found = [json.loads(line) for line in lines]
    for writer in ("a", "b", "c"):
        own = [line for line in found if line["process"] == writer]
        assert [int(line["number"]) for line in own[:-1]] == list(range(200))
        assert own[-1]["exception"].endswith("y" * 100), "the end of a traceback says what it was"


def seen_at_terminal(*words: str | Path) -> bytes:
    """What a command writes to a terminal, on both of its streams."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs):
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # how a terminal says that its other end is gone
                piece = b""
            if not piece:
                break
            seen += piece
    os.close(ours)
    return seen


BAD = b"\x1b]0;title\x07"


def test_a_terminal_obeys_nothing_that_is_logged() -> None:
    writer = f"""
import structlog
from reddb.server import logs
logs.configure()
log = structlog.get_logger()
log.warning({BAD.decode()!r}, client={BAD.decode()!r}, more=[{BAD.decode()!r}])
try:
    raise ValueError({BAD.decode()!r})
except ValueError:
    log.exception("a bug")
"""
    seen = seen_at_terminal(sys.executable, "-c", writer)
    assert BAD not in seen
    assert b"\x07" not in seen
    assert seen.count(b"title") >= 4


def test_a_terminal_obeys_no_name_of_a_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert subprocess.run([REDDB, "shell", f"file:{data}", "-c", "SHOW COLLECTIONS"], check=False).returncode == 0
    (data / os.fsdecode(b"file" + BAD)).write_bytes(b"")
    seen = seen_at_terminal(REDDB, "check", data)
    assert b"title" in seen
    assert b"\x1b" not in seen
    (data / "VERSION").write_bytes(BAD)
    for words in (["check", data], ["serve", "--data", data], ["backup", data, tmp_path / os.fsdecode(BAD)]):
        assert b"\x07" not in seen_at_terminal(REDDB, *words)
