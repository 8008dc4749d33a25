"""The gateway's own metrics. No label holds an id."""

from collections import Counter as Tally
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, get_args

import asyncpg
from prometheus_client import Counter, Gauge, Histogram

from hivewire.events import Event
from hivewire.events.session import SessionDispatched
from hivewire.subjects import AGENT_GATEWAY
from hivewire.views import SessionState
from hivewire_agent_gateway.core import AgentGateway
from hivewire_agent_gateway.registry import Agent
from hivewire_agent_gateway.sessions.desk import is_http
from hivewire_agent_gateway.states import Presence
from hivewire_service.stock import Meter

AGENTS = Gauge(
    "hivewire_agents", "Registered agents, by whether they are there and by how they are reached.", ["state", "kind"]
)
HEARTBEAT_AGE = Gauge(
    "hivewire_heartbeat_age_seconds",
    "How long ago the agent was heard that is there and has been silent for longest.",
    ["service"],
)
SESSIONS = Gauge("hivewire_sessions", "Sessions that have not ended; those just created wait for room.", ["state"])
DISPATCH_SECONDS = Histogram(
    "hivewire_session_dispatch_seconds",
    "From a session's acceptance to its first dispatch.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30, 300),
)
SESSION_TIMEOUTS = Counter("hivewire_session_timeouts_total", "Attempts of sessions that were not answered in time.")
BRIDGES = Gauge("hivewire_bridges", "Open WebSocket bridges of this door.")
BRIDGES_ENDED = Counter("hivewire_bridges_ended_total", "WebSocket bridges that ended, by close code.", ["code"])
POSTS = Gauge("hivewire_posts", "Dispatches that this door is posting to HTTP agents.")
REQUESTS = Counter("hivewire_http_requests_total", "Requests of the HTTP door.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "hivewire_http_request_seconds", "Time to the first byte of an answer.", ["method", "route"]
)
STREAMS = Gauge("hivewire_event_streams", "Open streams of server-sent events of this door.")
STREAMS_STUCK = Counter("hivewire_event_streams_stuck_total", "Streams that ended because their reader took nothing.")

KINDS: Final = ("native", "websocket", "http", "simulation")
STATES: Final = (Presence.PRESENT, Presence.LOST, Presence.AWAY)


class GatewayMeter(Meter):
    """Agents and sessions."""

    gauges = (AGENTS, HEARTBEAT_AGE, SESSIONS)

    def __init__(self, core: AgentGateway) -> None:
        self._core = core

    def count(self, events: Sequence[Event]) -> None:
        """How long sessions waited for their dispatch, and how many were not answered."""
        for event in events:
            if isinstance(event, SessionDispatched) and event.attempt == 1:
                session = self._core.sessions.get(event.session_id)
                if session is not None:
                    DISPATCH_SECONDS.observe((event.dispatched_at - session.created_at).total_seconds())
            elif event.type == "session.timed_out" or getattr(event, "ended", None) == "timed_out":
                SESSION_TIMEOUTS.inc()

    async def take_stock(self, pool: asyncpg.Pool) -> None:
        """Count what is in memory."""
        del pool
        states = Tally(session.state for session in self._core.sessions.by_id.values() if not session.ended)
        for state in get_args(SessionState)[:4]:
            SESSIONS.labels(state).set(states[state])
        agents = Tally((agent.presence, _kind(agent)) for agent in self._core.registry.agents.values())
        for presence in STATES:
            for kind in KINDS:
                AGENTS.labels(presence, kind).set(agents[presence, kind])
        HEARTBEAT_AGE.labels(AGENT_GATEWAY).set(self._core.heartbeat_age_s(datetime.now(UTC)))


def _kind(agent: Agent) -> str:
    if is_http(agent):
        return "http"
    return "websocket" if agent.card.agent_type == "remote" else agent.card.agent_type
