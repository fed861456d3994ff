"""What every face says of sessions and transactions: which statements need one, and when one may be used.

Invariant: a statement whose effect stays behind in a session is refused wherever others would meet it.
"""

from __future__ import annotations

import re
from enum import StrEnum

from reddb import errors

# What may stand before the first word.
BLANK = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*+"
_FIRST_WORD = re.compile(rf"{BLANK}(\w+)", re.DOTALL)

# The statements whose effect stays behind in a session.
TRANSACTION_WORDS = frozenset({"BEGIN", "COMMIT", "ROLLBACK"})
SESSION_WORDS = frozenset({"SET", "RESET", "PREPARE", "EXECUTE", "DEALLOCATE"})

LOST_SESSION = "the connection was lost, and with it its session: what it had set, and the transaction it was in"


def refuse_shared(statement: str) -> None:
    """Raises SESSION_NEEDED for a statement whose effect another user of the same client would meet."""
    word = first_word(statement)
    if word in TRANSACTION_WORDS:
        message = f"{word} is for a session, and this client has none, for others may share it"
        raise errors.SESSION_NEEDED.error(message, hint="with db.transaction() as tx: tx.execute(…)")
    if word in SESSION_WORDS:
        message = f"{word} is for a session, and this client has none, for others may share it"
        other = "; or statement = db.prepare(…)" if word == "PREPARE" else ""
        raise errors.SESSION_NEEDED.error(message, hint=f"with db.session() as session: session.execute(…){other}")


def refuse_in_transaction(statement: str) -> None:
    """Raises TRANSACTION_STATE for a statement that would begin or end what the `with` begins and ends."""
    word = first_word(statement)
    if word in TRANSACTION_WORDS:
        message = f"{word} within db.transaction(), which begins, commits and rolls back by itself"
        raise errors.TRANSACTION_STATE.error(message, hint="an exception that leaves the block rolls back")


class Stage(StrEnum):
    """Where a transaction is."""

    NOT_BEGUN = "has not begun"
    OPEN = "is open"
    ENDED = "has ended"


_ANOTHER = "db.transaction() makes another, with a session of its own"


def nested() -> errors.RedDBError:
    return errors.TRANSACTION_STATE.error("a transaction has none within it, and one session", hint=_ANOTHER)


def closed_within() -> errors.RedDBError:
    return errors.TRANSACTION_STATE.error("the transaction was rolled back by close(), within its block")


def check_new(stage: Stage) -> None:
    """Raises TRANSACTION_STATE for a transaction that is entered twice."""
    if stage is not Stage.NOT_BEGUN:
        raise errors.TRANSACTION_STATE.error(f"this transaction {stage}, and is begun once", hint=_ANOTHER)


def check_open(stage: Stage) -> None:
    """Raises TRANSACTION_STATE for one that is used outside of its block."""
    if stage is not Stage.OPEN:
        raise errors.TRANSACTION_STATE.error(f"the transaction {stage}", hint="with db.transaction() as tx: …")


def not_sent(what: str) -> errors.RedDBError:
    """The error of whoever pickles or copies what is of this process."""
    message = f"{what} cannot be pickled or copied: its connection is of this process"
    return errors.OTHER_PROCESS.error(message, hint="connect in each process by itself")


def first_word(statement: str) -> str:
    found = _FIRST_WORD.match(statement)
    return found[1].upper() if found else ""
