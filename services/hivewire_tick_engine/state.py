"""A simulation in memory: its configuration, what is under way, and what its agents remember. History stays outside."""

import hashlib
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from hivewire import fields
from hivewire.graph import Edge, Graph, GraphSpec
from hivewire.simulation import (
    HISTORY_BYTES_MAX,
    MEMORY_BYTES_MAX,
    UNDER_WAY_BYTES_MAX,
    UNDER_WAY_MAX,
    AgentSpec,
    Delegation,
    SimulationConfig,
    Status,
    agent_graph,
)
from hivewire_tick_engine.memory import Heard, Memory
from hivewire_tick_engine.waiting import Lines, Waiting

TOO_MUCH: Final = "too much has no answer yet"


class Place(NamedTuple):
    """Names a dispatch among those of all simulations."""

    simulation_id: str
    run: int
    dispatch_id: str


class Dispatch(msgspec.Struct):
    """A question to a remote agent or a registered callable that no tick has taken an answer of yet."""

    dispatch_id: str
    agent_id: str
    message_id: str
    asked_by: str
    content: msgspec.Raw
    callable: str | None
    sent_tick: int
    answered: bool = False
    """An answer came in, and waits for a tick to take it up."""
    answer: msgspec.Raw = fields.NULL
    error: str | None = None
    since: datetime | None = None
    """From when its seconds count. No event says it; the tick at which they ran out is what history has."""

    @property
    def size_bytes(self) -> int:
        return len(bytes(self.content)) + len(bytes(self.answer))


class Delegated(msgspec.Struct):
    """A message that an agent splits among others."""

    agent_id: str
    asked_by: str
    parts: dict[str, str] = {}
    """message id -> target, of parts without an answer."""
    answers: dict[str, msgspec.Raw] = {}
    """By target."""

    @property
    def size_bytes(self) -> int:
        return sum(len(bytes(answer)) for answer in self.answers.values())


class Totals(msgspec.Struct):
    """What happened in a run, counted."""

    events: int = 0
    messages: int = 0
    """Sent, blocked and dropped: the last message's number."""
    sent: int = 0
    blocked: int = 0
    delivered: int = 0
    dispatches: int = 0


class Snapshot(msgspec.Struct, kw_only=True):
    """All of a simulation's state."""

    status: Status
    run: int
    tick: int
    config: SimulationConfig
    totals: Totals
    state_hash: str
    waiting: list[Waiting]
    dispatches: list[Dispatch]
    buffered: list[str]
    delegated: dict[str, Delegated]
    memory: dict[str, list[Heard]]


class Simulation:
    """One simulation. Only `evolve` changes it, except for the deadlines in seconds."""

    def __init__(self, simulation_id: str, created_by: str, title: str = "") -> None:
        self.simulation_id = simulation_id
        self.created_by = created_by
        self.title = title
        self.forked_from: str | None = None
        self.forked_at: int | None = None
        self.status: Status = "created"
        self.run = 1
        self.config = SimulationConfig()
        self.noted_bytes = 0
        """Of all events that were noted since this was loaded."""
        # Events begin with the id, which the hash leaves out, so that two simulations can be compared.
        self._hash_from = len(msgspec.json.encode({"simulation_id": simulation_id})) - 1
        self.clear()
        self.configure(self.config)

    def clear(self) -> None:
        """Begin a run."""
        self.tick = 0
        self.totals = Totals()
        self.state_hash = ""
        self.waiting = Lines()
        self.dispatches: dict[str, Dispatch] = {}
        self.buffered: list[str] = []
        self.delegated: dict[str, Delegated] = {}
        self.parts: dict[str, str] = {}
        self.under_way_bytes = 0
        self.memory = Memory()

    def configure(self, config: SimulationConfig) -> None:
        """Take a configuration."""
        self.config = config
        self.agents: dict[str, AgentSpec] = {agent.id: agent for agent in sorted(config.agents, key=lambda a: a.id)}
        self.graph = Graph.of(agent_graph(config))

    def edit(self, added: list[Edge], removed: list[Edge]) -> None:
        """Change the edges."""
        gone = {(edge.source, edge.target) for edge in removed}
        kept = [edge for edge in self.config.graph.edges if (edge.source, edge.target) not in gone]
        graph = GraphSpec(nodes=self.config.graph.nodes, edges=kept + added)
        self.configure(msgspec.structs.replace(self.config, graph=graph))

    def note(self, body: bytes) -> None:
        """Let an encoded event count in the hash."""
        self.noted_bytes += len(body)
        self.state_hash = hashlib.blake2b(
            self.state_hash.encode() + body[self._hash_from :], digest_size=16
        ).hexdigest()

    # --- what comes next ------------------------------------------------------------------------------
    @property
    def next_message_id(self) -> str:
        return f"m{self.totals.messages + 1}"

    @property
    def next_dispatch_id(self) -> str:
        return f"d{self.totals.dispatches + 1}"

    @property
    def budget_left(self) -> int | None:
        budget = self.config.tick_budget
        return None if budget is None else max(0, budget - self.tick)

    def delegates(self, message: Waiting) -> bool:
        """Whether a message begins a delegation."""
        agent = self.agents.get(message.target)
        return (
            agent is not None
            and agent.agent_type == "simulation"
            and isinstance(agent.behaviour, Delegation)
            and message.kind == "message"
        )

    @property
    def is_crowded(self) -> bool:
        """Whether so much has no answer yet that nobody else may be asked."""
        under_way = len(self.dispatches) + len(self.delegated) + len(self.parts)
        return under_way >= UNDER_WAY_MAX or self.under_way_bytes >= UNDER_WAY_BYTES_MAX

    def remember(self, agent_id: str, heard: Heard) -> None:
        """Let an agent keep a message in mind."""
        share = min(HISTORY_BYTES_MAX, MEMORY_BYTES_MAX // len(self.agents))
        self.memory.add(agent_id, heard, self.config.history_depth, share)

    # --- keeping --------------------------------------------------------------------------------------
    @property
    def size(self) -> int:
        """How many things a snapshot holds."""
        configured = len(self.config.agents) + len(self.config.graph.edges)
        return configured + len(self.waiting) + len(self.dispatches) + len(self.delegated) + len(self.memory)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            status=self.status,
            run=self.run,
            tick=self.tick,
            config=self.config,
            totals=self.totals,
            state_hash=self.state_hash,
            waiting=sorted(self.waiting, key=lambda message: message.key),
            dispatches=list(self.dispatches.values()),
            buffered=self.buffered,
            delegated=self.delegated,
            memory=self.memory.by_agent(),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot."""
        self.status = snapshot.status
        self.run = snapshot.run
        self.tick = snapshot.tick
        self.configure(snapshot.config)
        self.totals = snapshot.totals
        self.state_hash = snapshot.state_hash
        self.waiting = Lines(snapshot.waiting)
        self.dispatches = {dispatch.dispatch_id: dispatch for dispatch in snapshot.dispatches}
        self.buffered = snapshot.buffered
        self.delegated = snapshot.delegated
        self.parts = {part: root for root, delegated in self.delegated.items() for part in delegated.parts}
        self.under_way_bytes = sum(dispatch.size_bytes for dispatch in snapshot.dispatches)
        self.under_way_bytes += sum(delegated.size_bytes for delegated in snapshot.delegated.values())
        self.memory = Memory(snapshot.memory)
