"""What all requests of a door share."""

import asyncio
from dataclasses import dataclass, field

import asyncpg

from hivewire.subjects import Subjects
from hivewire_agent_gateway.door.callers import Callers, Rates
from hivewire_agent_gateway.outbound import Outbound
from hivewire_agent_gateway.tokens import Tokens
from hivewire_service.bus import Bus
from hivewire_service.deputy import Deputy
from hivewire_service.health import Health


@dataclass(slots=True)
class Place:
    """A door's means. `closing` is set when it shuts down: streams and sockets end by themselves."""

    subjects: Subjects
    bus: Bus
    line: Deputy
    pool: asyncpg.Pool
    health: Health
    callers: Callers
    rates: Rates
    outbound: Outbound
    tokens: Tokens
    public_url: str
    heartbeat_s: float
    closing: asyncio.Event = field(default_factory=asyncio.Event)
