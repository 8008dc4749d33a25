"""Questions, messages and waits as they are kept in memory."""

from datetime import datetime

import msgspec

from hivewire.events.agent import Question
from hivewire.views import ConversationState, MessageState
from hivewire_conversation.states import OPEN

Attempt = tuple[str, int]
"""A task's id and the number of the attempt."""


class Conversation(msgspec.Struct, kw_only=True):
    """A question and what became of it. `grace_s`: seconds in which no answer could be heard; kept in memory only."""

    conversation_id: str
    thread: str
    asker: str
    target: str
    agent_id: str
    resolution: str
    question: str
    asked_at: datetime
    expires_at: datetime
    task_id: str | None = None
    attempt: int | None = None
    state: ConversationState = "asked"
    answer: str | None = None
    reason: str | None = None
    delivered_at: datetime | None = None
    ended_at: datetime | None = None
    received_at: datetime | None = None
    grace_s: float = 0.0

    @property
    def open(self) -> bool:
        """Whether it can still be answered."""
        return self.state in OPEN

    @property
    def tells_asker(self) -> bool:
        """Whether the asker has yet to learn how it ended."""
        return not self.open and self.state != "withdrawn" and self.received_at is None

    @property
    def waiting_attempt(self) -> Attempt | None:
        """The attempt of the asker that waits for the answer."""
        return None if self.task_id is None or self.attempt is None else (self.task_id, self.attempt)


class Message(msgspec.Struct, kw_only=True):
    """Something said without expecting an answer."""

    message_id: str
    sender: str
    target: str
    agent_id: str
    resolution: str
    content: str
    sent_at: datetime
    expires_at: datetime
    state: MessageState = "sent"
    reason: str | None = None
    ended_at: datetime | None = None


class Wait(msgspec.Struct, kw_only=True):
    """An attempt that waits for answers. `paused_s`: the time of its earlier pauses."""

    agent_id: str
    questions: list[Question]
    paused_s: float
    waiting_since: datetime | None
    pause_until: datetime | None
