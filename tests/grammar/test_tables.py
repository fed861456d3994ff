"""The parser's tables are kept beside the byte code, and made anew where they cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

_READ = "from reddb.grammar import parse, render; print(render(parse('SELECT a -5 FROM docs WHERE b IN (1, 2)')))"


def read_in_a_new_process(prefix: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(prefix)
    return subprocess.check_output([sys.executable, "-c", _READ], env=environment, text=True)


def kept(prefix: Path) -> list[Path]:
    return list(prefix.rglob("*.tables"))


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for byte code, which one process has written to."""
    prefix = tmp_path_factory.mktemp("byte-code")
    assert read_in_a_new_process(prefix) == "SELECT a - 5 FROM docs WHERE b IN (1, 2)\n"
    return prefix


def test_they_are_kept_and_read(prefix: Path) -> None:
    (path,) = kept(prefix)
    before = path.stat()
    assert read_in_a_new_process(prefix) == "SELECT a - 5 FROM docs WHERE b IN (1, 2)\n"
    assert kept(prefix) == [path]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("damage", ["nothing in it", "cut short", "a byte flipped"])
def test_damaged_ones_are_made_anew(prefix: Path, damage: str) -> None:
    (path,) = kept(prefix)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    damaged = {"nothing in it": b"", "cut short": whole[:-1], "a byte flipped": bytes(flipped)}[damage]
    path.write_bytes(damaged)
    assert read_in_a_new_process(prefix) == "SELECT a - 5 FROM docs WHERE b IN (1, 2)\n"
    made_anew = path.read_bytes()
    assert made_anew != damaged
    assert sha256(made_anew[32:]).digest() == made_anew[:32]


def test_where_they_cannot_be_kept_they_are_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert read_in_a_new_process(tmp_path / "file") == "SELECT a - 5 FROM docs WHERE b IN (1, 2)\n"
