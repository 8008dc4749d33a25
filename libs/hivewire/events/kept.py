"""Events by which history can be shortened: how things stood whose older events are dropped, and what was removed.

A service writes a snapshot of whatever it still has a row of before the events go from which that row follows. Nothing
happens by it: who follows events may pass it over.
"""

from datetime import datetime
from typing import ClassVar

import msgspec

from hivewire.events.base import Event


class Snapshot(Event, frozen=True, kw_only=True, omit_defaults=True):
    """How something stood: what its writer's events up to the number `through`, recorded before `as_of`, add up to.

    `state` is in the terms of the service that wrote it. What was asked, paid for and answered is not in it: the row
    holds that unchanged for as long as there is one.
    """

    as_of: datetime
    through: int
    state: msgspec.Raw


class TaskSnapshot(Snapshot, frozen=True, kw_only=True, omit_defaults=True):
    """How a task stood with its attempts, without its payload and its result."""

    type: ClassVar[str] = "task.snapshot"
    key: ClassVar[str] = "task_id"

    task_id: str


class PhaseSnapshot(Snapshot, frozen=True, kw_only=True, omit_defaults=True):
    """How a phase stood."""

    type: ClassVar[str] = "phase.snapshot"
    key: ClassVar[str] = "phase_id"

    phase_id: str


class InitiativeSnapshot(Snapshot, frozen=True, kw_only=True, omit_defaults=True):
    """How an initiative stood."""

    type: ClassVar[str] = "initiative.snapshot"
    key: ClassVar[str] = "initiative_id"

    initiative_id: str


class ReplaySnapshot(Snapshot, frozen=True, kw_only=True, omit_defaults=True):
    """How a replay of dead letters stood."""

    type: ClassVar[str] = "replay.snapshot"
    key: ClassVar[str] = "replay_id"

    replay_id: str


class AgentSnapshot(Snapshot, frozen=True, kw_only=True, omit_defaults=True):
    """How an agent was registered. Written by the agent gateway."""

    type: ClassVar[str] = "agent.snapshot"
    key: ClassVar[str] = "agent_id"

    agent_id: str


class AgentRemembered(Event, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent has done so far, added up over all its attempts. Written by the broker.

    `run_us` are the microseconds that its completed attempts took, `cost` what those cost that said so, which are
    `costed`; `last_assigned_us` is when it last got an attempt, in microseconds since 1970.
    """

    type: ClassVar[str] = "agent.remembered"
    key: ClassVar[str] = "agent_id"

    agent_id: str
    completed: int
    ended: int
    run_us: int
    cost: float
    costed: int
    last_assigned_us: int


class SessionSnapshot(Snapshot, frozen=True, kw_only=True, omit_defaults=True):
    """How a session stood, without its texts."""

    type: ClassVar[str] = "session.snapshot"
    key: ClassVar[str] = "session_id"

    session_id: str


class ConversationSnapshot(Snapshot, frozen=True, kw_only=True, omit_defaults=True):
    """How a question stood, with its answer."""

    type: ClassVar[str] = "conversation.snapshot"
    key: ClassVar[str] = "conversation_id"

    conversation_id: str


class TaskRemoved(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A task that had ended long ago was removed, with its attempts. Its id may be used again."""

    type: ClassVar[str] = "task.removed"
    key: ClassVar[str] = "task_id"

    task_id: str


class SessionRemoved(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A session that had ended long ago was removed. Its id may be used again."""

    type: ClassVar[str] = "session.removed"
    key: ClassVar[str] = "session_id"

    session_id: str


class ConversationRemoved(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A question that had ended long ago was removed. Its id may be used again."""

    type: ClassVar[str] = "conversation.removed"
    key: ClassVar[str] = "conversation_id"

    conversation_id: str


EVENTS: tuple[type[Event], ...] = (
    TaskSnapshot,
    TaskRemoved,
    PhaseSnapshot,
    InitiativeSnapshot,
    ReplaySnapshot,
    AgentSnapshot,
    AgentRemembered,
    SessionSnapshot,
    SessionRemoved,
    ConversationSnapshot,
    ConversationRemoved,
)
