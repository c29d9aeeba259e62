"""Tasks that compute take turns, so that the event loop serves its connections between any two steps."""

from __future__ import annotations

import asyncio

from samplejoin.engine.scheduler import FairScheduler


class Loop:
    """Counts the event loop's scheduler."""

    def __init__(self) -> None:
        self.turn = 0
        self._count()

    def _count(self) -> None:
        self.turn += 1
        asyncio.get_running_loop().call_soon(self._count)


async def test_no_two_tasks_compute_in_one_turn_and_none_waits_longer_than_all_others_take():
    scheduler, loop, steps = FairScheduler(), Loop(), []

    async def work(name: str) -> None:
        for _ in range(3):
            await scheduler.next_turn()
            steps.append((loop.turn, name))

    async with asyncio.timeout(10):
        await asyncio.gather(*(work(name) for name in "abc"))
    assert [name for _, name in steps] == list("abcabcabc")
    assert len({turn for turn, _ in steps}) == len(steps)


async def test_who_is_cancelled_while_waiting_holds_nobody_up():
    scheduler, done = FairScheduler(), []

    async def work(name: str) -> None:
        await scheduler.next_turn()
        done.append(name)

    tasks = [asyncio.create_task(work(name)) for name in "abc"]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[1].cancel()
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks, return_exceptions=True)
        await work("d")
    assert done == ["c", "d"]
