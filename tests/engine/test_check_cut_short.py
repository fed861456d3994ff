"""`reddb check --repair` that does not come to its end: nothing is gone, and the next one does the rest."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reddb import errors
from reddb.check.data_folder import check_folder
from reddb.check.findings import unread
from reddb.check.read_only import ReadOnlyDisk
from reddb.check.repair import repair_folder
from reddb.disk import OsDisk
from tests.engine import folders
from tests.engine.folders import GRAPH, assert_kept, files_below, flip, look, partition_of

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folders.make_folder(tmp_path / "data")
    return tmp_path / "data"


class Stopped(BaseException):
    """The end of the process that repairs."""


class StoppingDisk(OsDisk):
    """Ends it before the step with this number that changes anything."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    def _step(self) -> None:
        if not self._left:
            raise Stopped
        self._left -= 1

    def rename(self, old: Path, new: Path) -> None:
        self._step()
        super().rename(old, new)

    def remove_file(self, path: Path) -> None:
        self._step()
        super().remove_file(path)

    def open_append(self, path: Path, size: int) -> Any:
        self._step()
        return super().open_append(path, size)


def repair(data: Path, disk: OsDisk) -> None:
    repair_folder(disk, data, check_folder(ReadOnlyDisk(disk), data, unread), NOW, unread)


def damage_much(data: Path) -> None:
    flip(partition_of(data) / "segments/1/live.1")
    flip(partition_of(data) / "segments/2/codes.1.tv")
    flip(partition_of(data) / "segments/2/columns.arrow")
    flip(partition_of(data, GRAPH) / "segments/2/ids")
    folders.seal_up_to(data, 6)
    places = dict(folders.records_of(data))
    flip(folders.log_of(data), places[5] + 40)
    flip(folders.log_of(data), places[9] + 40)


def test_a_repair_that_is_cut_short_can_be_repeated(data, tmp_path):
    damage_much(data)
    before = files_below(data)
    expected = None
    steps = 0
    while True:
        copy = Path(shutil.copytree(data, tmp_path / f"copy-{steps}"))
        try:
            repair(copy, StoppingDisk(steps))
            stopped = False
        except Stopped:
            stopped = True
        assert_kept(copy, before)
        repair(copy, OsDisk())
        assert_kept(copy, before)
        found = look(copy)
        assert found.code == 0, (steps, found.lines)
        verdict = found.verdict.partition(" files")[2]
        expected = expected or verdict
        assert verdict == expected, steps
        shutil.rmtree(copy)
        if not stopped:
            break
        steps += 1
    assert steps > 20


def test_two_repairs_within_a_second_do_not_meet(data):
    for segment in (1, 2):
        flip(partition_of(data) / f"segments/{segment}/fields.1")
        repair(data, OsDisk())
    names = sorted(path.name for path in (data / "damaged").iterdir())
    assert names == ["20240506T070809Z", "20240506T070809Z.2"]


def test_a_full_disk_ends_a_repair_with_an_error(data, monkeypatch):
    flip(folders.log_of(data), dict(folders.records_of(data))[6] + 40)
    before = files_below(data)

    def write_file(disk: OsDisk, path: Path, content: bytes) -> None:
        raise errors.DISK_FULL.error(f"cannot write {path}: no space", path=str(path))

    monkeypatch.setattr(OsDisk, "write_file", write_file)
    with pytest.raises(errors.RedDBError) as caught:
        look(data, repair=True)
    assert caught.value.code is errors.DISK_FULL
    monkeypatch.undo()
    assert {**files_below(data), "LOCK": b""} == {**before, "LOCK": b""}
