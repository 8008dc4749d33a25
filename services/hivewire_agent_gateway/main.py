"""Wires the agent gateway."""

import asyncio
from collections.abc import Mapping

from hivewire.subjects import AGENT_GATEWAY, Subjects
from hivewire_agent_gateway.core import AgentGateway
from hivewire_agent_gateway.credentials import credentials
from hivewire_agent_gateway.reads import READS
from hivewire_agent_gateway.rows import AgentRows
from hivewire_service.answer import Query
from hivewire_service.follow import follow_beats
from hivewire_service.identity import Issuer
from hivewire_service.logging import configure
from hivewire_service.run import Definition, run
from hivewire_service.service import Parts
from hivewire_service.settings import Settings


def parts(_settings: Settings, subjects: Subjects) -> Parts:
    """The core with its rows, fed with beats."""
    core = AgentGateway()
    return Parts(core, AgentRows(core, subjects), while_owner=(follow_beats,))


def admin(settings: Settings) -> Mapping[str, Query]:
    """What operators alone can ask.

    Raises:
        BadUsage: the file of signing keys cannot be read, or belongs to another hive.
    """
    issuer = Issuer.from_file(settings.keys_file, settings.hive) if settings.keys_file else None
    return {"credentials": credentials(issuer)}


DEFINITION = Definition(AGENT_GATEWAY, parts, READS, admin, has_door=True)


def main(settings: Settings) -> None:
    """Run the agent gateway until it is told to stop.

    Raises:
        HivewireError: something that it needs cannot be had.
    """
    configure(level=settings.log_level, style=settings.log_format)
    asyncio.run(run(DEFINITION, settings))
