"""Who may import whom, checked from the source: the layers of the project as one table.

    server, command line            what moves: sockets, processes, the event loop
      database                      the embedded face
        partition                   one writer's state machine, its readers, and the work on its segments
          query                     statements to plans to rows
            storage | index         siblings that know nothing of each other
    client, shell, demo             the other end of the wire
      wire | grammar                bytes and messages; statements
        floor, base                 plain types, disk, row batches; errors and limits

Rules: an import counts wherever it stands, in a function and under TYPE_CHECKING too; "late" are those two places. A
new module needs a row in LAYERS, a new library one in LIBRARIES.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A module belongs to the longest name that it is or lies in; "reddb" stands for reddb/__init__.py alone.
LAYERS = {
    "base": ["reddb.errors", "reddb.limits"],
    "floor": [
        *(
            "reddb.settings",
            "reddb.session_settings",
            "reddb.metrics",
            "reddb.accountant",
            "reddb.byte_cache",
            "reddb.types",
            "reddb.names",
            "reddb.fields",
            "reddb.keys",
            "reddb.disk",
            "reddb.headroom",
            "reddb.paths",
            "reddb.described",
            "reddb.folder_lock",
            "reddb.array_likes",
        ),
        *("reddb.checksum", "reddb.rows", "reddb.checks", "reddb.coordinates", "reddb.expiry", "reddb.durations"),
        *("reddb.wording", "reddb.terminal_text", "reddb.plain", "reddb.payload_faults", "reddb._version"),
    ],
    "wire": ["reddb.wire"],
    "grammar": ["reddb.grammar"],
    "storage": ["reddb.storage"],
    "index": ["reddb.index"],
    "query": ["reddb.query"],
    "partition": ["reddb.partition"],
    "database": [
        "reddb.database",
        "reddb.requests",
        "reddb.transactions",
        "reddb.session",
        "reddb.introspection",
        "reddb.aliases",
        "reddb.check",
        "reddb.backup",
    ],
    "server": ["reddb.server"],
    "command line": ["reddb.server.main"],
    "client": ["reddb.client"],
    "shell": ["reddb.client.shell"],
    "demo": ["reddb.client.demo"],
    "facade": ["reddb", "reddb.aio"],
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}

_ENGINE = {"base", "floor", "wire", "grammar", "storage", "index", "query", "partition", "database"}

# Beside its own layer.
MAY_IMPORT: dict[str, set[str]] = {
    "base": set(),
    "floor": {"base"},
    "wire": {"base", "floor"},
    "grammar": {"base"},
    "storage": {"base", "floor"},
    "index": {"base", "floor"},
    "query": {"base", "floor", "storage", "index", "grammar"},
    "partition": {"base", "floor", "storage", "index", "query"},
    "database": _ENGINE,
    "server": _ENGINE,
    "command line": _ENGINE | {"server", "client", "shell", "facade"},
    "client": {"base", "floor", "wire", "grammar"},
    "shell": {"base", "floor", "grammar", "client", "facade"},
    "demo": {"base", "floor", "client", "facade"},
    "facade": {"base", "floor", "client", "database"},
}
MAY_IMPORT_LATE_ONLY = {
    ("facade", "database"): "a client must not load the engine and faiss",
    ("command line", "client"): "`reddb serve` must not load the client",
    ("command line", "shell"): "`reddb serve` must not load the client",
    ("command line", "facade"): "`reddb serve` must not load the client",
}

_MOVING = ["reddb.server", "reddb.client"]
_COLUMNS = ["reddb.storage", "reddb.query", "reddb.partition"]
_TERMINAL = ["reddb.server.main", "reddb.client.tables", "reddb.client.shell", "reddb.client.demo"]

# Where a library that is not the standard one, or a part of it that is confined, may be imported.
LIBRARIES: dict[str, list[str]] = {
    "numpy": ["reddb"],
    "faiss": ["reddb.index"],
    "lark": ["reddb.grammar"],
    "msgpack": [
        *("reddb.described", "reddb.fields", "reddb.payload_faults", "reddb.rows"),
        *("reddb.wire", "reddb.storage", "reddb.partition", "reddb.server"),
    ],
    "google_crc32c": ["reddb.checksum"],
    "structlog": ["reddb.storage", "reddb.partition", "reddb.database", "reddb.server"],
    "sqlite3": ["reddb.storage", "reddb.backup.catalog"],
    "click": _TERMINAL,
    "rich": _TERMINAL,
    "prompt_toolkit": [f"reddb.client.shell.{name}" for name in ("terminal", "completion", "highlighting")],
    "pyarrow": [*_COLUMNS, "reddb.client"],
    "pandas": ["reddb"],
    "uvloop": _MOVING,
    "asyncio": _MOVING,
    "selectors": _MOVING,
    "socket": _MOVING,
    "socketserver": [],  # asyncio's protocols
    "threading": ["reddb"],
    "concurrent": ["reddb"],
    "multiprocessing": _MOVING,
}
# Imported late everywhere but in the modules beside them.
LATE_LIBRARIES: dict[str, list[str]] = {
    "pyarrow": _COLUMNS,  # reddb.client.exports alone: a client must not load it for every result
    "pandas": [],  # never a dependency
    "threading": _MOVING,  # importing the engine starts nothing and takes no lock
    "concurrent": _MOVING,
}


def layer_of(module: str) -> str | None:
    """The layer of `module`, or None if the table does not know it."""
    if module == "reddb":
        return LAYER_OF[module]
    name = module
    while name != "reddb":
        if name in LAYER_OF:
            return LAYER_OF[name]
        name = name.rpartition(".")[0]
    return None


def imports(tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Every import as line, dotted name, and whether it is late."""

    def walk(node: ast.AST, late: bool) -> Iterator[tuple[int, str, bool]]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, late
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                # `from reddb import disk` imports a module, `from reddb import connect` a name of the facade.
                whole = f"{base}.{alias.name}"
                yield node.lineno, whole if whole in LAYER_OF else base, late
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            late = True
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.body:
                yield from walk(statement, True)
            for statement in node.orelse:
                yield from walk(statement, late)
            return
        for child in ast.iter_child_nodes(node):
            yield from walk(child, late)

    yield from walk(tree, False)


def lies_in(module: str, names: list[str]) -> bool:
    """Whether `module` is one of `names` or lies in one of these packages."""
    return any(module == name or module.startswith(name + ".") for name in names)


def violations(module: str, source: str) -> list[str]:
    """What is wrong with the imports of `module`, one sentence each."""
    own = layer_of(module)
    if own is None:
        return [f"{module} has no layer: add it to LAYERS in {Path(__file__).name}"]
    found = []
    for line, target, late in imports(ast.parse(source)):
        top = target.partition(".")[0]
        wrong: str | None
        if target.startswith("."):
            wrong = "a relative import: write the full name, the folders differ from the packages"
        elif top == "reddb":
            wrong = _wrong_layer(own, target, late)
        else:
            wrong = _wrong_library(module, top, late)
        if wrong:
            found.append(f"{module}:{line}: {wrong}")
    return list(dict.fromkeys(found))  # `from x import a, b` would be found twice


def _wrong_layer(own: str, target: str, late: bool) -> str | None:
    other = layer_of(target)
    if other is None:
        return f"{target} has no layer: add it to LAYERS"
    if other == own:
        return None
    if other not in MAY_IMPORT[own]:
        return f"{own} must not import {target} ({other})"
    if not late and (own, other) in MAY_IMPORT_LATE_ONLY:
        return f"{own} may import {target} only inside a function: {MAY_IMPORT_LATE_ONLY[own, other]}"
    return None


def _wrong_library(module: str, top: str, late: bool) -> str | None:
    if top not in LIBRARIES:
        return None if top in sys.stdlib_module_names else f"{top} is no library of the project: see LIBRARIES"
    if not lies_in(module, LIBRARIES[top]):
        return f"{top} may be imported in {', '.join(LIBRARIES[top]) or 'no module'} only"
    if not late and top in LATE_LIBRARIES and not lies_in(module, LATE_LIBRARIES[top]):
        return f"{top} may be imported only inside a function"
    return None


def modules() -> Iterator[tuple[str, Path]]:
    """Every module that exists, by its installed name."""
    mapping = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    for package, folder in mapping.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join((package, *(part for part in parts if part != "__init__"))), path


def test_every_import_follows_the_table() -> None:
    found = [line for module, path in modules() for line in violations(module, path.read_text())]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("reddb.storage.wal", "from reddb.index import turbo"),
        ("reddb.index.turbo", "import reddb.storage.wal"),
        ("reddb.wire.frames", "def f():\n    from reddb.server import core"),
        ("reddb.wire.frames", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import reddb.client"),
        ("reddb.grammar.parser", "from reddb import disk"),
        ("reddb.errors", "from reddb import disk"),
        ("reddb.client.aio", "from reddb.query import plan"),
        ("reddb.client.aio", "import faiss"),
        ("reddb.server.core", "import reddb"),
        ("reddb.server.core", "from reddb import connect"),
        ("reddb", "from reddb import database"),
        ("reddb.server.main", "from reddb.client import shell"),
        ("reddb.partition", "import asyncio"),
        ("reddb.partition", "import threading"),
        ("reddb.rows", "import pyarrow"),
        ("reddb.rows", "def f():\n    import pyarrow"),
        ("reddb.client.rows", "import pyarrow"),
        ("reddb.partition.search", "import faiss"),
        ("reddb.partition.jobs", "from reddb.server import builder"),
        ("reddb.storage.sealed", "from reddb.partition import jobs"),
        ("reddb.query.run", "import sqlite3"),
        ("reddb.wire.frames", "from . import messages"),
        ("reddb.server.core", "import requests"),
        ("reddb.surprise", ""),
    ],
)
def test_the_check_finds(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("reddb.storage.wal", "import os\nfrom reddb import disk, errors\nfrom reddb.storage import files"),
        ("reddb.partition", "from reddb.query.plan import Plan\ndef f():\n    import threading"),
        ("reddb.partition.filters", "import pyarrow as pa\nfrom reddb.query.predicate import Predicate"),
        ("reddb.client.rows", "def f():\n    import pyarrow"),
        ("reddb", "from reddb.client import connect\ndef f():\n    from reddb.database import Database"),
        ("reddb.server.main", "import click\ndef f():\n    from reddb.client import shell"),
        ("reddb.server.core", "import asyncio\nimport threading\nfrom reddb.partition import Partition"),
        ("reddb.client.demo.__main__", "import reddb\nfrom reddb.client.demo import sample"),
    ],
)
def test_the_check_lets_pass(module: str, source: str) -> None:
    assert violations(module, source) == []
