"""After a repair a partition is what it was at some LSN, whatever was damaged, and what is lost was counted right.

The writes lie in sealed files, merged files and the log, replaced and deleted ones among them, and files were published
while rows grew: so what a lost record had ended is in the files, alive, or it could not come back.
"""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reddb import errors
from reddb.check.data_folder import FolderState
from reddb.check.findings import Finding, Status, unread
from reddb.check.partition import check_partition
from reddb.check.read_only import ReadOnlyDisk
from reddb.check.repair import repair_folder
from reddb.disk import OsDisk
from reddb.partition.checkpoint import note_end
from reddb.partition.writer import Partition
from reddb.storage.wal_file import records_behind
from tests.engine.lives import Life
from tests.engine.partitions import collection

OF = collection(dim=2, index="flat")
LOSS = re.compile(
    r"is as it was at LSN (\d+); without LSN (\d+) to (\d+), (\d+) rows? lost, (\d+) rows? in an older version, "
    r"(\d+) deleted rows? back(?:; (\d+) records? could not be read and counted)?"
)

States = list[dict[Any, tuple[float, ...]]]


class Written:
    """A partition and what it held at each LSN."""

    def __init__(self, data: Path) -> None:
        self.life = Life(OF, data / "collections/1/0")
        self.states: States = [{}]
        self._version = 0

    def upsert(self, ids: Any) -> None:
        self._version += 1
        self.life.upsert(list(ids), np.full((len(ids), 2), float(self._version)))
        self._note()

    def delete(self, ids: Any) -> None:
        self.life.delete(list(ids))
        self._note()

    def _note(self) -> None:
        self.states.append({key: tuple(vector.tolist()) for key, (vector, _) in self.life.rows.items()})
        assert len(self.states) - 1 == self.life.owner.lsn


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, States]:
    """Two segments, of which one was merged away from many dead rows while others died, and a log of 15 records."""
    data = tmp_path_factory.mktemp("states") / "data"
    made = Written(data)
    made.upsert(range(60))
    made.life.seal()
    made.delete(range(0, 60, 3))
    made.upsert(range(100, 140))
    made.life.freeze()
    for turn in range(2):  # sealed, then the first one merged: each is published after more was written
        course = made.life.due()
        assert course is not None
        made.upsert(range(30, 36))
        made.delete([40 + turn, 110 + turn])
        made.upsert([3, *range(200, 204)])
        course.finish()
        made.life.check()
    for row in (55, 56, 58):
        made.upsert([row - 20, "a", 200])
        made.delete([row])
    made.delete(["a"])
    made.upsert(["a", 55])
    made.upsert([999])
    note_end(made.life.owner)
    made.life.close()
    return data, made.states


def rows_of(data: Path) -> tuple[int, dict[Any, tuple[float, ...]]]:
    life = Life(OF, data / "collections/1/0")
    try:
        view = life.readers[0].view()
        addresses = view.scan(1000)
        vectors = map(tuple, view.vectors(addresses).tolist())
        return life.owner.lsn, dict(zip(view.row_ids(addresses), vectors, strict=True))
    finally:
        life.close()


def repair(data: Path) -> list[str]:
    """What the lines about the partition itself say."""
    lines: list[Finding] = []
    state = check_partition(ReadOnlyDisk(OsDisk()), data, OF, 0, unread)
    repair_folder(OsDisk(), data, FolderState(collections=[OF], partitions=[state]), datetime.now(UTC), lines.append)
    found: list[Finding] = []
    check_partition(ReadOnlyDisk(OsDisk()), data, OF, 0, found.append)
    assert [finding for finding in found if finding.status is Status.DAMAGED] == []
    return [line.text for line in lines if line.path == data / "collections/1/0"]


def damages(log: Path) -> list[tuple[str, bytes]]:
    """The log with a bit flipped in each record, in its header or its body, cut at each, and empty."""
    content = log.read_bytes()
    places = [place for place, _ in records_behind(content, 1, 0)]
    found = [("nothing but its header", content[:40])]
    for number, place in enumerate(places):
        at = place + (5, 10, 33, 36)[number % 4]
        found.append((f"byte {at}", content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]))
        found.append((f"cut at {place}", content[: place + 20 * (number % 2)]))
    first, second = places[2], places[-3]
    found.append(("two records", content[:first] + b"\xff" * 16 + content[first + 16 : second] + b"\0" * 40))
    return found


def test_a_repaired_partition_is_what_it_was_at_an_lsn_and_says_how_much_it_lost(written, tmp_path):
    made, states = written
    (log,) = (made / "collections/1/0/wal").iterdir()
    found = damages(log)
    assert len(found) > 30
    ends: set[int] = set()
    for number, (what, content) in enumerate(found):
        data = Path(shutil.copytree(made, tmp_path / str(number)))
        (data / log.relative_to(made)).write_bytes(content)
        with pytest.raises(errors.RedDBError) as caught:  # also where it is the last record: the stop was in order
            rows_of(data)
        assert (caught.value.code, Path(caught.value.detail["path"]).name) == (errors.CORRUPT_DATA, log.name), what
        said = repair(data)
        lsn, rows = rows_of(data)
        assert rows == states[lsn], what
        ends.add(lsn)
        shutil.rmtree(data)
        if lsn == len(states) - 1:  # what was damaged is sealed
            assert said == []
            continue
        told = LOSS.fullmatch(said[0])
        assert told is not None, said
        assert (int(told[1]), int(told[2]), int(told[3])) == (lsn, lsn + 1, len(states) - 1), what
        check_counts(told, states, lsn, what)
    assert len(ends) > 10


def check_counts(told: re.Match[str], states: States, lsn: int, what: str) -> None:
    """The counts are those of the truth where every record could be read, and no more where the first could not."""
    rows, last = states[lsn], states[-1]
    truth = (
        len(last.keys() - rows.keys()),
        sum(1 for key in last.keys() & rows.keys() if last[key] != rows[key]),
        len(rows.keys() - last.keys()),
    )
    counts = tuple(int(told[number]) for number in (4, 5, 6))
    if told[7] is None:
        assert counts == truth, what
    elif told[7] == "1":
        assert all(count <= right for count, right in zip(counts, truth, strict=True)), (what, counts, truth)


def test_rows_of_a_segment_that_the_log_had_ended_are_not_counted_as_lost(written, tmp_path):
    data = Path(shutil.copytree(written[0], tmp_path / "data"))
    before = rows_of(data)[1]
    folder = sorted((data / "collections/1/0/segments").iterdir(), key=lambda path: int(path.name))[0]
    vectors = next(folder.glob("vectors.*"))
    content = bytearray(vectors.read_bytes())
    content[8] ^= 1
    vectors.write_bytes(content)
    lines: list[Finding] = []
    state = check_partition(ReadOnlyDisk(OsDisk()), data, OF, 0, unread)
    repair_folder(OsDisk(), data, FolderState(collections=[OF], partitions=[state]), datetime.now(UTC), lines.append)
    (text,) = [line.text for line in lines if line.path == folder]
    lost = len(before) - len(rows_of(data)[1])
    assert 0 < lost < 60
    assert f" {lost} rows are lost" in text


def test_files_are_the_state_at_the_lsn_up_to_which_they_are_needed(written, tmp_path):
    """So a log that is gone costs what was written behind it, and nothing else."""
    made, states = written
    data = Path(shutil.copytree(made, tmp_path / "data"))
    shutil.rmtree(data / "collections/1/0/wal")
    repair(data)
    lsn, rows = rows_of(data)
    assert 0 < lsn < len(states) - 1
    assert rows == states[lsn]


def test_after_a_kill_a_torn_last_record_is_still_no_damage(tmp_path):
    made = Written(tmp_path / "data")
    made.upsert(range(5))
    note_end(made.life.owner)
    made.upsert(range(5, 10))
    made.life.close()  # as a kill leaves it: nobody noted what came behind
    (log,) = (tmp_path / "data/collections/1/0/wal").iterdir()
    content = log.read_bytes()
    place = [place for place, _ in records_behind(content, 1, 0)][1]
    log.write_bytes(content[: place + 50] + b"\xff" * 9 + content[place + 59 :])
    assert rows_of(tmp_path / "data") == (1, made.states[1])


def test_a_partition_that_nobody_wrote_to_is_not_noted_again(tmp_path):
    Written(tmp_path / "data").life.close()
    manifest = tmp_path / "data/collections/1/0/MANIFEST"
    before = manifest.stat()
    partition = Partition.open(OsDisk(), manifest.parent, OF, 0, lambda: 7)
    note_end(partition)
    partition.close()
    assert manifest.stat() == before
