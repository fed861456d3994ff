"""The accountant: pools that refuse before they are full, charges that cannot leak, and a random model of both."""

from __future__ import annotations

import random

import pytest

from reddb import errors, limits
from reddb.accountant import POOLS, Accountant, Charge, core_limit

LARGE = limits.SMALL_FRAME_BYTES + 1


def test_a_pool_refuses_what_has_no_room_and_counts_nothing_of_it():
    pool = Accountant(16 * 1024 * limits.KIB)["filters"]  # 1 MiB
    pool.take(600 * limits.KIB)
    with pytest.raises(errors.RedDBError) as caught:
        pool.take(500 * limits.KIB)
    assert (caught.value.code, caught.value.retryable) == (errors.BUSY, True)
    assert (pool.used, pool.peak) == (600 * limits.KIB, 600 * limits.KIB)
    pool.give_back(600 * limits.KIB)
    assert (pool.used, pool.peak) == (0, 600 * limits.KIB)


def test_what_would_never_fit_is_too_large_and_is_not_to_be_tried_again():
    pool = Accountant(16 * 1024 * limits.KIB)["filters"]
    with pytest.raises(errors.RedDBError) as caught:
        pool.take(limits.MIB)
    assert (caught.value.code, caught.value.retryable) == (errors.TOO_LARGE, False)
    assert caught.value.detail["pool"] == "filters"


def test_the_last_of_a_pool_is_for_what_is_small():
    pool = Accountant(16 * 1024 * limits.KIB)["filters"]
    pool.take(960 * limits.KIB)
    assert not pool.has_room(LARGE)
    with pytest.raises(errors.RedDBError, match="BUSY"):
        pool.take(LARGE)
    for _ in range(4):
        pool.take(limits.SMALL_FRAME_BYTES)
    assert pool.used == pool.limit
    with pytest.raises(errors.RedDBError, match="BUSY"):
        pool.take(1)


def test_a_charge_is_given_back_once_however_it_ends():
    pool = Accountant()["requests"]
    with Charge(pool, 100) as charge:
        charge.resize(300)
        assert pool.used == 300
        charge.resize(50)
        assert pool.used == 50
    charge.release()
    assert pool.used == 0
    charge = Charge(pool, 7)
    del charge
    assert pool.used == 0
    with pytest.raises(ZeroDivisionError), Charge(pool, 9):
        _ = 1 // 0
    assert pool.used == 0


def test_a_charge_that_cannot_grow_holds_what_it_held():
    pool = Accountant(16 * limits.MIB)["filters"]
    charge = Charge(pool, LARGE)
    with pytest.raises(errors.RedDBError, match="TOO_LARGE"):
        charge.resize(2 * pool.limit)
    assert (charge.size, pool.used) == (LARGE, LARGE)


def test_giving_back_what_was_not_taken_is_a_bug():
    with pytest.raises(AssertionError):
        Accountant()["requests"].give_back(1)


@pytest.mark.parametrize("seed", range(20))
def test_random_takers_never_exceed_a_pool_and_leave_nothing(seed):
    rng = random.Random(seed)
    accountant = Accountant(16 * limits.MIB)
    held: list[tuple[str, Charge]] = []
    refused = 0
    for _ in range(500):
        name = rng.choice(list(POOLS))
        pool, action = accountant[name], rng.random()
        size = rng.choice([rng.randrange(limits.SMALL_FRAME_BYTES), rng.randrange(2 * pool.limit)])
        try:
            if action < 0.6 or not held:
                held.append((name, Charge(pool, size)))
            elif action < 0.8:
                name, charge = rng.choice(held)
                pool, before, before_size = accountant[name], accountant[name].used, charge.size
                charge.resize(size)
                assert pool.used == before - before_size + size
            else:
                held.pop(rng.randrange(len(held)))[1].release()
        except errors.RedDBError:
            refused += 1
        for other in accountant:
            assert other.used == sum(charge.size for kind, charge in held if kind == other.kind.name)
            assert other.used <= other.limit
            assert other.peak >= other.used
    assert refused > 10
    for _, charge in held:
        charge.release()
    assert accountant.used == 0


def test_the_pools_of_all_cores_are_a_part_of_the_machine():
    for cores in (1, 2, 64):
        for machine in (limits.GIB, 24 * limits.GIB, 1024 * limits.GIB):
            accountants = [Accountant(core_limit(machine, cores)) for _ in range(cores)]
            total = sum(pool.limit for accountant in accountants for pool in accountant)
            floor = cores * limits.CORE_BUFFER_BYTES_MIN
            assert total <= max(floor, machine // limits.MACHINE_BUFFER_PART)
            assert total <= cores * limits.CORE_BUFFER_BYTES_MAX
