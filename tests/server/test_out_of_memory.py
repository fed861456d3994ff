"""Memory that is not there: rows are refused, nothing is half stored, nobody is killed, and it comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import reddb
from reddb import limits
from reddb.headroom import Group
from tests.server.harness import Server, children, client_on, until_done
from tests.server.memory_groups import command_in, memory_group

DIM = 1024
BATCH = 1000  # 4 MiB
LIMIT = 400 * limits.MIB


def rows(batch: int) -> tuple[list[int], np.ndarray]:
    vectors = np.zeros((BATCH, DIM), np.float32)
    vectors[:, 0] = np.arange(batch * BATCH, (batch + 1) * BATCH)
    return vectors[:, 0].astype(int).tolist(), vectors


def fill(db: reddb.Client) -> int:
    """Insert until memory is short; how many batches are stored."""
    for batch in range(LIMIT // (4 * limits.MIB)):
        try:
            db.insert("c", *rows(batch))
        except reddb.RedDBError as error:
            if error.code is not reddb.errors.OUT_OF_MEMORY:
                raise
            return batch
    pytest.fail("all of the limit's memory was taken for rows")


def assert_right(db: reddb.Client, batches: int) -> None:
    assert db.execute("SELECT count(*) FROM c")[0][0] == batches * BATCH
    for number in (0, batches * BATCH - 1):
        assert db.search("c", [number] + [0.0] * (DIM - 1), k=1).ids == [number]


@pytest.fixture
def group() -> Iterator[Group]:
    with memory_group(LIMIT) as group:
        yield group


def test_rows_beyond_the_limit_are_refused(group: Group, tmp_path: Path) -> None:
    server = Server(tmp_path / "data", tmp_path, cores=1, command=command_in(group)).start()
    try:
        with reddb.connect(server.url, timeout_s=30) as db:
            db.execute(f"CREATE COLLECTION c KIND vector DIM {DIM} METRIC l2 WITH (seal_rows = 65536)")
            batches = fill(db)
            assert batches >= 3
            assert_right(db, batches)
            scores = [_oom_score(pid) for pid in (server.pid, *children(server.pid))]
            assert scores[0] < min(scores[1:]), "the supervisor would be the victim"
            # What grew is sealed, for memory is short: then there is room again.
            until_done(lambda: db.insert("c", *rows(batches)), 30)
            assert_right(db, batches + 1)
            assert db.delete("c", rows(0)[0]) == BATCH
            os.kill(server.core_pids()[0], signal.SIGKILL)
            assert until_done(lambda: db.execute("SELECT count(*) FROM c"), 30)[0][0] == batches * BATCH
            until_done(lambda: db.upsert("c", *rows(0)), 30)
            assert_right(db, batches + 1)
        server.stop()
        server.start()
        with reddb.connect(server.url, timeout_s=30) as db:
            until_done(lambda: assert_right(db, batches + 1), 30)
        assert group.kills == 0
        server.stop()
    finally:
        server.close()


def _oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score").read_text())


def test_a_core_that_is_killed_again_and_again_seals_and_then_only_reads(tmp_path: Path) -> None:
    with memory_group(2 * LIMIT) as group:
        server = Server(tmp_path / "data", tmp_path, cores=2, command=command_in(group)).start()
        try:
            with client_on(server, 0) as db:
                db.execute(f"CREATE COLLECTION c KIND vector DIM {DIM} METRIC l2")  # core 1 owns it
                db.insert("c", *rows(0))
                for batch in range(1, limits.MEMORY_DEATHS_MAX + 1):
                    _count_a_kill(group)
                    server.wait_core_restarted(1, server.kill_core(1))
                    if batch < limits.MEMORY_DEATHS_MAX:
                        until_done(lambda batch=batch: db.insert("c", *rows(batch)), 30)
                        _, _, _, _, count, growing, *_ = db.execute("SHOW STATS")[0]
                        assert (count, growing) == ((batch + 1) * BATCH, BATCH), "what had grown is sealed first"
                with pytest.raises(reddb.RedDBError) as caught:
                    until_done(lambda: db.insert("c", *rows(9)), 30)
                assert caught.value.name == "READ_ONLY"
                assert_right(db, limits.MEMORY_DEATHS_MAX)
            server.stop()
        finally:
            server.close()


def _count_a_kill(group: Group) -> None:
    """Let the kernel kill one process of the group for want of memory, as it would have killed a core."""
    before = group.kills
    grow = f"{sys.executable} -c 'bytearray({8 * LIMIT})'"
    script = f"echo $$ > {group.folder}/cgroup.procs; echo 1000 > /proc/self/oom_score_adj; exec {grow}"
    subprocess.run(["sh", "-c", script], check=False)
    assert group.kills != before
