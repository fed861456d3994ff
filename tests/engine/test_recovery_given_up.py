"""An opening that nobody waits for any more ends at its next step, and the partition is what it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import reddb
from reddb.disk import OsDisk
from reddb.partition.recovery import Recovery
from reddb.partition.writer import Partition
from tests.engine.folders import files_below
from tests.engine.partitions import Opened, collection


@pytest.mark.parametrize("size", [-1, 0, 1_000])
def test_an_opening_is_given_up(tmp_path: Path, size: int) -> None:
    of = collection(dim=4)
    made = Opened(of, tmp_path)
    made.insert(range(50), np.ones((50, 4)))
    made.seal()
    for number in range(50, 100):
        made.insert([number], np.ones((1, 4)))
    made.close()
    before = files_below(tmp_path)
    recovery = Recovery(lambda: recovery.bytes_done > size)
    with pytest.raises(reddb.RedDBError, match="was given up"):
        Partition.open(OsDisk(), tmp_path, of, 0, lambda: 7, recovery=recovery)
    assert recovery.bytes_done < recovery.bytes_total
    assert files_below(tmp_path) == before
    again = Opened(of, tmp_path)
    assert again.partition.memory.snapshot().live_rows == 100
    again.close()
