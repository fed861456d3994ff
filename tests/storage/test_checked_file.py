"""Files with a trailer: what was written is mapped, and any other byte, length or owner is refused."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from reddb import errors
from reddb.disk import Disk, OsDisk
from reddb.storage.checked_file import ROTATION_SEED, FileIdentity, add_trailer, open_checked, write_checked
from tests.storage.disks import MemoryDisk

PATH = Path("/f/file")
IDENTITY = FileIdentity(b"vecs", collection_id=3, partition=1, segment_id=2**40, dim=7, rows=5)
TRAILER_BYTES = 72


def written(content: bytes) -> MemoryDisk:
    disk = MemoryDisk()
    disk.make_folder(PATH.parent)
    write_checked(disk, PATH, IDENTITY, [content])
    return disk


def refusal(disk: Disk, identity: FileIdentity = IDENTITY, *, verify: bool = True) -> errors.RedDBError:
    with pytest.raises(errors.RedDBError) as caught:
        open_checked(disk, PATH, identity, verify=verify)
    return caught.value


@pytest.mark.parametrize("content", [b"", b"x", b"12345678", b"123456789", bytes(range(256)) * 20])
@pytest.mark.parametrize("verify", [False, True])
def test_what_was_written_is_mapped(content, verify):
    disk = written(content)
    view = open_checked(disk, PATH, IDENTITY, verify=verify)
    assert bytes(view) == content
    assert len(disk.content(PATH)) == -(-len(content) // 8) * 8 + TRAILER_BYTES


def test_the_same_on_the_real_disk(tmp_path):
    parts = [b"ab", np.arange(3, dtype=np.int64), memoryview(b"cd"), b""]
    size = write_checked(OsDisk(), tmp_path / "x", IDENTITY, parts)
    assert (tmp_path / "x").stat().st_size == size
    content = b"ab" + np.arange(3, dtype=np.int64).tobytes() + b"cd"
    assert bytes(open_checked(OsDisk(), tmp_path / "x", IDENTITY, verify=True)) == content


def test_the_bytes_are_those_of_the_layout():
    """Written here a second time from the description, so that a change of the format cannot go unseen."""
    content = b"hello"
    crc = google_crc32c.value(content)
    numbers = struct.pack("<QQIIQQQI", 3, 2**40, 1, 7, 5, ROTATION_SEED, 5, crc)
    head = b"RedDBSEG" + struct.pack("<I4s", 1, b"vecs") + numbers
    expected = content + bytes(3) + head + struct.pack("<I", google_crc32c.value(head))
    assert bytes(written(content).content(PATH)) == expected


def test_what_somebody_else_wrote_gets_a_trailer():
    for content in (b"", b"x" * 8, b"a graph of some library"):
        disk = MemoryDisk()
        disk.make_folder(PATH.parent)
        disk.put(PATH, content)
        assert add_trailer(disk, PATH, IDENTITY) == len(disk.content(PATH))
        assert bytes(disk.content(PATH)) == bytes(written(content).content(PATH))


@pytest.mark.parametrize("content", [b"", b"x", b"twelve bytes", bytes(40)])
def test_every_flipped_bit_is_refused(content):
    disk = written(content)
    whole = bytes(disk.content(PATH))
    padding = range(len(content), len(content) + (-len(content) % 8))  # means nothing, so nothing vouches for it
    for place in set(range(len(whole))) - set(padding):
        for bit in range(8):
            disk.put(PATH, whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            error = refusal(disk)
            assert error.code is errors.CORRUPT_DATA, (place, bit)
            assert error.detail == {"path": str(PATH)}


@pytest.mark.parametrize("content", [b"", b"x", b"twelve bytes", bytes(200)])
def test_every_other_length_is_refused(content):
    disk = written(content)
    whole = bytes(disk.content(PATH))
    for cut in range(len(whole)):
        disk.put(PATH, whole[:cut])
        assert refusal(disk).code is errors.CORRUPT_DATA, cut
    for start in range(8, len(whole), 8):  # the beginning is missing, the trailer is whole
        disk.put(PATH, whole[start:])
        assert refusal(disk, verify=False).code is errors.CORRUPT_DATA, start
    for more in (b"\0", bytes(8), bytes(TRAILER_BYTES), b"x" * 16):
        disk.put(PATH, whole + more)
        assert refusal(disk).code is errors.CORRUPT_DATA, more
        disk.put(PATH, more + whole)
        assert refusal(disk, verify=False).code is errors.CORRUPT_DATA, more


def test_only_a_check_of_the_content_finds_it_changed():
    """What the readers of all cores may leave out, because the owner has done it."""
    disk = written(b"twelve bytes")
    disk.content(PATH)[3] ^= 1
    assert bytes(open_checked(disk, PATH, IDENTITY, verify=False)) != b"twelve bytes"
    assert "checksum" in refusal(disk).message


@pytest.mark.parametrize(
    "other",
    [{"content": b"ids "}, {"collection_id": 4}, {"partition": 0}, {"segment_id": 2}, {"dim": 8}, {"rows": 6}],
    ids=str,
)
def test_a_file_of_another_owner_is_refused(other):
    error = refusal(written(b"content"), replace(IDENTITY, **other), verify=False)
    assert error.code is errors.CORRUPT_DATA
    assert error.detail == {"path": str(PATH)}
    assert "is expected" in error.message


def with_trailer(disk: MemoryDisk, at: int, value: bytes) -> None:
    """Change the trailer and make its checksum right again."""
    content = disk.content(PATH)
    trailer = bytearray(content[-TRAILER_BYTES:-4])
    trailer[at : at + len(value)] = value
    content[-TRAILER_BYTES:] = trailer + struct.pack("<I", google_crc32c.value(bytes(trailer)))


def test_a_file_of_a_newer_format_is_named_as_such():
    disk = written(b"content")
    with_trailer(disk, 8, b"\x02")
    error = refusal(disk)
    assert error.code is errors.UNSUPPORTED_FORMAT
    assert "has format 2; this build reads 1" in error.message


def test_codes_of_another_rotation_are_refused():
    disk = written(b"content")
    with_trailer(disk, 48, bytes(8))
    assert refusal(disk).code is errors.CORRUPT_DATA


@pytest.mark.parametrize("length", [0, 7, 9, 15, 16, 2**63])
def test_a_length_that_is_not_the_files_is_refused(length):
    disk = written(b"12345678")
    with_trailer(disk, 56, struct.pack("<Q", length))
    assert refusal(disk).code is errors.CORRUPT_DATA


def test_a_missing_file_is_named():
    disk = written(b"x")
    disk.remove_file(PATH)
    assert refusal(disk).detail == {"path": str(PATH)}
