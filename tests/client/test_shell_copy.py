"""`\\copy`: what goes to a file comes back as the same rows, and what is wrong is named by its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from click.testing import CliRunner

import reddb
from reddb.server.main import main
from tests.server.harness import Server

FIELDS = "FIELDS (title TEXT, year INT, weight FLOAT, ok BOOL, at TIMESTAMP, tags TEXT[], sizes INT[], extra JSON, *)"
SUFFIXES = ["csv", "tsv", "ndjson", "jsonl", "arrow", "parquet"]
COMPRESSED = ["csv.gz", "TSV.GZ", "ndjson.gz", "Jsonl.gz"]


def copy(url: str, *lines: str) -> tuple[int, str]:
    """Run meta commands; the exit code, and what was said about them."""
    done = CliRunner().invoke(main, ["shell", url], input="".join(f"\\copy {line}\n" for line in lines))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.stdout == ""
    return done.exit_code, done.stderr


@pytest.fixture
def db(server: Server) -> Iterator[reddb.Client]:
    with reddb.connect(server.url) as client:
        yield client


def full_rows() -> tuple[list[Any], np.ndarray, list[dict[str, Any]]]:
    """Ids of one kind, vectors, payloads with every type of field and with keys that are not declared."""
    vectors = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    payloads: list[dict[str, Any]] = [
        {
            "title": 'a, "b"\n c',
            "year": -5,
            "weight": 0.1,
            "ok": False,
            "tags": ["x,y", ""],
            "sizes": [1, -2],
            "at": datetime(2024, 5, 1, 12, 0, 0, 123456, UTC),
            "extra": {"deep": [1, {"er": None}]},
        },
        {"title": "12", "free": 3, "other": {"a": [True]}, "extra": "a text"},
        {},
        {"title": "grün 中", "free": "text"},
    ]
    return [7, -1, 2**62, 0], vectors, payloads


@pytest.mark.parametrize("suffix", [*SUFFIXES, *COMPRESSED, "PARQUET"])
def test_rows_come_back_as_they_were(server: Server, db: reddb.Client, name: str, tmp_path: Path, suffix: str):
    ids, vectors, payloads = full_rows()
    path = tmp_path / f"rows.{suffix}"
    for collection in (name, f"{name}copy"):
        db.execute(f"CREATE COLLECTION {collection} KIND vector.turbo DIM 3 METRIC l2 {FIELDS}")
    db.insert(name, ids, vectors, payloads)
    assert copy(server.url, f"{name} to {path}") == (0, f"(4 rows to {path})\n")
    assert copy(server.url, f"{name}copy from {path}") == (0, f"(4 rows from {path})\n")
    before, after = (db.get(collection, ids, with_vectors=True) for collection in (name, f"{name}copy"))
    for one, other in zip(before, after, strict=True):
        assert one is not None
        assert other is not None
        assert (one.id, one.payload) == (other.id, other.payload)
        assert np.array_equal(one.vector, other.vector)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name], "no part of a file is left"


def test_other_programs_read_the_files(server: Server, db: reddb.Client, name: str, tmp_path: Path):
    ids, vectors, payloads = full_rows()
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 3 METRIC l2 {FIELDS}")
    db.insert(name, ids, vectors, payloads)
    code, _ = copy(server.url, *(f"{name} to {tmp_path}/rows.{suffix}" for suffix in SUFFIXES))
    assert code == 0
    with (tmp_path / "rows.csv").open(newline="") as file:
        of_csv = {row["id"]: row for row in csv.DictReader(file)}
    assert of_csv["7"]["title"] == payloads[0]["title"]
    assert json.loads(of_csv["-1"]["payload"]) == {"free": 3, "other": {"a": [True]}}
    of_ndjson = {row["id"]: row for row in map(json.loads, (tmp_path / "rows.ndjson").read_text().splitlines())}
    assert of_ndjson[0] == {"id": 0, "vector": of_ndjson[0]["vector"], **payloads[3]}
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet")
    assert table.equals(pyarrow.ipc.open_file(tmp_path / "rows.arrow").read_all())
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[3]"
    assert str(table.schema.field("at").type) == "timestamp[us, tz=UTC]"
    of_parquet = {row["id"]: row for row in table.to_pylist()}
    for row_id, vector in zip(ids, vectors, strict=True):
        for row_vector in (
            of_ndjson[row_id]["vector"],
            of_parquet[row_id]["vector"],
            json.loads(of_csv[str(row_id)]["vector"]),
        ):
            assert np.array_equal(np.array(row_vector, np.float32), vector)


def test_more_rows_than_a_select_gives(server: Server, db: reddb.Client, name: str, tmp_path: Path):
    count = 23_000
    ids: list[Any] = [int(number) for number in np.random.default_rng(2).permutation(count) - 9_000]
    ids[:11_000] = [f"text {number}" for number in ids[:11_000]]
    vectors = np.arange(count, dtype=np.float32)[:, None]
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 1 METRIC l2")
    db.insert(name, ids, vectors, [{"place": number} for number in range(count)])
    path = tmp_path / "rows.ndjson"
    assert copy(server.url, f"{name} to {path}") == (0, f"(23,000 rows to {path})\n")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == count
    assert {row["id"]: row["place"] for row in rows} == {row_id: place for place, row_id in enumerate(ids)}
    assert all(row["vector"] == [row["place"]] for row in rows)
    code, said = copy(server.url, f"{name} to {tmp_path}/rows.parquet")
    assert code == 1
    assert "is of another type than the first\nhint: write .ndjson" in said
    assert not (tmp_path / "rows.parquet").exists()


def test_the_result_of_a_select(server: Server, db: reddb.Client, name: str, tmp_path: Path):
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2")
    db.insert(name, [1, 2], [[0, 0], [3, 4]], [{"title": "a"}, {"title": "b (c)"}])
    select = f"SELECT id, title, distance FROM {name} WHERE title LIKE '%(c)' ORDER BY vector <-> [0, 0] LIMIT 5"
    for suffix in ("csv", "ndjson", "arrow", "parquet"):
        path = tmp_path / f"found.{suffix}"
        assert copy(server.url, f"({select}) TO '{path}'") == (0, f"(1 row to {path})\n")
    assert (tmp_path / "found.csv").read_bytes() == b"id,title,distance\r\n2,b (c),5.0\r\n"
    expected = [{"id": 2, "title": "b (c)", "distance": 5.0}]
    assert [json.loads(line) for line in (tmp_path / "found.ndjson").read_text().splitlines()] == expected
    assert pyarrow.ipc.open_file(tmp_path / "found.arrow").read_all().to_pylist() == expected
    assert pyarrow.parquet.read_table(tmp_path / "found.parquet").to_pylist() == expected


def test_what_the_shell_wrote_to_a_pipe_is_read(server: Server, db: reddb.Client, name: str, tmp_path: Path):
    for collection in (name, f"{name}copy"):
        db.execute(f"CREATE COLLECTION {collection} KIND vector DIM 2 METRIC l2")
    db.insert(name, ["a", "b"], [[0, 0], [3, 4]], [{"title": "a"}, {"title": "b"}])
    words = ["shell", server.url, "-c", f"SELECT * FROM {name} LIMIT 9", "--format", "arrow"]
    (tmp_path / "piped.arrow").write_bytes(CliRunner().invoke(main, words).stdout_bytes)
    assert copy(server.url, f"{name}copy from {tmp_path}/piped.arrow")[0] == 0
    (row,) = db.get(f"{name}copy", ["b"], with_vectors=True)
    assert row is not None
    assert (row.payload, row.vector.tolist()) == ({"title": "b"}, [3, 4])


def test_csv_of_another_program(server: Server, db: reddb.Client, name: str, tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_bytes(
        '\ufeffid,title,vector,count,tags\r\nx1,2020,"[1, 2]",007,\r\n12,,"[3e0,4]",5,"[""a""]"\r\n'.encode()
    )
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2 FIELDS (title TEXT, *)")
    assert copy(server.url, f'"{name}" from {path}')[0] == 0
    assert [row and row.payload for row in db.get(name, ["x1", 12])] == [
        {"title": "2020", "count": "007"},
        {"count": 5, "tags": ["a"]},
    ]


def rows_of(count: int) -> list[str]:
    return [json.dumps({"id": number, "vector": [number, 1]}) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": 3, "vector": [1, 2]}', "DUPLICATE_ID: id 3 exists already"),
        ('{"id": 9999, "vector": [1, 2, 3]}', "vector must be a list of 2 numbers, not 3"),
        ('{"id": 9999, "vector": [1, "x"]}', "vector must be a list of 2 numbers"),
        ('{"id": 9999, "vector": [1, NaN]}', "this is no JSON: NaN is no word of it"),
        ('{"id": 9999, "vector": [1, 1e999]}', "INVALID_VECTOR"),
        ('{"id": 9999, "vector": [1, true]}', "vector must be a list of 2 numbers"),
        ('{"id": 9999, "vector": [1, 2], "year": 1.5}', "year: 1.5 is no whole number"),
        ('{"id": 9999, "vector": [1, 2], "year": 1e300}', "year: 1e+300 is a float beyond 2^53"),
        ('{"id": 9999, "vector": [1, 2], "a": 1, "a": 2}', "the key 'a' stands twice"),
        (f'{{"id": {"9" * 5000}, "vector": [1, 2]}}', "an integer of 5000 digits is beyond 64 bits"),
        (f'{{"id": 9999, "vector": [1, 2], "a": {"[" * 3000}{"]" * 3000}}}', "it nests too deep"),
        ('{"id": 9999}', "the row has no vector"),
        ('{"vector": [1, 2]}', "the row has no id"),
        ('{"id": 1.5, "vector": [1, 2]}', "id: 1.5 is no whole number"),
        ('{"id": true, "vector": [1, 2]}', "INVALID_ID"),
        ('{"id": 9999, "vector": [1, 2], "year": "x"}', "INVALID_PAYLOAD"),
        ("[1, 2]", "a line is one JSON object"),
        ('{"id": ', "this is no JSON"),
    ],
)
def test_a_wrong_line_is_named(server: Server, db: reddb.Client, name: str, tmp_path: Path, line: str, said: str):
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2 FIELDS (year INT, *)")
    path = tmp_path / "rows.ndjson"
    path.write_text("\n".join([*rows_of(1500), "", line, '{"id": 1502, "vector": [1, 2]}\n']))
    code, told = copy(server.url, f"{name} from {path}", f"{name} to {tmp_path}/not-reached.csv")
    assert code == 1
    assert f"{path}:1502: {said}" in told
    assert "hint: 1,000 rows were stored" in told
    assert list(db.execute(f"SELECT count(*) FROM {name}")) == [(1000,)]
    assert not (tmp_path / "not-reached.csv").exists()


def test_upsert_replaces(server: Server, db: reddb.Client, name: str, tmp_path: Path):
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2")
    db.insert(name, [1], [[9, 9]])
    path = tmp_path / "rows.ndjson"
    path.write_text("\n".join(rows_of(2)))
    assert copy(server.url, f"{name} from {path} upsert") == (0, f"(2 rows from {path})\n")
    assert [row and row.vector.tolist() for row in db.get(name, [1, 2], with_vectors=True)] == [[1, 1], [2, 1]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,title\n1,a\n", ":1: the first line names the columns"),
        ("id,vector,vector\n", ":1: the first line names the columns"),
        ("", ":1: the first line names the columns"),
        ('id,vector\n1,"[1, 2]"\n2,"[1\n, 2]"\n3\n', ":5: 1 cells, and the first line names 2"),
        ('id,vector\n1,"[1, 2]"\n2,"[1, 2\n', ":3: a quote is not closed"),
        ('id,vector\n1,"[1, 2]"\n2",5"\n', ":3: a quote in the middle of a cell"),
        ("id,vector\n1,somewhere\n", ":2: vector: this is no JSON"),
        ('id,vector,year\n1,"[1, 2]",x\n', ":2: year: 'x' is no INT"),
        ('id,vector,year\n1,"[1, 2]",1_000\n', ":2: year: '1_000' is no INT"),
        ('id,vector,year\n1,"[1, 2]",١٢\n', ":2: year: '١٢' is no INT"),
        ('id,vector,year\n1,"[1, 2]",1.5\n', ":2: year: '1.5' is no INT"),
        ('id,vector,year\n1,"[1, 2]",1e999999999\n', ":2: year: '1e999999999' is no INT"),
        ('id,vector,year\n1,"[1, 2]",1e-99999999999999999999\n', ":2: year: '1e-9999999"),
        ('id,vector,weight\n1,"[1, 2]",1e999\n', ":2: weight: '1e999' is beyond"),
        ('id,vector,weight\n1,"[1, 2]",1_0.5\n', ":2: weight: '1_0.5' is no FLOAT"),
        ('id,vector,weight\n1,"[1, 2]",nan\n', ":2: weight: 'nan' is no FLOAT"),
        ('id,vector,at\n1,"[1, 2]",2024-05-01T12:00:00.1234567Z\n', ":2: at: '2024-05-01T12:00:00.1234567Z' has"),
        ('id,vector,at\n1,"[1, 2]",2024-05-01T12:00:00\n', ":2: at: '2024-05-01T12:00:00' is no instant"),
        (f'id,vector\n{"9" * 5000},"[1, 2]"\n', ":2: id: '9999999"),
        (f'id,vector,free\n1,"[1, 2]",{"[" * 3000}\n', ":2: free: it nests too deep"),
        ('id,vector,payload\n1,"[1, 2]","{""id"": 2}"\n', ":2: 'id' is a column and stands in payload as well"),
        ('id;vector\n1;"[1, 2]"\n', ":1: the first line names the columns"),
        ('id,vector,ok\n1,"[1, 2]",yes\n', ":2: ok: 'yes' is neither true nor false"),
        ('id,vector,payload\n1,"[1, 2]",5\n', ":2: payload must be a JSON map"),
    ],
)
def test_a_wrong_csv_is_named(server: Server, db: reddb.Client, name: str, tmp_path: Path, content: str, said: str):
    fields = "FIELDS (year INT, ok BOOL, weight FLOAT, at TIMESTAMP, *)"
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2 {fields}")
    path = tmp_path / "rows.csv"
    path.write_text(content)
    code, told = copy(server.url, f"{name} from {path}")
    assert code == 1
    assert f"{path}{said}" in told
    assert "hint: 0 rows were stored" in told


def test_what_a_format_cannot_hold_is_refused(server: Server, db: reddb.Client, name: str, tmp_path: Path):
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 1 FIELDS (payload TEXT)")
    db.insert(name, ["12"], [[1]])
    assert "write an .ndjson file" in copy(server.url, f"{name} to {tmp_path}/a.csv")[1]
    assert "its suffix" in copy(server.url, f"{name} to {tmp_path}/a.xlsx")[1]
    db.execute(f"CREATE COLLECTION {name}b KIND vector DIM 1")
    db.insert(f"{name}b", ["12"], [[1]])
    assert "csv would make it a number" in copy(server.url, f"{name}b to {tmp_path}/a.csv")[1]
    assert "No such file" in copy(server.url, f"{name} from {tmp_path}/none.csv")[1]
    assert "UNKNOWN_COLLECTION" in copy(server.url, f"nowhere to {tmp_path}/a.csv")[1]
    assert list(tmp_path.iterdir()) == []
