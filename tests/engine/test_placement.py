"""Where rows belong: a part of the file format, so its values are written down here."""

from __future__ import annotations

import numpy as np
import pytest

from reddb import errors
from reddb.partition.operations import Operation
from reddb.partition.placement import partition_of, shares, stored_in_part
from reddb.rows import make_batch
from tests.engine.partitions import collection

INT_MIN, INT_MAX = -(2**63), 2**63 - 1

# SplitMix64 as its authors publish it: its first outputs from the seeds 0 and 1234567 (the latter from Rosetta Code).
FIRST_OUTPUTS = {0: 0xE220A8397B1DCDAF, 1234567: 6457827717110365317}


def test_an_integer_is_placed_by_splitmix64():
    for seed, output in FIRST_OUTPUTS.items():
        for partitions in (2, 3, 7, 64):
            assert partition_of(np.array([seed]), partitions).tolist() == [output % partitions]


def test_a_string_is_placed_by_its_crc32c():
    # 0xE3069283 is the check value that CRC-32C's definition gives for these nine digits.
    for partitions in (2, 5, 64):
        as_string = partition_of(["123456789"], partitions)
        assert as_string.tolist() == partition_of(np.array([0xE3069283]), partitions).tolist()


@pytest.mark.parametrize("partitions", [1, 2, 5, 64])
def test_an_id_has_one_place_whatever_it_comes_with(partitions):
    ids = [INT_MIN, -1, 0, 1, INT_MAX, 10**12]
    alone = partition_of(np.array(ids, np.int64), partitions).tolist()
    mixed = partition_of([*ids, "text", "ü"], partitions).tolist()
    assert mixed[: len(ids)] == alone
    assert all(0 <= place < partitions for place in mixed)


def test_counting_ids_are_spread_evenly():
    counts = np.bincount(partition_of(np.arange(64_000), 64), minlength=64)
    assert 880 < counts.min() <= counts.max() < 1120  # 1000 ± 4 standard deviations


def test_shares_hold_every_row_once_with_its_payload():
    ids = [*range(50), "a", "b", "c"]
    vectors = np.arange(len(ids) * 2, dtype=np.float32).reshape(-1, 2)
    batch = make_batch(ids, vectors, [{"n": number} if number % 3 else None for number in range(len(ids))])
    rows: list[int] = []
    for share in shares(collection(dim=2, partitions=4), Operation.INSERT, batch):
        assert partition_of(share.batch.ids, 4).tolist() == [share.partition] * len(share.batch)
        assert share.batch.id_list() == [ids[row] for row in share.rows]
        assert np.array_equal(share.batch.vectors, vectors[share.rows])
        assert share.batch.payloads.split() == [batch.payloads.split()[row] for row in share.rows]
        rows += share.rows.tolist()
    assert sorted(rows) == list(range(len(ids)))


def test_a_write_that_is_stored_in_part_says_so():
    error = errors.DISK_FULL.error("cannot write x", path="x")
    assert stored_in_part(error, []) is error
    told = stored_in_part(error, [0, 2])
    assert told.message == "cannot write x; the rows of partition 0, 2 were stored all the same"
    assert told.detail == {"path": "x", "hint": "upsert the whole batch again"}
