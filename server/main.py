"""The command line: `reddb serve`, `reddb shell`, `reddb health`, `reddb check`, `reddb backup`, `reddb restore`.

Exit codes: 0 done, 1 the statement or the health check failed, 2 the server cannot be reached or the call was wrong;
of a check 0 sound, 1 damaged, 2 the folder could not be looked at; of a backup and a restore 0 done, 1 what was to be
copied is damaged, 2 it could not be done or the call was wrong.
"""

from __future__ import annotations

import ipaddress
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from reddb import limits
from reddb._version import __version__
from reddb.errors import CORRUPT_DATA, RedDBError
from reddb.session_settings import SERVER_SETTINGS
from reddb.terminal_text import shown_at

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ORDER = "reddb.order"
_DEFAULT_URL = "red://127.0.0.1:5050"


@click.group()
@click.version_option(__version__, prog_name="RedDB")
def main() -> None:
    """RedDB: a vector database."""


@main.command()
@click.option(
    "--data", required=True, type=click.Path(path_type=Path, file_okay=False), help=SERVER_SETTINGS["data"].meaning
)
@click.option("--cores", type=click.IntRange(1, limits.CORES_MAX), default=None, help=SERVER_SETTINGS["cores"].meaning)
@click.option(
    "--host", default=SERVER_SETTINGS["host"].default, show_default=True, help=SERVER_SETTINGS["host"].meaning
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=SERVER_SETTINGS["port"].default,
    show_default=True,
    help=SERVER_SETTINGS["port"].meaning,
)
@click.option("--insecure", is_flag=True, help="Allow an address that others can reach: there are no users yet.")
@click.option("--builders", type=click.IntRange(1), default=None, help=SERVER_SETTINGS["builders"].meaning)
@click.option(
    "--builder-memory-mib",
    type=click.IntRange(0),
    default=SERVER_SETTINGS["builder_memory_mib"].default,
    help=SERVER_SETTINGS["builder_memory_mib"].meaning,
)
@click.option(
    "--hung-after-s",
    type=click.IntRange(2),
    default=SERVER_SETTINGS["hung_after_s"].default,
    show_default=True,
    help=SERVER_SETTINGS["hung_after_s"].meaning,
)
@click.option(
    "--archive-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help=SERVER_SETTINGS["archive_dir"].meaning,
)
def serve(
    data: Path,
    cores: int | None,
    host: str,
    port: int,
    insecure: bool,
    builders: int | None,
    builder_memory_mib: int,
    hung_after_s: int,
    archive_dir: Path | None,
) -> None:
    """Run the server in the foreground, until SIGTERM or Ctrl-C."""
    import uvloop

    from reddb.server import logs
    from reddb.server.machine import memory_bytes
    from reddb.server.options import ServeOptions
    from reddb.server.supervisor import Supervisor

    if not __debug__:
        raise click.ClickException("the server does not run under python -O: its assertions guard your data")
    if not (insecure or _is_loopback(host)):
        raise click.ClickException(
            f"{host} can be reached by others, and there are no users and passwords yet; "
            "listen on 127.0.0.1, or say --insecure if the network is yours"
        )
    logs.configure()
    logs.bind_process("supervisor")
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a descriptor, and so is a collection

    async def run() -> None:
        of_this_machine = len(os.sched_getaffinity(0))
        options = ServeOptions(
            *(data, cores or of_this_machine, host, port, memory_bytes()),
            *(builder_memory_mib * limits.MIB, builders or limits.CORES_MAX, hung_after_s),
            archive_dir=archive_dir,
        )
        await Supervisor(options).run()

    try:
        uvloop.run(run())
    except RedDBError as error:
        raise click.ClickException(shown_at(sys.stderr, str(error))) from error


class _InOrder(click.Command):
    """A command that knows in which order its options stood: `ctx.meta[_ORDER]` has their names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_ORDER] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


@main.command(cls=_InOrder)
@click.argument("url", default=_DEFAULT_URL)
@click.option("-c", "--command", multiple=True, help="Run these statements and exit; may be repeated, with -f as well.")
@click.option("-f", "--file", multiple=True, help="Run the statements of this file and exit; - is the standard input.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "vertical", "csv", "json", "ndjson", "arrow"]),
    default="table",
    show_default=True,
    help="How results are shown.",
)
@click.pass_context
def shell(ctx: click.Context, url: str, command: tuple[str, ...], file: tuple[str, ...], form: str) -> None:
    """Type statements, each ended by a semicolon, and see their results; URL is red://host:port or file:DIR."""
    from reddb.client.shell.run import Script, run_shell

    given = {"command": iter(command), "file": iter(file)}
    scripts = [Script(next(given[name]), name == "file") for name in ctx.meta[_ORDER] if name in given]
    sys.exit(run_shell(url, scripts, form))


@main.command()
@click.argument("url", default=_DEFAULT_URL)
@click.option("--timeout", "timeout_s", type=float, default=5.0, show_default=True, help="Seconds to wait.")
@click.option("--ready", is_flag=True, help="Ask also whether every partition is ready.")
def health(url: str, timeout_s: float, ready: bool) -> None:
    """Ask a server whether it answers; for health checks of containers."""
    import reddb

    waiting: list[str] = []
    try:
        with reddb.connect(url, timeout_s=timeout_s) as database:
            database.ping()
            names = [row[0] for row in database.execute("SHOW COLLECTIONS")] if ready else []
            for name in names:
                quoted = name.replace('"', '""')
                stats = database.execute(f'SHOW STATS FOR "{quoted}"')
                waiting += [f"{name}, partition {row[0]}: {row[2]}" for row in stats if row[2] != "ready"]
    except RedDBError as error:
        _complain(str(error))
        sys.exit(1)
    if waiting:
        _complain("\n".join(waiting))
        sys.exit(1)
    click.echo("ready" if ready else "ok")


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--repair", is_flag=True, help="Move what is damaged aside, so that the rest can be opened.")
def check(folder: Path, repair: bool) -> None:
    """Read every file of a data folder that no server has open, and say what is damaged."""
    from reddb.check import run_check

    try:
        sys.exit(run_check(folder.resolve(), _say, repair=repair))
    except RedDBError as error:
        _complain(f"could not look: {error}")
        sys.exit(2)


@main.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("dest", type=click.Path(path_type=Path))
@click.option(
    "--base",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="An earlier backup: what it has is linked from there.",
)
def backup(data: Path, dest: Path, base: Path | None) -> None:
    """Copy a data folder, which a server may have open and write to, into the new folder DEST."""
    from reddb.backup.backup import run_backup

    with _told():
        run_backup(data.resolve(), _beside_others(dest), _say, None if base is None else base.resolve())


@main.command()
@click.argument("backup", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--archive",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The archive of a server: go on where the backup ends.",
)
@click.option(
    "--to-lsn", multiple=True, help="Stop behind this log record: N, or COLLECTION/PARTITION:N, once for each."
)
@click.option("--to-time", help="Stop before the first write that is later: 2026-01-31T12:00:00Z.")
def restore(backup: Path, data: Path, archive: Path | None, to_lsn: tuple[str, ...], to_time: str | None) -> None:
    """Make the new data folder DATA of a backup."""
    from reddb.backup.restore import run_restore

    if to_lsn and to_time is not None:
        raise click.UsageError("--to-lsn and --to-time exclude each other")
    time_us = None if to_time is None else _microseconds(to_time)
    archive = None if archive is None else archive.resolve()
    with _told():
        run_restore(
            *(backup.resolve(), _beside_others(data), _say),
            archive=archive,
            to_lsn=list(to_lsn),
            to_time_us=time_us,
        )


def _say(text: str) -> None:
    click.echo(shown_at(sys.stdout, text))


def _complain(text: str) -> None:
    click.echo(shown_at(sys.stderr, text), err=True)


def _beside_others(folder: Path) -> Path:
    """The absolute path of a folder that is to be made; a link of its name would not be followed."""
    return folder.resolve() if folder.name in ("", "..") else folder.parent.resolve() / folder.name


@contextmanager
def _told() -> Iterator[None]:
    """Say what went wrong with a backup or a restore, and exit as the docstring of this module says."""
    try:
        yield
    except RedDBError as error:
        _complain(str(error))
        sys.exit(1 if error.code is CORRUPT_DATA else 2)


def _microseconds(text: str) -> int:
    """Since 1970, of an ISO 8601 time with a zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"--to-time: {error}") from error
    if moment.tzinfo is None:
        raise click.UsageError(f"--to-time: {text!r} has no zone; say {text}Z for UTC")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    main()
