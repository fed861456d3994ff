"""A client process that is interrupted while it waits: `python -m tests.server.interrupted_client URL COLLECTION`."""

from __future__ import annotations

import os
import sys

import reddb
from tests.server.long_queries import queries


def main() -> None:
    """Search for long; on Ctrl-C say what the connection is good for afterwards."""
    _, url, name = sys.argv
    with reddb.connect(url) as client, client.session() as db:
        db.execute("SET application_name = $1", [f"client {os.getpid()}"])
        db.execute("PREPARE kept AS SELECT count(*) FROM red WHERE id = 1")
        try:
            db.search(name, queries(), exact=True)
        except KeyboardInterrupt:
            ((value,),) = [row[1:2] for row in db.execute("SHOW application_name")]
            sys.stdout.write(f"interrupted, then {value}\n")


if __name__ == "__main__":
    main()
