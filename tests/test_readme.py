"""Every command and example of the README, run; every setting and metric it lists, compared with the tables.

Rules: the blocks are read out of the README itself. Only addresses and folders are replaced, so that nothing touches
a user's port or data.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import reddb
from reddb.index.metrics import METRICS
from reddb.server.main import main
from reddb.settings import SETTINGS, written
from reddb.types import METRIC_ALIASES
from tests.server.harness import READY, Server, is_alive, wait_for

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
# make hands its own settings to what it calls; a make that is called here is a new one.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


def block(language: str, containing: str) -> str:
    """The fenced block of a language that holds these words; there must be exactly one."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("readme")
    running = Server(folder / "data", folder).start()
    yield running
    running.stop()


def test_the_readme_opens_with_the_commands():
    assert README.index("make demo") < README.index("make test") < README.index("make run") < 700


def test_make_demo_shows_answers_and_survives_a_restart():
    done = subprocess.run(["make", "demo"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "5,000 texts stored and searchable" in done.stdout
    assert done.stdout.count("Query: ") == 5
    assert "All 5,000 rows are there, and the first question gives the same ten rows." in done.stdout


def test_make_test_is_what_runs_this():
    planned = subprocess.run(
        ["make", "--dry-run", "test"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    words = shlex.split(planned.stdout)
    command = words[words.index("pytest") - 2 :]
    run = [".venv/bin/python", "-m", "pytest", "-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder"]
    assert command == [*run, "-m", "not slow"]


def test_make_run_serves_until_it_is_told_to_stop(tmp_path: Path):
    command = ["make", "run", f"ARGS=--port 0 --data {tmp_path / 'data'}"]
    # A group of its own, so that Ctrl-C can be sent as a terminal does: to make and everything below it.
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    ) as make:
        assert make.stdout is not None
        assert select.select([make.stdout], [], [], 300)[0]
        ready = next(filter(None, map(READY.fullmatch, iter(make.stdout.readline, ""))))
        os.killpg(make.pid, signal.SIGINT)
        make.wait(30)  # make itself dies of the signal
        wait_for(lambda: not is_alive(int(ready[6])), "the end of the server")
    reddb.connect(f"file:{tmp_path / 'data'}").close()  # it has let go of the folder


def test_the_shell_runs_the_statements(server: Server):
    statements = block("sql", "CREATE COLLECTION docs")
    command = [sys.executable, "-m", "reddb.server.main", "shell", server.url]
    done = subprocess.run(command, input=statements, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    blocks = [text.split("\n") for text in done.stdout.split(" ms)\n")]
    nearest = blocks[2]
    assert nearest[0].split() == ["id", "title", "distance"]
    assert nearest[2].split()[:2] == ["1", "red"]
    assert nearest[3].split()[:2] == ["2", "green"]
    assert blocks[3][2].split()[0] == "2"  # the filter
    assert blocks[6][2].split() == ["2"]  # count(*)
    assert blocks[8][2].split() == ["leaf", "green"]
    assert blocks[12] == ["(2 rows, " + blocks[12][0].rpartition(" ")[2]]  # the delete


def test_the_python_example_finds_what_it_stored(server: Server):
    example = block("python", "reddb.connect").replace("red://127.0.0.1:5050", server.url)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    first, *rows = done.stdout.splitlines()
    assert first.startswith("[7, ")
    assert "note 7" in first
    assert rows[0].startswith("7 note 7 ")
    assert len(rows) == 3


def test_the_usage_lines_name_every_option():
    for line in block("text", "reddb serve --data DIR").splitlines():
        _, command, *_ = line.split()
        described = CliRunner().invoke(main, [command, "--help"]).output
        options = set(re.findall(r"--[a-z-]+", described)) - {"--help", "--timeout", "--command", "--file"}
        assert options == set(re.findall(r"--[a-z-]+", line)), line


def test_the_settings_are_those_of_the_table():
    for setting in SETTINGS.values():
        allowed = (
            " or ".join(str(written(choice)) for choice in setting.choices) or f"{setting.minimum} to {setting.maximum}"
        )
        default = setting.default_in_words or setting.default
        assert f"| `{setting.name}` | {allowed} | {default} | {setting.meaning} |" in README


def test_the_metrics_are_those_of_the_table():
    for row in METRICS.values():
        names = [row.metric, *(name for name, metric in METRIC_ALIASES.items() if metric is row.metric)]
        (line,) = [line for line in README.splitlines() if line.startswith(f"| `{row.metric}`")]
        assert all(f"`{name}`" in line for name in names)
        assert f"| {row.range} |" in line


def test_the_files_it_points_at_exist():
    for target in re.findall(r"\]\((?!https:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
