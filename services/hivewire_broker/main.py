"""Wires the broker."""

import asyncio
from pathlib import Path

import asyncpg
import msgspec

from hivewire.errors import BadUsage
from hivewire.events.agent import AgentWaiting
from hivewire.subjects import AGENT_GATEWAY, BROKER, CONVERSATION, Subjects
from hivewire_broker.core import Broker
from hivewire_broker.keeping import keeping
from hivewire_broker.metrics import BrokerMeter
from hivewire_broker.presence import FleetSeen, WaitsSeen
from hivewire_broker.reads import READS
from hivewire_broker.replayer import Replayer
from hivewire_broker.rows import TaskRows, read_agents, read_waits
from hivewire_broker.scoring import DEFAULT_WEIGHTS
from hivewire_service.follow import Follower, follow_beats
from hivewire_service.logging import configure
from hivewire_service.run import Definition, run
from hivewire_service.service import Parts, Service
from hivewire_service.settings import Settings


def parts(settings: Settings, subjects: Subjects) -> Parts:
    """The core with its rows, fed with what becomes of agents and with their beats."""
    weights = read_weights(settings.weights) if settings.weights else DEFAULT_WEIGHTS
    core = Broker(settings.hive, weights, settings.owner_rate, settings.wake_timeout_seconds)
    replayer = Replayer(core, settings)
    beside = (follow_agents, follow_beats, follow_waits, replayer.run)
    rows = TaskRows(core, subjects, replayer.committed)
    return Parts(core, rows, while_owner=beside, meter=BrokerMeter(core), keeping=keeping(core))


def read_weights(file: Path) -> dict[str, float]:
    """The weights of a JSON file.

    Raises:
        BadUsage: it cannot be read, or is no JSON object of numbers.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, float])
    except OSError as error:
        raise BadUsage(f"cannot read the weights in {file}: {error.strerror}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise BadUsage(f"the weights in {file} are no JSON object of numbers: {error}") from error


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
