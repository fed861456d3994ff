"""A sign of life while a person waits: how long it has taken, on a line that is gone afterwards."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_AFTER_S = 1.0  # what takes less is no wait
_STEP_S = 0.1
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_CLEAR = "\r\x1b[K"


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Within this, a terminal shows the seconds that have passed, and the text."""
    is_over = threading.Event()
    thread = threading.Thread(target=_show, args=(is_over, text), daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _show(is_over: threading.Event, text: str) -> None:
    began = time.monotonic()
    if is_over.wait(_AFTER_S):
        return
    frame = 0
    while not is_over.wait(_STEP_S):
        frame = (frame + 1) % len(_FRAMES)
        sys.stdout.write(f"{_CLEAR}{_FRAMES[frame]} {time.monotonic() - began:.0f} s · {text}")
        sys.stdout.flush()
    sys.stdout.write(_CLEAR)
    sys.stdout.flush()
