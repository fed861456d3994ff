"""Copies of a data folder that are made while a server writes to it, and data folders made of them.

backup          the copy: which files, in which order, and what is done again where they changed meanwhile
partition       one partition of it: the files that one manifest names, and the log behind them
log             a log that somebody is writing to, read up to its last whole record
catalog         the catalog, through SQLite
description     `BACKUP`, the file that says what the others must be
files           copying and linking
new_folder      a folder that is there whole or not at all
restore         a data folder made of a backup
restore_point   the log of it, made longer from an archive, or cut at an LSN or a time
archive         the files of the log that a server needs no more

A backup is a data folder with the file `BACKUP`; none of this needs a statement, a server or a network.
"""

from __future__ import annotations
