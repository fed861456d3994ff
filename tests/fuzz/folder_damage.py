"""What is done to folders without a word to their checksums: bytes, lengths, places, and what is no file at all."""

from __future__ import annotations

from random import Random

from tests.fuzz.folder_specimens import Stranger, Tree

CANARY = "canary"  # a folder outside, of files that nobody may touch
_TARGETS = (f"{CANARY}/file", CANARY, f"{CANARY}/nothing", "/dev/zero", "/dev/full", "/proc/self/mem", ".")
_GIANT_BYTES = (3 << 30, (2 << 30) + 1)  # a folder in memory may fill as a hole is read
_NAMES = (
    "collections/1/0/wal/00000000000000000000.wal",
    "collections/1/0/wal/00000000000000000002.wal",
    "collections/1/0/wal/99999999999999999999.wal",
    "collections/1/0/wal/\u0669.wal",
    "collections/1/0/wal/x.wal",
    "collections/1/0/wal/00000000000000000001.wal.tmp",
    "collections/1/0/MANIFEST.tmp",
    "collections/1/0/growing.tv.tmp",
    "collections/1/0/segments/1/fields.2",
    "collections/1/0/segments/1/index.9",
    "collections/1/0/segments/1/ids.tmp",
    "collections/1/0/segments/99/vectors.f32",
    "collections/1/0/segments/x",
    "collections/1/7",
    "collections/2/0/MANIFEST",
    "collections/\u0661/0/wal/00000000000000000001.wal",
    "collections/01",
    "collections/2",
    "catalog.sqlite-journal",
    "catalog.sqlite-wal",
    "catalog.sqlite-shm",
    "LOCK",
    "VERSION",
    "BACKUP",
    "damaged",
    "damaged/x",
    "\udcff",
    "n\n\x1b[2J",
)


def damage(tree: Tree, rng: Random) -> str:
    """Do one thing to it, and say what."""
    name = rng.choice(list(tree))
    content = tree[name]
    ways = [_replace_by_stranger, _remove, _add]
    if isinstance(content, bytes):
        ways += [_flip, _flip, _flip, _cut, _extend, _swap, _swap]
    return rng.choice(ways)(tree, name, rng)


def _flip(tree: Tree, name: str, rng: Random) -> str:
    content = bytearray(tree[name])  # type: ignore[arg-type]  # a file's
    for _ in range(rng.choice([1, 1, 1, 4, 40]) if content else 0):
        place = rng.randrange(len(content))
        content[place] = rng.choice([content[place] ^ (1 << rng.randrange(8)), 0, 255, rng.randrange(256)])
    tree[name] = bytes(content)
    return f"bytes of {name}"


def _cut(tree: Tree, name: str, rng: Random) -> str:
    content = tree[name]
    size = rng.choice([0, 1, len(content) // 2, max(len(content) - 1, 0), rng.randrange(len(content) + 1)])
    tree[name] = content[:size]  # type: ignore[assignment]  # a file's
    return f"{name} cut to {size} of {len(content)}"


def _extend(tree: Tree, name: str, rng: Random) -> str:
    content = tree[name]
    more = rng.choice([b"\0", b"\0" * 4096, b"x" * 100, content, rng.randbytes(64)])
    tree[name] = content + more  # type: ignore[operator]  # a file's
    return f"{name} extended by {len(more)}"


def _swap(tree: Tree, name: str, rng: Random) -> str:
    kind = name.rpartition("/")[2].partition(".")[0]
    alike = [other for other in tree if other.rpartition("/")[2].partition(".")[0] == kind or rng.random() < 0.1]
    other = rng.choice(alike or [name])
    tree[name], tree[other] = tree[other], tree[name]
    return f"{name} and {other} swapped"


def _remove(tree: Tree, name: str, rng: Random) -> str:
    depth = rng.choice([0, 0, 0, *range(name.count("/"))])
    below = "/".join(name.split("/")[: name.count("/") + 1 - depth])
    for path in [path for path in tree if path == below or path.startswith(f"{below}/")]:
        del tree[path]
    return f"{below} removed"


def _add(tree: Tree, name: str, rng: Random) -> str:
    new = rng.choice(_NAMES)
    tree[new] = rng.choice([b"", b"x", tree[name], b"\0" * 5_000, stranger(rng)])
    return f"{new} added"


def _replace_by_stranger(tree: Tree, name: str, rng: Random) -> str:
    said = name
    if "/" in name and rng.random() < 0.3:
        said = name.rpartition("/")[0]
        _remove(tree, said, Random(0))
        for path in [path for path in tree if path.startswith(f"{said}/")]:
            del tree[path]
    tail = tree[said][-100:].decode("latin-1") if isinstance(tree.get(said), bytes) else ""  # type: ignore[index]
    tree[said] = stranger(rng, tail)
    return f"{said} is {tree[said]}"[:200]


def stranger(rng: Random, tail: str = "") -> Stranger:
    """No file; `tail` are the last bytes of one that is, for what looks at the end of a giant."""
    match rng.randrange(6):
        case 0 | 1:
            return Stranger("link", rng.choice(_TARGETS))
        case 2:
            return Stranger("twin", f"{CANARY}/file")
        case 3:
            return Stranger("giant", rng.choice(["", tail]), rng.choice(_GIANT_BYTES))
    return Stranger(rng.choice(["fifo", "socket", "folder"]))
