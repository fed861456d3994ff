"""A partition whose log is damaged in the middle: it is refused and says why, the rest serves, and a repair is told."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

import reddb
from tests.server.conftest import NewServer
from tests.server.harness import REDDB

DIM = 4
VECTORS = np.random.default_rng(3).normal(size=(100, DIM)).astype(np.float32)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(REDDB), *words], capture_output=True, text=True, timeout=60, check=False)


def test_damage_in_the_middle_of_a_log(new_server: NewServer):
    server = new_server(cores=2).start()
    with reddb.connect(server.url) as db:
        for name in ('"bad one"', "good"):
            db.execute(f"CREATE COLLECTION {name} KIND vector DIM {DIM}")
        for first in range(0, 100, 10):
            for name in ("bad one", "good"):
                db.insert(name, np.arange(first, first + 10), VECTORS[first : first + 10])
    assert run("health", "--ready", server.url).stdout == "ready\n"
    server.stop()
    (log,) = (server.data / "collections" / "1").rglob("*.wal")
    content = bytearray(log.read_bytes())
    place = content.index(VECTORS[45].tobytes())  # in the fifth of ten records
    content[place] ^= 1
    log.write_bytes(content)

    server.start()
    with reddb.connect(server.url) as db, reddb.connect(server.url) as other:
        for each in (db, other):
            for ask in (
                lambda each=each: each.execute('SELECT count(*) FROM "bad one"'),
                lambda each=each: each.search("bad one", VECTORS[0]),
                lambda each=each: each.insert("bad one", [1000], VECTORS[:1]),
            ):
                with pytest.raises(reddb.RedDBError, match=rf"CORRUPT_DATA.*{log.name}.*LSN 5") as caught:
                    ask()
                assert not caught.value.retryable
            assert each.execute("SELECT count(*) FROM good")[0][0] == 100
            (stats,) = each.execute('SHOW STATS FOR "bad one"')
            assert stats[2].startswith("refused: CORRUPT_DATA")
        assert db.insert("good", [1000], VECTORS[:1]) == 1
    assert run("health", server.url).stdout == "ok\n"
    ready = run("health", "--ready", server.url)
    assert ready.returncode == 1
    assert ready.stderr.startswith("bad one, partition 0: refused: CORRUPT_DATA")
    server.stop()
    assert log.read_bytes() == content

    checked = run("check", str(server.data))
    assert checked.returncode == 1
    repaired = run("check", "--repair", str(server.data))
    assert "lost are LSN 5 and, behind it, 5 whole records, LSN 6 to 10, 50 rows written" in repaired.stdout
    assert run("check", str(server.data)).returncode == 0
    assert bytes(content) in [file.read_bytes() for file in (server.data / "damaged").rglob("*.wal")]
    server.start()
    with reddb.connect(server.url) as db:
        assert db.execute('SELECT count(*) FROM "bad one"')[0][0] == 40
        assert db.execute("SELECT count(*) FROM good")[0][0] == 101
    assert run("health", "--ready", server.url).stdout == "ready\n"
    server.stop()
