"""Waiting for a server that was just started."""

import asyncio
from collections.abc import Awaitable, Callable

from hivewire.errors import HivewireError
from hivewire_service.embedded.folder import DataFolder
from hivewire_service.process import Child

_PAUSE_S = 0.02
_START_S_MAX = 120.0
"""A database that was killed under load may replay its log for a while."""


async def until_ready(child: Child, ready: Callable[[], Awaitable[bool]], folder: DataFolder) -> None:
    """Ask `ready` until it says yes.

    Raises:
        HivewireError: the child ended, or was not ready in two minutes; the text quotes its log.
    """
    try:
        async with asyncio.timeout(_START_S_MAX):
            while not await ready():
                if child.pid is None:
                    raise HivewireError(f"{child.name} did not start: {folder.last_failure(child.name)}")
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        raise HivewireError(
            f"{child.name} is not ready after {_START_S_MAX:.0f} s: see {folder.log(child.name)}"
        ) from None
