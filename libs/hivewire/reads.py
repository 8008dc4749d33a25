"""The reads that services answer over `<hive>.get.<service>.<query>.<sender>`, with their parameters."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from hivewire import fields, limits, subjects

Limit = Annotated[int, msgspec.Meta(ge=1, le=limits.LIST_ITEMS_MAX)]


class OneTask(msgspec.Struct):
    """Names a task."""

    task_id: fields.Token


class TaskAsOf(OneTask, omit_defaults=True):
    """A task, as it was at a moment."""

    as_of: fields.Moment | None = None


class ListTasks(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Filters over tasks, newest first; all that are given must hold."""

    status: list[fields.Name] = []
    owner: fields.Name | None = None
    source: fields.Name | None = None
    agent: fields.Token | None = None
    phase: fields.Token | None = None
    label: fields.Name | None = None
    """`key=value`"""
    ids: Annotated[list[fields.Token], msgspec.Meta(max_length=limits.LIST_ITEMS_MAX)] = []
    limit: Limit = 100
    cursor: fields.Name | None = None


class Listing(msgspec.Struct, omit_defaults=True):
    """A page of something."""

    limit: Limit = 100
    cursor: fields.Name | None = None


class OnePhase(msgspec.Struct):
    """Names a phase."""

    phase_id: fields.Token


class ListPhases(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Phases, newest first, of one initiative or of all."""

    initiative_id: fields.Token | None = None
    limit: Limit = 100
    cursor: fields.Name | None = None


class OfInitiative(msgspec.Struct, omit_defaults=True):
    """What concerns the phases of one initiative, or of all."""

    initiative_id: fields.Token | None = None


class OneInitiative(msgspec.Struct):
    """Names an initiative."""

    initiative_id: fields.Token


class QueueAsOf(Listing, omit_defaults=True):
    """The queue, as it was at a moment: then its head alone."""

    as_of: fields.Moment | None = None


class OneAgent(msgspec.Struct):
    """Names an agent."""

    agent_id: fields.Token


class OneSession(msgspec.Struct):
    """Names a session."""

    session_id: fields.Token


class ListSessions(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Filters over sessions, newest first; all that are given must hold."""

    state: list[fields.Name] = []
    agent: fields.Token | None = None
    external_ref: fields.Name | None = None
    batch: fields.Token | None = None
    limit: Limit = 100
    cursor: fields.Name | None = None


class OneReplay(msgspec.Struct):
    """Names a replay of dead letters."""

    replay_id: fields.Token


class OneReject(msgspec.Struct):
    """Names a reject."""

    reject_id: fields.Count


class ListEvents(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Filters over history, oldest first. `type` is a whole type or a category (`task`)."""

    type: fields.Name | None = None
    entity_id: fields.Text | None = None
    since: fields.Moment | None = None
    until: fields.Moment | None = None
    correlationid: fields.Name | None = None
    limit: Limit = 100
    cursor: fields.Name | None = None
    newest_first: bool = False


class Explain(msgspec.Struct, omit_defaults=True):
    """Names an attempt; without a number the last one. With `weights` it is decided again by them."""

    task_id: fields.Token
    attempt: fields.Attempt | None = None
    weights: dict[str, float] | None = None


class AskWhatIf(msgspec.Struct):
    """Take the decisions since a moment again with other weights."""

    weights: dict[str, float]
    since: fields.Moment


class OneSimulation(msgspec.Struct):
    """Names a simulation."""

    simulation_id: fields.Token


class TwoSimulations(msgspec.Struct):
    """Names two simulations."""

    simulation_id: fields.Token
    other_id: fields.Token


class ListMessages(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Messages of a simulation's present run. `agent_id` sent them or was to get them."""

    simulation_id: fields.Token
    agent_id: fields.Token | None = None
    status: fields.Name | None = None
    limit: Limit = 100
    cursor: fields.Name | None = None


class ListSimulationEvents(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Events of a simulation's present run. `tick_index` is one tick, `tick_min` and `tick_max` bound a range."""

    simulation_id: fields.Token
    event_type: fields.Name | None = None
    tick_index: fields.Count | None = None
    tick_min: fields.Count | None = None
    tick_max: fields.Count | None = None
    agent_id: fields.Token | None = None
    limit: Limit = 100
    cursor: fields.Name | None = None


class Nothing(msgspec.Struct):
    """A read without parameters."""


class OneConversation(msgspec.Struct):
    """Names a conversation."""

    conversation_id: fields.Token


class ListConversations(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Filters over conversations, newest first; all that are given must hold."""

    asker: fields.Token | None = None
    agent: fields.Token | None = None
    """Who is asked."""
    thread: fields.Token | None = None
    state: list[fields.Name] = []
    limit: Limit = 100
    cursor: fields.Name | None = None


BROKER: dict[str, type[msgspec.Struct]] = {
    "task": TaskAsOf,  # -> TaskView with its attempts
    "tasks": ListTasks,  # -> Page of TaskView
    "queue": QueueAsOf,  # -> QueueView
    "explain": Explain,  # -> Explanation
    "whatif": AskWhatIf,  # -> WhatIf
    "why": OneTask,  # -> Why
    "dead": Listing,  # -> Page of TaskView
    "replay": OneReplay,  # -> ReplayView
    "replays": Listing,  # -> Page of ReplayView
    "stats": Nothing,  # -> Stats
    "next": Nothing,  # -> TaskView of the task that would be dispatched first
    "phases": ListPhases,  # -> Page of PhaseView
    "phase": OnePhase,  # -> PhaseView
    "phase_queue": OfInitiative,  # -> PhaseQueueView
    "next_phase": OfInitiative,  # -> PhaseView of the phase that would start first
    "initiatives": Listing,  # -> Page of InitiativeView
    "initiative": OneInitiative,  # -> InitiativeView with its phases
}
AGENT_GATEWAY: dict[str, type[msgspec.Struct]] = {
    "agents": Listing,  # -> Page of AgentView
    "agent": OneAgent,  # -> AgentView
    "sessions": ListSessions,  # -> Page of SessionView
    "session": OneSession,  # -> SessionView
}
TICK_ENGINE: dict[str, type[msgspec.Struct]] = {
    "simulations": Listing,  # -> Page of SimulationView
    "simulation": OneSimulation,  # -> SimulationView
    "messages": ListMessages,  # -> Page of MessageView
    "simulation_events": ListSimulationEvents,  # -> Page of EventView
    "topology": OneSimulation,  # -> Topology
    "replay": OneSimulation,  # -> Comparison
    "diff": TwoSimulations,  # -> Comparison
}
CONVERSATION: dict[str, type[msgspec.Struct]] = {
    "conversation": OneConversation,  # -> ConversationView
    "conversations": ListConversations,  # -> Page of ConversationView
    "graph": Nothing,  # -> GraphView
}
HISTORY: dict[str, type[msgspec.Struct]] = {
    "events": ListEvents,  # -> Page of EventView
    "rejects": Listing,  # -> Page of RejectView
    "reject": OneReject,  # -> RejectView
}
"""Answered by every service alike, over the history of all of them."""

CATALOGUE: Mapping[str, Mapping[str, type[msgspec.Struct]]] = {
    subjects.BROKER: BROKER | HISTORY,
    subjects.AGENT_GATEWAY: AGENT_GATEWAY | HISTORY,
    subjects.TICK_ENGINE: TICK_ENGINE | HISTORY,
    subjects.CONVERSATION: CONVERSATION | HISTORY,
}
"""service -> query -> the struct of its parameters."""
