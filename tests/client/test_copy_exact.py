"""What a file gives back is what was written, whatever rows hold and whatever the format is, or nothing is written.

Rows go by way of a real collection, a file, and another collection with the same fields.
"""

from __future__ import annotations

import itertools
import math
import re
import struct
from collections.abc import Iterator
from datetime import UTC
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reddb
from reddb.client.transfer.collection import describe, pages
from reddb.client.transfer.csv_text import csv_line, csv_records
from reddb.client.transfer.formats import file_format
from reddb.client.transfer.json_text import exact_json, parse_json, vector_numbers
from reddb.client.transfer.problem import TransferError
from reddb.client.transfer.read import Source, read_batches
from reddb.client.transfer.write import write_rows

FORMATS = ["csv", "tsv", "csv.gz", "ndjson", "ndjson.gz", "arrow", "parquet"]
FIELDS = (
    "FIELDS (title TEXT, name TEXT DEFAULT 'x', year INT, rank INT DEFAULT 7, weight FLOAT, ok BOOL DEFAULT true, "
    "at TIMESTAMP, since TIMESTAMP DEFAULT '2024-01-01T00:00:00Z', tags TEXT[], sizes INT[], extra JSON, *)"
)
_numbers = itertools.count()

# Texts that look like something else, and those that formats stumble over.
HARD = ["", " ", "null", "NULL", "true", "t", "1", "1.0", "-0", "007", "1e5", "NaN", "[]", "{}", '{"a": 1}', '"', '""']
HARD += ["a,b", "a;b", "a\tb", "\n", "\r", "a\r\nb", "\x00", "\x1b[31m", "\u2028", "\ufeff"]
HARD += ["\\N", "\\.", "é", "中", "😀", "2024-05-01T12:00:00+00:00", "[1, 2]", "$date", " x ", "'", "--"]

texts = st.one_of(st.sampled_from(HARD), st.text(st.characters(codec="utf-8"), max_size=12))
borders = st.sampled_from([0, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
integers = st.one_of(borders, st.integers(-(2**63), 2**63 - 1))
floats = st.floats(allow_nan=False, allow_infinity=False)
instants = st.datetimes(timezones=st.just(UTC))
plain = st.one_of(st.none(), st.booleans(), integers, floats, texts, instants)
nested = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
declared = st.fixed_dictionaries(
    {},
    optional={
        "title": st.none() | texts,
        "name": st.none() | texts,
        "year": st.none() | integers,
        "rank": st.none() | integers,
        "weight": st.none() | floats,
        "ok": st.none() | st.booleans(),
        "at": st.none() | instants,
        "since": st.none() | instants,
        "tags": st.none() | st.lists(texts, max_size=3),
        "sizes": st.none() | st.lists(integers, max_size=3),
        "extra": nested,
        "expires_at": st.none() | instants.filter(lambda instant: instant.year > 2100),
    },
)
hard_keys = st.sampled_from(["payload", "a b", "é", "__index_level_0__", "$date"])
keys = st.one_of(hard_keys, st.from_regex(r"k[a-z0-9]{1,5}", fullmatch=True))
free = st.dictionaries(keys, nested, max_size=3)
coordinates = st.floats(width=32, allow_nan=False).filter(lambda number: 1e-14 <= abs(number) <= 9e14 or number == 0)
ids = st.one_of(integers, texts.filter(lambda text: 0 < len(text.encode()) <= 255))
rows = st.lists(
    st.tuples(ids, st.lists(coordinates, min_size=2, max_size=2), declared, free),
    min_size=1,
    max_size=4,
    unique_by=lambda row: row[0],
)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[reddb.Client]:
    with reddb.connect(f"file:{tmp_path_factory.mktemp('copies') / 'data'}") as client:
        yield client


def new_collection(db: reddb.Client, fields: str = FIELDS) -> str:
    name = f"c{next(_numbers)}"
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 METRIC l2 {fields}")
    return name


def written(db: reddb.Client, name: str, form: str) -> bytes:
    file = BytesIO()
    described = describe(db, name)
    write_rows(file, file_format(form), described, pages(db, described))
    return file.getvalue()


def read(db: reddb.Client, name: str, form: str, content: bytes) -> list[str]:
    """Store the rows of a file; what was told of it."""
    told: list[str] = []
    for batch in read_batches(Source("file", BytesIO(content)), file_format(form), describe(db, name), told.append):
        db.insert(name, batch.ids, batch.vectors, batch.payloads)
    return told


def bits(value: Any) -> Any:
    """A value that equals another only where type and bits do."""
    if isinstance(value, dict):
        return {key: bits(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [bits(inner) for inner in value]
    return (type(value), struct.pack("d", value) if isinstance(value, float) else value)


def is_refused(form: str, given_rows: list[Any]) -> bool:
    """Whether the format cannot hold these rows, by what the documentation says."""
    row_ids = [row[0] for row in given_rows]
    if "ndjson" not in form and any(others_of(*row[2:]) == {"$date"} for row in given_rows):
        return True
    if form.startswith(("csv", "tsv")):
        alike = any(isinstance(row_id, str) and re.fullmatch("0|-?[1-9][0-9]*", row_id) for row_id in row_ids)
    else:
        alike = form in ("arrow", "parquet") and len({type(row_id) for row_id in row_ids}) > 1
    values = [value for row in given_rows for part in row[2:] for value in part.values()]
    return alike or any(map(looks_like_an_instant, values))


def others_of(fields: dict[str, Any], free_keys: dict[str, Any]) -> set[str]:
    """The keys that have no column of their own, or are NULL by name."""
    by_name = {key for key in ("title", "year", "weight", "at", "tags", "sizes", "extra") if fields.get(key, 0) is None}
    return by_name | free_keys.keys() | fields.keys() & {"expires_at"}


def looks_like_an_instant(value: Any) -> bool:
    if isinstance(value, dict):
        return set(value) == {"$date"} or any(map(looks_like_an_instant, value.values()))
    return isinstance(value, list) and any(map(looks_like_an_instant, value))


@pytest.fixture(scope="module")
def both(db: reddb.Client) -> tuple[str, str]:
    """Two collections with all types of fields."""
    return new_collection(db), new_collection(db)


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_rows=rows)
def test_rows_come_back_to_the_last_bit(db: reddb.Client, both: tuple[str, str], form: str, given_rows: list[Any]):
    source, target = both
    row_ids = [row[0] for row in given_rows]
    vectors = np.array([row[1] for row in given_rows], np.float32)
    try:
        db.insert(source, row_ids, vectors, [{**row[2], **row[3]} for row in given_rows])
        if is_refused(form, given_rows):
            with pytest.raises(TransferError, match=r"^(the id|id) "):
                written(db, source, form)
            return
        assert read(db, target, form, written(db, source, form)) == []
        for one, other in zip(db.get(source, row_ids, True), db.get(target, row_ids, True), strict=True):
            assert one is not None
            assert other is not None
            assert bits(one.payload) == bits(other.payload)
            assert one.vector is not None
            assert other.vector is not None
            assert one.vector.tobytes() == other.vector.tobytes()
    finally:
        for name in both:
            db.delete(name, row_ids)


@pytest.mark.parametrize("form", FORMATS)
def test_a_field_that_is_younger_than_a_row_does_not_get_its_default(db: reddb.Client, form: str):
    source, target = new_collection(db, ""), new_collection(db, "FIELDS (year INT DEFAULT 7)")
    db.insert(source, [1], [[1, 2]], [{}])
    db.execute(f"ALTER COLLECTION {source} ADD FIELD year INT DEFAULT 7")
    read(db, target, form, written(db, source, form))
    assert list(db.execute(f"SELECT id, year FROM {target}")) == [(1, None)]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("kind", "value"), [("TIMESTAMP", "2024-05-01T12:00:00Z"), ("INT", "5"), ("TEXT", 5)])
def test_what_is_older_than_its_field_is_not_made_another_value(db: reddb.Client, form: str, kind: str, value: Any):
    source, target = new_collection(db, ""), new_collection(db, f"FIELDS (thing {kind})")
    db.insert(source, [1], [[1, 2]], [{"thing": value}])
    db.execute(f"ALTER COLLECTION {source} ADD FIELD thing {kind}")
    with pytest.raises((TransferError, reddb.RedDBError), match="thing"):
        read(db, target, form, written(db, source, form))


def test_floats_that_are_rounded_twice():
    """Every shortest text is read by way of float64, as JSON is; here are vectors from the whole range of float32."""
    random = np.random.default_rng(3)
    patterns = random.integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    vector = patterns[np.isfinite(patterns)]
    read_back = np.array(parse_json(exact_json(vector_numbers(vector))), np.float64)
    assert read_back.astype(np.float32).tobytes() == vector.tobytes()


@given(st.lists(st.lists(st.none() | texts, min_size=2, max_size=2), min_size=1, max_size=5), st.sampled_from(",;\t|"))
def test_the_text_of_csv(records: list[list[str | None]], delimiter: str):
    text = "".join(csv_line(cells, delimiter) for cells in records)
    lines = StringIO(text, newline="")
    assert [cells for _, cells in csv_records(lines, delimiter)] == records


def test_numbers_that_no_json_has():
    for number in (math.nan, math.inf):
        with pytest.raises(ValueError, match="no word"):
            exact_json({"a": number})
