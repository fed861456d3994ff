"""What all tests share: two tiers, profiles of hypothesis, and a Ctrl-C that works.

`make test` runs what answers while one thinks; what starts processes, kills them or measures is marked slow, by the
table below, and belongs to `make test-all`.

`default` draws the same examples every time, `--hypothesis-profile=long` looks for new ones.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Folders and files, below tests/. A file belongs here when it takes more than ten seconds of one processor.
SLOW = (
    *("server", "crash", "recall", "fuzz", "compat", "test_datasets.py", "test_readme.py"),
    *("client/test_copy_exact.py", "client/test_shell_terminal.py", "client/test_connections.py"),
    *("engine/test_backup.py", "engine/test_check.py", "engine/test_check_repair.py", "engine/test_check_cut_short.py"),
    *("engine/test_filtered_recall.py", "engine/test_ivf.py", "engine/test_life_cycle.py", "engine/test_matrix.py"),
    *("engine/test_recall.py", "engine/test_select.py", "engine/test_select_by_index.py"),
    *("engine/test_life_cycle_model.py", "engine/test_partition_model.py"),
    *("grammar/test_render.py", "index/test_hnsw.py", "index/test_ivf.py", "storage/test_manifest.py"),
    *("suites/test_sqllogic.py", "tidy/test_packaging.py", "engine/test_forged_files.py"),
)
# Of what is asked of several faces, the embedded one answers in the first tier: it starts no process.
SLOW_FACES = ("sync", "async")
_TESTS = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what belongs to the second tier."""
    for item in items:
        path = item.path.relative_to(_TESTS)
        face = item.callspec.params.get("db") if hasattr(item, "callspec") else None
        if path.parts[0] in SLOW or str(path) in SLOW or face in SLOW_FACES:
            item.add_marker(pytest.mark.slow)


# A shell that starts the tests in the background lets them ignore Ctrl-C, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: on a shared machine a slow example says nothing about the code.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("long", deadline=None, derandomize=False, max_examples=5_000)
settings.load_profile("default")
