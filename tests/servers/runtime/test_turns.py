"""Turns are shared between groups, and nobody who leaves keeps one."""

import asyncio

from servers.runtime.turns import Turns


async def served(groups: list[str], last: str = "", leaves: str = "") -> list[str]:
    """The order in which calls of these groups have their turn."""
    turns = Turns(1)
    await turns.acquire("first")
    order: list[str] = []

    async def serve(group: str) -> None:
        await turns.acquire(group, is_last=group == last)
        order.append(group)
        turns.release()

    waiting = {asyncio.create_task(serve(group)): group for group in groups}
    await asyncio.sleep(0)
    for task, group in waiting.items():
        if group == leaves:
            task.cancel()
    turns.release()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.wait_for(turns.acquire("another"), 1)
    return order


async def test_turns_are_shared_between_groups_not_calls() -> None:
    assert await served(["many"] * 3 + ["one", "leaves"], leaves="leaves") == ["many", "one", "many", "many"]


async def test_some_come_last() -> None:
    assert await served(["silent", "one", "many", "many"], last="silent") == ["one", "many", "many", "silent"]
