"""Habits that a formatter cannot see: short files and functions, docstrings, and calls with a better replacement.

Rules: every ban names its replacement and carries an example that breaks it and one that does not, so the check
itself is checked. A ban that is wrong somewhere is narrowed in its `where`; there is no way to silence it on a line.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE_FOLDERS = ["reddb", "grammar", "server", "client", "tests"]
OTHER_FOLDERS = ["docker", ".ci"]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
BINARY = {".npy", ".gz", ".png", ".pyc"}
MARKERS = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")  # in parts: not to find itself

Find = Callable[[ast.AST], bool]


@dataclass(frozen=True)
class Ban:
    """Something not to write: `find` tells it from a syntax node, `where` from the path under the root."""

    name: str
    instead: str
    find: Find
    bad: str
    good: str
    where: Callable[[str], bool] = lambda path: True

    def lines(self, tree: ast.Module) -> list[int]:
        return sorted(getattr(node, "lineno", 1) for node in ast.walk(tree) if self.find(node))


def dotted(node: ast.AST) -> str:
    """The name that is called: `np.save`; `.save` where something other than names precedes the point."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def calls(*names: str) -> Find:
    return lambda node: isinstance(node, ast.Call) and dotted(node.func) in names


def calls_method(*names: str) -> Find:
    return lambda node: isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names


def imports(*names: str) -> Find:
    def find(node: ast.AST) -> bool:
        if isinstance(node, ast.Import):
            return any(alias.name.partition(".")[0] in names for alias in node.names)
        return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in names

    return find


def loads_pickles(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or dotted(node.func) not in ("np.load", "numpy.load"):
        return False
    return any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords)


_RE_NAMES = ("compile", "search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer")


def is_foreign_pattern(node: ast.AST) -> bool:
    """A call of Python's re whose pattern is no text of the program: it might be a user's."""
    if not isinstance(node, ast.Call) or dotted(node.func) not in [f"re.{name}" for name in _RE_NAMES]:
        return False
    pattern = node.args[0]
    return not isinstance(pattern, ast.Constant) and not calls("re.escape")(pattern)


def is_bare_except(node: ast.AST) -> bool:
    return isinstance(node, ast.ExceptHandler) and node.type is None


def is_silent_except(node: ast.AST) -> bool:
    return isinstance(node, ast.ExceptHandler) and all(
        isinstance(line, ast.Pass) or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        for line in node.body
    )


def in_tests(path: str) -> bool:
    return path.startswith("tests/") and not path.startswith("tests/bench/")


def not_in_tests(path: str) -> bool:
    return not path.startswith("tests/")


def in_storage(path: str) -> bool:
    return path.startswith("reddb/storage/")


def starts_by_itself(path: str) -> bool:
    return not_in_tests(path) and path != "server/tasks.py"


def serves_users(path: str) -> bool:
    return path.startswith(("reddb/", "server/"))


def not_for_a_terminal(path: str) -> bool:
    return not path.startswith(("client/", "tests/bench/")) and path != "server/main.py"


_FILE_CALLS = ["open", "rename", "replace", "remove", "unlink", "mkdir", "makedirs", "rmdir", "fsync", "fdatasync"]

_LOOSE_CALLS = ["create_task", "ensure_future", "run_in_executor", "to_thread", "add_done_callback"]
_LOOSE_CALLS += ["call_soon", "call_later", "call_at", "add_reader", "add_writer"]

BANS = [
    Ban(
        "ndarray.tofile",
        "reddb.disk: tofile drops the tail on a full disk and says nothing",
        calls_method("tofile"),
        bad="rows.tofile(file)",
        good="file.append([rows])",
    ),
    Ban(
        "numpy.save",
        "reddb.disk with a header of our own: save drops the tail on a full disk and has no checksum",
        calls(*(f"{module}.{name}" for module in ("np", "numpy") for name in ("save", "savez", "savez_compressed"))),
        bad="np.save(path, rows)",
        good="disk.write_file(path, content)",
    ),
    Ban(
        "numpy.load with pickles",
        "allow_pickle=False: unpickling runs code that the file chose",
        loads_pickles,
        bad="np.load(path, allow_pickle=True)",
        good="np.load(path, allow_pickle=False)",
    ),
    Ban(
        "a task or a callback of the loop",
        "reddb.server.tasks, where somebody learns of its failure; a client waits for what it asks for",
        lambda node: calls_method(*_LOOSE_CALLS)(node) or calls(*_LOOSE_CALLS)(node),
        bad="loop.create_task(work())",
        good="tasks.start('work', work())",
        where=starts_by_itself,
    ),
    Ban(
        "asyncio.gather",
        "tasks.together: gather raises the first failure while the others go on, and forgets what they raise",
        calls("asyncio.gather", "gather"),
        bad="await asyncio.gather(a(), b())",
        good="await tasks.together(a(), b())",
        where=starts_by_itself,
    ),
    Ban(
        "pickle",
        "msgpack or a layout of our own: unpickling runs code that a file or a peer chose",
        imports("pickle", "shelve", "marshal", "dill", "cloudpickle"),
        bad="from pickle import loads",
        good="import msgpack",
        where=not_in_tests,  # which ask whether a user's pickles work
    ),
    Ban(
        "bare except",
        "name the exception: a bare one also catches the request to stop",
        is_bare_except,
        bad="try:\n    f()\nexcept:\n    g()",
        good="try:\n    f()\nexcept OSError:\n    g()",
    ),
    Ban(
        "except: pass",
        "contextlib.suppress with a comment that says why nothing need be done",
        is_silent_except,
        bad="try:\n    f()\nexcept OSError:\n    pass",
        good="with suppress(OSError):  # the peer has gone already\n    f()",
    ),
    Ban(
        "a pattern that is made",
        "reddb.query.patterns: Python's re goes back and tries again, for hours if a user's pattern wants it",
        is_foreign_pattern,
        bad="re.compile(pattern)",
        good='re.compile(r"[0-9]+")',
        where=serves_users,
    ),
    Ban(
        "print",
        "structlog, or an assertion's message in a test: only the client and the command line own a terminal",
        calls("print"),
        bad="print('started')",
        good="log.info('started')",
        where=not_for_a_terminal,
    ),
    Ban(
        "time.sleep in a test",
        "wait for the thing itself (a reply, a line of output, process.wait) with a deadline",
        calls("time.sleep", "sleep"),
        bad="time.sleep(0.1)",
        good="process.wait(timeout=10)",
        where=in_tests,
    ),
    Ban(
        "a file opened in reddb/storage",
        "the Disk that the class was given: tests put a failing one in its place",
        calls("open", "io.open", *(f"os.{name}" for name in _FILE_CALLS)),
        bad="os.open(path, os.O_RDWR)",
        good="disk.open_append(path, 0)",
        where=in_storage,
    ),
    Ban(
        "a path that touches files in reddb/storage",
        "the Disk that the class was given: tests put a failing one in its place",
        calls_method("read_bytes", "write_bytes", "read_text", "write_text", "unlink", "mkdir", "rmdir", "touch"),
        bad="path.write_bytes(content)",
        good="disk.write_file(path, content)",
        where=in_storage,
    ),
]


def long_functions(tree: ast.AST) -> Iterator[tuple[int, str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield node.lineno, node.name, length


def docstring_is_good(tree: ast.Module) -> bool:
    first_line = (ast.get_docstring(tree) or "").partition("\n")[0]
    return first_line.endswith(".")


def code() -> Iterator[tuple[str, str, ast.Module]]:
    """Every Python file that exists: path under the root, text, syntax tree."""
    for folder in CODE_FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            yield str(path.relative_to(ROOT)), text, ast.parse(text)


def texts() -> Iterator[tuple[str, str]]:
    """Every text file that the project wrote: path under the root, text."""
    paths = [path for folder in [*CODE_FOLDERS, *OTHER_FOLDERS] for path in sorted((ROOT / folder).rglob("*"))]
    paths += sorted(ROOT.glob("*"))
    for path in paths:
        if path.is_file() and path.suffix not in BINARY:
            yield str(path.relative_to(ROOT)), path.read_text(errors="replace")


@pytest.mark.parametrize("ban", BANS, ids=lambda ban: ban.name)
def test_no_file_has(ban: Ban) -> None:
    found = [f"{path}:{line}" for path, _, tree in code() if ban.where(path) for line in ban.lines(tree)]
    assert not found, f"{ban.name} in {', '.join(found)}\ninstead: {ban.instead}"


def test_files_are_short() -> None:
    found = [path for path, text, _ in code() if text.count("\n") > FILE_LINES_MAX]
    assert not found, f"more than {FILE_LINES_MAX} lines in {found}\ninstead: split the file by what its parts do"


def test_functions_are_short() -> None:
    found = [f"{path}:{line} {name} ({n})" for path, _, tree in code() for line, name, n in long_functions(tree)]
    assert not found, f"more than {FUNCTION_LINES_MAX} lines in {found}\ninstead: give its parts names of their own"


def test_modules_say_what_they_are() -> None:
    found = [path for path, _, tree in code() if not docstring_is_good(tree)]
    assert not found, f"{found}\nneeded: a docstring whose first line is a sentence with a full stop"


def test_no_marker_is_left() -> None:
    found = [
        f"{path}:{number}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if MARKERS.search(line)
    ]
    assert not found, f"{found}\ninstead: do it, or describe the limitation where a user looks for it"


@pytest.mark.parametrize("ban", BANS, ids=lambda ban: ban.name)
def test_the_check_itself(ban: Ban) -> None:
    assert len(ban.lines(ast.parse(ban.bad))) == 1
    assert ban.lines(ast.parse(ban.good)) == []


def test_the_other_checks_themselves() -> None:
    body = "\n    x = 1" * FUNCTION_LINES_MAX
    assert [name for _, name, _ in long_functions(ast.parse(f"def long():{body}\ndef short(): ..."))] == ["long"]
    assert not docstring_is_good(ast.parse("x = 1"))
    assert not docstring_is_good(ast.parse('"""No stop"""'))
    assert docstring_is_good(ast.parse('"""A stop.\n\nMore"""'))
    assert MARKERS.search("# " + "TO" + "DO: later")
    assert not MARKERS.search("mastodon")
    assert not in_storage("reddb/disk.py")
    assert in_storage("reddb/storage/wal.py")
    assert not not_for_a_terminal("server/main.py")
    assert not_for_a_terminal("server/core.py")
