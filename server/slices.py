"""Work that may be long, on the one thread of a core: a slice in each turn of the loop, other requests in between.

Invariant: between two slices the task that runs them can be cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeVar

TURN_S = 0.002  # what one piece of work may take of a turn before others get theirs

T = TypeVar("T")


async def in_slices(steps: Generator[None, None, T]) -> T:
    """What the steps return."""
    loop = asyncio.get_running_loop()
    while True:
        end = loop.time() + TURN_S
        while loop.time() < end:
            try:
                next(steps)
            except StopIteration as stop:
                result: T = stop.value
                return result
        await asyncio.sleep(0)
