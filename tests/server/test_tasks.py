"""What runs on its own in a server fails in somebody's sight: logged, counted, and told to whoever decides."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from reddb.server import tasks


async def wrong() -> None:
    raise ValueError("wrong")


def test_a_failure_is_counted_and_told() -> None:
    async def work() -> list[str]:
        told: list[str] = []
        ended = asyncio.Event()

        def failed(error: Exception) -> None:
            told.append(repr(error))
            if len(told) == 3:
                ended.set()

        before = tasks.failures["here"]
        tasks.start("here", wrong(), failed)
        tasks.soon("here", [].remove, 1, failed=failed)
        tasks.later("here", 0.0, [].remove, 1, failed=failed)
        await ended.wait()
        assert tasks.failures["here"] == before + 3
        return told

    assert sorted(asyncio.run(work())) == ["ValueError('list.remove(x): x not in list')"] * 2 + ["ValueError('wrong')"]


def test_all_at_once_end_before_the_first_failure_is_raised() -> None:
    async def work() -> None:
        ended: list[int] = []

        async def slow() -> None:
            await asyncio.sleep(0)
            ended.append(1)

        with pytest.raises(ValueError, match="wrong"):
            await tasks.together(wrong(), slow(), wrong())
        assert ended == [1]

    asyncio.run(work())


def test_a_thread_is_waited_for_by_one_who_is_cancelled() -> None:
    async def work() -> None:
        let_go, began = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        done: list[int] = []

        def in_the_thread() -> None:
            loop.call_soon_threadsafe(began.set)
            let_go.wait()
            done.append(1)

        task = tasks.start("thread", tasks.in_thread(None, in_the_thread))
        await began.wait()
        stopping = tasks.start("stopping", tasks.stop(task))
        await asyncio.sleep(0)
        assert not task.done()
        let_go.set()
        await stopping
        assert task.cancelled()
        assert done == [1]

    asyncio.run(work())


@pytest.mark.parametrize("vital", ["tasks.start('vital', wrong())", "tasks.soon('vital', [].remove, 1)"])
def test_what_is_vital_takes_the_process_with_it(vital: str) -> None:
    program = f"""
import asyncio
from reddb.server import logs, tasks
async def wrong():
    raise ValueError("wrong")
async def main():
    logs.configure()
    {vital}
    await asyncio.Event().wait()
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "vital" in ended.stderr
    assert "ValueError" in ended.stderr
