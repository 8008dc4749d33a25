"""A task and its attempts as they are kept in memory: only what decisions need.

Titles, descriptions, metadata, payloads and results are in the events and in the rows.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from hivewire import limits
from hivewire.commands.broker import Backoff
from hivewire.events.task import Oversight
from hivewire.views import TERMINAL, AttemptStatus, TaskStatus
from hivewire_broker.states import OPEN

_RANK_BITS: Final = 48
"""Bits of a rank that hold the ordinal; the time stands above them."""
_AGEING_US: Final = int(limits.PRIORITY_AGEING_S * 1e6)


class Requirements:
    """What a task asks of an agent. Interned by the state: tasks that ask the same share one object."""

    __slots__ = ("capabilities", "owner")

    def __init__(self, owner: str, capabilities: frozenset[str]) -> None:
        self.owner = owner
        self.capabilities = capabilities


class Pause(msgspec.Struct, frozen=True, gc=False):
    """The time in which an attempt waited for answers: of pauses that are over, and of one that is not, up to `until`."""

    paused_s: float = 0.0
    since: datetime | None = None
    until: datetime | None = None

    @property
    def seconds(self) -> float:
        """By so much the run timeout is later than it would be."""
        running_s = (self.until - self.since).total_seconds() if self.since and self.until else 0.0
        return self.paused_s + max(0.0, running_s)


class Attempt(msgspec.Struct, kw_only=True, gc=False):
    """One attempt of a task.

    `grace_s` is the time in which its agent could not be heard, `pause` that in which it waited for answers, `sent_at`
    when its dispatch was last sent; all of them are remembered in memory only.
    """

    number: int
    agent_id: str
    instance: str
    assigned_at: datetime
    status: AttemptStatus = "assigned"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None
    oversight: Oversight = "autonomous"
    cost: float | None = None
    grace_s: float = 0.0
    pause: Pause = Pause()
    sent_at: datetime

    @property
    def open(self) -> bool:
        """Whether the agent may still report on it."""
        return self.status in OPEN


class Standing(msgspec.Struct, kw_only=True, gc=False):
    """What of a task changes while it lives, and is stored."""

    status: TaskStatus = "pending"
    queued: bool = False
    unmatched: bool = False
    retries_used: int = 0
    lost_count: int = 0
    retry_at: datetime | None = None
    waits_for: str | None = None
    """The agent that was woken for it, until it is given to one."""
    waits_until: datetime | None = None
    """As long as it waits for that agent: until then at most."""
    blocked_by: str | None = None
    reason: str | None = None
    feedback: str | None = None
    error: str | None = None
    progress: float | None = None
    progress_message: str | None = None
    ended_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    deadline: datetime | None = None


class Task(Standing, kw_only=True, gc=False):
    """One task. `ordinal` counts tasks in the order of their creation and never changes."""

    task_id: str
    content_hash: str
    ordinal: int
    requirements: Requirements
    created_us: int
    priority: int
    timeout_s: float
    start_timeout_s: float
    max_retries: int
    backoff: Backoff
    on_dependency_failure: Literal["block", "cancel"]
    by_name_only: bool
    depends_on: tuple[str, ...] = ()
    kinship: tuple[str, ...] = ()
    """What it has in common with other tasks: phase, initiative, parent, labels and files."""
    phase_id: str | None = None
    planning: bool = False
    """Whether it is left alone when its phase starts."""
    requires_approval: bool | None = None
    risk: float | None = None
    complexity: float | None = None
    verifiability: float | None = None
    reversibility: float | None = None
    concurrency_key: str | None = None
    max_concurrent: int = 1
    not_before: datetime | None = None

    # Derived: never stored.
    unmet: int = 0
    """Dependencies that are not completed."""
    in_line: bool = False
    armed_at: datetime | None = None
    """The due time of its entry among the timers."""

    @property
    def place(self) -> int:
        """The place in the order of dispatch, in microseconds: smaller is earlier. A step of priority is worth as much as
        a longer wait; see `limits.PRIORITY_AGEING_S`."""
        return self.created_us - self.priority * _AGEING_US

    @property
    def rank(self) -> int:
        """The place, and among equal ones the ordinal."""
        return self.place << _RANK_BITS | self.ordinal

    @property
    def auto(self) -> bool:
        """Whether it is dispatched without being named; once it was named, it is tried again by itself."""
        return self.queued and (not self.by_name_only or bool(self.attempts))

    @property
    def ended(self) -> bool:
        """Whether its status is terminal."""
        return self.status in TERMINAL

    @property
    def attempt(self) -> Attempt | None:
        """The last attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def open_attempt(self) -> Attempt | None:
        """The attempt that an agent works on."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].open else None

    @property
    def dispatchable(self) -> bool:
        """Whether it may be given to an agent as soon as it is due."""
        return self.status == "pending" and self.unmet == 0 and self.auto and self.waits_until is None

    @property
    def wakes_at(self) -> datetime | None:
        """Before this moment it is not given to an agent."""
        if self.retry_at is None or self.not_before is None:
            return self.retry_at or self.not_before
        return max(self.retry_at, self.not_before)


def rank_level(rank: int) -> int:
    """The ranks on the same level stand for the same priority, as far as turns of owners go."""
    return (rank >> _RANK_BITS) // _AGEING_US
