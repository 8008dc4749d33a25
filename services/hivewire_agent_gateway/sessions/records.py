"""What follows from a step beside its events: messages to agents, doors and the broker. Nothing of it is stored."""

from typing import Any, Literal

import msgspec

from hivewire.events import Event
from hivewire.inbox import TaskDispatch
from hivewire_service.core import Step


class Send(msgspec.Struct, frozen=True):
    """Send the present attempt to its agent; an HTTP agent's goes to the door `door_id`."""

    session_id: str
    door_id: str | None = None


class Halt(msgspec.Struct, frozen=True):
    """Tell an agent that nobody waits for an answer any more."""

    session_id: str
    agent_id: str
    message_id: str
    reason: str


class Report(msgspec.Struct, frozen=True):
    """Tell the broker how a task's session stands."""

    session_id: str
    what: Literal["start", "progress", "end"]
    progress: float | None = None
    text: str = ""


class Unreached(msgspec.Struct, frozen=True):
    """No connection to the endpoint of an agent could be made: it is degraded until one can."""

    agent_id: str


class Act(msgspec.Struct, frozen=True):
    """Run the completion action."""

    session_id: str


class GivenTask(msgspec.Struct, frozen=True):
    """Observed: the broker gave an attempt of a task to a remote agent. `session_id` follows from the attempt."""

    session_id: str
    agent_id: str
    task: TaskDispatch


class TakenBack(msgspec.Struct, frozen=True):
    """Observed: the broker took the attempt of a task's session back."""

    session_id: str
    reason: str


class Reported(msgspec.Struct, frozen=True):
    """Observed: the broker answered the report of a session's end."""

    session_id: str


class Acted(msgspec.Struct, frozen=True):
    """Observed: the completion action is done, or failed with `error`."""

    session_id: str
    error: str | None = None


class Draft:
    """A step in the making. Each session is touched once: a second decision would not know of the first."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.records: list[Any] = []
        self.touched: set[str] = set()

    @property
    def step(self) -> Step:
        return Step(self.events, self.records)
