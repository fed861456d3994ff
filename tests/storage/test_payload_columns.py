"""Payloads as columns: every value is where it was, in its family, also from a file's bytes, and damage is named."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import msgpack
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reddb import errors
from reddb.fields import pack_payload
from reddb.storage import payload_cells
from reddb.storage.payload_cells import PATHS_MAX
from reddb.storage.payload_columns import ARROW_TYPES, PayloadColumns, column_path

NOON = datetime(2024, 5, 1, 12, 0, 0, 5, tzinfo=UTC)


def columns_of(payloads: Sequence[dict[str, Any]]) -> PayloadColumns:
    return PayloadColumns.from_payloads([pack_payload(payload) for payload in payloads])


def values(columns: PayloadColumns, path: str) -> dict[str, list[Any]]:
    return {str(family): array.to_pylist() for family, array in columns.families(path).items()}


def expected(payloads: Sequence[dict[str, Any]], keys: Sequence[str]) -> dict[str, list[Any]]:
    """What `families` must answer for these keys, row by row."""
    found: dict[str, list[Any]] = {}
    for row, payload in enumerate(payloads):
        value: Any = payload
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            family = family_of(value)
            shown = True if family == "other" else value
            found.setdefault(family, [None] * len(payloads))[row] = shown
    return found


def family_of(value: Any) -> str:
    if isinstance(value, list):
        kinds = {type(item) for item in value}
        if kinds == {int} and max(value) < 2**63:
            return "ints"
        return "texts" if kinds in (set(), {str}) else "other"
    names = {bool: "bool", float: "float", str: "text", datetime: "timestamp"}
    if type(value) is int and value < 2**63:
        return "int"
    return names.get(type(value), "other")


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=3)
)
leaves = scalars | st.datetimes(timezones=st.just(UTC)) | st.lists(st.text(max_size=2), max_size=3)
leaves |= st.lists(st.integers(0, 2**64 - 1), max_size=3) | st.lists(scalars, max_size=3)
keys = st.sampled_from(["a", "b", "a.b", "\\", "int:a", "packed"])
maps = st.recursive(leaves, lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=5)
payload_lists = st.lists(st.dictionaries(keys, maps, max_size=4), max_size=6)
paths = st.lists(keys, min_size=1, max_size=3)


@given(payload_lists, paths, st.sampled_from([0, 1, 2, PATHS_MAX]), st.sampled_from([0, 4]))
def test_every_value_is_where_it_was(payloads, path, paths_max, repeats):
    with (
        mock.patch.object(payload_cells, "PATHS_MAX", paths_max),
        mock.patch.object(payload_cells, "_REPEATS_MIN", repeats),
    ):
        built = columns_of(payloads)
    reopened = PayloadColumns.open(built.to_bytes())
    for columns in (built, reopened):
        assert columns.rows == len(payloads)
        assert values(columns, column_path(path)) == expected(payloads, path)
        for family, array in columns.families(column_path(path)).items():
            assert len(array) == len(payloads)
            wanted = ARROW_TYPES[family]
            assert (array.type.value_type if pa.types.is_dictionary(array.type) else array.type) == wanted


def test_families_of_one_path_share_no_row():
    columns = columns_of([{"k": value} for value in [True, 1, 1.5, "x", NOON, ["x"], [1], [], {}, None, [None]]])
    held = np.array([np.asarray(array.is_valid()) for array in columns.families("k").values()])
    assert held.sum(axis=0).tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1]


def test_an_unknown_path_has_no_families():
    assert columns_of([{"a": None}, {"b": 1}]).families("a") == {}
    assert columns_of([]).families("a") == {}


@pytest.mark.parametrize("count", [0, 3])
def test_rows_without_payloads_are_counted(count):
    columns = PayloadColumns.from_payloads([b""] * count)
    assert PayloadColumns.open(columns.to_bytes()).rows == count


def test_a_point_within_a_key_is_not_a_path():
    columns = columns_of([{"a.b": 1, "a": {"b": 2}}])
    assert column_path(["a", "b"]) == "a.b"
    assert values(columns, "a.b") == {"int": [2]}
    assert values(columns, column_path(["a.b"])) == {"int": [1]}


def test_texts_that_repeat_are_a_dictionary():
    columns = columns_of([{"lang": "de" if row % 2 else "en", "title": f"title {row}"} for row in range(100)])
    for one in (columns, PayloadColumns.open(columns.to_bytes())):
        assert one.families("lang")["text"].type == pa.dictionary(pa.int32(), pa.large_string())
        assert one.families("title")["text"].type == pa.large_string()


def test_the_commonest_paths_are_columns_and_the_rest_is_packed():
    payloads = [{"common": row, f"rare {row}": row, "m": {str(row): [row]}} for row in range(PATHS_MAX)]
    columns = PayloadColumns.open(columns_of(payloads).to_bytes())
    last = PATHS_MAX - 1
    assert values(columns, "common") == {"int": list(range(PATHS_MAX))}
    assert values(columns, f"rare {last}") == expected(payloads, [f"rare {last}"])
    assert values(columns, f"m.{last}") == expected(payloads, ["m", str(last)])
    assert columns.families("rare") == {}
    names = pa.ipc.open_file(pa.py_buffer(columns.to_bytes())).schema.names
    assert len(names) == PATHS_MAX + 1


def test_mapped_columns_are_used_in_place(tmp_path):
    payloads = [{"n": row, "text": str(row), "lang": "de", "tags": ["a"], "at": NOON} for row in range(1000)]
    path = tmp_path / "columns"
    path.write_bytes(columns_of(payloads).to_bytes())
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = np.frombuffer(mapped, np.uint8).ctypes.data
    columns = PayloadColumns.open(memoryview(mapped))
    for name in payloads[0]:
        for array in columns.families(name).values():
            buffers = [buffer for buffer in array.buffers() if buffer is not None]
            assert buffers
            assert all(start <= buffer.address < start + len(mapped) for buffer in buffers)


def test_a_payload_that_cannot_be_read_is_named_with_its_row():
    with pytest.raises(errors.RedDBError) as caught:
        PayloadColumns.from_payloads([b"", b"\xc1"])
    assert caught.value.code is errors.CORRUPT_DATA
    assert caught.value.detail == {"row": 1}


# --- damage ------------------------------------------------------------------------------------------------

ROWS = [{"n": 1, "t": "é", "u": "x", "l": ["a"], "i": [1], "o": {}, "b": True}, {"n": 2.5, "at": NOON}, {}]
CONTENT = bytes(columns_of(ROWS * 3).to_bytes())


def refused(content: bytes) -> errors.RedDBError:
    with pytest.raises(errors.RedDBError) as caught:
        PayloadColumns.open(memoryview(content))
    return caught.value


def test_a_rare_path_is_run_end_encoded_and_found_at_some_rows():
    payloads = [{"n": row, **({"rare": f"r{row}"} if row % 9 == 5 else {})} for row in range(100)]
    columns = PayloadColumns.open(columns_of(payloads).to_bytes())
    batch = pa.ipc.open_file(pa.py_buffer(columns.to_bytes())).get_batch(0)
    assert pa.types.is_run_end_encoded(batch.column("text:rare").type)
    assert values(columns, "rare") == expected(payloads, ["rare"])
    assert columns.families("rare", np.array([5, 6, 14]))["text"].to_pylist() == ["r5", None, "r14"]


@given(payload_lists, paths, st.sampled_from([0, 1, PATHS_MAX]), st.data())
def test_some_rows_have_what_they_have_among_all(payloads, path, paths_max, data):
    chosen = np.array(data.draw(st.lists(st.integers(0, max(len(payloads) - 1, 0)), max_size=4)), np.int64)
    chosen = chosen[chosen < len(payloads)]
    with mock.patch.object(payload_cells, "PATHS_MAX", paths_max):
        columns = columns_of(payloads)
    every = values(columns, column_path(path))
    wanted = {family: [column[row] for row in chosen] for family, column in every.items()}
    found = {str(family): array.to_pylist() for family, array in columns.families(column_path(path), chosen).items()}
    assert {f: v for f, v in found.items() if any(v)} == {f: v for f, v in wanted.items() if any(v)}


def test_keys_that_all_differ_are_kept_as_rows():
    payloads = [{f"k{row}-{number}": number for number in range(100)} | {"n": row} for row in range(300)]
    columns = PayloadColumns.open(columns_of(payloads).to_bytes())
    size = sum(len(pack_payload(payload)) for payload in payloads)
    assert len(columns.to_bytes()) < size + 512 * PATHS_MAX
    assert values(columns, "n") == {"int": list(range(300))}
    assert values(columns, "k299-99") == expected(payloads, ["k299-99"])


@given(st.integers(0, len(CONTENT) - 1))
def test_a_file_that_ends_early_is_refused(size):
    assert refused(CONTENT[:size]).code is errors.CORRUPT_DATA


@given(st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_changed_bytes_are_refused_or_can_be_read(changes):
    content = bytearray(CONTENT)
    for place, value in changes:
        content[place] = value
    try:
        columns = PayloadColumns.open(memoryview(content))
    except errors.RedDBError as error:
        refusal = error
    else:
        for path in ROWS[0]:
            for array in columns.families(path).values():
                assert len(array.is_valid()) == columns.rows
        return
    assert refusal.code in (errors.CORRUPT_DATA, errors.UNSUPPORTED_FORMAT)


def file_of(columns: dict[str, pa.Array], **metadata: str) -> bytes:
    schema = pa.schema([(name, array.type) for name, array in columns.items()], metadata or None)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(list(columns.values()), schema=schema))
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (file_of({"int:a": pa.array([1])}), "the payload columns cannot be read: b'version'"),
        (file_of({"int:a": pa.array([1])}, version="1"), "the payload columns cannot be read: b'rows'"),
        (file_of({"int:a": pa.array([1])}, version="1", rows="2"), "the payload columns cannot be read: columns of 1"),
        (file_of({}, version="1", rows="-1"), "the payload columns cannot be read: columns of 0 rows, not -1"),
        (file_of({"int:a": pa.array([1.0])}, version="1", rows="1"), "the payload columns cannot be read: the column"),
        (file_of({"long:a": pa.array([1])}, version="1", rows="1"), "the payload columns cannot be read: 'long'"),
        (file_of({}, version="3", rows="0"), "payload columns of version b'3', not b'2'"),
        (b"", "the payload columns cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_refused(content, message):
    error = refused(content)
    assert error.code is (errors.UNSUPPORTED_FORMAT if "version b" in message else errors.CORRUPT_DATA)
    assert error.message.startswith(message)


def test_packed_values_that_cannot_be_read_are_refused():
    packed = pa.array([msgpack.packb([1])], pa.large_binary())
    columns = PayloadColumns.open(memoryview(file_of({"packed": packed}, version="1", rows="1")))
    with pytest.raises(errors.RedDBError) as caught:
        columns.families("a")
    assert caught.value.code is errors.CORRUPT_DATA
