"""Coroutines side by side, as long as all of them last.

asyncio.TaskGroup cancels its tasks once, and waits. On Python 3.11 `asyncio.wait_for`, which nats-py uses for every
request, drops a cancellation that arrives together with the answer: the task goes on for ever, and so would the wait.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

CANCEL_AGAIN_S = 1.0


async def until_first_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run coroutines until one of them returns or raises, and end the others.

    Raises:
        Exception: what the one raised.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = next(task for task in tasks if task.done())
    finally:
        await end(tasks)
    first.result()


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks, again if need be, until they have ended."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
