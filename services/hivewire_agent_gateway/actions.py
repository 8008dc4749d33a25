"""Completion actions: what happens to a session's response before the session is completed.

An action may be run again, after a failure or a restart; each is made so that this has no second effect.
"""

from typing import Any, Final

import asyncpg
import msgspec

from hivewire import codec
from hivewire.commands.sessions import CompletionAction, PullRequest, Webhook
from hivewire.errors import HivewireError
from hivewire_agent_gateway.outbound import Outbound
from hivewire_agent_gateway.reads import session_view
from hivewire_agent_gateway.rows import SQL
from hivewire_agent_gateway.secrets import WEBHOOK_SECRET, signing_secret
from hivewire_service.service import Service
from hivewire_service.settings import Settings

WEBHOOK_S: Final = 30.0
_actions = msgspec.json.Decoder(CompletionAction)


class Actions:
    """Runs completion actions."""

    def __init__(self, settings: Settings, outbound: Outbound) -> None:
        self._settings = settings
        self._outbound = outbound

    async def run(self, service: Service, session_id: str) -> None:
        """Run the completion action of a session.

        Raises:
            HivewireError: it failed.
        """
        row = await service.store.pool.fetchrow(SQL.session, session_id)
        assert row is not None
        action: Any = _actions.decode(row["completion_action"])
        match action:
            case Webhook(url=url):
                await self._webhook(service, url, row)
            case PullRequest():
                await self._pull_request(action, row)

    async def _webhook(self, service: Service, url: str, row: asyncpg.Record) -> None:
        secret = await signing_secret(service.store.pool, WEBHOOK_SECRET)
        body = codec.encode(session_view(row))
        status, _ = await self._outbound.post(url, body, secret, row["session_id"], WEBHOOK_S)
        if not 200 <= status < 300:
            raise HivewireError(f"the webhook {url} answered {status}")

    async def _pull_request(self, action: PullRequest, row: asyncpg.Record) -> None:
        # Slow to import, and most hives never open a pull request.
        from hivewire_agent_gateway.pull_request import open_pull_request

        response = (row["response"] or "null").encode()
        await open_pull_request(self._settings, action, row["session_id"], response)
