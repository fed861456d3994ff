"""The container without Docker: the Dockerfile's steps in a folder, its wheel as an unprivileged user, its texts.

An editable install finds what the wheel lacks, and root may write where a container may not: here neither is so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import reddb
from reddb.client.url import PORT
from tests.server.harness import Server, wait_for

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
COMPOSE = (ROOT / "docker" / "compose.yaml").read_text()
USER = "10001"


def run(*words: str | Path, **more: object) -> str:
    """What a command that must succeed says."""
    done = subprocess.run(
        [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, **more
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}"
    return done.stdout


def copy_context(target: Path) -> None:
    """What `COPY . .` brings: the files that .dockerignore lets in."""
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in lines
    for name in [line[1:] for line in lines if line.startswith("!")]:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)


_BARE = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
_AS_USER = [*_BARE, "--reuid", USER, "--regid", USER, "--clear-groups"]


def user_may_run(python: str | Path) -> bool:
    # By way of `env`: the first program is still looked up with our rights, the second without them.
    words = [*_AS_USER, "env", str(python), "-c", "import venv"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def unprivileged(folder: Path) -> list[str]:
    """Words before a command that take every privilege from it; none if we have none ourselves."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return []
    # Where that user may not reach the interpreter, root without any capability is bound by file modes, too.
    return _AS_USER if user_may_run(folder / "env" / "bin" / "python") else _BARE


def base_python() -> str:
    """The interpreter of the environment: our own, or the system's of the same version if only that is for all."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    system = shutil.which(version, path="/usr/local/bin:/usr/bin")
    if (
        os.geteuid() == 0
        and shutil.which("setpriv")
        and not user_may_run(sys.executable)
        and system
        and user_may_run(system)
    ):
        return system
    return sys.executable


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """A folder that everyone may enter, with `env`, the read-only installation made as the Dockerfile says."""
    with tempfile.TemporaryDirectory(prefix="reddb-container-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "src").mkdir()
        copy_context(folder / "src")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder / "env"]
        # Without pip of its own, a detail that saves seconds: ours installs into it.
        run(base_python(), "-m", "venv", "--without-pip", folder / "env")
        run(*pip[:4], "wheel", "--no-deps", "-w", folder / "wheels", ".", cwd=folder / "src")
        (wheel,) = (folder / "wheels").glob("*.whl")
        run(*pip, "install", "-c", "constraints.txt", wheel, cwd=folder / "src")
        shutil.rmtree(folder / "src")
        run("chmod", "-R", "a-w,a+rX", folder / "env")
        yield folder
        run("chmod", "-R", "u+w", folder / "env")


@pytest.fixture
def server(installed: Path, tmp_path: Path) -> Iterator[Server]:
    """The installed server, run by a user without privileges from a folder of its own."""
    (installed / "data").mkdir(mode=0o700)
    words = unprivileged(installed)
    if USER in words:
        os.chown(installed / "data", int(USER), int(USER))
    server = Server(installed / "data", tmp_path, command=[*words, installed / "env" / "bin" / "reddb"])
    yield server
    server.close()
    run("chmod", "-R", "u+rwx", installed / "data")
    shutil.rmtree(installed / "data")


def environment(installed: Path) -> dict[str, str]:
    """As in the container: nothing that would lead back to the checkout."""
    return {"PATH": f"{installed / 'env' / 'bin'}:/usr/bin:/bin", "HOME": "/nonexistent"}


def test_the_installation_serves(server: Server, installed: Path) -> None:
    around = {"env": environment(installed), "cwd": "/"}
    server.start(**around)
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in [server.pid, *server.core_pids().values()]}
    if USER in unprivileged(installed):
        assert owners == {int(USER)}
    status = (Path("/proc") / str(server.pid) / "status").read_text()
    if os.geteuid() == 0:
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE), "it still has capabilities"
    assert run("reddb", "health", server.url, **around) == "ok\n"
    script = (
        "import reddb, reddb.grammar\n"
        "from reddb.client.demo.sample import load\n"
        "sample = load()\n"
        f"with reddb.connect({server.url!r}) as db:\n"
        "    db.execute('CREATE COLLECTION docs KIND vector.turbo DIM 384')\n"
        "    db.insert('docs', sample.ids, sample.vectors, sample.payloads)\n"
        "    print(reddb.__file__, db.search('docs', sample.vectors[3], k=1).ids[0] == sample.ids[3])\n"
    )
    said = run(installed / "env" / "bin" / "python", "-c", script, **around)
    assert said.split() == [str(next((installed / "env").rglob("reddb/__init__.py"))), "True"]
    server.stop()
    server.start(**around)
    with reddb.connect(server.url) as db:
        assert len(db.execute("SELECT id FROM docs LIMIT 10000")) == 5000
    server.stop()


def test_nothing_is_written_beside_the_data(server: Server, installed: Path) -> None:
    def state() -> set[tuple[str, float]]:
        return {(str(path), path.stat().st_mtime) for path in (installed / "env").rglob("*")}

    before = state()
    server.start(env=environment(installed), cwd="/")
    server.stop()
    assert state() == before


def test_a_folder_that_it_may_not_enter(server: Server, installed: Path) -> None:
    """A bind mount of another owner, the most likely mistake."""
    locked = installed / "data" / "locked"
    locked.mkdir(mode=0o000)
    server.data = locked / "data"
    process = server.spawn(env=environment(installed), cwd="/")
    assert process.wait(15) == 1
    assert "Permission denied" in server.stderr()
    assert str(locked) in server.stderr()
    server.assert_no_traceback()


def test_a_core_that_cannot_be_started_is_tried_again(server: Server, installed: Path) -> None:
    """As when the machine is out of processes or memory for a moment."""
    server.start(env=environment(installed), cwd="/")
    python = installed / "env" / "bin" / "python"
    python.parent.chmod(0o755)
    old = server.core_pids()
    python.rename(python.with_name("python-away"))
    try:
        server.kill_core(0)
        wait_for(lambda: "a core died" in server.stderr(), "the first attempt")
        with reddb.connect(server.url) as db:
            db.ping()  # the other core serves
        wait_for(lambda: 0 not in server.core_pids(), "its end")
    finally:
        python.with_name("python-away").rename(python)
        python.parent.chmod(0o555)
    assert server.wait_core_restarted(0, old[0]) in server.core_pids().values()
    server.stop()


def test_the_wheel_holds_what_the_checkout_holds(installed: Path) -> None:
    package = next((installed / "env").rglob("reddb/__init__.py")).parent
    modules = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    folders = {"reddb": "", "grammar": "grammar", "server": "server", "client": "client"}
    expected = {
        str(Path(inside) / path.relative_to(ROOT / folder))
        for folder, inside in folders.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert modules == expected
    assert (package / "py.typed").exists()
    assert (package / "client" / "demo" / "LICENSE-wordnet.txt").exists()


# --- the texts --------------------------------------------------------------------------------------------


def instruction(word: str) -> str:
    """The last such instruction of the Dockerfile, continuation lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{word}\s+(.*)$", joined, re.MULTILINE)[-1].strip()


def test_dockerfile_and_compose_agree() -> None:
    assert instruction("EXPOSE") == str(PORT)
    assert instruction("VOLUME") == "/data"
    assert instruction("USER") == f"{USER}:{USER}"
    assert f"-o {USER} -g {USER} /data" in DOCKERFILE
    assert instruction("STOPSIGNAL") == "SIGTERM"
    assert instruction("HEALTHCHECK").endswith('CMD ["reddb", "health"]')
    assert instruction("ENTRYPOINT") == '["reddb"]'
    assert instruction("CMD") == '["serve", "--data", "/data", "--host", "0.0.0.0", "--insecure"]'
    assert f'- "127.0.0.1:{PORT}:{PORT}"' in COMPOSE
    assert re.search(r"^\s+- data:/data$", COMPOSE, re.MULTILINE)
    assert "dockerfile: docker/Dockerfile" in COMPOSE
    assert "user:" not in COMPOSE, "the image's own user serves"
    assert "healthcheck:" not in COMPOSE, "the image's own health check serves"


def test_compose_gives_the_drain_its_time() -> None:
    (grace_s,) = re.findall(r"stop_grace_period: (\d+)s", COMPOSE)
    assert int(grace_s) > reddb.limits.DRAIN_TIMEOUT_S
    assert reddb.limits.DRAIN_TIMEOUT_S < 10, "docker stop without compose kills after 10 s"


def test_the_build_follows_the_constraints() -> None:
    assert "pip wheel --no-cache-dir --no-deps -w /wheels ." in DOCKERFILE
    assert "pip install --no-cache-dir -c constraints.txt /wheels/*.whl" in DOCKERFILE
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(set(stages)) == 1, "an environment is copied between stages, so both have the same Python"
