"""Conversations and simulations over HTTP: the other services' commands and reads, passed on as they are."""

from collections.abc import Iterable

from hivewire import reads
from hivewire.commands import CATALOGUE
from hivewire.subjects import CONVERSATION, TICK_ENGINE
from hivewire.views import ConversationView, Page
from hivewire_agent_gateway.door.calls import AGENTS, ANYBODY, OPERATORS, Roles, Route
from hivewire_agent_gateway.door.plain import API, commanding, reading


def _commands(
    service: str, base: str, named_by: str, tag: str, rows: Iterable[tuple[str, str, str, Roles]]
) -> list[Route]:
    """A route for each verb: its path behind `base`, what it does, and who may."""
    routes = []
    for verb, path, summary, roles in rows:
        given = (named_by,) if f"{{{named_by}}}" in path else ()
        kind = CATALOGUE[service][verb]
        handler = commanding(service, verb, *given)
        routes.append(Route("POST", f"{base}{path}", summary, handler, roles=roles, body=kind, given=given, tag=tag))
    return routes


_CONVERSATIONS = f"{API}/conversations"
_SIMULATIONS = f"{API}/simulations"
_ONE = "/{simulation_id}"

ROUTES = [
    *_commands(
        CONVERSATION,
        _CONVERSATIONS,
        "conversation_id",
        "conversations",
        (
            ("ask", "", "Ask an agent, whoever runs a task, or whoever works in a phase", ANYBODY),
            ("answer", "/{conversation_id}/answer", "Answer a question", AGENTS),
            ("withdraw", "/{conversation_id}/withdraw", "Take a question back", ANYBODY),
        ),
    ),
    Route(
        "GET",
        _CONVERSATIONS,
        "List conversations, newest first",
        reading(CONVERSATION, "conversations", reads.ListConversations),
        parameters=reads.ListConversations,
        answer=Page,
        tag="conversations",
    ),
    Route(
        "GET",
        f"{_CONVERSATIONS}/{{conversation_id}}",
        "Show a conversation",
        reading(CONVERSATION, "conversation", reads.OneConversation, "conversation_id"),
        answer=ConversationView,
        tag="conversations",
    ),
    *_commands(
        TICK_ENGINE,
        _SIMULATIONS,
        "simulation_id",
        "simulations",
        (
            ("create", "", "Create a simulation", OPERATORS),
            ("configure", f"{_ONE}/config", "Change what a simulation is made of", OPERATORS),
            ("start", f"{_ONE}/start", "Start a simulation", OPERATORS),
            ("pause", f"{_ONE}/pause", "Pause a simulation", OPERATORS),
            ("reset", f"{_ONE}/reset", "Begin a simulation anew", OPERATORS),
            ("tick", f"{_ONE}/tick", "Advance a simulation by one tick or more", OPERATORS),
            ("message", f"{_ONE}/messages", "Put a message into a simulation", OPERATORS),
        ),
    ),
    Route(
        "GET",
        _SIMULATIONS,
        "List simulations",
        reading(TICK_ENGINE, "simulations", reads.Listing),
        parameters=reads.Listing,
        answer=Page,
        tag="simulations",
    ),
    Route(
        "GET",
        f"{_SIMULATIONS}{_ONE}/state",
        "How a simulation stands",
        reading(TICK_ENGINE, "simulation", reads.OneSimulation, "simulation_id"),
        tag="simulations",
    ),
    Route(
        "GET",
        f"{_SIMULATIONS}{_ONE}/messages",
        "A simulation's messages",
        reading(TICK_ENGINE, "messages", reads.ListMessages, "simulation_id"),
        parameters=reads.ListMessages,
        given=("simulation_id",),
        answer=Page,
        tag="simulations",
    ),
    Route(
        "GET",
        f"{_SIMULATIONS}{_ONE}/events",
        "A simulation's events",
        reading(TICK_ENGINE, "simulation_events", reads.ListSimulationEvents, "simulation_id"),
        parameters=reads.ListSimulationEvents,
        given=("simulation_id",),
        answer=Page,
        tag="simulations",
    ),
]
