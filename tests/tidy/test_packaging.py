"""The wheel holds every package and every data file of the checkout.

An editable install finds what pyproject.toml forgets, so only the wheel would lack it; here it fails before.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
MAPPING: dict[str, str] = SETUPTOOLS["package-dir"]

# Files beside the code that are for readers of the repository; a package may still name them as data.
NOT_INSTALLED = ["README.md"]


def folder_of(package: str) -> Path:
    """Where a package lies in the checkout."""
    parts: list[str] = []
    name = package
    while name not in MAPPING:
        name, _, last = name.rpartition(".")
        parts.insert(0, last)
    return ROOT.joinpath(MAPPING[name], *parts)


def packages_on_disk() -> Iterator[str]:
    for package, folder in MAPPING.items():
        for path in (ROOT / folder).rglob("__init__.py"):
            yield ".".join((package, *path.relative_to(ROOT / folder).parent.parts))


def test_every_package_is_listed() -> None:
    # A listed folder without any code yet is no mistake: setuptools itself refuses one that is missing.
    begun = {package for package in SETUPTOOLS["packages"] if any(folder_of(package).glob("*.py"))}
    assert begun == set(packages_on_disk())


def test_no_package_is_listed_twice() -> None:
    assert len(SETUPTOOLS["packages"]) == len(set(SETUPTOOLS["packages"]))


def test_every_data_file_is_named() -> None:
    missing = [
        str(path.relative_to(ROOT))
        for package in SETUPTOOLS["packages"]
        for path in folder_of(package).glob("*")
        if path.is_file()
        and path.suffix != ".py"
        and not any(fnmatch(path.name, one) for one in SETUPTOOLS["package-data"].get(package, []) + NOT_INSTALLED)
    ]
    assert not missing, f"name them in [tool.setuptools.package-data]: {missing}"


def test_every_data_pattern_matches() -> None:
    idle = [
        (package, pattern)
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        if any(folder_of(package).glob("*.py")) and not any(folder_of(package).glob(pattern))
    ]
    assert not idle, f"no file matches {idle}"


def test_every_file_lies_in_a_package() -> None:
    # A data file in a sub-folder without __init__.py would be in no package, and so in no wheel.
    folders = {folder_of(package) for package in SETUPTOOLS["packages"]}
    stray = [
        str(path.relative_to(ROOT))
        for folder in MAPPING.values()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.parent not in folders
    ]
    assert not stray, stray
