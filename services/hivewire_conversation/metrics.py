"""The conversation service's own metrics. No label holds an id."""

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final

import asyncpg
from prometheus_client import Gauge, Histogram

from hivewire.events import Event
from hivewire.subjects import CONVERSATION
from hivewire.views import ConversationState
from hivewire_conversation.core import Conversations
from hivewire_service.stock import Meter

CONVERSATIONS = Gauge("hivewire_conversations", "Questions that have not ended.", ["state"])
WAITING_ATTEMPTS = Gauge(
    "hivewire_waiting_attempts", "Attempts that are paused until they have an answer.", ["service"]
)
CONVERSATION_SECONDS = Histogram(
    "hivewire_conversation_seconds",
    "From a question to its end.",
    ["outcome"],
    buckets=(0.01, 0.05, 0.2, 1, 5, 15, 60, 300, 900, 3600, 14_400),
)

_OPEN: Final[tuple[ConversationState, ...]] = ("asked", "delivered")
_ENDS = frozenset(
    {"conversation.answered", "conversation.expired", "conversation.withdrawn", "conversation.undeliverable"}
)


class ConversationMeter(Meter):
    """Questions, and those that wait for answers."""

    gauges = (CONVERSATIONS, WAITING_ATTEMPTS)

    def __init__(self, core: Conversations) -> None:
        self._core = core

    def count(self, events: Sequence[Event]) -> None:
        """How long it took until questions ended, and how they did."""
        for event in events:
            if event.type in _ENDS:
                conversation = self._core.state.conversations.get(event.entity_id)
                if conversation is not None and conversation.ended_at is not None:
                    seconds = (conversation.ended_at - conversation.asked_at).total_seconds()
                    CONVERSATION_SECONDS.labels(conversation.state).observe(max(0.0, seconds))

    async def take_stock(self, pool: asyncpg.Pool) -> None:
        """Count what is in memory."""
        del pool
        state = self._core.state
        open_ = Tally(state.conversations[key].state for keys in state.asked_of.values() for key in keys)
        for name in _OPEN:
            CONVERSATIONS.labels(name).set(open_[name])
        WAITING_ATTEMPTS.labels(CONVERSATION).set(len(state.waits))
