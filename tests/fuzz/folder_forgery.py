"""What is done to folders with their checksums made right again, so that it is the values that are met.

forge     change what one file says: fields of other types and sizes, records of the log, rows of the catalog
reseal    let the list of a backup's files say what the files are
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing, suppress
from random import Random
from typing import Any

import msgpack
import numpy as np

from reddb.checksum import crc32c
from reddb.rows import RowBatch
from reddb.storage import catalog
from reddb.storage.wal_file import WalIdentity, encode_file_header, encode_record, records_behind
from tests.fuzz.folder_specimens import Tree

_TRAILER = struct.Struct("<8sI4sQQIIQQQI")  # of a checked file; its CRC follows
_LENGTH = struct.Struct("<I")
_WAL_HEADER = struct.Struct("<8sIIQIIQ")
_BATCH_HEADER = struct.Struct("<BBHIIIQ")
_INTEGERS = (-1, 0, 1, 2, 40, 255, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**63))
_TEXTS = (
    "",
    "..",
    ".",
    "/",
    "../../canary/file",
    "/etc/passwd",
    "docs",
    "\0",
    "a\0b",
    "é" * 40,
    "x" * 70_000,
    "1",
    "{}",
)
_NESTED: tuple[Any, ...] = ([], {}, [[]] * 40, {"a": {"b": 1}}, [0.5] * 300, [[0.9, 5]], [["x", None]], b"", b"\0" * 9)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *_INTEGERS,
    *_TEXTS,
    *_NESTED,
)
_WORDS = struct.Struct("<Q")


def forge(tree: Tree, rng: Random) -> str:
    """Change what one of its files says, and say which."""
    names = [name for name, content in tree.items() if isinstance(content, bytes)]
    name = rng.choice(names)
    if rng.random() < 0.25:  # there are few of these among the files
        name = rng.choice(
            [item for item in names if item.rpartition("/")[2] in _FORGERS or item.endswith(".wal")] or names
        )
    content = tree[name]
    assert isinstance(content, bytes)
    short = name.rpartition("/")[2]
    forger = _FORGERS.get(short, _checked)
    if short.endswith(".wal"):
        forger = _log
    with suppress(Exception):  # what is to be forged was damaged before
        tree[name] = forger(content, rng)
    return f"{name} forged"


def reseal(tree: Tree) -> None:
    """Let BACKUP say how large the files are and what they hold."""
    content = tree.get("BACKUP")
    if not isinstance(content, bytes):
        return
    with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        plain = json.loads(content.partition(b"\n")[0])
        for file in plain["files"]:
            held = tree.get(file["path"])
            if isinstance(held, bytes):
                file["bytes"], file["crc32c"] = len(held), crc32c([held])
        tree["BACKUP"] = _signed(json.dumps(plain).encode())


# --- plain values ------------------------------------------------------------------------------------------


def changed(plain: Any, rng: Random) -> Any:
    """The same with one thing in it other, gone, or there twice."""
    if isinstance(plain, dict | list) and plain and rng.random() < 0.85:
        key: Any = rng.choice(list(plain)) if isinstance(plain, dict) else rng.randrange(len(plain))
        copy: Any = dict(plain) if isinstance(plain, dict) else list(plain)
        match rng.randrange(8):
            case 0:
                del copy[key]
            case 1 if isinstance(copy, list):
                copy.insert(key, copy[key])
            case 1:
                copy[rng.choice(_TEXTS)] = copy.pop(key)
            case _:
                copy[key] = changed(copy[key], rng)
        return copy
    if type(plain) is int and rng.random() < 0.5:
        return plain + rng.choice([-1, 1, 7, 2**32])
    return rng.choice(_VALUES)


def _packed(plain: Any) -> bytes:
    try:
        return bytes(msgpack.packb(plain))
    except (ValueError, OverflowError, UnicodeEncodeError):
        return b"\xc1"


def _bytes_changed(content: bytes, rng: Random) -> bytes:
    """Words at multiples of 8 and single bytes other, or fewer or more of them."""
    copy = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 60])):
        if not copy:
            break
        at = rng.randrange(len(copy))
        match rng.randrange(8):
            case 0 | 1:
                at -= at % 8
                word = _WORDS.pack(rng.choice(_INTEGERS) % 2**64)
                copy[at : at + 8] = word[: len(copy) - at]
            case 2:
                at -= at % 4
                copy[at : at + 4] = _WORDS.pack(rng.choice(_INTEGERS) % 2**64)[: min(4, len(copy) - at)]
            case 3 if rng.random() < 0.3:
                del copy[at : at + rng.choice([1, 8, 64, len(copy)])]
            case 4 if rng.random() < 0.3:
                copy[at:at] = rng.randbytes(rng.choice([1, 8, 64]))
            case _:
                copy[at] = rng.choice([copy[at] ^ (1 << rng.randrange(8)), rng.randrange(256)])
    return bytes(copy)


# --- files with a trailer ----------------------------------------------------------------------------------


def _checked(content: bytes, rng: Random) -> bytes:
    """A file whose content is other and fits its trailer, or whose trailer says other things."""
    numbers = list(_TRAILER.unpack_from(content, len(content) - _TRAILER.size - 4))
    held = content[: numbers[9]]
    kind = bytes(numbers[2])
    if rng.random() < 0.1:
        place = rng.randrange(3, 8)
        numbers[place] = rng.choice(_INTEGERS) % (2**32 if place in (5, 6) else 2**64)
    else:
        held = _CONTENTS.get(kind, _bytes_changed)(held, rng)
    numbers[9], numbers[10] = len(held), crc32c([held])
    trailer = _TRAILER.pack(*numbers)
    return held + bytes(-len(held) % 8) + trailer + _LENGTH.pack(crc32c([trailer]))


def _map(held: bytes, rng: Random) -> bytes:
    plain = msgpack.unpackb(held, strict_map_key=False)
    for _ in range(rng.choice([1, 1, 2])):
        plain = changed(plain, rng)
    return _packed(plain) if rng.random() < 0.95 else b"\x91" * 50_000


def _codes(held: bytes, rng: Random) -> bytes:
    (length,) = _LENGTH.unpack_from(held)
    head, rest = held[4 : 4 + length], held[4 + length :]
    if rng.random() < 0.2:
        return _LENGTH.pack(rng.choice(_INTEGERS) % 2**32) + head + rest
    head = _map(head, rng)
    return _LENGTH.pack(len(head)) + head + (rest if rng.random() < 0.8 else _bytes_changed(rest, rng))


_CONTENTS: dict[bytes, Callable[[bytes, Random], bytes]] = {b"mani": _map, b"indx": _map, b"grow": _codes}

# --- the log -----------------------------------------------------------------------------------------------


def _log(content: bytes, rng: Random) -> bytes:
    """Records of any operation, number and body, each valid."""
    _, _, salt, collection_id, partition, _, first_lsn = _WAL_HEADER.unpack_from(content)
    records = [
        [item.lsn, item.durable_lsn, item.operation, bytes(item.body), item.time_us]
        for _, item in records_behind(content, 0, 0)
    ]
    if rng.random() < 0.1:
        collection_id = rng.choice([0, 1, 2, 2**63])
    if rng.random() < 0.1:
        first_lsn = rng.choice(_INTEGERS) % 2**64
    for _ in range(rng.choice([1, 1, 3])):
        if records:
            _change_record(records, rng)
    parts = [encode_file_header(WalIdentity(collection_id, partition), salt, first_lsn)]
    for lsn, durable_lsn, operation, body, time_us in records:
        parts += encode_record(lsn, durable_lsn, operation, [body], salt, time_us)
    return b"".join(bytes(part) for part in parts) + bytes(rng.choice([0, 8, 4_096]))


def _change_record(records: list[list[Any]], rng: Random) -> None:
    at = rng.randrange(len(records))
    record = records[at]
    match rng.randrange(10):
        case 0:
            record[rng.choice([0, 1])] = rng.choice(_INTEGERS) % 2**64
        case 1:
            record[2] = rng.choice([0, 1, 2, 3, 4, 5, 255])
        case 2:
            record[4] = rng.choice([0, 1, 2**56 - 1])
        case 3:
            records.insert(at, list(record))
            for place in range(at + 1, len(records)):
                records[place][0] += 1
        case 4:
            record[3] = _bytes_changed(record[3], rng)
        case 5:
            record[3] = rng.choice([b"", b"\0" * 8, _WORDS.pack(2**64 - 1) + record[3], record[3] * 2])
        case _:
            record[3] = _body(record[2], record[3], rng)


def _body(operation: int, body: bytes, rng: Random) -> bytes:
    if operation == 4 and len(body) > 8:
        (size,) = _WORDS.unpack_from(body)
        ended, written = body[8 : 8 + size], body[8 + size :]
        if rng.random() < 0.5:
            ended = _batch(ended, rng)
        else:
            written = _batch(written, rng)
        return _WORDS.pack(len(ended)) + ended + written
    return _batch(body, rng)


def _batch(content: bytes, rng: Random) -> bytes:
    """Rows with ids, vectors and payloads of any kind; or a header that says other things."""
    if rng.random() < 0.2:
        numbers = list(_BATCH_HEADER.unpack_from(content))
        place = rng.randrange(len(numbers))
        numbers[place] = rng.choice(_INTEGERS) % 2 ** (8, 8, 16, 32, 32, 32, 64)[place]
        return _BATCH_HEADER.pack(*numbers) + content[_BATCH_HEADER.size :]
    batch = RowBatch.decode(content)
    ids: list[Any] = batch.id_list()
    vectors = np.array(batch.vectors)
    payloads = None if batch.payloads is None else batch.payloads.split()
    at = rng.randrange(len(ids)) if ids else 0
    match rng.randrange(6):
        case 0 | 1 if ids:
            ids[at] = rng.choice([*_VALUES, ids[0], "x" * 300, "id 4", 3])
        case 2 if vectors.size:
            vectors[at] = rng.choice([np.nan, np.inf, 3e38, 1e-42, 0.0])
        case 3:
            vectors = np.zeros((len(ids), rng.choice([0, 1, 7, 9, 64])), np.float32)
        case _ if payloads:
            payloads[at] = rng.choice(
                [
                    _packed(rng.choice(_VALUES)),
                    b"\x81" * 3_000,
                    b"\xc1",
                    b"",
                    _packed({"n": "text", "t": 5}),
                    _payload(rng),
                ]
            )
    lengths = b"" if payloads is None else np.array([len(item) for item in payloads], np.uint32).tobytes()
    block = lengths + b"".join(payloads or [])
    id_block = _packed(ids)
    header = _BATCH_HEADER.pack(1, 1, 0, len(ids), vectors.shape[1], len(id_block), len(block))
    return header + id_block + bytes(-len(id_block) % 4) + vectors.tobytes() + block


def _payload(rng: Random) -> bytes:
    return _packed(
        {
            rng.choice(["n", "t", "expires_at", "x", "a.b", "", "\0"]): rng.choice(
                [*_VALUES, msgpack.Timestamp(2**40), msgpack.ExtType(5, b"x")]
            )
        }
    )


# --- the catalog -------------------------------------------------------------------------------------------

_SCHEMES = (
    "DROP TABLE aliases",
    "DROP TABLE collections",
    "ALTER TABLE collections DROP COLUMN indexes",
    "ALTER TABLE collections ADD COLUMN more TEXT",
    "PRAGMA user_version = 3",
    "PRAGMA user_version = 0",
    "PRAGMA user_version = -7",
    "CREATE TRIGGER t AFTER UPDATE ON seal BEGIN DELETE FROM collections; END",
    "ALTER TABLE aliases RENAME TO a; CREATE VIEW aliases AS SELECT 'a' AS name, 1 AS collection",
    "DROP TABLE dropped; CREATE TABLE dropped (id INTEGER AS (7 * x), x); INSERT INTO dropped (x) VALUES (1)",
    "CREATE VIRTUAL TABLE f USING fts5(x)",
    "CREATE TABLE t2 AS SELECT * FROM collections; DROP TABLE collections; ALTER TABLE t2 RENAME TO collections",
    "PRAGMA journal_mode = WAL",
    "DELETE FROM seal",
    "INSERT INTO seal VALUES (1)",
    "INSERT INTO dropped VALUES (1)",
    "INSERT INTO dropped VALUES (-1)",
    "INSERT INTO aliases VALUES ('docs', 1)",
    "INSERT INTO aliases VALUES ('other', 99)",
    "UPDATE sqlite_sequence SET seq = 9223372036854775807",
    "UPDATE sqlite_sequence SET seq = 'x'",
    "INSERT INTO collections SELECT id + 1, name || 'x', kind, dim, metric, settings, fields, indexes FROM collections",
)
_COLUMNS = ("id", "name", "kind", "dim", "metric", "settings", "fields", "indexes")


def _catalog(content: bytes, rng: Random) -> bytes:
    """Rows of any values under a right seal, and other tables than there should be."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.deserialize(content)
        with suppress(sqlite3.Error):
            if rng.random() < 0.3:
                database.executescript(rng.choice(_SCHEMES))
            else:
                _change_row(database, rng)
        with suppress(sqlite3.Error):
            rows = [_rows(database, statement) for statement in catalog._SEALED]
            database.execute("UPDATE seal SET crc = ?", (crc32c([repr(rows).encode(errors="surrogatepass")]),))
        return database.serialize()


def _rows(database: sqlite3.Connection, statement: str) -> list[Any]:
    return database.execute(statement).fetchmany(100)


def _change_row(database: sqlite3.Connection, rng: Random) -> None:
    column = rng.choice(_COLUMNS)
    ((value,),) = database.execute(f"SELECT {column} FROM collections LIMIT 1")
    if column in ("settings", "fields", "indexes"):
        plain = json.loads(value)
        for _ in range(rng.choice([1, 1, 2])):
            plain = changed(plain, rng)
        value = _json(plain) if rng.random() < 0.95 else "[" * 50_000
    elif rng.random() < 0.7:
        value = rng.choice([item for item in _VALUES if not isinstance(item, list | dict)])
        value = value % 2**63 if type(value) is int else value
    else:
        value = rng.choice(["vector", "vector.turbo", "l2", "cosine", "hamming", "jaccard", 1, 2, 7, 9, 4_096, "Docs"])
    database.execute(f"UPDATE collections SET {column} = ?", (value,))


def _json(plain: Any) -> str:
    return json.dumps(plain, default=str)


# --- the list of a backup ----------------------------------------------------------------------------------


def _backup(content: bytes, rng: Random) -> bytes:
    plain = json.loads(content.partition(b"\n")[0])
    for _ in range(rng.choice([1, 1, 2])):
        plain = changed(plain, rng)
    return _signed(_json(plain).encode("utf-8", "surrogatepass") if rng.random() < 0.95 else b"[" * 50_000)


def _signed(body: bytes) -> bytes:
    return body + b"\ncrc32c %08x\n" % crc32c([body])


def hot_journal(database: bytes, target: str) -> bytes:
    """A journal that has the first page written again, and names a file that is to go once that is done."""
    magic, nonce, sector = bytes.fromhex("d9d505f920a163d7"), 7, 512
    (size,) = struct.unpack_from(">H", database, 16)
    size = size if 512 <= size <= len(database) else 512  # it was damaged before
    page = database[:size]
    header = magic + struct.pack(">IIIII", 1, nonce, len(database) // size, sector, size)
    crc = (nonce + sum(page[place] for place in range(size - 200, 0, -200))) % 2**32
    record = struct.pack(">I", 1) + page + struct.pack(">I", crc)
    name = target.encode()
    named = struct.pack(">I", 0x4000_0000 // size + 1) + name + struct.pack(">II", len(name), sum(name)) + magic
    return header.ljust(sector, b"\0") + record + named


_FORGERS: dict[str, Callable[[bytes, Random], bytes]] = {
    "BACKUP": _backup,
    "catalog.sqlite": _catalog,
    "VERSION": lambda content, rng: rng.choice(
        [b"reddb data format 2\n", b"reddb data format 1", b"\xff" * 200, b"\x1b[2J"]
    ),
    "LOCK": lambda content, rng: rng.choice([b"\x1b[2J", b"x" * 5_000, b"\xff"]),
}
