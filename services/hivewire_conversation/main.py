"""Wires the conversation service."""

import asyncio

import asyncpg

from hivewire.subjects import AGENT_GATEWAY, CONVERSATION, Subjects
from hivewire_conversation.core import Conversations
from hivewire_conversation.keeping import KEEPING
from hivewire_conversation.metrics import ConversationMeter
from hivewire_conversation.reads import READS
from hivewire_conversation.rows import ConversationRows, read_agents
from hivewire_conversation.seen import AgentsSeen
from hivewire_service.follow import Follower
from hivewire_service.logging import configure
from hivewire_service.run import Definition, run
from hivewire_service.service import Parts, Service
from hivewire_service.settings import Settings


def parts(_settings: Settings, subjects: Subjects) -> Parts:
    """The core with its rows, fed with what becomes of agents."""
    core = Conversations()
    rows = ConversationRows(core, subjects)
    return Parts(core, rows, while_owner=(follow_agents,), meter=ConversationMeter(core), keeping=KEEPING)


async def follow_agents(service: Service) -> None:
    """Feed the service with the gateway's agents, until cancelled."""
    await Follower(service, AGENT_GATEWAY, "agent.*", agents_seen).run()


async def agents_seen(connection: asyncpg.Connection) -> AgentsSeen:
    """The gateway's agents as an observation."""
    return AgentsSeen(await read_agents(connection))


DEFINITION = Definition(CONVERSATION, parts, READS)


def main(settings: Settings) -> None:
    """Run the conversation service until it is told to stop.

    Raises:
        HivewireError: something that it needs cannot be had.
    """
    configure(level=settings.log_level, style=settings.log_format)
    asyncio.run(run(DEFINITION, settings))
