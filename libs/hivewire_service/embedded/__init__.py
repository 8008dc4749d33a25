"""nats-server and Postgres from their wheels, on loopback, with authentication on: a hive's servers on one machine.

    async with Embedded(Path("data")) as stack:
        issuer = stack.nats.add_hive("hive")
        ...

The servers end with the process that started them. See docs/adr for how they run when started by root.
"""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from hivewire_service.embedded.folder import DataFolder
from hivewire_service.embedded.nats_server import NatsServer
from hivewire_service.embedded.postgres import Postgres
from hivewire_service.process import end_orphans

__all__ = ["DataFolder", "Embedded", "NatsServer", "Postgres"]

STOP_GRACE_S = 1.0
"""Given to a server for each of its stop signals."""
REST_GRACE_S = 0.5
"""Given to what else was started here, which was told to stop before: agents that were woken."""


class Embedded:
    """The two servers of one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = DataFolder(data_dir.absolute())
        self.nats = NatsServer(self.folder)
        self.postgres = Postgres(self.folder)
        self._claim = ExitStack()
        self._claimed = False
        self.orphans: list[str] = []
        """Names of processes that an earlier, killed owner of the directory had left and that were ended."""

    async def claim(self) -> None:
        """Claim the data directory, and end what a killed owner left.

        Raises:
            HivewireError: the directory cannot be used or is in use.
        """
        self.folder.prepare()
        self._claim.enter_context(self.folder.claimed())
        self._claimed = True
        self.orphans = await end_orphans(self.folder.run, STOP_GRACE_S)

    async def start(self) -> None:
        """Start both servers side by side, on a directory that is claimed here if it was not before.

        Raises:
            HivewireError: the directory cannot be used or is in use, or a server does not start.
        """
        try:
            if not self._claimed:
                await self.claim()
            # Both are waited for, so that none is still starting when a failure of the other stops it.
            started = await asyncio.gather(self.nats.start(), self.postgres.start(), return_exceptions=True)
            for failure in started:
                if failure is not None:
                    raise failure
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop both servers and whatever else was started here, and release the directory."""
        await asyncio.gather(self.nats.child.stop(STOP_GRACE_S), self.postgres.child.stop(STOP_GRACE_S))
        if self._claimed:  # else what is recorded there belongs to somebody else
            await end_orphans(self.folder.run, REST_GRACE_S)
            self._claimed = False
        self._claim.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
