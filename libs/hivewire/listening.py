"""Hearing what an agent is asked and told, in place of a handler."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from hivewire import codec, inbox, paging, reads
from hivewire.asking import receipts_of
from hivewire.client import Client
from hivewire.inbox import MESSAGE, QUESTION, MessageReceived, QuestionAsked
from hivewire.subjects import CONVERSATION
from hivewire.views import ConversationView

Heard = QuestionAsked | MessageReceived


async def heard(hive: Client, agent_id: str) -> AsyncIterator[Heard]:
    """The open questions to an agent, and what its inbox brings from then on; each once. Nobody else has to listen."""
    connection = hive.connection
    receipts = receipts_of(connection)
    came: asyncio.Queue[Heard] = asyncio.Queue()
    seen: set[str] = set()

    def hear(_subject: str, body: bytes) -> None:
        envelope = codec.decode_envelope(body)
        message = envelope if isinstance(envelope, codec.Malformed) else codec.decode_data(envelope, inbox.KINDS)
        if isinstance(message, (QuestionAsked, MessageReceived)):
            came.put_nowait(message)

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
        for question in reversed(waiting):
            came.put_nowait(question)
        while True:
            item = await came.get()
            key = item.conversation_id if isinstance(item, QuestionAsked) else item.message_id
            receipts.add(key)
            if key not in seen:
                seen.add(key)
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
