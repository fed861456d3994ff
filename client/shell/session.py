"""What the shell knows between two statements, and how it runs one.

Invariant: a statement is sent at most once, whatever becomes of the connection.
"""

from __future__ import annotations

import re
import time
from contextlib import nullcontext

from reddb import errors
from reddb.client.arguments import Parameters
from reddb.client.rows import Result
from reddb.client.shell.complaint import Cancelled
from reddb.client.shell.connection import Connection
from reddb.client.shell.formats import FOR_A_PERSON
from reddb.client.shell.names import Names
from reddb.client.shell.output import Output
from reddb.client.shell.script import Lines
from reddb.client.shell.waiting import waiting

# SEAL, COMPACT, REBUILD and CHECKPOINT, in all their spellings: builders do it, whether anybody waits or not.
_WORK = re.compile(r"ALTER\s.*\b(?:SEAL|COMPACT|REBUILD|CHECKPOINT)\b|VACUUM\b|FLUSH\b", re.IGNORECASE | re.DOTALL)
_BEGIN = re.compile(r"BEGIN\b", re.IGNORECASE)
UNFINISHED = "the transaction was rolled back, for nothing said COMMIT"


class Session:
    """A conversation with one database after another."""

    def __init__(self, connection: Connection, output: Output, form: str) -> None:
        self.connection = connection
        self.output = output
        self.form = form
        self.timing = True
        self.names = Names(connection)
        self.last_statement = ""
        self.last_result: Result | None = None
        self.draft = ""  # what the next prompt begins with
        self.following: Lines | None = None  # lines behind the command that runs, where data may stand among commands
        self.depth = 0  # of files that include each other
        self._has_begun = False  # a transaction, whatever became of it
        self._tell_of_new()

    @property
    def is_interactive(self) -> bool:
        return self.output.is_interactive

    def run(self, statement: str) -> None:
        """Run a statement and show what came. Raises RedDBError, and Complaint where the result cannot be shown."""
        self.last_statement = statement
        began = time.monotonic()
        result = self.ask(statement)
        elapsed_ms = (time.monotonic() - began) * 1000
        if result.columns:
            self.last_result = result
            self.output.show(result, self.form)
        elif result.affected is None:  # a definition: names may have come or gone
            self.names.forget()
        for notice in result.notices:
            self.output.say(f"notice: {notice}")
        self._tell(result, elapsed_ms)

    def roll_back(self) -> bool:
        """End a transaction that nobody committed; False where none is open."""
        if not self._has_begun or not self.connection.is_open():
            return False
        try:
            self.connection.client.execute("ROLLBACK")
        except errors.RedDBError:  # there is none, or it went with the connection
            return False
        return True

    def ask(self, statement: str, params: Parameters = ()) -> Result:
        """The result of a statement; Ctrl-C cancels it, or the wait for what goes on by itself."""
        is_work = _WORK.match(statement) is not None
        self._has_begun |= _BEGIN.match(statement) is not None
        means = "stops waiting, the work goes on" if is_work else "cancels"
        sign = waiting(f"Ctrl-C {means}") if self.is_interactive else nullcontext()
        try:
            self._open_again()
            with sign, self.connection.undisturbed(self.output.say):
                return self.connection.client.execute(statement, params)
        except KeyboardInterrupt as error:
            if not self.is_interactive:  # nobody is there who would go on after it
                raise
            lost = "" if self.connection.is_open() else "; the connection was closed, the next statement opens another"
            if is_work:
                raise Cancelled(f"no longer waiting{lost}", "the work goes on; SHOW SEGMENTS tells") from error
            raise Cancelled(f"cancelled{lost}", "a write may have been done; a SELECT tells") from error

    def change_connection(self, url: str) -> None:
        """Use another database; if it cannot be opened, the old one stays. Raises RedDBError."""
        opened = Connection(url)
        if self.roll_back():
            self.output.complain(UNFINISHED)
        self.connection.close()
        self.connection = opened
        self.names = Names(opened)
        self._tell_of_new()

    def take_draft(self) -> str:
        draft, self.draft = self.draft, ""
        return draft

    def _tell_of_new(self) -> None:
        if self.connection.is_new:
            self.output.say(f"notice: {self.connection.url} was no database; a new one was made")

    def _open_again(self) -> None:
        if self.connection.is_open():
            return
        if not self.is_interactive:  # the rest of a script may rely on what the lost session was told
            raise errors.CONNECTION_LOST.error("the connection was lost between two statements")
        self.output.say("the connection is lost; connecting again …")
        self.connection.open()
        self.output.say(f"connected to {self.connection.url}; settings of the lost session are gone")

    def _tell(self, result: Result, elapsed_ms: float) -> None:
        if self.form not in FOR_A_PERSON and not self.is_interactive:
            return
        count = len(result) if result.affected is None else result.affected
        is_done = not result.columns and result.affected is None
        parts = ["done" if is_done else f"{count} {'row' if count == 1 else 'rows'}"]
        if self.timing:
            parts.append(f"{elapsed_ms:.1f} ms")
        self.output.status(f"({', '.join(parts)})")
