"""Everything that runs on its own in this process: each task and each callback has somebody who learns of its failure.

    start                       a task
    soon, later                 a callback of the loop
    when_readable, …writable    a callback of a descriptor
    in_thread                   work of a thread, awaited to its end
    together, outcomes          several at once

What fails in an unforeseen way is logged with its name and traceback, counted (`failures`), and handed to the one who
decides what it means:

    failed given       a request answers INTERNAL, a link is closed; `carry_on` where it is due again or not needed
    else               it is vital: the process ends, and whoever watches it starts another, which is told all there is

Rejected: letting the loop report what nobody awaited. It does so when the garbage collector finds it, if ever, while
those who wait for the task wait on.

Invariant: no other module of the server starts a task or gives the loop a callback (`tests/tidy`), and what the loop
catches by itself is counted too.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeAlias, TypeVar

import structlog

from reddb import errors

_log = structlog.get_logger()

T = TypeVar("T")
Failed: TypeAlias = Callable[[Exception], object]

failures: Counter[str] = Counter()  # of this process, by name

_running: set[asyncio.Task[Any]] = set()  # the loop itself keeps weak references only


def end_process(error: Exception) -> None:
    """Others would wait for what is not said any more, for ever."""
    _log.critical("a bug ends this process", error=repr(error))
    os._exit(1)


def carry_on(error: Exception) -> None:
    """It is logged and counted: whoever awaits it is told, or it is due again, or nobody needs it."""


def watch(loop: asyncio.AbstractEventLoop) -> None:
    """Count and log what the loop catches: of connections, which it then closes, and of futures nobody awaits."""
    loop.set_exception_handler(lambda _, context: _caught(context))


def start(
    name: str,
    work: Coroutine[Any, Any, T],
    failed: Failed = end_process,
    cancelled: Callable[[], object] | None = None,
) -> asyncio.Task[T]:
    """Let it run. `failed` gets what it raises, `cancelled` is called if it was, even before it began."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(partial(_ended, failed, cancelled))
    return task


async def stop(task: asyncio.Task[Any]) -> None:
    """Cancel it and return when it has ended."""
    task.cancel()
    await asyncio.wait({task})


def soon(name: str, callback: Callable[..., object], *arguments: Any, failed: Failed = end_process) -> None:
    """Call at the end of this turn."""
    asyncio.get_running_loop().call_soon(_call, name, failed, callback, arguments)


def later(
    name: str, delay_s: float, callback: Callable[..., object], *arguments: Any, failed: Failed = end_process
) -> asyncio.TimerHandle:
    """Call after so many seconds, unless the handle is cancelled before."""
    return asyncio.get_running_loop().call_later(delay_s, _call, name, failed, callback, arguments)


def when_readable(name: str, descriptor: int, callback: Callable[[], object], failed: Failed) -> None:
    """Call whenever there is something to read."""
    asyncio.get_running_loop().add_reader(descriptor, _call, name, failed, callback, ())


def when_writable(name: str, descriptor: int, callback: Callable[[], object], failed: Failed) -> None:
    """Call whenever something can be written."""
    asyncio.get_running_loop().add_writer(descriptor, _call, name, failed, callback, ())


async def in_thread(pool: Executor | None, work: Callable[..., T], *arguments: Any) -> T:
    """What it returns or raises. Cancelled, it ends when the thread has: files may be removed only then."""
    running = asyncio.get_running_loop().run_in_executor(pool, work, *arguments)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await _until_done(running)
        if not running.cancelled() and (error := running.exception()) is not None:
            _log.error("what nobody waits for any more failed in a thread", error=repr(error))
        raise


async def together(*works: Awaitable[T]) -> list[T]:
    """Run all at once and return when the last has ended. Raises the first failure; others are logged."""
    done: list[T] = []
    failed: list[BaseException] = []
    for outcome in await outcomes(*works):
        if isinstance(outcome, BaseException):
            failed.append(outcome)
        else:
            done.append(outcome)
    for error in failed[1:]:
        _log.error("another of those at once failed too", error=repr(error))
    if failed:
        raise failed[0]
    return done


async def outcomes(*works: Awaitable[T]) -> list[T | BaseException]:
    """The same with failures as they are, for those who look at each."""
    return await asyncio.gather(*works, return_exceptions=True)


def _ended(failed: Failed, cancelled: Callable[[], object] | None, task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if task.cancelled():
        if cancelled is not None:
            _call(task.get_name(), failed, cancelled, ())
    elif isinstance(error := task.exception(), Exception):
        _tell(task.get_name(), failed, error)


def _call(name: str, failed: Failed, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    try:
        callback(*arguments)
    except Exception as error:
        _tell(name, failed, error)


def _tell(name: str, failed: Failed, error: Exception) -> None:
    if isinstance(error, errors.RedDBError) and failed is not end_process:
        _log.warning("a task ended with an error", task=name, error=str(error))
    else:
        failures[name] += 1
        _log.error("a task failed in an unforeseen way", task=name, exc_info=error)
    try:
        failed(error)
    except Exception as another:
        _log.error("so did the one who was to be told", task=name, exc_info=another)
        end_process(another)


def _caught(context: dict[str, Any]) -> None:
    failures["loop"] += 1
    _log.error("the loop caught a failure", what=context.get("message"), exc_info=context.get("exception"))


async def _until_done(running: asyncio.Future[Any]) -> None:
    """Return when it is; being cancelled again does not hurry a thread."""
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            continue
