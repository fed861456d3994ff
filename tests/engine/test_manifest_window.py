"""What others see of a partition while its manifest is being put in place, which may take as long as the disk likes."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from reddb.disk import OsDisk
from tests.engine.lives import Life
from tests.engine.partitions import collection


class SlowRename(OsDisk):
    """Puts a manifest in place only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def rename(self, old: Path, new: Path) -> None:
        self.begun.set()
        assert self.may_go_on.wait(10)
        super().rename(old, new)


def test_a_manifest_that_is_being_put_in_place_is_not_unknown(tmp_path):
    life = Life(collection(dim=2), tmp_path / "partition")
    life.insert(range(100), np.ones((100, 2), np.float32))
    life.freeze()
    course = life.due().upto("prepare")
    life.owner.disk = disk = SlowRename()
    writing = threading.Thread(target=course.step)
    writing.start()
    assert disk.begun.wait(10)
    try:
        life.owner.check_manifest()  # as whoever asks for a seal does first
    finally:
        disk.may_go_on.set()
        writing.join()
    life.check()
    life.close()
