"""Wires the agent gateway."""

import asyncio
from collections.abc import Mapping

from hivewire.subjects import AGENT_GATEWAY, Subjects
from hivewire_agent_gateway.aftermath import Aftermath
from hivewire_agent_gateway.core import AgentGateway
from hivewire_agent_gateway.credentials import Admission
from hivewire_agent_gateway.door.serve import door
from hivewire_agent_gateway.gateway_rows import GatewayRows
from hivewire_agent_gateway.keeping import KEEPING
from hivewire_agent_gateway.metrics import GatewayMeter
from hivewire_agent_gateway.reads import READS
from hivewire_agent_gateway.sessions.dispatching import Bounds
from hivewire_agent_gateway.tokens import Tokens
from hivewire_service.answer import Query
from hivewire_service.follow import follow_beats
from hivewire_service.logging import configure
from hivewire_service.run import Definition, Surroundings, run
from hivewire_service.service import Parts
from hivewire_service.settings import Settings


def parts(settings: Settings, subjects: Subjects) -> Parts:
    """The core with its rows, fed with beats, and what follows from its commits.

    Raises:
        BadUsage: a file of keys cannot be read, or belongs to another hive.
    """
    core = AgentGateway(Bounds(settings.sessions_max, settings.sessions_per_agent_max))
    aftermath = Aftermath(core, settings)
    return Parts(
        core,
        GatewayRows(core, subjects, aftermath),
        while_owner=(follow_beats, aftermath.run, Admission.of(settings).keep),
        keeping=KEEPING,
        meter=GatewayMeter(core),
    )


def admin(around: Surroundings) -> Mapping[str, Query]:
    """What operators alone can ask. Raises what `parts` raises."""
    return Tokens(Admission.of(around.settings), around.bus, around.subjects).queries()


DEFINITION = Definition(AGENT_GATEWAY, parts, READS, admin, door)


def main(settings: Settings) -> None:
    """Run the agent gateway until it is told to stop.

    Raises:
        HivewireError: something that it needs cannot be had.
    """
    configure(level=settings.log_level, style=settings.log_format)
    asyncio.run(run(DEFINITION, settings))
