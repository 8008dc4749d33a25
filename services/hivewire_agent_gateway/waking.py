"""Starting agents that are away: a signed POST to a URL, or a command of the operator's on this machine.

What is started here ends with the gateway's process, so that the end of `hivewire up` leaves nothing behind.
"""

import os
import shutil
from typing import Final

from hivewire import codec
from hivewire.errors import HivewireError
from hivewire.ids import new_id
from hivewire_agent_gateway.outbound import Outbound
from hivewire_agent_gateway.secrets import WEBHOOK_SECRET, signing_secret
from hivewire_service.embedded.folder import DataFolder
from hivewire_service.process import Child, Command
from hivewire_service.service import Service
from hivewire_service.settings import Settings

POST_S: Final = 30.0
_OURS: Final = ("HIVEWIRE_", "NATS_")
"""What begins so in a service's environment is the service's own, with secrets among it."""


class Waker:
    """Wakes agents in the way that their cards say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: dict[str, Child] = {}

    async def wake(self, service: Service, outbound: Outbound, agent_id: str, how: str) -> None:
        """Tell an agent to start. That it did is seen when it registers.

        Raises:
            HivewireError: the URL did not take it, or there is no such command.
        """
        if how.startswith(("http://", "https://")):
            await _post(service, outbound, agent_id, how)
        else:
            await self._start(agent_id, how)

    async def _start(self, agent_id: str, name: str) -> None:
        if self._settings.data is None:
            raise HivewireError(f"the command {name!r} can be run under `hivewire up` alone: put a URL on the card")
        argv = self._settings.wake_commands.get(name)
        if not argv:
            raise HivewireError(f"the operator has configured no command {name!r}: add it to wake_commands")
        program = shutil.which(argv[0])
        if program is None:
            raise HivewireError(f"the command {name!r} names the program {argv[0]!r}, which is not there")
        folder = DataFolder(self._settings.data)
        child = self._children.setdefault(agent_id, Child(f"agent-{agent_id}", folder.run))
        if child.pid is not None:
            return  # it is about to register
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
        environment |= {"HIVEWIRE_DATA": str(folder.root), "HIVEWIRE_AGENT_ID": agent_id}
        log = folder.open_log(f"agent-{agent_id}")
        try:
            await child.start(Command(program, argv, environment, stdout=log))
        finally:
            os.close(log)


async def _post(service: Service, outbound: Outbound, agent_id: str, url: str) -> None:
    secret = await signing_secret(service.store.pool, WEBHOOK_SECRET)
    body = codec.encode({"type": "wake", "agent_id": agent_id, "hive": service.subjects.hive})
    status, _ = await outbound.post(url, body, secret, new_id(), POST_S)
    if not 200 <= status < 300:
        raise HivewireError(f"{url} answered {status}")
