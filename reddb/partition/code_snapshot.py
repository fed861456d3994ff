"""`growing.tv`: the turbo codes of a partition's growing rows at an LSN, so that a start need not make them anew.

    a checked file (`storage/checked_file.py`, "grow") of
        u32        length of the map
        map        MessagePack: lsn, sealed_lsn, metric, bits,
                   segments: [{first, rows, fitted_rows, calibration, scale}, …]
        then for each segment
            f32[padded]    mean
            bytes          packed codes of `rows` rows

`first` counts rows of the log behind `sealed_lsn`: a segment that begins at another row after the restart, because
segments were filled to another size, is encoded anew.

It is a cache of codes alone. Rows come from the log; codes choose which of them are compared first. It is written to a
name of its own, synced, renamed, and the folder synced.

Invariants:
  * What it covers was synced before: it never knows of rows that a power cut may take away.
  * A log that ends before it has lost records that were acknowledged: not this is refused, but the partition.
  * It is used only with the manifest that it was made with; else it is removed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from reddb import errors
from reddb.described import NotDescribed, from_msgpack, is_of, list_of, map_of, record_of
from reddb.disk import Disk
from reddb.index.turbo import BLOCK_ROWS, Fit, TurboCodec
from reddb.partition.calibration import Calibration
from reddb.partition.codec_block import ZONES_MAX
from reddb.storage.checked_file import FileIdentity, open_checked, write_checked
from reddb.storage.memory import SLOT_ROWS
from reddb.types import Collection
from reddb.wording import shown

NAME = "growing.tv"
_STAGED = f"{NAME}.tmp"
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False)
class SegmentCodes:
    """The codes of the first rows of a growing segment, which begins with row `first` behind `sealed_lsn`."""

    first: int
    rows: int
    fitted_rows: int
    calibration: Calibration
    fit: Fit
    codes: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Moment:
    """What the codes belong to."""

    lsn: int
    sealed_lsn: int
    metric: str
    bits: int


def write_codes(
    disk: Disk, folder: Path, collection: Collection, partition: int, moment: Moment, segments: Sequence[SegmentCodes]
) -> None:
    """Put the file in place of the one before. Raises DISK_FULL or DISK_FAILED."""
    plain = {
        **asdict(moment),
        "segments": [
            {
                "first": item.first,
                "rows": item.rows,
                "fitted_rows": item.fitted_rows,
                "calibration": item.calibration.to_plain(),
                "scale": item.fit.scale,
            }
            for item in segments
        ],
    }
    head = msgpack.packb(plain)
    parts: list[Any] = [_LENGTH.pack(len(head)), head]
    for item in segments:
        parts += [np.ascontiguousarray(item.fit.mean, np.float32), item.codes]
    write_checked(disk, folder / _STAGED, _identity(collection, partition), parts)
    disk.rename(folder / _STAGED, folder / NAME)


def read_codes(
    disk: Disk, folder: Path, collection: Collection, partition: int, codec: TurboCodec
) -> tuple[Moment, list[SegmentCodes]] | None:
    """What was written last; None where there is nothing. Raises CORRUPT_DATA naming the file."""
    if NAME not in disk.list_folder(folder):
        return None
    content = open_checked(disk, folder / NAME, _identity(collection, partition), verify=True)
    try:
        return _read(content, codec)
    except (NotDescribed, struct.error) as error:
        raise errors.CORRUPT_DATA.error(f"{folder / NAME} {error}", path=str(folder / NAME)) from error


def _read(content: memoryview, codec: TurboCodec) -> tuple[Moment, list[SegmentCodes]] | None:
    (length,) = _LENGTH.unpack_from(content)
    at = _LENGTH.size + length
    plain = map_of(from_msgpack(content[_LENGTH.size : at]), "segments")
    segments: list[SegmentCodes] = []
    for item in list_of(plain.pop("segments")):
        if "calibration" not in map_of(item):
            return None  # of a build that measured less: the rows are encoded anew
        rows = item.get("rows")
        if not is_of(rows, int) or rows > SLOT_ROWS or rows % BLOCK_ROWS:
            raise NotDescribed(f"has codes of {shown(rows)} rows")
        calibration, scale = Calibration.from_plain(item["calibration"], rows), item.pop("scale", None)
        end = at + 4 * codec.rotation.padded + rows * codec.code_bytes
        if end > len(content) or not is_of(scale, float):
            raise NotDescribed(f"holds {len(content)} bytes, not {end}, or has the scale {shown(scale)}")
        mean = np.frombuffer(bytes(content[at : at + 4 * codec.rotation.padded]), np.float32)
        fit, codes = Fit(mean, scale), np.frombuffer(content[at + mean.nbytes : end], np.uint8)
        if not fit.is_sound or len(calibration.zones) > ZONES_MAX:
            raise NotDescribed("has codes of no numbers")
        segments.append(record_of(SegmentCodes, item, calibration=calibration, fit=fit, codes=codes))
        at = end
    if at != len(content):
        raise NotDescribed(f"holds {len(content)} bytes, not {at}")
    return record_of(Moment, plain), segments


def codes_if_sound(
    disk: Disk, folder: Path, collection: Collection, partition: int, codec: TurboCodec | None
) -> tuple[tuple[Moment, list[SegmentCodes]] | None, errors.RedDBError | None]:
    """The same, and what was wrong with the file, if anything was. There is none without a codec."""
    try:
        return (None if codec is None else read_codes(disk, folder, collection, partition, codec)), None
    except errors.RedDBError as error:
        return None, error


def usable_codes(
    disk: Disk, folder: Path, found: tuple[Moment, list[SegmentCodes]] | None, now: Moment
) -> dict[int, SegmentCodes]:
    """The codes by their segments' first row, if they belong to what was recovered; else the file is removed.

    Raises DISK_FAILED where it cannot be removed.
    """
    if found is not None and found[0] == replace(now, lsn=found[0].lsn):
        return {item.first: item for item in found[1]}
    _remove(disk, folder)
    return {}


def _remove(disk: Disk, folder: Path) -> None:
    names = disk.list_folder(folder)
    stale = [name for name in (NAME, _STAGED) if name in names]
    for name in stale:
        disk.remove_file(folder / name)
    if stale:
        disk.sync_folder(folder)


def _identity(collection: Collection, partition: int) -> FileIdentity:
    return FileIdentity(b"grow", collection.id, partition, 0, collection.dim, 0)
