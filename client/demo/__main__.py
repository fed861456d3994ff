"""The demo: a real server, the bundled texts, a few real questions, and a restart that loses nothing.

    python -m reddb.client.demo [--data DIR]

Without --data it works in a folder of its own and removes it at the end.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

import reddb
from reddb.client.demo.sample import Sample, load
from reddb.client.tables import render_table

_QUESTIONS = 5
_BATCH_ROWS = 1000
_TEXT_CHARS = 90
_READY = re.compile(r"is ready: address (?P<address>[^,]+), cores (?P<cores>\d+)")


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Keep the rows in this folder.")
def main(data: Path | None) -> None:
    """Load the bundled sample into a server of its own and search it."""
    sample = load()
    with tempfile.TemporaryDirectory(prefix="reddb-demo-") as temporary:
        folder = data or Path(temporary)
        with _server(folder) as url, reddb.connect(url) as database:
            _load(database, sample)
            for text, vector in sample.queries[:_QUESTIONS]:
                _ask(database, text, vector)
            before = database.search("wordnet", sample.queries[0][1], k=10).ids
        _say("\nThe server has stopped; starting it again on the same folder.")
        with _server(folder) as url, reddb.connect(url) as database:
            ((count,),) = database.execute("SELECT count(*) FROM wordnet")
            after = database.search("wordnet", sample.queries[0][1], k=10).ids
            if count != len(sample.ids) or before != after:
                raise click.ClickException(f"after the restart there are {count} rows, and the answers differ")
            _say(f"All {count:,} rows are there, and the first question gives the same ten rows.")
    _say("Stopped cleanly. Your own server: make run, then in another terminal: .venv/bin/reddb shell")


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """A server on a free port, stopped in order at the end."""
    command = [sys.executable, "-m", "reddb.server.main", "serve", "--data", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = _READY.search(process.stdout.readline())
            if ready is None:
                process.kill()
                raise click.ClickException(f"the server did not start:\n{process.communicate()[1]}")
            _say(f"Server ready at {ready['address']} with {ready['cores']} cores.")
            yield f"red://{ready['address']}"
        finally:
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate()
    if process.returncode != 0:
        raise click.ClickException(f"the server ended with {process.returncode}:\n{log}")


def _load(database: reddb.Client, sample: Sample) -> None:
    statement = f"CREATE COLLECTION IF NOT EXISTS wordnet KIND vector.turbo DIM {sample.vectors.shape[1]} METRIC cosine"
    _say(statement)
    database.execute(statement)
    began = time.monotonic()
    for first in range(0, len(sample.ids), _BATCH_ROWS):
        part = slice(first, first + _BATCH_ROWS)
        database.upsert("wordnet", sample.ids[part], sample.vectors[part], sample.payloads[part])
    elapsed_s = time.monotonic() - began
    _say(f"{len(sample.ids):,} texts stored and searchable in {elapsed_s:.2f} s, each batch synced to disk.")


def _ask(database: reddb.Client, text: str, vector: object) -> None:
    rows = database.execute("SELECT id, distance, text FROM wordnet ORDER BY vector <=> $1 LIMIT 5", [vector])
    _say(f"\nQuery: {text}\n")
    _say(render_table(rows.columns, [(row_id, distance, _shortened(text)) for row_id, distance, text in rows]))


def _shortened(text: str) -> str:
    return text if len(text) <= _TEXT_CHARS else text[: _TEXT_CHARS - 1] + "…"


def _say(text: str) -> None:
    click.echo(text)


if __name__ == "__main__":
    main()
