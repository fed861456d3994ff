"""The accountant: pools that refuse before they are full, charges that cannot leak, and a random model of both."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest

from reddb import errors, limits
from reddb.accountant import POOLS, Accountant, Charge, Pool, PoolKind, core_limit, held_bytes
from reddb.byte_cache import ByteCache
from reddb.partition.filters import FilterCache, Mask, ReaderFilters
from reddb.query.operands import Column
from reddb.query.predicate import Predicate
from reddb.session import SessionState, Statements
from reddb.wire.messages import Prepare, Query

LARGE = limits.SMALL_FRAME_BYTES + 1
SMALL = limits.STATEMENT_CACHE_BYTES + 16 * limits.MIB  # a sixteenth is 1 MiB


def test_a_pool_refuses_what_has_no_room_and_counts_nothing_of_it():
    pool = Accountant(SMALL)["filters"]  # 1 MiB
    pool.take(600 * limits.KIB)
    with pytest.raises(errors.RedDBError) as caught:
        pool.take(500 * limits.KIB)
    assert (caught.value.code, caught.value.retryable) == (errors.BUSY, True)
    assert (pool.used, pool.peak) == (600 * limits.KIB, 600 * limits.KIB)
    pool.give_back(600 * limits.KIB)
    assert (pool.used, pool.peak) == (0, 600 * limits.KIB)


def test_what_would_never_fit_is_too_large_and_is_not_to_be_tried_again():
    pool = Accountant(SMALL)["filters"]
    with pytest.raises(errors.RedDBError) as caught:
        pool.take(limits.MIB)
    assert (caught.value.code, caught.value.retryable) == (errors.TOO_LARGE, False)
    assert caught.value.detail["pool"] == "filters"


def test_the_last_of_a_pool_is_for_what_is_small():
    pool = Accountant(SMALL)["filters"]
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
    pool = Accountant(SMALL)["filters"]
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
    accountant = Accountant(SMALL)
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
        for other in map(accountant.__getitem__, POOLS):
            assert other.used == sum(charge.size for kind, charge in held if kind == other.kind.name)
            assert other.used <= other.limit
            assert other.peak >= other.used
    assert refused > 10
    for _, charge in held:
        charge.release()
    assert not any(accountant[name].used for name in POOLS)


def test_the_pools_of_all_cores_are_a_part_of_the_machine():
    for cores in (1, 2, 64):
        for machine in (limits.GIB, 24 * limits.GIB, 1024 * limits.GIB):
            accountants = [Accountant(core_limit(machine, cores)) for _ in range(cores)]
            total = sum(pool.limit for accountant in accountants for pool in accountant)
            floor = cores * limits.CORE_BUFFER_BYTES_MIN
            assert total <= max(floor, machine // limits.MACHINE_BUFFER_PART)
            assert total <= cores * limits.CORE_BUFFER_BYTES_MAX


def test_a_cache_keeps_what_was_used_last_within_its_bytes():
    pool = Pool(PoolKind("cache", 0, ""), 1_000)
    cache = ByteCache(pool)
    for number in range(10):
        cache.put(number, str(number), 100)
    assert cache.get(0) == "0"
    cache.put(10, "10", 100)
    assert (cache.get(1), cache.get(0), cache.get(10), pool.used) == (None, "0", "10", 1_000)
    cache.put(11, "too large", 1_001)
    assert (cache.get(11), pool.used) == (None, 1_000)


def test_what_things_hold_is_counted_about_as_the_interpreter_does():
    makers = [
        lambda: [f"{number:>40}" for number in range(10_000)],
        lambda: tuple(number + 10**9 for number in range(60_000)),
        lambda: {f"k{number}": [number + 10**9, float(number)] for number in range(2_000)},
    ]
    for make in makers:
        tracemalloc.start()
        try:
            made = make()
            taken = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert 0.7 * taken < held_bytes(made) < 2.5 * taken


def test_predicates_are_counted_once_with_all_their_masks_and_given_back_with_the_last():
    pool = Accountant(32 * limits.MIB)["filters"]
    cache = FilterCache(pool)
    reader, other = ReaderFilters(cache), ReaderFilters(cache)
    predicate = Predicate(Column("n"), frozenset({"x" * 100_000}))
    for block in range(3):
        reader.put(7, block, predicate, Mask(np.ones(1_000, np.bool_), 1_000))
    assert 100_000 < pool.used < 110_000
    assert other.get(7, 0, predicate) is None
    assert reader.get(7, 0, predicate) is not None
    other.forget()
    assert reader.get(7, 0, predicate) is not None
    reader.forget()
    assert pool.used == 0


def test_filters_never_exceed_their_pool():
    pool = Accountant(32 * limits.MIB)["filters"]
    filters = ReaderFilters(FilterCache(pool))
    for number in range(50):
        predicate = Predicate(Column("n"), frozenset({f"{number:>100000}"}))
        filters.put(7, -1, predicate, Mask(np.ones(1_000, np.bool_), 1_000))
        assert filters.get(7, -1, predicate) is not None
        assert pool.used <= pool.limit


def test_a_prepared_statement_is_counted_once_for_all_sessions_that_have_it():
    pool = Accountant(32 * limits.MIB)["statements"]
    statements = Statements(pool)
    sessions = [SessionState(statements) for _ in range(20)]
    prepared = [session.prepare(Prepare("SELECT id FROM docs WHERE n = $1")) for session in sessions]
    assert len({item.statement for item in prepared}) == 1
    one = pool.used - 20 * limits.PREPARED_ENTRY_BYTES
    assert 0 < one < 16 * limits.KIB
    for session in sessions:
        session.close()
    assert pool.used == 0


def test_what_was_prepared_longest_ago_goes_where_there_is_no_room():
    pool = Accountant(32 * limits.MIB)["statements"]
    session = SessionState(Statements(pool))
    for number in range(200):
        session.prepare(Prepare(f"SELECT id FROM docs WHERE t = '{number:>20000}'"))
        assert pool.used <= pool.limit
    for number in range(200):
        name = f"PREPARE p{number} AS SELECT id FROM docs WHERE t = '{-number:>20000}'"
        try:
            session.plan(Query(name, []), {})
        except errors.RedDBError as error:
            refused = error
            break
    assert refused.code is errors.BUSY
    session.close()
    assert pool.used == 0
