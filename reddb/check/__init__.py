"""Looks at every file of a data folder without a server, and moves aside what is damaged.

check_folder    the folder: lock, VERSION, catalog, which folders belong to whom
partition       one partition: manifest, segments, indexes; opened as its owner would, its rows counted and compared
log             its write-ahead log: how far it can be read, and what lies behind damage
repair          what `--repair` does about each kind of damage
findings        a line for each file, and the verdict

Looking changes nothing: all of it goes through a disk that does not write (`read_only`).
"""

from __future__ import annotations

from reddb.check.command import DAMAGED, SOUND, run_check

__all__ = ["DAMAGED", "SOUND", "run_check"]
