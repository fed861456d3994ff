"""`reddb check` as a process: its exit codes, what it says where, and a server before and after a repair."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

import reddb
from reddb.partition.placement import partition_of
from tests.server.conftest import NewServer
from tests.server.harness import REDDB, Server

ROWS = 500
PLACES = partition_of(np.arange(ROWS), 2)
VECTORS = np.random.default_rng(3).standard_normal((ROWS, 16), dtype=np.float32)


def check(*words: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([REDDB, "check", *map(str, words)], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def server(new_server: NewServer) -> Server:
    """A server that has rows in a segment and in the log of two partitions."""
    server = new_server().start()
    with reddb.connect(server.url) as db:
        db.execute("CREATE COLLECTION docs KIND vector.turbo DIM 16 METRIC l2 WITH (partitions = 2)")
        db.upsert("docs", ids=range(ROWS), vectors=VECTORS)
        db.execute("ALTER COLLECTION docs SEAL")
        db.delete("docs", [0])
    return server


def segment_of(server: Server, partition: int) -> Path:
    (segment,) = (server.data / "collections/1" / str(partition) / "segments").iterdir()
    return segment


def test_beside_a_server_it_does_not_look(server: Server) -> None:
    for words in ([server.data], [server.data, "--repair"]):
        done = check(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"in use by pid {server.pid}" in done.stderr
    server.stop()
    assert check(server.data).returncode == 0


def test_after_a_kill_the_folder_is_sound(server: Server) -> None:
    server.kill()
    done = check(server.data)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].endswith(f"1 collection, {ROWS - 1} rows")


def test_damage_is_found_and_repaired_and_a_server_serves_the_rest(server: Server) -> None:
    server.stop()
    segment = segment_of(server, 1)
    name = segment.relative_to(server.data)
    ids = bytearray((segment / "ids").read_bytes())
    ids[80] ^= 1
    (segment / "ids").write_bytes(ids)
    (segment_of(server, 0) / "codes.1.tv").unlink()
    done = check(server.data)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1].split(" of ")[0]) == (1, "damaged: 2")
    assert f"damaged {name}/ids: does not have the content that its checksum was made of" in lines
    done = check(server.data, "--repair")
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-2], lines[-1].split(":")[0]) == (0, "looked at again:", "sound")
    (lost,) = [line for line in lines if line.startswith(f"repair  {name}:")]
    assert f"up to {(PLACES == 1).sum()} rows are lost" in lost
    left = int((PLACES[1:] == 0).sum())
    assert lines[-1].endswith(f" {left} rows")
    server.start()
    with reddb.connect(server.url) as db:
        assert db.execute("SELECT count(*) FROM docs")[0] == (left,)
        (kept,) = db.execute("SELECT id FROM docs LIMIT 1")
        assert db.search("docs", VECTORS[kept[0]], k=1).ids == [kept[0]]
    server.stop()
    assert check(server.data).returncode == 0


def test_what_is_no_data_folder(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is no data folder" in done.stderr
    done = check(tmp_path / "missing", "--repair")
    assert (done.returncode, done.stdout) == (2, "")
    assert list(tmp_path.iterdir()) == []
