"""Events of agents. Those of `EVENTS` are the registry's, written by the agent gateway."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from hivewire import fields
from hivewire.commands.agent_gateway import AgentType
from hivewire.events.base import Event
from hivewire.events.foreign import ForeignEvent


class AgentEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of agents."""

    key: ClassVar[str] = "agent_id"

    agent_id: str


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent says of itself when it registers. Capabilities are lower case and sorted."""

    name: str
    agent_type: AgentType = "native"
    endpoint_url: str | None = None
    capabilities: list[str] = []
    slots: int = 1
    owner: str | None = None
    policy: Literal["always-on", "on-demand"] = "always-on"
    labels: dict[str, str] = {}
    metadata: msgspec.Raw = fields.EMPTY_OBJECT
    answers_while_busy: bool = False
    """Whether it answers questions although every slot is taken."""
    wake: str | None = None
    """How it is woken while it is away: a URL, or the name of a command of the operator's; None: not at all."""


class AgentSpawned(AgentEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A new instance speaks for the agent. `replaces` names the instance that it pushed out, if one was present."""

    type: ClassVar[str] = "agent.spawned"

    instance: str
    card: Card
    spawned_at: datetime
    replaces: str | None = None
    name: str = ""
    task_id: str | None = None
    worktree_id: str | None = None
    provider: str | None = None


class AgentUpdated(AgentEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The present instance registered again with another card."""

    type: ClassVar[str] = "agent.updated"

    instance: str
    card: Card


class AgentResumed(AgentEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The present instance registered again: after a lost connection, or after it was taken for lost."""

    type: ClassVar[str] = "agent.resumed"

    instance: str
    resumed_at: datetime


class AgentStopped(AgentEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent left on purpose."""

    type: ClassVar[str] = "agent.stopped"

    instance: str
    reason: str = ""
    stopped_at: datetime
    name: str = ""
    task_id: str | None = None


class AgentDisconnected(AgentEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent's WebSocket ended, with this close code. The agent is there for some seconds more: it may come back."""

    type: ClassVar[str] = "agent.disconnected"

    instance: str
    code: int
    reason: str = ""
    disconnected_at: datetime


class AgentCrashed(AgentEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent is lost: it was not heard of for too long while the gateway listened."""

    type: ClassVar[str] = "agent.crashed"

    instance: str
    reason: str
    crashed_at: datetime


class AgentDrained(AgentEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent gets nothing new."""

    type: ClassVar[str] = "agent.drained"

    by: str


class AgentUndrained(AgentEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent may be given work again."""

    type: ClassVar[str] = "agent.undrained"

    by: str


class AgentWaking(AgentEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent, which is not there, is told to start. It is awake once it is spawned or resumed."""

    type: ClassVar[str] = "agent.waking"

    by: str
    reason: str = ""


class AgentWakeFailed(AgentEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent could not be told to start."""

    type: ClassVar[str] = "agent.wake_failed"

    reason: str


class AgentDeleted(AgentEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent was removed from the registry."""

    type: ClassVar[str] = "agent.deleted"

    by: str
    instance: str | None = None


class Question(msgspec.Struct, frozen=True):
    """A question that an agent waits on: its conversation, and who is asked."""

    conversation_id: str
    agent_id: str


class AgentWaiting(AgentEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt of the agent waits for the answers to `questions`; without any it goes on.

    Its run timeout is paused from `waiting_since` until `pause_until` at the latest. `paused_s` is the time of its
    earlier pauses, in seconds. Written by the conversation service.
    """

    type: ClassVar[str] = "agent.waiting"

    task_id: str
    attempt: int
    questions: list[Question] = []
    paused_s: float = 0.0
    waiting_since: datetime | None = None
    pause_until: datetime | None = None
    name: str = ""
    session_id: str | None = None


class AgentOutput(ForeignEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Something that the agent's model or process said. Published by the agent or by whoever runs it."""

    type: ClassVar[str] = "agent.output"
    key: ClassVar[str] = "agent_id"

    agent_id: str
    data: str
    stream: str = "stdout"


class AgentAccountSwitched(ForeignEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The agent works with another account from now on. Published by whoever runs it."""

    type: ClassVar[str] = "agent.account_switched"
    key: ClassVar[str] = "agent_id"

    agent_id: str
    account_id: str
    previous_account_id: str | None = None
    name: str = ""
    reason: str = ""


EVENTS: tuple[type[Event], ...] = (
    AgentSpawned,
    AgentUpdated,
    AgentResumed,
    AgentStopped,
    AgentDisconnected,
    AgentCrashed,
    AgentDrained,
    AgentUndrained,
    AgentWaking,
    AgentWakeFailed,
    AgentDeleted,
)

OF_OTHERS: tuple[type[Event], ...] = (AgentWaiting, AgentOutput, AgentAccountSwitched)
"""What others tell of agents: the conversation service, and whoever runs them."""
