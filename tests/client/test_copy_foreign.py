"""Files as other programs write them: pandas, psql, spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

import reddb
from tests.client.test_shell import shell
from tests.server.harness import Server

FIELDS = "FIELDS (title TEXT, userId INT DEFAULT 7, ok BOOL, at TIMESTAMP, sizes INT[], *)"
NANOSECONDS = pyarrow.timestamp("ns", "UTC")


@pytest.fixture
def db(server: Server) -> Iterator[reddb.Client]:
    with reddb.connect(server.url) as client:
        yield client


@pytest.fixture
def target(db: reddb.Client, name: str) -> str:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2 {FIELDS}")
    return name


def copied(server: Server, target: str, path: Path, *options: str) -> str:
    """What was said of a copy that must go well."""
    done = shell(server.url, "-c", rf"\copy {target} from '{path}' {' '.join(options)}")
    assert (done.code, done.stdout) == (0, b""), done.stderr
    return done.stderr


def payloads(db: reddb.Client, target: str, *ids: Any) -> list[Any]:
    return [row and row.payload for row in db.get(target, list(ids))]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_table_of_pandas(server: Server, db: reddb.Client, target: str, tmp_path: Path, suffix: str):
    """Whole numbers beside gaps are floats, instants are nanoseconds, and the index is a column."""
    table = pyarrow.table(
        {
            "id": [1, 2],
            "vector": ["[1, 2]", "[3, 4.5]"],
            "USERID": [1.0, None],
            "at": pyarrow.array([1_714_564_800_000_001_000, None], NANOSECONDS),
            "nested": pyarrow.array([[{"x": 1_000}], []], pyarrow.list_(pyarrow.struct([("x", NANOSECONDS)]))),
            "kind": pyarrow.array(["a", "b"]).dictionary_encode(),
            "sizes": [[1.0, 2.0], None],
            "__index_level_0__": [5, 6],
        }
    )
    path = tmp_path / f"table.{suffix}"
    if suffix == "parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    assert "__index_level_0__, pandas' index, was left out" in copied(server, target, path)
    first, second = payloads(db, target, 1, 2)
    assert first == {
        "userId": 1,
        "at": datetime(2024, 5, 1, 12, 0, 0, 1, UTC),
        "nested": [{"x": datetime(1970, 1, 1, 0, 0, 0, 1, UTC)}],
        "kind": "a",
        "sizes": [1, 2],
    }
    assert type(first["userId"]) is int
    assert second == {"userId": None, "nested": [], "kind": "b"}
    assert [row.vector.tolist() for row in db.get(target, [1, 2], True)] == [[1, 2], [3, 4.5]]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pyarrow.array([1, 1_001], NANOSECONDS), "row 1: 'x' has digits beyond microseconds"),
        (pyarrow.array([1_000, 1], NANOSECONDS), "row 2: 'x' has digits beyond microseconds"),
        (pyarrow.array([None, 1], pyarrow.timestamp("us")), "row 2: x: 1970-01-01T00:00:00.000001 is an instant"),
        (pyarrow.array([date(2024, 1, 1)] * 2), "row 1: x: is a date"),
        (pyarrow.array([b"a", b"b"]), "row 1: x: is a bytes"),
        (pyarrow.array([1, 2], pyarrow.decimal128(5, 2)), "row 1: x: is a Decimal"),
    ],
)
def test_what_no_row_holds_is_named(server: Server, target: str, tmp_path: Path, column: Any, said: str):
    path = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2], "vector": [[1.0, 2.0]] * 2, "x": column}), path)
    done = shell(server.url, "-c", rf"\copy {target} from {path}")
    assert done.code == 1
    assert done.stderr.startswith(f"{path}, {said}")
    assert "hint: 0 rows were stored" in done.stderr


def test_a_column_of_floats_that_are_not_whole(server: Server, target: str, tmp_path: Path):
    path = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2], "vector": [[1.0, 2.0]] * 2, "userId": [1.0, 2.5]}), path)
    done = shell(server.url, "-c", rf"\copy {target} from {path}")
    assert done.stderr.startswith(f"{path}, row 2: userId: 2.5 is no whole number")


def test_csv_of_pandas_and_of_psql(server: Server, db: reddb.Client, target: str, tmp_path: Path):
    path = tmp_path / "ROWS.CSV"
    path.write_bytes(b',id,VECTOR,Title,userid,ok,at\r\n0,1,"[1, 2]",,1.0,t,2024-05-01 12:00:00+00\r\n')
    assert "the column without a name, pandas' index, was left out" in copied(server, target, path)
    path.write_text('id\tvector\ttitle\tok\n2\t[1, 2]\t""\tf\n')
    copied(server, target, path, "with (format tsv)")
    path.write_text("id;vector;title\n3;[1, 2];a,b\n")
    copied(server, target, path, "csv header delimiter ';'")
    assert payloads(db, target, 1, 2, 3) == [
        {"userId": 1, "ok": True, "at": datetime(2024, 5, 1, 12, tzinfo=UTC)},
        {"title": "", "userId": 7, "ok": False},
        {"title": "a,b", "userId": 7},
    ]


def test_null_is_no_default_and_what_is_not_there_is(server: Server, db: reddb.Client, target: str, tmp_path: Path):
    for number, (name, content) in enumerate(
        [
            ("a.csv", 'id,vector,userId\n0,"[1, 2]",\n'),
            ("b.ndjson", '{"id": 1, "vector": "[1, 2]", "userId": null}\n'),
            ("c.csv", 'id,vector\n2,"[1, 2]"\n'),
            ("d.ndjson", '{"id": 3, "vector": [1, 2]}\n'),
        ]
    ):
        path = tmp_path / name
        path.write_text(content)
        copied(server, target, path)
        assert payloads(db, target, number) == [{"userId": None if number < 2 else 7}]


def test_rows_among_statements(server: Server, target: str, tmp_path: Path):
    script = tmp_path / "load.sql"
    lines = [rf"\copy {target} from stdin csv", "id,vector,title", '1,"[1, 2]","two', 'lines"', "\\."]
    lines += [f"SELECT title FROM {target};", "wrong;"]
    script.write_bytes("\r\n".join(lines).encode())
    done = shell(server.url, "-f", script, "--format", "ndjson")
    assert done.stdout == b'{"title": "two\\r\\nlines"}\n'
    assert "(1 row from stdin)" in done.stderr
    assert f"{script}:7: SYNTAX" in done.stderr, "lines are counted on behind the data"
    back = shell(server.url, "-c", rf"\copy {target} to stdout csv")
    given = shell(server.url, "-c", rf"\copy {target} from stdin upsert csv", given=back.stdout.decode())
    assert (given.code, given.stderr) == (0, "(1 row from stdin)\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("from stdin", "stdin has no suffix that tells the format"),
        ("to stdout csv upsert", "has no option upsert"),
        ("from a b.csv", "a file name with blanks stands in single quotes"),
        ("to x.ndjson delimiter ';'", "a delimiter is a matter of csv"),
        ("to x.csv delimiter 'ab'", "'ab' cannot be a delimiter"),
        ("to x.csv delimiter", "delimiter needs a value"),
        ("to x.parquet.gz", "leave .gz away: x.parquet"),
        ("to x.csv formt tsv", "did you mean format?"),
    ],
)
def test_words_that_are_wrong(server: Server, target: str, words: str, said: str):
    done = shell(server.url, "-c", rf"\copy {target} {words}")
    assert (done.code, done.stdout) == (1, b"")
    assert said in done.stderr
