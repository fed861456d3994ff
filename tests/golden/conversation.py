"""Conversations with a database, each in a file: what is asked, and the exact words of the answer.

    # what the next statement is about
    > SELECT 1 + 2 AS n;
     n
    ---
     3
    (1 row)

A line that begins with `> ` is asked, as it would be typed into the shell: a statement, or a meta command; `. ` before
a line lets a statement go on. What follows is what the shell prints, up to the next question or comment.

    python -m tests.golden.conversation     writes the answers of today into all files (`make golden`), to be read
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import structlog

from reddb.client.shell.commands import perform
from reddb.client.shell.complaint import Complaint
from reddb.client.shell.connection import Connection
from reddb.client.shell.output import Output
from reddb.client.shell.session import Session
from reddb.errors import RedDBError
from tests.engine import test_select_mistakes
from tests.grammar import test_syntax_errors

FILES = sorted(Path(__file__).parent.glob("*.txt"))
_PROMPT, _GOES_ON, _COMMENT = "> ", ". ", "#"


def statements(text: str) -> list[str]:
    """What a conversation asks."""
    return [asked for _, asked in _turns(text)]


def converse(text: str, url: str) -> str:
    """The conversation, with the answers of the database at this address, which has no collections."""
    with _session(url) as session:
        return "\n".join(_turn(session, comments, asked) for comments, asked in _turns(text))


def _turns(text: str) -> Iterator[tuple[list[str], str]]:
    """Comments, and what is asked after them, without its prompts."""
    comments: list[str] = []
    for block in re.findall(r"(?m)^(?:#.*\n|> .*\n(?:\. .*\n)*)", text):
        if block.startswith(_COMMENT):
            comments.append(block.rstrip("\n"))
        else:
            yield comments, "\n".join(line[len(_PROMPT) :] for line in block.splitlines())
            comments = []


@contextmanager
def _session(url: str) -> Iterator[Session]:
    session = Session(Connection(url), Output(is_interactive=False), "table")
    session.timing = False
    try:
        yield session
    finally:
        session.connection.close()


def _turn(session: Session, comments: list[str], asked: str) -> str:
    lines = [*comments, _PROMPT + asked.replace("\n", "\n" + _GOES_ON), *_answer(session, asked)]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _answer(session: Session, asked: str) -> list[str]:
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            perform(session, asked)
        except (RedDBError, Complaint) as error:
            session.output.complain(str(error))
    lines = printed.getvalue().splitlines()
    assert not any(line.startswith((_PROMPT, _GOES_ON, _COMMENT)) for line in lines), "an answer looks like a question"
    return lines


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    for path in FILES:
        with tempfile.TemporaryDirectory() as folder:
            path.write_text(converse(path.read_text(), f"file:{folder}/data"))
    test_syntax_errors.rewrite()
    test_select_mistakes.rewrite()


if __name__ == "__main__":
    main()
