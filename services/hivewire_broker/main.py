"""Wires the broker."""

import asyncio

import asyncpg

from hivewire.events.agent import AgentWaiting
from hivewire.subjects import AGENT_GATEWAY, BROKER, CONVERSATION, Subjects
from hivewire_broker.core import Broker
from hivewire_broker.presence import FleetSeen, WaitsSeen
from hivewire_broker.reads import READS
from hivewire_broker.rows import TaskRows, read_agents, read_waits
from hivewire_service.follow import Follower, follow_beats
from hivewire_service.logging import configure
from hivewire_service.run import Definition, run
from hivewire_service.service import Parts, Service
from hivewire_service.settings import Settings


def parts(settings: Settings, subjects: Subjects) -> Parts:
    """The core with its rows, fed with what becomes of agents and with their beats."""
    core = Broker(settings.hive)
    return Parts(core, TaskRows(core, subjects), while_owner=(follow_agents, follow_beats, follow_waits))


async def follow_agents(service: Service) -> None:
    """Feed the broker with the gateway's agents, until cancelled."""
    await Follower(service, AGENT_GATEWAY, "agent.*", fleet_seen).run()


async def fleet_seen(connection: asyncpg.Connection) -> FleetSeen:
    """The gateway's agents as an observation."""
    return FleetSeen(await read_agents(connection))


async def follow_waits(service: Service) -> None:
    """Feed the broker with the attempts that wait for answers, until cancelled."""
    await Follower(service, CONVERSATION, AgentWaiting.type, waits_seen).run()


async def waits_seen(connection: asyncpg.Connection) -> WaitsSeen:
    """The conversation service's waits as an observation."""
    return WaitsSeen(await read_waits(connection))


DEFINITION = Definition(BROKER, parts, READS)


def main(settings: Settings) -> None:
    """Run the broker until it is told to stop.

    Raises:
        HivewireError: something that it needs cannot be had.
    """
    configure(level=settings.log_level, style=settings.log_format)
    asyncio.run(run(DEFINITION, settings))
