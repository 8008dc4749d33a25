"""What the service knows of other services' things: agents, attempts, and who works on what.

Agents come from the gateway's events. Whatever a command names is read from the rows in the same turn before it is
decided, so that a target that was committed a moment ago is found.
"""

from collections.abc import Iterable

import msgspec

from hivewire_conversation.conversation import Attempt


class AgentSeen(msgspec.Struct, kw_only=True):
    """An agent of the registry."""

    agent_id: str
    name: str = ""
    instance: str = ""
    present: bool = True
    slots: int = 1
    answers_while_busy: bool = False


class AgentsSeen(msgspec.Struct):
    """All agents as they stand in the gateway's rows."""

    agents: list[AgentSeen]


class AttemptSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt of a task."""

    task_id: str
    attempt: int
    agent_id: str
    open: bool


class Seen:
    """All of it. What a turn read stays until the next one reads it anew."""

    def __init__(self) -> None:
        self.agents: dict[str, AgentSeen] = {}
        self.attempts: dict[Attempt, AttemptSeen] = {}
        """The attempts that wait, and those that asked in this turn."""
        self.tasks: dict[str, AttemptSeen | None] = {}
        """By task: its last attempt; None: it had none. A task that is missing does not exist."""
        self.phases: dict[str, list[AttemptSeen]] = {}
        """By phase: the attempts that run in it, the longest running first."""
        self.messages: set[str] = set()
        """The ids that messages of this turn name, and that earlier messages have."""
        self.paused_s: dict[Attempt, float] = {}
        """The time for which an attempt was paused before."""

    def put_all(self, agents: Iterable[AgentSeen]) -> None:
        """These are all agents there are."""
        self.agents = {agent.agent_id: agent for agent in agents}

    def is_open(self, attempt: Attempt) -> bool:
        """Whether the agent still works on it."""
        found = self.attempts.get(attempt)
        return found is not None and found.open
