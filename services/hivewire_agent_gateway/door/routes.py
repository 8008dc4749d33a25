"""All routes of the HTTP API: who may, which command or read it is, and what is answered.

The application and its OpenAPI document are both made of this table.
"""

from typing import Final

from hivewire.admin import CreateToken, ListTokens
from hivewire.commands import conversation
from hivewire.commands.agent_gateway import AgentBrief, Published
from hivewire.commands.sessions import Dispatch, DispatchBatch
from hivewire.explanations import Explanation, WhatIf, Why
from hivewire.paging import PageOf
from hivewire.simulation import Comparison, MessageView, SimulationBrief, SimulationView, Topology
from hivewire.subjects import AGENT_GATEWAY, BROKER, CONVERSATION, TICK_ENGINE
from hivewire.views import (
    AgentView,
    Batch,
    ConversationView,
    EventView,
    GraphView,
    InitiativeBrief,
    InitiativeView,
    MessageBrief,
    NewToken,
    PhaseBrief,
    PhaseQueueView,
    PhaseView,
    QueueView,
    RejectView,
    ReplayBrief,
    ReplayView,
    RevokedTokens,
    SessionBatch,
    SessionBrief,
    SessionView,
    Stats,
    TaskBrief,
    TaskView,
    TokenView,
)
from hivewire_agent_gateway.door.handlers import agents, events, sessions, simulations, tasks, tokens
from hivewire_agent_gateway.door.table import (
    AGENTS,
    ANYBODY,
    OPERATORS,
    Command,
    Create,
    Own,
    Read,
    ReadByBody,
    Route,
)

MADE: Final = (201,)
MADE_OR_KNOWN: Final = (201, 200)

TASKS = (
    Route("POST", "/tasks", ANYBODY, Create(BROKER, "submit", "task"), TaskView, "Submit a task", MADE_OR_KNOWN),
    Route("POST", "/tasks/batch", ANYBODY, Command(BROKER, "submit_batch"), Batch),
    Route("GET", "/tasks", ANYBODY, Read(BROKER, "tasks"), PageOf[TaskView], "List tasks, newest first"),
    Route("GET", "/tasks/{task_id}", ANYBODY, Read(BROKER, "task"), TaskView, "Show a task, also as it was"),
    Route("PATCH", "/tasks/{task_id}", ANYBODY, Own(tasks.patch, tasks.TaskPatch), TaskView, "Change or cancel a task"),
    Route(
        "GET", "/tasks/{task_id}/events", ANYBODY, tasks.HISTORY, PageOf[EventView], "A task's history, oldest first"
    ),
    Route(
        "GET",
        "/tasks/{task_id}/explain",
        ANYBODY,
        Read(BROKER, "explain", unsaid=("weights",)),
        Explanation,
        "Why an attempt went to its agent",
    ),
    Route(
        "POST",
        "/tasks/{task_id}/explain",
        ANYBODY,
        ReadByBody(BROKER, "explain"),
        Explanation,
        "To whom an attempt would have gone with other weights",
    ),
    Route("GET", "/tasks/{task_id}/why", ANYBODY, Read(BROKER, "why"), Why, "Why a task is where it is"),
    # From the agent that holds the task.
    Route("POST", "/tasks/{task_id}/start", AGENTS, Own(tasks.start, tasks.Report), TaskBrief, "The agent begins"),
    Route("POST", "/tasks/{task_id}/progress", AGENTS, Own(tasks.progress, tasks.HowFar), TaskBrief, "How far it is"),
    Route("POST", "/tasks/{task_id}/complete", ANYBODY, Own(tasks.complete, tasks.Completion), TaskBrief, "It is done"),
    Route("POST", "/tasks/{task_id}/fail", AGENTS, Own(tasks.fail, tasks.Failure), TaskBrief, "It could not be done"),
    # From whoever steers the work.
    Route("POST", "/tasks/{task_id}/cancel", ANYBODY, Command(BROKER, "cancel"), TaskBrief),
    Route("POST", "/tasks/{task_id}/approve", OPERATORS, Command(BROKER, "approve"), TaskBrief),
    Route("POST", "/tasks/{task_id}/reject", OPERATORS, Command(BROKER, "reject"), TaskBrief),
    Route("POST", "/tasks/{task_id}/block", ANYBODY, Command(BROKER, "block"), TaskBrief),
    Route("POST", "/tasks/{task_id}/unblock", ANYBODY, Command(BROKER, "unblock"), TaskBrief),
    Route("POST", "/tasks/{task_id}/retry", ANYBODY, Command(BROKER, "retry"), TaskBrief),
    Route("POST", "/tasks/{task_id}/queue", ANYBODY, Command(BROKER, "queue"), TaskBrief),
    Route("POST", "/tasks/{task_id}/dispatch", ANYBODY, Command(BROKER, "dispatch"), TaskBrief),
)

_REPLAY = "/dead-letters/replays/{replay_id}"
QUEUE = (
    Route("GET", "/queue", ANYBODY, Read(BROKER, "queue"), QueueView, "What is queued, ready and blocked"),
    Route("GET", "/queue/next", ANYBODY, Read(BROKER, "next"), TaskView, "What would be dispatched next"),
    Route("POST", "/queue/dispatch-next", ANYBODY, Command(BROKER, "dispatch_next"), TaskBrief),
    Route("GET", "/dead-letters", ANYBODY, Read(BROKER, "dead"), PageOf[TaskView], "Tasks that failed for good"),
    Route("POST", "/dead-letters/{task_id}/replay", OPERATORS, Command(BROKER, "retry"), TaskBrief),
    Route("POST", "/dead-letters/replay", OPERATORS, Command(BROKER, "replay"), ReplayBrief),
    Route("GET", "/dead-letters/replays", ANYBODY, Read(BROKER, "replays"), PageOf[ReplayView], "List replays"),
    Route("GET", _REPLAY, ANYBODY, Read(BROKER, "replay"), ReplayView, "How far a replay is"),
    Route("POST", f"{_REPLAY}/stop", OPERATORS, Command(BROKER, "stop_replay"), ReplayBrief),
    Route("GET", "/stats", OPERATORS, Read(BROKER, "stats"), Stats, "Counts, depth of the queue, mean time"),
    Route("POST", "/whatif", ANYBODY, ReadByBody(BROKER, "whatif"), WhatIf),
)

PHASES = (
    Route("POST", "/phases", ANYBODY, Create(BROKER, "create_phase", "phase"), PhaseView, statuses=MADE_OR_KNOWN),
    Route("GET", "/phases", ANYBODY, Read(BROKER, "phases"), PageOf[PhaseView], "List phases, newest first"),
    Route("GET", "/phases/state", ANYBODY, Read(BROKER, "phase_queue"), PhaseQueueView, "Queued, ready and blocked"),
    Route("GET", "/phases/next", ANYBODY, Read(BROKER, "next_phase"), PhaseView, "The phase that would start next"),
    Route("POST", "/phases/dispatch-next", OPERATORS, Command(BROKER, "dispatch_next_phase"), PhaseBrief),
    Route("GET", "/phases/{phase_id}", ANYBODY, Read(BROKER, "phase"), PhaseView, "Show a phase"),
    Route("GET", "/phases/{phase_id}/state", ANYBODY, Read(BROKER, "phase"), PhaseView, "How a phase stands"),
    Route("PATCH", "/phases/{phase_id}", ANYBODY, Command(BROKER, "update_phase"), PhaseBrief),
    Route("POST", "/phases/{phase_id}/approve", OPERATORS, Command(BROKER, "approve_phase"), PhaseBrief, "Approve it"),
    Route("POST", "/phases/{phase_id}/queue", ANYBODY, Command(BROKER, "queue_phase"), PhaseBrief, "Queue it"),
    Route("POST", "/phases/{phase_id}/block", OPERATORS, Command(BROKER, "block_phase"), PhaseBrief, "Block it"),
    Route("POST", "/phases/{phase_id}/unblock", OPERATORS, Command(BROKER, "unblock_phase"), PhaseBrief, "Unblock it"),
    Route(
        "POST", "/phases/{phase_id}/complete", OPERATORS, Command(BROKER, "complete_phase"), PhaseBrief, "It is done"
    ),
    Route("POST", "/phases/{phase_id}/dispatch", OPERATORS, Command(BROKER, "dispatch_phase"), PhaseBrief, "Start it"),
)

_INITIATIVE = "/initiatives/{initiative_id}"
INITIATIVES = (
    Route(
        "POST",
        "/initiatives",
        ANYBODY,
        Create(BROKER, "create_initiative", "initiative"),
        InitiativeView,
        "Make an initiative: a piece of work made of phases",
        MADE_OR_KNOWN,
    ),
    Route("GET", "/initiatives", ANYBODY, Read(BROKER, "initiatives"), PageOf[InitiativeView], "List them"),
    Route("GET", _INITIATIVE, ANYBODY, Read(BROKER, "initiative"), InitiativeView, "Show one with its phases"),
    Route("GET", f"{_INITIATIVE}/state", ANYBODY, Read(BROKER, "phase_queue"), PhaseQueueView, "Its phases that wait"),
    Route("GET", f"{_INITIATIVE}/next", ANYBODY, Read(BROKER, "next_phase"), PhaseView, "Its next phase"),
    Route("POST", f"{_INITIATIVE}/dispatch", OPERATORS, Command(BROKER, "dispatch_next_phase"), PhaseBrief),
    Route("POST", f"{_INITIATIVE}/approve", OPERATORS, Command(BROKER, "approve_initiative"), InitiativeBrief),
    Route("POST", f"{_INITIATIVE}/queue", OPERATORS, Command(BROKER, "queue_initiative"), InitiativeBrief),
    Route("POST", f"{_INITIATIVE}/block", OPERATORS, Command(BROKER, "block_initiative"), InitiativeBrief),
    Route("POST", f"{_INITIATIVE}/unblock", OPERATORS, Command(BROKER, "unblock_initiative"), InitiativeBrief),
    Route("POST", f"{_INITIATIVE}/complete", OPERATORS, Command(BROKER, "complete_initiative"), InitiativeBrief),
)

_AGENT = "/agents/{agent_id}"
AGENTS_SECTION = (
    Route("GET", "/agents", ANYBODY, Read(AGENT_GATEWAY, "agents"), PageOf[AgentView], "List agents"),
    Route("GET", _AGENT, ANYBODY, Read(AGENT_GATEWAY, "agent"), AgentView, "Show an agent"),
    Route("POST", "/agents", AGENTS, Own(agents.register, agents.NewAgent), agents.Registered, statuses=MADE),
    Route("DELETE", _AGENT, OPERATORS, Command(AGENT_GATEWAY, "remove"), AgentBrief),
    Route("POST", f"{_AGENT}/leave", AGENTS, Own(agents.leave, agents.Goodbye), AgentBrief),
    Route("POST", f"{_AGENT}/wake", ANYBODY, Command(AGENT_GATEWAY, "wake"), AgentBrief),
    Route("POST", f"{_AGENT}/drain", OPERATORS, Command(AGENT_GATEWAY, "drain"), AgentBrief),
    Route("POST", f"{_AGENT}/undrain", OPERATORS, Command(AGENT_GATEWAY, "undrain"), AgentBrief),
)

_SESSION = "/sessions/{session_id}"
SESSIONS = (
    Route("POST", "/sessions", ANYBODY, Own(sessions.dispatch, Dispatch), SessionView, statuses=MADE_OR_KNOWN),
    Route("POST", "/sessions/batch", ANYBODY, Own(sessions.dispatch_batch, DispatchBatch), SessionBatch),
    Route("GET", "/sessions", ANYBODY, Read(AGENT_GATEWAY, "sessions"), PageOf[SessionView], "List, newest first"),
    Route("GET", _SESSION, ANYBODY, Read(AGENT_GATEWAY, "session"), SessionView, "Show a session"),
    Route("POST", f"{_SESSION}/cancel", ANYBODY, Command(AGENT_GATEWAY, "cancel"), SessionBrief),
    Route("GET", f"{_SESSION}/response", ANYBODY, Own(sessions.take), sessions.Buffered, "Take the buffered response"),
    Route(
        "POST",
        f"{_SESSION}/response",
        AGENTS,
        Own(sessions.respond, sessions.Answer, sessions.WhichAttempt),
        SessionBrief,
        "Answer a dispatch, later than in the answer to its POST",
        signed=True,
    ),
)

CONVERSATIONS = (
    Route("POST", "/conversations", ANYBODY, Command(CONVERSATION, "ask"), ConversationView, statuses=MADE),
    Route(
        "GET",
        "/conversations",
        ANYBODY,
        Read(CONVERSATION, "conversations"),
        PageOf[ConversationView],
        "List conversations, newest first",
    ),
    Route(
        "GET",
        "/conversations/{conversation_id}",
        ANYBODY,
        Read(CONVERSATION, "conversation"),
        ConversationView,
        "Show a conversation",
    ),
    Route("POST", "/conversations/{conversation_id}/answer", AGENTS, Command(CONVERSATION, "answer"), ConversationView),
    Route(
        "POST",
        "/conversations/{conversation_id}/withdraw",
        ANYBODY,
        Command(CONVERSATION, "withdraw"),
        ConversationView,
    ),
    Route("POST", "/messages", ANYBODY, Command(CONVERSATION, "message"), MessageBrief, statuses=MADE),
    Route("GET", "/graph", ANYBODY, Read(CONVERSATION, "graph"), GraphView, "Who may talk to whom"),
    Route("PUT", "/graph", OPERATORS, Command(CONVERSATION, "set_graph"), conversation.Done),
    Route("DELETE", "/graph", OPERATORS, Command(CONVERSATION, "clear_graph"), conversation.Done),
)

_SIMULATION = "/simulations/{simulation_id}"
SIMULATIONS = (
    Route(
        "POST",
        "/simulations",
        OPERATORS,
        Own(simulations.create, simulations.NewSimulation),
        SimulationBrief,
        statuses=MADE,
    ),
    Route("GET", "/simulations", ANYBODY, Read(TICK_ENGINE, "simulations"), PageOf[SimulationView], "List simulations"),
    Route("GET", _SIMULATION, ANYBODY, Read(TICK_ENGINE, "simulation"), SimulationView, "Show a simulation"),
    Route("GET", f"{_SIMULATION}/state", ANYBODY, Read(TICK_ENGINE, "simulation"), SimulationView, "How it stands"),
    Route("POST", f"{_SIMULATION}/config", OPERATORS, Command(TICK_ENGINE, "configure"), SimulationBrief),
    Route("POST", f"{_SIMULATION}/start", OPERATORS, Command(TICK_ENGINE, "start"), SimulationBrief),
    Route("POST", f"{_SIMULATION}/pause", OPERATORS, Command(TICK_ENGINE, "pause"), SimulationBrief),
    Route("POST", f"{_SIMULATION}/reset", OPERATORS, Command(TICK_ENGINE, "reset"), SimulationBrief),
    Route("POST", f"{_SIMULATION}/tick", OPERATORS, simulations.ONE_TICK, SimulationBrief, "Do one tick"),
    Route("POST", f"{_SIMULATION}/ticks", OPERATORS, Command(TICK_ENGINE, "tick"), SimulationBrief),
    Route("POST", f"{_SIMULATION}/messages", OPERATORS, Command(TICK_ENGINE, "message"), SimulationBrief),
    Route("POST", f"{_SIMULATION}/respond", OPERATORS, Command(TICK_ENGINE, "respond"), SimulationBrief),
    Route(
        "POST",
        f"{_SIMULATION}/fork",
        OPERATORS,
        Own(simulations.fork, simulations.NewFork),
        SimulationBrief,
        statuses=MADE,
    ),
    Route(
        "GET", f"{_SIMULATION}/messages", ANYBODY, Read(TICK_ENGINE, "messages"), PageOf[MessageView], "Its messages"
    ),
    Route(
        "GET", f"{_SIMULATION}/events", ANYBODY, Read(TICK_ENGINE, "simulation_events"), PageOf[EventView], "Its events"
    ),
    Route("GET", f"{_SIMULATION}/topology", ANYBODY, Read(TICK_ENGINE, "topology"), Topology, "Its graph with traffic"),
    Route("GET", f"{_SIMULATION}/replay", ANYBODY, Read(TICK_ENGINE, "replay"), Comparison, "Run it again and compare"),
    Route(
        "GET",
        f"{_SIMULATION}/diff/{{other_id}}",
        ANYBODY,
        Read(TICK_ENGINE, "diff"),
        Comparison,
        "Where two simulations differ first",
    ),
)

HISTORY = (
    Route("GET", "/events", ANYBODY, Read(AGENT_GATEWAY, "events"), PageOf[EventView], "History, oldest first"),
    Route(
        "GET",
        "/events/stream",
        ANYBODY,
        Own(events.stream, parameters=events.StreamQuery),
        events.EventStream,
        "Events as they happen, as server-sent events; Last-Event-ID goes on where a stream was",
    ),
    Route("POST", "/events", ANYBODY, Command(AGENT_GATEWAY, "publish"), Published),
    Route("GET", "/rejects", ANYBODY, Read(AGENT_GATEWAY, "rejects"), PageOf[RejectView], "What could not be taken"),
    Route("GET", "/rejects/{reject_id}", ANYBODY, Read(AGENT_GATEWAY, "reject"), RejectView, "Show one, whole"),
)

TOKENS = (
    Route("POST", "/tokens", OPERATORS, Own(tokens.create, CreateToken), NewToken, statuses=MADE),
    Route("GET", "/tokens", OPERATORS, Own(tokens.listing, parameters=ListTokens), PageOf[TokenView], "List tokens"),
    Route("DELETE", "/tokens/{name}", OPERATORS, Own(tokens.revoke), RevokedTokens, "Revoke the tokens of a name"),
    Route(
        "GET",
        "/webhook-secret",
        OPERATORS,
        Own(tokens.webhook_secret),
        tokens.WebhookSecret,
        "The key of webhooks' signatures",
    ),
)

ROUTES: Final = (
    *TASKS,
    *QUEUE,
    *PHASES,
    *INITIATIVES,
    *AGENTS_SECTION,
    *SESSIONS,
    *CONVERSATIONS,
    *SIMULATIONS,
    *HISTORY,
    *TOKENS,
)
