"""Damaged logs: every cut and every flipped bit of a small log, and the accidents that power cuts leave behind.

Allowed outcomes: an error that names the place; a torn tail, reported, that loses nothing but the last group; or, for
bytes that carry nothing, no effect. Never other records than those written.
"""

from __future__ import annotations

from random import Random

import pytest

from reddb import errors, limits
from reddb.disk import OsDisk
from tests.storage.disks import SECTOR, MemoryDisk
from tests.storage.logs import (
    FOLDER,
    Replayed,
    copy_of,
    only_file,
    open_log,
    replay_of,
    write_group,
    write_groups,
)

HEADER, RECORD = 40, 32  # bytes before the first record, and before a record's body
GROUPS = [[b"a" * 5], [b"bb", b"b" * 16, b""], [b"c" * 9, b"cc"], [b"d" * 8, b"ddd"]]


@pytest.fixture(autouse=True)
def _little_is_reserved(monkeypatch):
    monkeypatch.setattr(limits, "WAL_PREALLOCATE_BYTES", 64)


def make(groups: list[list[bytes]] = GROUPS) -> tuple[MemoryDisk, Replayed, list[int]]:
    """A log, what it must say, and where each record begins (with the end of the last)."""
    disk = MemoryDisk()
    written = write_groups(disk, groups)
    starts = [HEADER]
    for _, _, body in written:
        starts.append(starts[-1] + RECORD + len(body) + -len(body) % 8)
    return disk, written, starts


def outcome(disk: MemoryDisk) -> tuple[Replayed, int | None] | errors.RedDBError:
    """What an opening gives: the records and the torn place, or the error."""
    try:
        log, replayed = open_log(disk)
    except errors.RedDBError as error:
        return error
    log.close()
    return replayed, None if log.torn_tail is None else log.torn_tail.offset


def test_the_log_cut_at_every_byte_of_its_last_group():
    disk, written, starts = make()
    before_last = sum(map(len, GROUPS[:-1]))
    for cut in range(starts[before_last], starts[-1] + 1):
        # A record whose padding alone is missing is not whole either: the next one could not follow it.
        whole = sum(end <= cut for end in starts[1:])
        copy = copy_of(disk, cut=cut)
        log, replayed = open_log(copy)
        assert replayed == written[:whole], cut
        if cut > starts[whole]:
            assert log.torn_tail is not None, cut
            assert (log.torn_tail.path, log.torn_tail.offset) == (only_file(copy), starts[whole])
            assert 0 < log.torn_tail.bytes_cut <= cut - starts[whole]
        else:
            assert log.torn_tail is None
        assert log.next_lsn == whole + 1
        write_group(log, [b"after"])
        log.close()
        assert replay_of(copy) == [*written[:whole], (whole + 1, 1, b"after")]


def test_every_bit_of_the_log_flipped():
    disk, written, starts = make()
    last_group = sum(map(len, GROUPS[:-1]))
    padding = {
        place
        for start, end, (_, _, body) in zip(starts[:-1], starts[1:], written, strict=True)
        for place in range(start + RECORD + len(body), end)
    }
    for place in range(len(disk.content(only_file(disk)))):
        for bit in range(8):
            found = outcome(copy_of(disk, {place: 1 << bit}))
            where = f"byte {place} bit {bit}: {found}"
            if place < HEADER:
                assert isinstance(found, errors.RedDBError), where
                assert found.code is (errors.UNSUPPORTED_FORMAT if 8 <= place < 12 else errors.CORRUPT_DATA), where
            elif place in padding:
                # Bytes between a body and the next record: no checksum covers them, and nobody reads them.
                assert found == (written, None), where
            elif place < starts[last_group]:
                assert isinstance(found, errors.RedDBError), where
                assert found.code is errors.CORRUPT_DATA, where
                record = max(number for number, start in enumerate(starts) if start <= place)
                assert found.detail["offset"] == starts[record], where
            elif place < starts[-1]:
                record = max(number for number, start in enumerate(starts) if start <= place)
                assert found == (written[:record], starts[record]), where
            else:
                # Reserved space: something other than zeros looks like a group that was being written.
                assert found == (written, starts[-1]), where


@pytest.mark.parametrize("last", [b"", b"\0", b"\0" * 24, b"x" + b"\0" * 40], ids=repr)
def test_damage_is_proven_by_a_later_record_that_ends_in_zeros(last):
    disk, _, starts = make([[b"first"], [last]])
    found = outcome(copy_of(disk, {starts[0] + RECORD: 1}))
    assert isinstance(found, errors.RedDBError)
    assert found.code is errors.CORRUPT_DATA


def test_a_torn_group_of_many_records_may_keep_later_ones():
    """The device writes sectors in any order: a later record of an unsynced group proves nothing."""
    groups = [[b"kept"], [b"x" * 8, b"y" * 8, b"z" * 8]]
    disk, written, starts = make(groups)
    for damaged in (1, 2, 3):
        found = outcome(copy_of(disk, {starts[damaged] + RECORD: 0xFF}))
        assert found == (written[:damaged], starts[damaged])


def test_damage_in_a_group_that_a_later_one_calls_durable_is_corruption():
    groups = [[b"kept"], [b"x" * 8, b"y" * 8, b"z" * 8], [b"later"]]
    disk, _, starts = make(groups)
    for damaged, proof in ((0, 1), (1, 4), (2, 4), (3, 4)):
        found = outcome(copy_of(disk, {starts[damaged] + RECORD: 0xFF}))
        assert isinstance(found, errors.RedDBError)
        assert f"LSN {damaged + 1}" in found.message
        assert f"byte {starts[proof]} was written after its sync" in found.message


def test_a_record_of_another_file_is_no_record_here():
    """Same place, same LSN, right checksum for its own file: the salt alone tells them apart."""
    disk, written, starts = make([[b"mine"], [b"second"]])
    other = MemoryDisk()
    log, _ = open_log(other, salt=1)
    write_group(log, [b"mine"])
    write_group(log, [b"SECOND"])
    log.close()
    stolen = bytes(other.content(only_file(other)))[starts[1] : starts[2]]
    copy = copy_of(disk)
    copy.content(only_file(copy))[starts[1] : starts[2]] = stolen
    assert outcome(copy) == (written[:1], starts[1])


def test_a_record_twice_is_no_second_record():
    disk, written, starts = make([[b"12345678"]])
    copy = copy_of(disk)
    content = copy.content(only_file(copy))
    content[starts[1] : starts[1] + 40] = content[starts[0] : starts[1]]
    assert outcome(copy) == (written, starts[1])


def test_a_torn_tail_is_reported_once_and_then_gone():
    disk, written, starts = make()
    copy = copy_of(disk, cut=starts[-1] - 3)
    first, second = outcome(copy), outcome(copy)
    assert first == (written[:-1], starts[-2])
    assert second == (written[:-1], None)


@pytest.mark.parametrize("size", [0, 1, 39, 40, 200])
@pytest.mark.parametrize("is_later", [False, True])
def test_a_file_without_a_whole_header_is_corruption(monkeypatch, size, is_later):
    """It got its name when its header was on the device; what else it held is lost."""
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 41)
    disk = MemoryDisk()
    if is_later:
        write_groups(disk, [[b"one"], [b"two"]])
    header = b"RedDBWAL\x01\0\0\0" + b"a header that was not synced"
    assert len(header) == HEADER
    path = FOLDER / f"{3 if is_later else 1:020d}.wal"
    disk.put(path, header[:size].ljust(size, b"\0"))
    for _ in range(2):
        with pytest.raises(errors.RedDBError, match=r"not a write-ahead log|header is damaged") as caught:
            open_log(disk)
        assert (caught.value.code, caught.value.detail["path"]) == (errors.CORRUPT_DATA, str(path))


def test_a_file_that_was_not_begun_to_its_end_is_removed(tmp_path):
    """The machine stopped before it had its name."""
    disk = OsDisk()
    log, _ = open_log(disk, folder=tmp_path)
    write_group(log, [b"one"])
    log.close()
    (tmp_path / f"{2:020d}.wal.tmp").write_bytes(b"RedDBWAL")
    log, replayed = open_log(disk, folder=tmp_path)
    log.close()
    assert replayed == [(1, 1, b"one")]
    assert [path.name for path in tmp_path.iterdir()] == [f"{1:020d}.wal"]


def test_a_header_damaged_over_records_is_corruption():
    disk, _, _ = make([[b"x"]])
    found = outcome(copy_of(disk, {20: 1}))
    assert isinstance(found, errors.RedDBError)
    assert "header is damaged" in found.message


def cut_power(seed: int, groups: list[list[bytes]], last: list[bytes]) -> tuple[MemoryDisk, Replayed]:
    """Write groups, then lose power while `last` is on its way; the disk after it, and what was acknowledged."""
    disk = MemoryDisk()
    written = write_groups(disk, groups)
    log, _ = open_log(disk)
    log.append([(1, [body]) for body in last])
    return disk.power_loss(Random(seed)), written


def test_power_lost_in_the_middle_of_a_group_loses_nothing_that_was_synced():
    kept = set()
    last = [b"x" * 300, b"y" * 700, b"z" * 900]
    for seed in range(200):
        disk, written = cut_power(seed, [[b"a" * 100], [b"b" * SECTOR, b"c"]], last)
        replayed = replay_of(disk)
        assert replayed[: len(written)] == written
        more = [body for _, _, body in replayed[len(written) :]]
        assert more == last[: len(more)]
        kept.add(len(more))
        assert replay_of(disk) == replayed
    assert kept == {0, 1, 2, 3}  # or the sectors were never mixed


def test_power_lost_while_a_file_is_begun_loses_nothing_that_was_synced(monkeypatch):
    monkeypatch.setattr(limits, "WAL_SEGMENT_BYTES", 300)
    for seed in range(100):
        disk, written = cut_power(seed, [[b"a" * 200], [b"b" * 200]], [b"c" * 1000])
        replayed = replay_of(disk)
        assert replayed[:2] == written
        assert replayed[2:] in ([], [(3, 1, b"c" * 1000)])
        assert write_groups(disk, [[b"d"]]) == replay_of(disk)


def test_what_was_replayed_survives_the_next_power_cut():
    """A killed process leaves its last group in the page cache only: what `open` shows, it must sync first."""
    for seed in range(50):
        disk = MemoryDisk()
        log, _ = open_log(disk)
        log.append([(1, [b"x" * 2000])])  # killed before the sync
        replayed = replay_of(disk)
        assert replayed == [(1, 1, b"x" * 2000)]
        assert replay_of(disk.power_loss(Random(seed))) == replayed
