"""The shell in scripts: pipes, -c, -f, exit codes, and every format read back by a reader that is not ours."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from click.testing import CliRunner

import reddb
from reddb.client.shell.formats import FORMATS
from reddb.server.main import main
from tests.server.harness import REDDB, Server

VECTORS = np.array([[0.1, -0.2, 1e-7], [1, 2, 3], [0.3, 0, -1]], np.float32)
TITLES = ['quoted "red", and\na second line', "grün 中", ""]


@dataclass
class Done:
    """A run that has ended."""

    code: int
    stdout: bytes
    stderr: str


def shell(*words: str | Path, given: str = "") -> Done:
    """Run the command in this process, for the start of another one costs a second; it speaks to a real server."""
    done = CliRunner().invoke(main, ["shell", *map(str, words)], input=given)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Done(done.exit_code, done.stdout_bytes, done.stderr)


def out(done: Done) -> str:
    """What was written by a run that must go well, and say nothing beside."""
    assert (done.code, done.stderr) == (0, "")
    return done.stdout.decode()


@pytest.fixture(scope="module")
def docs(server: Server) -> str:
    """A collection of three rows with all types of fields."""
    with reddb.connect(server.url) as db:
        db.execute(
            "CREATE COLLECTION shelldocs KIND vector.turbo DIM 3 METRIC l2 FIELDS "
            "(title TEXT, year INT, score_of FLOAT, ok BOOL, at TIMESTAMP, tags TEXT[], extra JSON)"
        )
        full = {
            "year": 2020,
            "score_of": 0.5,
            "ok": True,
            "at": datetime(2024, 5, 1, 12, tzinfo=UTC),
            "tags": ["a", 'b"'],
            "extra": {"deep": [1, None]},
        }
        payloads = [{"title": title, **(full if number == 0 else {})} for number, title in enumerate(TITLES)]
        db.insert("shelldocs", [1, 2, 3], VECTORS, payloads)
    return "shelldocs"


SELECT = "SELECT id, vector, title, year, score_of, ok, at, tags, extra FROM shelldocs WHERE id IN (1, 2, 3)"
INSTANT = "2024-05-01T12:00:00+00:00"


# --- formats ----------------------------------------------------------------------------------------------


def test_csv_is_read_by_the_csv_module(server: Server, docs: str):
    text = out(shell(server.url, "-c", SELECT, "--format", "csv"))
    first, second, third = csv.DictReader(io.StringIO(text, newline=""))
    assert [row["title"] for row in (first, second, third)] == TITLES
    assert [row["id"] for row in (first, second, third)] == ["1", "2", "3"]
    assert np.array_equal(np.array(json.loads(first["vector"]), np.float32), VECTORS[0])
    assert (first["year"], first["score_of"], first["ok"], first["at"]) == ("2020", "0.5", "true", INSTANT)
    assert (json.loads(first["tags"]), json.loads(first["extra"])) == (["a", 'b"'], {"deep": [1, None]})
    assert {second[name] for name in ("year", "score_of", "ok", "at", "tags", "extra")} == {""}


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_json_is_read_by_the_json_module(server: Server, docs: str, form: str):
    text = out(shell(server.url, "-c", SELECT, "--format", form))
    rows = json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]
    assert [row["title"] for row in rows] == TITLES
    assert np.array_equal(np.array([row["vector"] for row in rows], np.float32), VECTORS)
    assert rows[0]["vector"][0] == 0.1, "the shortest number, not 0.10000000149011612"
    assert rows[0] | {"vector": None, "title": None} == {
        "id": 1,
        "vector": None,
        "title": None,
        "year": 2020,
        "score_of": 0.5,
        "ok": True,
        "at": INSTANT,
        "tags": ["a", 'b"'],
        "extra": {"deep": [1, None]},
    }
    assert rows[1]["year"] is None


def test_arrow_is_read_by_pyarrow(server: Server, docs: str):
    done = shell(server.url, "-c", SELECT, "--format", "arrow")
    assert (done.code, done.stderr) == (0, "")
    rows = pyarrow.ipc.open_stream(done.stdout).read_all().to_pylist()
    assert [row["title"] for row in rows] == TITLES
    assert np.array_equal(np.array([row["vector"] for row in rows], np.float32), VECTORS)
    assert (rows[0]["year"], rows[0]["at"], rows[1]["year"]) == (2020, datetime(2024, 5, 1, 12, tzinfo=UTC), None)


def test_an_empty_result_in_every_format(server: Server, docs: str):
    select = "SELECT id, title FROM shelldocs WHERE id = 99"
    assert out(shell(server.url, "-c", select, "--format", "csv")) == "id,title\r\n"
    assert json.loads(out(shell(server.url, "-c", select, "--format", "json"))) == []
    assert out(shell(server.url, "-c", select, "--format", "ndjson")) == ""
    table = pyarrow.ipc.open_stream(shell(server.url, "-c", select, "--format", "arrow").stdout).read_all()
    assert (table.column_names, table.num_rows) == (["id", "title"], 0)
    assert out(shell(server.url, "-c", select)).startswith("id   title\n──────────\n(0 rows, ")


def test_the_table_is_aligned_and_plain(server: Server, docs: str):
    text = out(shell(server.url, "-c", "SELECT id, title, year FROM shelldocs WHERE id IN (1, 2)"))
    assert text.splitlines()[:4] == [
        f"id   {'title':31}   year",
        "─" * 43,
        ' 1   quoted "red", and a second line   2020',
        f" 2   {'grün 中':30}   NULL",
    ]


def test_vertical(server: Server, docs: str):
    text = out(shell(server.url, "-c", "SELECT id, vector, year FROM shelldocs WHERE id = 2", "--format", "vertical"))
    assert text.splitlines()[1:4] == ["id       2", "vector   [1, 2, 3]", "year     NULL"]


def test_a_long_vector_is_shortened_in_a_table_alone(server: Server, name: str):
    create = f"CREATE COLLECTION {name} KIND vector DIM 5;"
    create += f"INSERT INTO {name} (id, vector) VALUES (1, [-0.5, 1, -2, 3, 4]);"
    select = f"SELECT vector FROM {name} WHERE id = 1"
    table = out(shell(server.url, "-c", create + select))
    assert "[\N{MINUS SIGN}0.5, 1, \N{MINUS SIGN}2, … 5]" in table
    assert json.loads(out(shell(server.url, "-c", select, "--format", "json")))[0]["vector"] == [-0.5, 1, -2, 3, 4]


def test_only_results_are_written_for_a_program(server: Server, docs: str):
    script = f"\\timing\n\\format json\n{SELECT};\n\\x on\n\\format ndjson\n{SELECT};\n"
    done = shell(server.url, given=script)
    assert done.code == 0
    lines = done.stdout.decode().splitlines()
    assert json.loads("".join(lines[:-3]))[0]["id"] == 1
    assert [json.loads(line)["id"] for line in lines[-3:]] == [1, 2, 3]


def test_two_columns_of_one_name_are_no_object(server: Server, docs: str):
    done = shell(server.url, "-c", "SELECT id, id FROM shelldocs WHERE id = 1", "--format", "json")
    assert (done.code, done.stdout) == (1, b"")
    assert "rename one with AS" in done.stderr


def test_the_option_names_every_format():
    described = CliRunner().invoke(main, ["shell", "--help"]).output
    assert f"[{'|'.join(FORMATS)}]" in "".join(described.split())


# --- scripts and exit codes -------------------------------------------------------------------------------


def test_a_script_stops_at_the_first_failure_and_says_where(server: Server, docs: str, tmp_path: Path):
    script = tmp_path / "some.sql"
    before = "-- a; comment\nSHOW COLLECTIONS;;\n\n/* two\n lines */ "
    script.write_text(f"{before}SELECT id\nFRM shelldocs;\nSELECT 1 FROM later;\n")
    done = shell(server.url, "-f", script)
    assert done.code == 1
    first, *more = done.stderr.splitlines()
    assert first.startswith(f"{script}:6: SYNTAX: ")
    assert first.endswith("found FRM")
    assert more == ["FRM shelldocs;", "^^^", "hint: did you mean FROM?"]
    assert "later" not in done.stderr
    assert b"shelldocs" in done.stdout


@pytest.mark.parametrize("words", [[], ["-f", "-"]], ids=["pipe", "-f -"])
def test_standard_input(server: Server, docs: str, words: list[str]):
    done = shell(
        server.url,
        *words,
        given="SELECT count(*)\nFROM shelldocs;\n\nSELECT id FROM nowhere LIMIT 1;\nSHOW COLLECTIONS;",
    )
    assert done.code == 1
    assert done.stdout.decode().split("\n")[2].split() == ["3"]
    assert done.stderr.startswith("stdin:4: UNKNOWN_COLLECTION: ")


def test_the_last_statement_may_go_without_semicolon(server: Server, docs: str):
    for words, given in ((["-c", SELECT], ""), ([], SELECT), ([], f"{SELECT} -- and a comment")):
        assert "(3 rows, " in out(shell(server.url, *words, given=given))


def test_what_is_not_closed_is_not_left_out(server: Server):
    done = shell(server.url, given="SHOW COLLECTIONS;\nSELECT 'half\n")
    assert done.code == 1
    assert done.stderr.startswith("stdin:2: SYNTAX: ")


def test_commands_in_a_script(server: Server, docs: str, tmp_path: Path):
    inner = tmp_path / "inner.sql"
    inner.write_text("SELECT id FROM shelldocs WHERE id = 3;\n\\q\nSELECT 'not reached';\n")
    results = tmp_path / "results.csv"
    script = f"\\i {inner}\n\\format csv\n\\o {results}\n{SELECT};\n\\o\nSELECT id FROM shelldocs WHERE id = 2;\n"
    done = shell(server.url, given=script)
    assert done.code == 0, done.stderr
    assert done.stdout.decode().splitlines()[2].strip() == "3"
    assert done.stdout.decode().endswith("id\r\n2\r\n")
    assert results.read_bytes().startswith(b"id,vector,title")


def test_an_error_in_an_included_file_is_told_once(server: Server, tmp_path: Path):
    inner = tmp_path / "inner.sql"
    inner.write_text("\nSELECT id FROM nowhere LIMIT 1;\n")
    done = shell(server.url, given=f"\\i {inner}\nSHOW COLLECTIONS;\n")
    assert (done.code, done.stdout) == (1, b"")
    assert done.stderr.startswith(f"{inner}:2: UNKNOWN_COLLECTION")
    assert done.stderr.count("UNKNOWN_COLLECTION") == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (r"\plto", r"did you mean \plot?"),
        (r"\zzz", r"\? lists them all"),
        (r"\format xml", "formats are table, vertical"),
        (r"\timing maybe", "neither on nor off"),
        (r"\i nowhere.sql", "cannot read nowhere.sql: No such file"),
        (r"\o /nowhere/at/all", "cannot write /nowhere/at/all"),
        (r"\plot", "no result to plot"),
        (r"\watch", "no statement to watch"),
        (r"\c red://127.0.0.1:1", "UNAVAILABLE"),
        (r"\d nowhere", "UNKNOWN_COLLECTION"),
        (r"\copy docs into somewhere", r"\copy docs from FILE"),
        (r"\e", "needs a terminal"),
    ],
)
def test_a_wrong_command_says_what_is_right(server: Server, line: str, said: str):
    done = shell(server.url, given=f"\n{line}\nSHOW COLLECTIONS;\n")
    assert (done.code, done.stdout) == (1, b"")
    assert done.stderr.startswith("stdin:2: ")
    assert said in done.stderr


def test_a_collection_is_described_with_its_indexes(server: Server, name: str):
    create = f"CREATE COLLECTION {name} KIND vector DIM 1 FIELDS (year INT); CREATE INDEX ON {name} (year);\n"
    properties, indexes = out(shell(server.url, given=f"{create}\\d {name}\n")).split("\n\n")
    assert "\nfield year  " in properties
    assert indexes.splitlines()[2].split() == ["year", "0", "0"]


def test_help_lists_every_command(server: Server):
    text = out(shell(server.url, "-c", r"\d")) and shell(server.url, "-c", r"\?").stdout.decode()
    for name in (r"\?", r"\c", r"\copy", r"\d", r"\e", r"\format", r"\i", r"\l", r"\o", r"\plot", r"\q", r"\timing"):
        assert f"\n{name} " in text, name


def test_exit_and_quit_leave(server: Server):
    for word in ("exit", "QUIT;", r"\q"):
        assert out(shell(server.url, given=f"{word}\nSELECT wrong;\n")) == ""


def test_no_server_is_code_2():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = shell(f"red://127.0.0.1:{port}", "-c", "SHOW COLLECTIONS")
    assert (done.code, done.stdout) == (2, b"")
    assert f"127.0.0.1:{port}" in done.stderr
    assert shell("http://nowhere", "-c", "SHOW COLLECTIONS").code == 2


def test_a_connection_lost_in_a_script_is_code_2(tmp_path: Path):
    logs = tmp_path / "logs"
    logs.mkdir()
    server = Server(tmp_path / "data", logs, cores=1).start()
    words = [str(REDDB), "shell", server.url]
    try:
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"SHOW COLLECTIONS;\n")
            process.stdin.flush()
            while b"rows" not in process.stdout.readline():
                pass
            server.kill()
            said = process.communicate(b"SHOW COLLECTIONS;\nSHOW COLLECTIONS;\n", timeout=20)[1].decode()
        assert process.returncode == 2
        assert said.startswith("stdin:2: CONNECTION_LOST")
    finally:
        server.close()


def test_a_reader_that_goes_away_ends_it_quietly(server: Server, docs: str):
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed:
        done = subprocess.run(
            [str(REDDB), "shell", server.url, "-c", f"{SELECT};{SELECT}"],
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=20,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_file_that_is_not_text(server: Server, tmp_path: Path):
    script = tmp_path / "binary.sql"
    script.write_bytes(b"SHOW COLLECTIONS;\n\xff\xfe;\n")
    done = shell(server.url, "-f", script)
    assert done.code == 1
    assert f"{script} is not UTF-8" in done.stderr


def test_commands_and_files_are_run_in_their_order(server: Server, docs: str, tmp_path: Path):
    script = tmp_path / "some.sql"
    script.write_bytes(b"\xef\xbb\xbfSELECT id FROM shelldocs WHERE id = 2;\r\n\\q\r\nnot reached")
    select = "SELECT id FROM shelldocs WHERE id = "
    words = ["-c", f"{select}1", "-f", script, "--command", f"{select}3", "--file=-", "--format", "csv"]
    text = out(shell(server.url, *words, given=f"{select}1;"))
    assert text.split() == ["id", "1", "id", "2", "id", "3", "id", "1"]
    done = shell(server.url, "-c", f"{select}1", "-c", "SELECT wrong(id) FROM shelldocs", "-c", f"{select}3")
    assert done.code == 1
    assert "wrong" in done.stderr
    assert b"(1 row" in done.stdout
    assert done.stdout.count(b"(1 row") == 1


def test_a_folder_in_this_process(tmp_path: Path):
    url = f"file:{tmp_path / 'data'}"
    made = shell(url, "-c", "CREATE COLLECTION c KIND vector DIM 2; INSERT INTO c (id, vector) VALUES (7, [1, 2]);")
    assert (made.code, made.stderr) == (0, f"notice: {url} was no database; a new one was made\n")
    rows = json.loads(out(shell(url, "-c", "SELECT * FROM c LIMIT 5", "--format", "json")))
    assert rows == [{"id": 7, "vector": [1, 2]}]


def test_nothing_of_the_prompt_is_loaded_for_a_script(server: Server):
    program = (
        "import sys; from reddb.client.shell.run import Script, run_shell; "
        f"run_shell({server.url!r}, [Script('SHOW COLLECTIONS', False)], 'json'); "
        "print([name for name in ('prompt_toolkit', 'pyarrow', 'faiss') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("end", ["", r"\q", "ROLLBACK; BEGIN;"])
def test_a_transaction_that_nobody_committed_is_told(server: Server, docs: str, end: str):
    done = shell(server.url, given=f"BEGIN;\nUPDATE {docs} SET year = 1 WHERE id = 1;\n{end}\n")
    assert done.code == 1
    assert done.stderr == "the transaction was rolled back, for nothing said COMMIT\n"
    with reddb.connect(server.url) as db:
        assert list(db.execute(f"SELECT id FROM {docs} WHERE year = 1")) == []


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_transaction_that_was_ended_is_no_matter(server: Server, docs: str, end: str):
    done = shell(server.url, "-c", f"BEGIN; UPDATE {docs} SET year = year WHERE id = 1; {end}")
    assert (done.code, done.stderr) == (0, "")
