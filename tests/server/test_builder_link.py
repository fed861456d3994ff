"""A core's way to its builder, when nobody waits for the job any more."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import numpy as np

from reddb.disk import OsDisk
from reddb.server.workshop import BuilderLink
from reddb.storage.folder import partition_folder
from tests.engine.partitions import Opened, collection


async def test_a_builder_that_nobody_waits_for_is_not_missed(tmp_path: Path) -> None:
    """Its job is cancelled while the process starts: a collection is dropped then, or its partition closes."""
    disk = OsDisk()
    lock = disk.lock(tmp_path, "me")
    opened = Opened(collection(dim=100), partition_folder(tmp_path, 1, 0))
    opened.insert(np.arange(100), np.eye(100, dtype=np.float32))
    assert opened.partition.freeze()
    due = opened.due()
    assert due is not None
    caught: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: caught.append(context))

    async def at_once() -> None:
        """It is always our turn."""

    link = BuilderLink(0, lock, 0, at_once, lambda: None)
    for turns in range(1, 12):  # of the loop: it has come as far each time
        job = asyncio.create_task(link.run(opened.partition, due, lambda _: None))
        for _ in range(turns):
            await asyncio.sleep(0)
        job.cancel()
        await asyncio.wait({job})
        assert job.cancelled()
    await link.stop()
    gc.collect()
    assert caught == []
    opened.close()
    lock.close()
