"""Whatever the shell reads and wherever it writes: what goes wrong is one line and an exit code, never a traceback."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

import reddb
from tests.client.test_shell import shell
from tests.server.harness import REDDB, Server


@pytest.fixture(scope="module")
def things(server: Server) -> str:
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION things KIND vector DIM 1")
        db.insert("things", [1], [[1]], [{"word": "x"}])
    return "things"


def run(url: str, redirections: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, whose streams are what the words of sh make them."""
    command = ["sh", "-c", f'"$@" {redirections}', "sh", str(REDDB), "shell", url, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


SELECT = "SELECT id FROM things LIMIT 1"


@pytest.mark.parametrize(
    "words",
    [
        ["-c", f"{SELECT}; {SELECT}"],
        ["-c", SELECT, "--format", "csv"],
        ["-c", SELECT, "--format", "arrow"],
        ["-c", r"\copy things to stdout ndjson"],
        ["-c", r"\copy things to /dev/full csv"],
        ["-c", r"\o /dev/full", "-c", SELECT],
    ],
)
def test_a_full_disk(server: Server, things: str, words: list[str]):
    done = run(server.url, "" if "/dev/full" in "".join(words) else ">/dev/full", *words)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("/dev/full").is_file()


@pytest.mark.parametrize(
    ("redirections", "words", "code", "said"),
    [
        (">&-", ["-c", SELECT], 1, "the standard output is closed\n"),
        ("<&-", [], 0, ""),
        ("2>&-", ["-c", "SELECT wrong"], 1, ""),
        ("2>/dev/full", ["-c", "SELECT wrong"], 1, ""),
    ],
)
def test_streams_that_are_closed(
    server: Server, things: str, redirections: str, words: list[str], code: int, said: str
):
    done = run(server.url, redirections, *words)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([b"-c", b"SELECT '\xff'"], "this is not UTF-8"),
        ([b"-f", b"."], "cannot read .: Is a directory"),
        ([b"-f", b"a" * 5000], "File name too long"),
        ([b"-c", rb"\i ~nobody-is-called-so/x"], "No such file"),
        ([b"-c", rb"\copy things to ~nobody-is-called-so/x.csv"], "~nobody-is-called-so/x.csv: No such file"),
        ([b"-c", rb"\o ~nobody-is-called-so/x"], "No such file"),
    ],
)
def test_names_and_texts_that_are_none(server: Server, things: str, given: list[bytes], said: str):
    command = [os.fsencode(REDDB), b"shell", server.url.encode(), *given]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert said in done.stderr.decode(errors="replace")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", b"\xff\xfei\x00d\x00"),
        ("rows.csv.gz", b"id,vector\n"),
        ("rows.ndjson.gz", gzip.compress(b'{"id": 1, "vector": [1]}\n' * 9, mtime=0)[:-9]),
        ("rows.parquet", b"PAR1" + bytes(100) + b"PAR1"),
        ("rows.parquet", b""),
        ("rows.arrow", b"ARROW1\0\0" + b"\xff" * 100),
        ("rows.arrow", b""),
        ("rows.ndjson", b'{"id": 1, "vector": [1], "a": "\xed\xa0\x80"}\n'),
        ("rows.ndjson", b'{"id": 5, "vector": [1], "a": "\\ud800"}\n'),
        ("rows.csv", b'id,vector,at\n1,"[1]",\x00\n"'),
    ],
)
def test_files_that_are_damaged(server: Server, things: str, tmp_path: Path, name: str, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    done = shell(server.url, "-c", rf"\copy things from {path}")
    assert (done.code, done.stdout) == (1, b"")
    assert done.stderr.startswith(str(path))
    assert "0 rows were stored" in done.stderr


def test_a_pipe_with_a_name_is_read_and_written(server: Server, things: str, tmp_path: Path):
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as reader:
        assert shell(server.url, "-c", rf"\copy things to {path}").code == 0
        assert reader.stdout is not None
        assert reader.stdout.read().startswith(b"id,vector,payload\r\n1,")
    assert path.is_fifo()
    with subprocess.Popen(["sh", "-c", f"printf 'id,vector\\n7,[1]\\n' > {path}"]):
        done = shell(server.url, "-c", rf"\copy things from {path} upsert")
    assert (done.code, done.stderr) == (0, f"(1 row from {path})\n")


def test_a_file_that_includes_itself(server: Server, tmp_path: Path):
    script = tmp_path / "itself.sql"
    script.write_text(rf"\i {script}")
    done = shell(server.url, "-f", script)
    assert done.code == 1
    assert "is included by itself" in done.stderr
    assert done.stderr.count("\n") == 1
