"""A short crash sweep, and proof that the sweep would notice: disks that lie, and a ledger that is contradicted.

The long form is `python -m tests.crash.sweep` (`make crash`).
"""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from tests.crash.oracle import Ledger, Violation
from tests.crash.sweep import Sweep
from tests.crash.sweep_chain import Chain
from tests.crash.sweep_control import ANY_CELL, Control, Lie, Moment, Plan, Victim, compile_shim
from tests.crash.sweep_load import Operation, creation
from tests.server.harness import children, is_alive, wait_for

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc) for the shim")

CHAINS, POINTS = 2, 30
EVERYONE_NEXT = Plan(ANY_CELL, 1, Moment.BEFORE, Victim.SERVER)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    # Most crashes kill one process alone: a restart of the whole server takes three times as long.
    sweep = Sweep(tmp_path_factory.mktemp("sweep"), seed=1, crashes=POINTS, lone_share=0.9)
    sweep.measure()
    return sweep


@needs_compiler
@pytest.mark.parametrize("number", range(CHAINS))
def test_a_server_killed_at_any_call_keeps_what_it_acknowledged(sweep, number):
    before = sweep.tally.points
    for _ in sweep.run(before + POINTS, only=number):
        pass
    assert sweep.tally.points == before + POINTS
    assert len(sweep.tally.cells) >= 10, sweep.tally.table()
    assert {"by a core", "by a builder"} <= sweep.tally.others.keys()


@pytest.fixture
def chain(tmp_path):
    control = Control(compile_shim(tmp_path), tmp_path / "control")
    folder = tmp_path / "chain"
    folder.mkdir()
    chain = Chain(folder, control, "lies")
    yield chain
    chain.close()


VECTOR, PAYLOAD = np.ones((1, 8), np.float32), {"who": -1, "n": 0, "tag": ""}
SEAL = Operation("seal", lambda db: db.execute("ALTER COLLECTION plain SEAL"), {})
CREATE = creation("made", "vector", 2, "l2", "ef = 32, ef_construction = 16, m = 4")


def insert(row_id: int) -> Operation:
    changes = {("row", "plain", row_id): (VECTOR.tobytes(), PAYLOAD)}
    return Operation("insert", lambda db: db.insert("plain", [row_id], VECTOR, [PAYLOAD]), changes, 1)


@needs_compiler
@pytest.mark.parametrize(
    ("lie", "operations", "honest", "noticed"),
    [
        (Lie.TORN_LOG, [insert(1)], [], "lost: 1 "),  # what looks torn was never acknowledged
        (Lie.TORN_LOG, [insert(1)], [insert(2)], "CORRUPT_DATA"),  # but the record behind it says that it was
        (Lie.NO_RENAME, [insert(1), SEAL], [], "a file is missing"),  # the log that the old manifest needs
        (Lie.NO_CATALOG, [CREATE], [], "lost: 4 "),
    ],
    ids=["torn", "torn and more", "manifest", "catalog"],
)
def test_a_disk_that_lies_is_noticed(chain, lie, operations, honest, noticed):
    chain.control.arm(None)
    chain.compare()
    chain.control.lie(lie)
    for operation in operations:
        chain.do(operation)
    assert chain.control.lies
    chain.control.lie(Lie.HONEST)
    for operation in honest:
        chain.do(operation)
    chain.crash(EVERYONE_NEXT)
    with pytest.raises(Violation, match=noticed):
        chain.compare()


@needs_compiler
def test_every_process_is_in_the_group_that_is_killed(chain):
    chain.control.arm(None)
    chain.compare()
    chain.do(insert(1))
    chain.do(SEAL)
    cores = children(chain.server.pid)
    builders = {pid for core in cores for pid in children(core)}
    assert len(cores) == 2
    assert len(builders) == 1
    processes = {chain.server.pid, *cores, *builders}
    assert {os.getpgid(pid) for pid in processes} == {chain.server.pid}
    chain.crash(EVERYONE_NEXT)
    wait_for(lambda: not any(map(is_alive, processes)), "the end of all of them")


ROW, OTHER = ("row", "c", 1), ("row", "c", 2)


def test_a_ledger_tells_what_differs():
    ledger = Ledger()
    ledger.acknowledge({ROW: "a"})
    assert ledger.judge({ROW: "a"}) == []
    assert ledger.judge({}) == ["lost: 1 (('row', 'c', 1))"]
    assert ledger.judge({ROW: "b"}) == ["other than acknowledged: 1 (('row', 'c', 1))"]
    assert ledger.judge({ROW: "a", OTHER: "b"}) == ["there again, or never written: 1 (('row', 'c', 2))"]
    ledger.acknowledge({ROW: None})
    assert ledger.judge({ROW: "a"}) == ["there again, or never written: 1 (('row', 'c', 1))"]


@pytest.mark.parametrize("happened", [False, True])
def test_what_is_open_happens_whole_or_not_at_all_and_stays_so(happened):
    before, after = {ROW: "a"}, {OTHER: "b"}
    ledger = Ledger()
    ledger.acknowledge(before)
    ledger.leave_open({ROW: None, OTHER: "b"})
    assert ledger.judge(after if happened else before) == []
    assert ledger.judge(after if happened else before) == []
    assert ledger.judge(before if happened else after)


def test_half_of_what_is_open_is_told():
    ledger = Ledger()
    ledger.acknowledge({ROW: "a"})
    ledger.leave_open({ROW: None, OTHER: "b"})
    (half, *_) = ledger.judge({ROW: "a", OTHER: "b"})
    assert half.startswith("happened by half")
