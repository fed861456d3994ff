"""A partition whose owner dies as a core does, and another one that goes on in its memory."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from reddb.partition.adoption import Differs
from reddb.partition.kinds import memory_shape
from reddb.partition.writer import Partition
from reddb.storage.memory import PartitionMemory
from reddb.types import Collection
from tests.engine.lives import Life


class MortalLife(Life):
    """The readers outlive the owner."""

    def __init__(self, of: Collection, folder: Path) -> None:
        super().__init__(of, folder)
        self.dies = ""  # "written" or "applied": how far the owner comes with its next group

    def succeed(self) -> bool:
        """Another owner adopts the memory, which all go on reading; False if he cannot, and makes new one."""
        memory = PartitionMemory(os.dup(self.owner.memory.descriptor), memory_shape(self.collection), writable=True)
        assert all(reader.has_let_go(memory.snapshot().generation) for reader in self.readers)
        self.owner.wal.close()
        self.owner.memory.close()
        of = self.disk, self.folder, self.collection, 0
        try:
            self.owner = Partition.open(*of, lambda: 7, now_us=self.clock, memory=memory)
        except Differs:
            self._open()
            return False
        return True

    def _commit(self) -> None:
        if not self.dies:
            super()._commit()
            return
        group = self.owner.take_group()
        if group is None:
            return
        group.write(self.owner.wal)
        if self.dies == "applied":
            with mock.patch.object(self.owner, "publish"):
                self.owner.complete(group)
        self.dies = ""
        assert self.succeed()
