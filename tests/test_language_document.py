"""LANGUAGE.md: every statement of it is run in the shell, and it names every kind of statement."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reddb.grammar import parse, split_statements
from tests.server.harness import Server

TEXT = (Path(__file__).resolve().parents[1] / "LANGUAGE.md").read_text()
BLOCKS = re.findall(r"^```sql\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)

STATEMENTS = [
    *("CREATE COLLECTION", "ALTER COLLECTION", "DROP", "TRUNCATE", "CREATE INDEX", "ALIAS", "INSERT", "UPSERT"),
    *("UPDATE", "DELETE", "BEGIN", "COMMIT", "ROLLBACK", "SELECT", "VECTOR SEARCH", "EXPLAIN", "SHOW", "SET", "RESET"),
    *("PREPARE", "EXECUTE", "DEALLOCATE", "KILL"),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "data", tmp_path).start()
    yield running
    running.stop()


def test_the_examples_run_from_top_to_bottom(server: Server):
    command = [sys.executable, "-m", "reddb.server.main", "shell", server.url]
    done = subprocess.run(command, input="\n".join(BLOCKS), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    statements, _ = split_statements("\n".join(BLOCKS))
    assert done.stdout.count(" ms)\n") == len(statements) > 30
    answers = done.stdout.split(" ms)\n")
    header, _, *rows = answers[1].splitlines()[:4]
    assert [line.split() for line in (header, *rows)] == [["id", "title"], ["1", "one"], ["2", "two"]]
    assert "[recall 1, found" in done.stdout


def test_the_first_table_names_every_kind_of_statement():
    table = TEXT[TEXT.index("## Statements") : TEXT.index("## Writing rows")]
    for word in STATEMENTS:
        assert re.search(rf"`[^`]*{word}", table), word
    for spelling in ("CREATE VECTOR c DIM 3", "DESCRIBE c", "SHOW VECTORS", "VACUUM c", "FLUSH c"):
        parse(spelling)
        assert spelling.partition(" c")[0] in table
