"""What a core's death takes: memory and time until writes go on, and the memory that a builder takes for payloads.

    python -m tests.attack.deaths [rows]      64,000 growing rows x 384 unless said otherwise: 100 MiB

Memory of the server is the proportional share of all its processes, so that what they share counts once.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import click
import numpy as np

from tests.server.harness import Server, children, client_on, until_done

DIM, BATCH, OWNER, OTHER = 384, 2000, 1, 0

PAYLOADS = {
    "all keys differ": "{f'key-{row}-{n}': n for n in range(256)} for row in range(5000)",
    "256 keys": "{f'k{n}': row & 127 for n in range(256)} for row in range(65536)",
    "nested deep": "nested(row) for row in range(60000)",
    "long texts": "{'t': f'{row} ' + 'lorem ipsum ' * 160} for row in range(20000)",
    "few keys": "{'n': row, 'word': ('de', 'en')[row & 1], 'title': f'title {row}'} for row in range(600000)",
}
_BUILD = """
from pathlib import Path
from time import process_time
from reddb.fields import pack_payload
from reddb.storage.payload_columns import PayloadColumns

def nested(row):
    payload = {}
    for depth in range(15):
        payload = {f"d{depth}": payload, "n": row}
    return payload

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024

PayloadColumns.from_payloads([pack_payload({"a": 1, "b": "c"})]).to_bytes()
payloads = [pack_payload(payload) for payload in (%s)]
size, before = sum(map(len, payloads)), int(Path("/proc/self/statm").read_text().split()[1]) * 4096
Path("/proc/self/clear_refs").write_text("5")
began = process_time()
PayloadColumns.from_payloads(payloads).to_bytes()
took_s = process_time() - began
print(f"{size / 2**20:.0f} MiB: {(peak() - before) / size:.1f} times as much, {took_s / size * 2**20:.2f} s a MiB")
"""


def main() -> None:
    """Print a line for each figure."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 64_000
    with tempfile.TemporaryDirectory(prefix="reddb-deaths-") as folder:
        _death(Path(folder), rows)
    for name, made in PAYLOADS.items():
        environment = {"ARROW_DEFAULT_MEMORY_POOL": "system"}  # as in a builder
        told = subprocess.run(
            [sys.executable, "-c", _BUILD % made], env=environment, check=True, stdout=subprocess.PIPE
        )
        click.echo(f"columns of payloads, {name}: {told.stdout.decode().strip()}")


def _death(folder: Path, rows: int) -> None:
    server = Server(folder / "data", folder, cores=2).start()
    try:
        with client_on(server, OTHER) as db:
            db.execute(f"CREATE COLLECTION c KIND vector.turbo DIM {DIM} METRIC l2 WITH (seal_rows = 65536)")
            vectors = np.random.default_rng(0).standard_normal((BATCH, DIM)).astype(np.float32)
            for first in range(0, rows, BATCH):
                ids = list(range(first, first + BATCH))
                db.insert("c", ids, vectors + first, [{"n": row_id} for row_id in ids])
            before = _pss_mib(server)
            began = time.monotonic()
            server.kill_core(OWNER)
            writing = threading.Thread(target=lambda: until_done(lambda: db.upsert("c", [-1], vectors[:1]), 120))
            writing.start()
            peak = 0.0
            while writing.is_alive():
                peak = max(peak, _pss_mib(server))
                writing.join(0.05)
            took_s = time.monotonic() - began
            (count,) = db.execute("SELECT count(*) FROM c")[0]
        adopted = server.stderr().count('"adopted": true')
        click.echo(
            f"death of the owner of {rows:,} growing rows x {DIM}: {before:.0f} MiB before, {peak:.0f} at most "
            f"({peak / before:.2f} times); writes after {took_s:.1f} s; adopted {adopted}, lost {rows + 1 - count}",
        )
        server.stop()
    finally:
        server.close()


def _pss_mib(server: Server) -> float:
    total = 0
    waiting = [server.pid]
    while waiting:
        pid = waiting.pop()
        waiting += children(pid)
        with suppress(OSError):  # it ended
            total += int(Path(f"/proc/{pid}/smaps_rollup").read_text().partition("\nPss:")[2].split()[0])
    return total / 1024


if __name__ == "__main__":
    main()
