"""Simulations as they are written down, and as reads and replies show them."""

import re
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from hivewire import fields, limits
from hivewire.graph import ANYBODY, GraphSpec, Node, problem

SYSTEM: Final = "system"
"""Sender of what the simulation itself says, such as an error to the one who asked."""
USER: Final = "user"
"""Whoever stands outside: sends what starts a simulation, and gets the answers."""
OUTSIDE: Final = frozenset({USER, SYSTEM, ANYBODY})
"""Names that no simulated agent can bear."""

CONTENT_BYTES_MAX: Final = 64 * 1024
"""Of one message. What waits is kept in memory."""
NESTING_MAX: Final = 100
"""Arrays and objects within one another, in one message: answers are wrapped into others, and must stay readable."""
WAITING_MAX: Final = 200_000
"""Messages that wait in one simulation; beyond it nothing more is taken."""
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
"""The same for what they hold, all together."""
HISTORY_BYTES_MAX: Final = CONTENT_BYTES_MAX
"""Of all that one agent remembers: it goes along with every message that a remote agent or a callable has to answer."""
MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all that the agents of one simulation remember, shared evenly among them: as much as may wait."""
UNDER_WAY_MAX: Final = WAITING_MAX
"""Dispatches, delegations and their parts without an answer, in one simulation: an agent that never answers leaves them
behind. Beyond it whoever asks gets an error."""
UNDER_WAY_BYTES_MAX: Final = 64 * 1024 * 1024
"""The same for what they hold, all together."""
TICKS_MAX: Final = 1_000
"""Ticks in one command: one commit must stay short."""
DISPATCH_TIMEOUT_S: Final = 300.0

Status = Literal["created", "configured", "running", "paused", "completed"]
MessageStatus = Literal["waiting", "delivered", "dispatched", "answered", "timed_out", "blocked", "dropped"]
Connection = Literal["present", "lost", "away", "unregistered"]
MessageKind = Literal["message", "reply", "error"]
Target = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=limits.TOKEN_BYTES_MAX,
        pattern=r"^(\*|[^\s.*>\x00-\x1f\x7f]+)(?!\n)$",
        description="an agent, `user`, or `*` for everybody",
    ),
]
Ticks = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def content_problem(content: msgspec.Raw) -> str | None:
    """Why a message cannot hold this; None: it can."""
    body = bytes(content)
    if len(body) > CONTENT_BYTES_MAX:
        return f"it is larger than {CONTENT_BYTES_MAX} bytes"
    if body.count(b"[") + body.count(b"{") > NESTING_MAX and _nesting(body) > NESTING_MAX:
        return f"it is nested more than {NESTING_MAX} deep"
    return None


def _nesting(body: bytes) -> int:
    deepest = depth = 0
    for char in _STRING.sub(b"", body):
        if char in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in b"]}":
            depth -= 1
    return deepest


# --- configuration ----------------------------------------------------------------------------------
class Stub(msgspec.Struct, frozen=True, tag_field="kind", tag="stub"):
    """Acknowledges every message that is not itself an answer."""


class ScriptedReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said to messages that contain `pattern`, in which `*` and `?` stand for anything.

    The reply leaves `after_ticks` ticks later. `failure_rate` of the matches, drawn from the seed, fail instead: the
    one who asked gets an error message.
    """

    pattern: Annotated[str, msgspec.Meta(max_length=1_000)] = "*"
    reply: msgspec.Raw
    to: Target | None = None
    """None: whoever sent the message."""
    after_ticks: Ticks = 1
    failure_rate: fields.Fraction = 0.0


class Scripted(msgspec.Struct, frozen=True, tag_field="kind", tag="scripted"):
    """Says what its script has for a message: the first reply whose pattern fits, else nothing."""

    replies: Annotated[list[ScriptedReply], msgspec.Meta(max_length=1_000)]


class Delegation(msgspec.Struct, frozen=True, tag_field="kind", tag="delegation", omit_defaults=True):
    """Splits a message among its targets, collects their answers, and gives the one who asked the final one.

    A JSON array is dealt out item by item, anything else goes to every target whole. Without `targets` they are all
    to whom an edge leads, and where the graph has no such edge, all other agents.
    """

    targets: Annotated[list[fields.Token], msgspec.Meta(max_length=limits.GRAPH_NODES_MAX)] = []


class Registered(msgspec.Struct, frozen=True, tag_field="kind", tag="callable", omit_defaults=True):
    """A Python callable that the operator registered under a name. It runs in a child process, `timeout_s` at most."""

    name: fields.Name
    timeout_s: Annotated[float, msgspec.Meta(gt=0.0, le=3_600.0)] = 30.0


Behaviour = Stub | Scripted | Delegation | Registered


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An agent of a simulation. `remote` ones are dispatched to, `simulation` ones answer by their behaviour."""

    id: fields.Token
    role: fields.Name | None = None
    display_name: fields.Name | None = None
    model_id: fields.Name | None = None
    agent_type: Literal["simulation", "remote"] = "simulation"
    endpoint_url: fields.Text | None = None
    behaviour: Behaviour = Stub()


class FirstMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message that waits when the simulation starts."""

    sender: fields.Token = msgspec.field(name="from", default=USER)
    target: Target = msgspec.field(name="to")
    content: msgspec.Raw


class SimulationConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a simulation is made of. The same configuration, seed and remote replies give the same events."""

    agents: Annotated[list[AgentSpec], msgspec.Meta(max_length=limits.GRAPH_NODES_MAX)] = []
    graph: GraphSpec = GraphSpec()
    mode: Literal["manual", "auto"] = "manual"
    delay_s: Annotated[float, msgspec.Meta(ge=0.0, le=86_400.0)] = 1.0
    """Between two ticks in mode auto."""
    tick_budget: Ticks | None = None
    messages_per_tick: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | Literal["all"] = 1
    """A number: so many at most, first in, first out, and one of each sender. `all`: whatever is due."""
    history_depth: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 20
    """Messages that each agent remembers."""
    dispatch_timeout_s: fields.TimeoutS | None = None
    dispatch_timeout_ticks: Ticks | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)] = 0
    messages: Annotated[list[FirstMessage], msgspec.Meta(max_length=10_000)] = []


def agent_graph(config: SimulationConfig) -> GraphSpec:
    """The graph over the configured agents; a role comes from the agent, else from its node."""
    roles = {node.id: node.role for node in config.graph.nodes}
    nodes = [Node(agent.id, agent.role or roles.get(agent.id)) for agent in config.agents]
    return GraphSpec(nodes=nodes, edges=config.graph.edges)


def config_problems(config: SimulationConfig) -> list[str]:
    """Why a simulation cannot be made of this, a line each."""
    known = {agent.id for agent in config.agents}
    found = [f"agent id {name!r} is reserved" for name in sorted(known & OUTSIDE)]
    found += [
        f"node {node.id!r} of the graph is no agent of the simulation"
        for node in config.graph.nodes
        if node.id not in known
    ]
    found += [
        wrong for graph in (GraphSpec(nodes=config.graph.nodes), agent_graph(config)) if (wrong := problem(graph))
    ]
    for agent in config.agents:
        found += _behaviour_problems(agent, known)
    for message in config.messages:
        found += [
            f"a message names {end!r}, which is no agent of the simulation"
            for end, others in ((message.sender, {USER}), (message.target, {USER, ANYBODY}))
            if end not in known | others
        ]
        if wrong := content_problem(message.content):
            found.append(f"a message cannot be taken: {wrong}")
    if config.dispatch_timeout_s is not None and config.dispatch_timeout_ticks is not None:
        found.append("dispatch_timeout_s and dispatch_timeout_ticks exclude one another")
    return found


def _behaviour_problems(agent: AgentSpec, known: set[str]) -> list[str]:
    found: list[str] = []
    named: set[str] = set()
    match agent.behaviour:
        case Delegation(targets=targets):
            named = set(targets)
        case Scripted(replies=replies):
            named = {reply.to for reply in replies if reply.to} - {ANYBODY, USER}
            wrong = (content_problem(reply.reply) for reply in replies)
            found = [f"a reply of {agent.id!r} cannot be taken: {reason}" for reason in wrong if reason]
    return found + [f"the behaviour of {agent.id!r} names {end!r}, which is no agent" for end in sorted(named - known)]


# --- what is shown ----------------------------------------------------------------------------------
class Sent(msgspec.Struct, omit_defaults=True, rename={"target": "to"}):
    """What became of a message that was handed in, for one target."""

    message_id: str
    target: str
    allowed: bool
    reason: str = ""


class SimulationBrief(msgspec.Struct, omit_defaults=True):
    """The reply to a command about a simulation: how it stands after the commit.

    `ticks`, `events` and `messages` count what the command brought about.
    """

    simulation_id: str
    status: Status
    tick: int
    run: int = 1
    waiting: int = 0
    state_hash: str = ""
    ticks: int = 0
    events: int = 0
    messages: int = 0
    sent: list[Sent] = []


class AgentState(msgspec.Struct, omit_defaults=True):
    """An agent of a simulation as it stands. `waiting`: a dispatch to it is not answered yet.

    A remote agent has a `connection`: how the hive's agent of its name stands, or `unregistered` if there is none. Then
    its dispatches wait for it, until their time is over.
    """

    id: str
    agent_type: str
    status: Literal["idle", "waiting"]
    role: str | None = None
    display_name: str | None = None
    model_id: str | None = None
    endpoint_url: str | None = None
    connection: Connection | None = None
    dispatches: list[str] = []


class SimulationView(msgspec.Struct, kw_only=True):
    """A simulation as it is stored. `waiting` counts messages that are not delivered yet."""

    simulation_id: str
    title: str
    status: Status
    run: int
    tick: int
    waiting: int
    messages: int
    state_hash: str
    mode: str
    created_by: str
    created_at: datetime
    updated_at: datetime
    tick_budget: int | None = None
    forked_from: str | None = None
    forked_at: int | None = None
    agents: list[AgentState] = []
    config: msgspec.Raw = fields.EMPTY_OBJECT


class MessageView(msgspec.Struct, kw_only=True, rename={"sender": "from", "target": "to"}):
    """A message of a simulation's present run. `reason`: why it was blocked or dropped."""

    message_id: str
    sender: str
    target: str
    kind: MessageKind
    status: MessageStatus
    sent_tick: int
    delivered_tick: int | None
    in_reply_to: str | None
    dispatch_id: str | None
    reason: str | None
    content: msgspec.Raw


class Traffic(msgspec.Struct, rename={"sender": "from", "target": "to"}):
    """How many messages went one way, and how many were blocked on it."""

    sender: str
    target: str
    passed: int
    blocked: int


class Topology(msgspec.Struct):
    """A simulation's graph with what went over it."""

    simulation_id: str
    title: str
    tick: int
    graph: GraphSpec
    traffic: list[Traffic]


class Seen(msgspec.Struct):
    """An event as a comparison shows it."""

    type: str
    data: msgspec.Raw


class Difference(msgspec.Struct):
    """The first event in which two runs differ. None: the run has none there."""

    tick: int
    position: int
    """Counts the events of the tick, from 0."""
    one: Seen | None
    other: Seen | None


class Comparison(msgspec.Struct):
    """The result of a replay or a diff. `difference` is None where the runs are the same as far as both go."""

    same: bool
    ticks: int
    """How many ticks were compared."""
    events: int
    difference: Difference | None = None
    note: str = ""
