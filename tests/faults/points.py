"""`hivewire` whose services kill themselves at a named point of the loop.

HIVEWIRE_FAULTS_POINT names the point, HIVEWIRE_FAULTS_DEATHS a file. Whichever service passes the point first while there
is something in the file empties it and dies.
"""

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

POINT, DEATHS, SEED = "HIVEWIRE_FAULTS_POINT", "HIVEWIRE_FAULTS_DEATHS", "HIVEWIRE_FAULTS_SEED"
SENT_S_MAX = 0.004
"""A commit is with Postgres for some milliseconds."""

POINTS = (
    "before deciding",
    "before the commit",
    "within the commit",
    "behind the commit",
    "between replies and events",
    "behind the events, before the watermark",
)


class Fate:
    """When this process dies."""

    def __init__(self) -> None:
        self._point = os.environ[POINT]
        self._deaths = Path(os.environ[DEATHS])
        self._chance = random.Random(os.environ[SEED])

    def comes(self, point: str) -> bool:
        """Whether the process dies at this passing of the point."""
        return point == self._point and self._deaths.stat().st_size > 0

    def die(self) -> None:
        """As by SIGKILL from outside."""
        os.truncate(self._deaths, 0)
        os.kill(os.getpid(), signal.SIGKILL)

    async def die_soon(self) -> None:
        await asyncio.sleep(self._chance.uniform(0, SENT_S_MAX))
        self.die()


def install(fate: Fate) -> None:
    """Put the points into the loop."""
    from hivewire_service.outbox import Outbox
    from hivewire_service.service import Service

    decide, commit, publish = Service._decide, Service._commit, Outbox.publish

    async def deciding(service: Service, turn: Any) -> None:
        if turn.taken and fate.comes("before deciding"):
            fate.die()
        await decide(service, turn)

    async def committing(service: Service, term: Any, turn: Any, *what: Any) -> Any:
        if turn.stored and fate.comes("before the commit"):
            fate.die()
        if turn.stored and fate.comes("within the commit"):
            await asyncio.gather(commit(service, term, turn, *what), fate.die_soon())
        committed = await commit(service, term, turn, *what)
        if turn.stored and fate.comes("behind the commit"):
            fate.die()
        return committed

    async def publishing(outbox: Outbox, events: Sequence[Any]) -> None:
        if events and fate.comes("between replies and events"):
            await outbox._bus.client.flush()
            fate.die()
        await publish(outbox, events)
        if events and fate.comes("behind the events, before the watermark"):
            await outbox._bus.client.flush()
            fate.die()

    Service._decide, Service._commit, Outbox.publish = deciding, committing, publishing


if __name__ == "__main__":
    from hivewire.cli import main

    install(Fate())
    main()
