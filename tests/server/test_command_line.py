"""`reddb serve` and `reddb health` as a person or a service manager calls them."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import reddb
from tests.server.conftest import NewServer
from tests.server.harness import READY, REDDB, Server, wait_for

SERVE = [sys.executable, "-m", "reddb.server.main", "serve"]


def run(*words: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output as text."""
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=20, **more)


def refusal(*words: str | Path, **more: object) -> str:
    """What a command that must fail says, in one line without a traceback."""
    done = run(*words, **more)
    assert done.returncode != 0, done.stdout
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


# --- health -----------------------------------------------------------------------------------------------


def test_health(server: Server) -> None:
    done = run(REDDB, "health", server.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_health_when_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = run(REDDB, "health", f"red://127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_health_of_a_server_that_hangs(new_server: NewServer) -> None:
    server = new_server(cores=1).start()
    (core,) = server.core_pids().values()
    os.kill(core, signal.SIGSTOP)
    began = time.monotonic()
    done = run(REDDB, "health", "--timeout", "0.5", server.url)
    assert time.monotonic() - began < 5
    os.kill(core, signal.SIGCONT)
    assert done.returncode == 1
    assert "TIMEOUT" in done.stderr
    server.stop()


def test_health_with_a_wrong_url() -> None:
    assert "INVALID_URL" in refusal(REDDB, "health", "http://127.0.0.1")


# --- serve ------------------------------------------------------------------------------------------------


def test_the_ready_line(new_server: NewServer) -> None:
    server = new_server(cores=2).start()
    match = READY.fullmatch(server.ready_line)
    assert match is not None
    assert match.groups() == (
        *(reddb.__version__, "127.0.0.1", str(server.port)),
        *("2", str(server.data.resolve()), str(server.pid)),
    )
    assert (Path("/proc") / str(server.pid) / "cmdline").read_bytes().count(b"serve") == 1
    with socket.create_connection(("127.0.0.1", server.port), 5):
        assert sorted(server.core_pids()) == [0, 1]
    server.stop()


def test_each_core_has_a_processor_of_its_own(server: Server) -> None:
    pinned = [os.sched_getaffinity(pid) for pid in server.core_pids().values()]
    assert [len(cpus) for cpus in pinned] == [1, 1]
    if len(os.sched_getaffinity(0)) > 1:
        assert pinned[0] != pinned[1]


def test_others_cannot_read_the_data(server: Server) -> None:
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION IF NOT EXISTS private KIND vector.turbo DIM 1")
        db.upsert("private", [1], [[1]])
    for path in [server.data, *server.data.rglob("*")]:
        mode = path.stat().st_mode
        assert stat.S_IMODE(mode) & 0o077 == 0, f"{path}: {mode:o}"


def test_logs_are_json_when_no_person_looks(new_server: NewServer) -> None:
    server = new_server().start()
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION c KIND vector.turbo DIM 1")
    with socket.create_connection(("127.0.0.1", server.port), 5) as stranger:
        stranger.sendall(b"x" * 16)
        assert stranger.recv(1000)
    server.wait_core_restarted(0, server.kill_core(0))
    wait_for(lambda: len(server.core_pids()) == 2, "both cores")
    server.stop()
    lines = [json.loads(line) for line in server.stderr().splitlines()]
    for line in lines:
        assert line.keys() >= {"event", "level", "timestamp", "process"}, line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", line["timestamp"])
    events = {(line["process"], line["event"]) for line in lines}
    assert {("core 1", "partition open"), ("supervisor", "a core died"), ("supervisor", "stopped")} <= events
    assert any(event == "connection closed" for _, event in events)


def test_logs_are_columns_at_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = [*SERVE, "--data", str(tmp_path / "data"), "--port", "0", "--cores", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        assert process.stdout is not None
        assert READY.fullmatch(process.stdout.readline().decode())
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
    text = b""
    while select.select([ours], [], [], 1)[0]:
        try:
            text += os.read(ours, 4096)
        except OSError:  # how a terminal says that its other end is gone
            break
    os.close(ours)
    assert b"stopping" in text
    assert b"{" not in text


# --- what serve refuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_an_open_address_is_refused_with_the_reason(tmp_path: Path, host: str) -> None:
    said = refusal(*SERVE, "--data", tmp_path / "data", "--port", "0", "--host", host)
    assert host in said
    assert "--insecure" in said
    assert "no users" in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
def test_other_names_of_this_machine_are_not(new_server: NewServer, host: str) -> None:
    server = new_server(cores=1)
    process = server.spawn("--host", host)
    assert process.stdout is not None
    match = READY.fullmatch(process.stdout.readline().decode())
    assert match is not None
    assert match[2].startswith("127.0.0.")
    done = run(REDDB, "health", f"red://{match[2]}:{match[3]}")
    assert (done.returncode, done.stdout) == (0, "ok\n")
    server.stop()


def test_ipv6(tmp_path: Path) -> None:
    words = [*SERVE, "--data", str(tmp_path / "data"), "--port", "0", "--cores", "1", "--host", "::1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        try:
            match = re.search(r"address (\[::1\]:\d+),", line)
            assert match is not None, f"an address to paste behind red://, not {line!r}"
            assert run(REDDB, "health", f"red://{match[1]}").stdout == "ok\n"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0


def test_a_port_in_use(server: Server, tmp_path: Path) -> None:
    said = refusal(*SERVE, "--data", tmp_path / "data", "--port", str(server.port))
    assert f"127.0.0.1:{server.port}" in said
    assert "in use" in said
    with reddb.connect(f"file:{tmp_path / 'data'}") as db:  # the lock went with the process
        assert len(db.execute("SHOW COLLECTIONS")) == 0


@pytest.mark.parametrize("how", ["option", "environment"])
def test_without_assertions_it_does_not_run(tmp_path: Path, how: str) -> None:
    words = [sys.executable, *(["-O"] if how == "option" else []), *SERVE[1:]]
    environment = {**os.environ, "PYTHONOPTIMIZE": "1"} if how == "environment" else dict(os.environ)
    said = refusal(*words, "--data", tmp_path / "data", "--port", "0", env=environment)
    assert "-O" in said
    assert "assertions" in said


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--data", "DATA", "--cores", "0"],
        ["--data", "DATA", "--cores", "65"],
        ["--data", "DATA", "--cores", "two"],
        ["--data", "DATA", "--port", "65536"],
        ["--data", "DATA", "--port", "-1"],
        ["--data", "FILE"],
        ["--data", "DATA", "--speed", "11"],
    ],
    ids=" ".join,
)
def test_wrong_words(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").write_text("")
    paths = {"DATA": str(tmp_path / "data"), "FILE": str(tmp_path / "file")}
    done = run(*SERVE, *(paths.get(word, word) for word in words))
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage:" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refusal(*SERVE, "--data", tmp_path / "file" / "data", "--port", "0")
    assert str(tmp_path / "file") in said


def test_a_folder_of_another_format(tmp_path: Path) -> None:
    with reddb.connect(f"file:{tmp_path}"):
        assert (tmp_path / "VERSION").read_text() == "reddb data format 1\n"
    (tmp_path / "VERSION").write_text("reddb data format 2\n")
    said = refusal(*SERVE, "--data", tmp_path, "--port", "0")
    assert "UNSUPPORTED_FORMAT" in said
    assert "reddb data format 2" in said
    assert (tmp_path / "VERSION").read_text() == "reddb data format 2\n"


def test_version_and_help() -> None:
    assert run(REDDB, "--version").stdout.strip().endswith(reddb.__version__)
    told = run(REDDB, "serve", "--help").stdout
    for option in ("--data", "--cores", "--host", "--port", "--insecure"):
        assert option in told
