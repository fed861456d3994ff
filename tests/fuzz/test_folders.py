"""The short form of `make folders`."""

from __future__ import annotations

import os
import subprocess
import sys


def test_whatever_a_folder_holds_an_error_or_a_right_answer_comes() -> None:
    """In a process of its own, for it lowers thresholds."""
    command = [sys.executable, "-m", "tests.fuzz.folders", "--cases", "250", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, line = done.stdout.splitlines()
    assert line.startswith("cases 250, answered ")
    assert "violations 0" in line
