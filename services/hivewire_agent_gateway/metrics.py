"""The gateway's own metrics. No label holds an id."""

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final, get_args

from prometheus_client import Counter, Gauge, Histogram

from hivewire.events import Event
from hivewire.events.session import SessionDispatched
from hivewire.views import SessionState
from hivewire_agent_gateway.core import AgentGateway
from hivewire_agent_gateway.sessions.desk import is_http
from hivewire_agent_gateway.states import Presence

SESSIONS = Gauge("hivewire_sessions", "Sessions that have not ended.", ["state"])
SESSIONS_QUEUED = Gauge("hivewire_sessions_queued", "Sessions that wait for room beyond the limits.")
DISPATCH_SECONDS = Histogram(
    "hivewire_session_dispatch_seconds",
    "From a session's acceptance to its first dispatch.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30, 300),
)
SESSION_TIMEOUTS = Counter("hivewire_session_timeouts_total", "Attempts of sessions that were not answered in time.")
AGENTS_PRESENT = Gauge("hivewire_agents_present", "Agents that are there.", ["kind"])
BRIDGES = Gauge("hivewire_bridges", "Open WebSocket bridges of this door.")
POSTS = Gauge("hivewire_posts", "Dispatches that this door is posting to HTTP agents.")
REQUESTS = Counter("hivewire_http_requests_total", "Requests of the HTTP door.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "hivewire_http_request_seconds", "Time to the first byte of an answer.", ["method", "route"]
)
STREAMS = Gauge("hivewire_event_streams", "Open streams of server-sent events of this door.")
STREAMS_STUCK = Counter("hivewire_event_streams_stuck_total", "Streams that ended because their reader took nothing.")

KINDS: Final = ("native", "websocket", "http", "simulation")


def count(events: Sequence[Event], core: AgentGateway) -> None:
    """Count what a commit made true."""
    for event in events:
        if isinstance(event, SessionDispatched) and event.attempt == 1:
            session = core.sessions.get(event.session_id)
            if session is not None:
                DISPATCH_SECONDS.observe((event.dispatched_at - session.created_at).total_seconds())
        elif event.type == "session.timed_out" or getattr(event, "ended", None) == "timed_out":
            SESSION_TIMEOUTS.inc()


def take_stock(core: AgentGateway) -> None:
    """Set the gauges to how things stand."""
    states = Tally(session.state for session in core.sessions.by_id.values() if not session.ended)
    for state in get_args(SessionState)[:4]:
        SESSIONS.labels(state).set(states[state])
    SESSIONS_QUEUED.set(states["created"])
    kinds = Tally(
        "http" if is_http(agent) else "websocket" if agent.card.agent_type == "remote" else agent.card.agent_type
        for agent in core.registry.agents.values()
        if agent.presence is Presence.PRESENT
    )
    for kind in KINDS:
        AGENTS_PRESENT.labels(kind).set(kinds[kind])
