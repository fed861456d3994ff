"""Vectors and distances by hand: what other systems with vectors answer to the same questions, in every state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import reddb
from reddb import errors
from tests.suites.pgvector import run, statements
from tests.suites.sqllogic import Report

# Numbers that float64 holds are equal to the last bit.
VALUES = [
    ("l2_distance('[0,0]', '[3,4]')", 5),
    ("l2_distance('[0,0]', '[0,1]')", 1),
    ("l2_distance('[2]', '[-2]')", 4),
    ("l2_distance('[1,1,1,1,1,1,1,1,1]', '[1,1,1,1,1,1,1,4,5]')", 5),
    ("'[0,0]' <-> '[3,4]'", 5),
    ("inner_product('[1,2]', '[3,4]')", 11),
    ("inner_product('[1,1,1,1,1,1,1,1,1]', '[1,2,3,4,5,6,7,8,9]')", 45),
    ("'[1,2]' <#> '[3,4]'", -11),
    ("cosine_distance('[1,2]', '[2,4]')", 0),
    ("cosine_distance('[1,1]', '[1,1]')", 0),
    ("cosine_distance('[1,1]', '[-1,-1]')", 2),
    ("cosine_distance('[1,2,3,4,5,6,7,8,9]', '[1,2,3,4,5,6,7,8,9]')", 0),
    ("cosine_distance('[1,2,3,4,5,6,7,8,9]', '[-1,-2,-3,-4,-5,-6,-7,-8,-9]')", 2),
    ("cosine_distance('[1,0]', '[0,2]')", 1),
    ("cosine_distance('[1,1]', '[1.1,1.1]')", 0),
    ("cosine_distance('[1,1]', '[-1.1,-1.1]')", 2),
    ("cosine_distance('[1,2]', '[0,0]')", 1),  # of what has no direction the distance is that of what is unlike
    ("'[1,2]' <=> '[2,4]'", 0),
    ("l1_distance('[0,0]', '[3,4]')", 7),
    ("l1_distance('[1,2,3,4,5,6,7,8,9]', '[0,3,2,5,4,7,6,9,8]')", 9),
    ("'[0,0]' <+> '[3,4]'", 7),
    ("vector_dims('[1,2,3]')", 3),
    ("vector_norm('[3,4]')", 5),
    ("vector_norm('[0,0]')", 0),
    ("vector_norm('[2]')", 2),
    ("round(vector_norm('[1,1]'), 5)", 1.41421),
    ("l2_norm('[0,1]')", 1),
]

# Written as a text, and what is stored.
VECTORS = [
    ("[1,2,3]", [1, 2, 3]),
    ("[-1,-2,-3]", [-1, -2, -3]),
    ("[1.,2.,3.]", [1, 2, 3]),
    (" [ 1,  2 ,    3  ] ", [1, 2, 3]),
    ("[1.23456]", [1.23456]),
    ("[1.5e3,-1.5e+3,1e-5]", [1500, -1500, 1e-5]),
    ("[1e-46,1]", [0, 1]),
    ("[-1e-46,1]", [-0.0, 1]),
]

NO_VECTORS = [
    *("[hello,1]", "[1,2,3", "[1,2,3]9", "1,2,3", "", "[", "[ ", "[,", "[]", "[ ]", "[,]", "[1,]", "[1a]", "[1,,3]"),
    *("[1, ,3]", "{1,2,3}", "[[1,2,3]]", "[1 2 3]", "[NaN,1,1]", "[Infinity,1,1]", "[-Infinity,1,1]", "[4e38,1,1]"),
]

# The rows nearest to [3,3,3] of (1) [0,0,0], (2) [1,2,3], (3) [1,1,1], (4) [1,2,4].
NEAREST = {
    ("l2", "<->"): [2, 4, 3, 1],  # √5, √6, √12, √27
    ("ip", "<#>"): [4, 2, 3, 1],  # -21, -18, -9, 0
    ("cosine", "<=>"): [3, 2, 4, 1],  # 0, 0.074, 0.118, 1
    ("manhattan", "<+>"): [2, 4, 3, 1],  # 3, 4, 6, 9
}
STATES = [
    (metric, state)
    for metric, _ in NEAREST
    for state in ("growing", "flat", "hnsw", "ivf", "turbo")
    if (metric, state) != ("manhattan", "turbo")  # codes cannot estimate it
]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[reddb.Client]:
    with reddb.connect(f"file:{tmp_path_factory.mktemp('vectors') / 'data'}") as client:
        yield client


@pytest.mark.parametrize(("expression", "value"), VALUES)
def test_a_function_of_two_vectors(db: reddb.Client, expression: str, value: float) -> None:
    ((found,),) = db.execute(f"SELECT {expression}")
    assert found == value


@pytest.mark.parametrize(("text", "stored"), VECTORS)
def test_a_vector_is_read(db: reddb.Client, text: str, stored: list[float]) -> None:
    name = f"v{len(stored)}"
    db.execute(f"CREATE COLLECTION IF NOT EXISTS {name} KIND vector DIM {len(stored)} METRIC l2")
    ((returned,),) = db.execute(f"UPSERT INTO {name} (id, vector) VALUES (1, '{text}') RETURNING vector")
    ((read,),) = db.execute(f"SELECT vector FROM {name} WHERE id = 1")
    assert returned.tobytes() == read.tobytes() == np.array(stored, np.float32).tobytes()


@pytest.mark.parametrize("text", NO_VECTORS)
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO three (id, vector) VALUES (1, '{}')",
        "SELECT id FROM three ORDER BY vector <-> '{}' LIMIT 1",
        "SELECT l2_distance('[1,2,3]', '{}')",
    ],
    ids=["insert", "search", "function"],
)
def test_what_is_no_vector_is_refused(db: reddb.Client, statement: str, text: str) -> None:
    db.execute("CREATE COLLECTION IF NOT EXISTS three KIND vector DIM 3 METRIC l2")
    with pytest.raises(reddb.RedDBError) as refusal:
        db.execute(statement.format(text))
    assert refusal.value.code in (errors.INVALID_VALUE, errors.INVALID_VECTOR, errors.INVALID_DIMENSION)
    assert db.execute("SELECT count(*) FROM three")[0][0] == 0


@pytest.mark.parametrize("function", ["l2_distance", "inner_product", "cosine_distance", "l1_distance"])
def test_vectors_of_different_dimensions_have_no_distance(db: reddb.Client, function: str) -> None:
    with pytest.raises(reddb.RedDBError, match="dimensions") as refusal:
        db.execute(f"SELECT {function}('[1,2]', '[3]')")
    assert refusal.value.code is errors.INVALID_DIMENSION


@pytest.mark.parametrize(("metric", "state"), STATES)
def test_the_nearest_rows(db: reddb.Client, metric: str, state: str) -> None:
    name = f"n_{metric}_{state}"
    kind = "vector.turbo" if state == "turbo" else "vector"
    index = f" WITH (index = '{state}')" if state in ("flat", "hnsw", "ivf") else ""
    db.execute(f"CREATE COLLECTION {name} KIND {kind} DIM 3 METRIC {metric}{index}")
    db.execute(f"INSERT INTO {name} (id, vector) VALUES (1, '[0,0,0]'), (2, '[1,2,3]'), (3, '[1,1,1]')")
    if state != "growing":
        db.execute(f"ALTER COLLECTION {name} SEAL")
    db.execute(f"INSERT INTO {name} (id, vector) VALUES (4, '[1,2,4]')")
    for (_, operator), right in NEAREST.items():
        for limit in range(1, 5):
            found = db.execute(f"SELECT id FROM {name} ORDER BY vector {operator} '[3,3,3]' LIMIT {limit}")
            assert [row[0] for row in found] == right[:limit]
    db.execute(f"TRUNCATE COLLECTION {name}")
    assert list(db.execute(f"VECTOR SEARCH {name} SIMILAR TO [3, 3, 3] LIMIT 4")) == []


def test_files_of_pgvector_are_read(tmp_path: Path) -> None:
    """Two statements right, one wrong, one refused as it was there, and one that has no meaning here."""
    for folder in ("sql", "expected"):
        (tmp_path / folder).mkdir()
    written = [
        ("SELECT l2_distance('[0,0]'::vector, '[3,4]')", " l2_distance \n-------------\n           5\n(1 row)\n"),
        ("SELECT '[1,2]'::vector", " vector \n--------\n [1,2]\n(1 row)\n"),
        ("SELECT l1_distance('[0]'::vector, '[3]')", " l1_distance \n-------------\n           4\n(1 row)\n"),
        ("SELECT '[1,'::vector", "ERROR:  invalid input syntax for type vector\n"),
        ("SELECT l2_normalize('[3,4]'::vector)", " l2_normalize \n--------------\n [0.6,0.8]\n(1 row)\n"),
    ]
    (tmp_path / "sql/x.sql").write_text("".join(f"{sql};\n-- words\n" for sql, _ in written))
    (tmp_path / "expected/x.out").write_text("".join(f"{sql};\n{printed}-- words\n" for sql, printed in written))
    assert [statement for _, statement, _ in statements(tmp_path)] == [sql for sql, _ in written]
    report = Report()
    run(tmp_path, tmp_path, report)
    assert (report.right, len(report.wrong), report.not_applicable) == (3, 1, {"l2_normalize": 1})
