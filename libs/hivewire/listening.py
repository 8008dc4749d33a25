"""Hearing what an agent is asked and told, in place of a handler."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from hivewire import codec, inbox, limits, paging, reads
from hivewire.asking import receipts_of
from hivewire.client import Client
from hivewire.inbox import MESSAGE, QUESTION, MessageReceived, QuestionAsked
from hivewire.subjects import CONVERSATION
from hivewire.views import ConversationView

Heard = QuestionAsked | MessageReceived

WAITING_MAX = 1_000
"""What came and was not taken yet. Beyond it nothing is kept: what has no receipt comes again."""
SEEN_MAX = 2 * limits.MESSAGES_WAITING_MAX
"""Of so many it is known that they were taken; no more than half as many can be on their way again."""


class Line:
    """What came for an agent, until it is taken, each once."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[Heard] = asyncio.Queue(WAITING_MAX)
        self._seen: dict[str, None] = {}

    def put(self, item: Heard) -> None:
        """Keep it, if there is room."""
        if not self._came.full():
            self._came.put_nowait(item)

    async def take(self) -> Heard:
        """The next one."""
        return await self._came.get()

    def is_new(self, key: str) -> bool:
        """Whether this is the first time."""
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        return True


async def heard(hive: Client, agent_id: str) -> AsyncIterator[Heard]:
    """The open questions to an agent, and what its inbox brings from then on; each once. Nobody else has to listen."""
    connection = hive.connection
    receipts = receipts_of(connection)
    line = Line()

    def hear(_subject: str, body: bytes) -> None:
        envelope = codec.decode_envelope(body)
        message = envelope if isinstance(envelope, codec.Malformed) else codec.decode_data(envelope, inbox.KINDS)
        if isinstance(message, (QuestionAsked, MessageReceived)):
            line.put(message)

    async with contextlib.AsyncExitStack() as stack:
        for kind in (QUESTION, MESSAGE):
            listening = await connection.listen(connection.subjects.inbox(agent_id, kind), hear)
            stack.push_async_callback(listening.stop)
        stack.callback(receipts.close)
        query = reads.ListConversations(agent=agent_id, state=["asked", "delivered"])
        waiting = [
            _asked(view)
            async for view in paging.items(connection, CONVERSATION, "conversations", query, ConversationView)
        ]
        while True:
            item = waiting.pop() if waiting else await line.take()
            key = item.conversation_id if isinstance(item, QuestionAsked) else item.message_id
            receipts.add(key)
            if line.is_new(key):
                yield item


def _asked(view: ConversationView) -> QuestionAsked:
    return QuestionAsked(
        conversation_id=view.conversation_id,
        thread=view.thread,
        asker=view.asker,
        target=view.target,
        question=view.question,
        asked_at=view.asked_at,
        expires_at=view.expires_at,
    )
