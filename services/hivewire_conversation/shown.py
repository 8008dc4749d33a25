"""Questions and messages as readers and inboxes get them."""

import msgspec

from hivewire import fields
from hivewire.inbox import MessageReceived, QuestionAsked, QuestionEnded
from hivewire.views import ConversationView
from hivewire_conversation.conversation import Conversation, Message


def conversation_view(conversation: Conversation) -> ConversationView:
    """A conversation as it is shown."""
    return ConversationView(
        conversation_id=conversation.conversation_id,
        thread=conversation.thread,
        state=conversation.state,
        asker=conversation.asker,
        target=conversation.target,
        agent_id=conversation.agent_id,
        resolution=conversation.resolution,
        question=_raw(conversation.question),
        answer=_raw(conversation.answer),
        reason=conversation.reason,
        asked_at=conversation.asked_at,
        expires_at=conversation.expires_at,
        delivered_at=conversation.delivered_at,
        ended_at=conversation.ended_at,
        task_id=conversation.task_id,
        attempt=conversation.attempt,
    )


def question_asked(conversation: Conversation) -> QuestionAsked:
    """What the agent that is asked is sent."""
    return QuestionAsked(
        conversation_id=conversation.conversation_id,
        thread=conversation.thread,
        asker=conversation.asker,
        target=conversation.target,
        question=_raw(conversation.question),
        asked_at=conversation.asked_at,
        expires_at=conversation.expires_at,
    )


def question_ended(conversation: Conversation) -> QuestionEnded:
    """What the asker is sent."""
    return QuestionEnded(
        conversation_id=conversation.conversation_id,
        thread=conversation.thread,
        state=conversation.state,
        agent_id=conversation.agent_id,
        answer=_raw(conversation.answer),
        reason=conversation.reason,
    )


def message_received(message: Message) -> MessageReceived:
    """What its receiver is sent."""
    return MessageReceived(
        message_id=message.message_id,
        sender=message.sender,
        content=_raw(message.content),
        sent_at=message.sent_at,
    )


def _raw(text: str | None) -> msgspec.Raw:
    return fields.NULL if text is None else msgspec.Raw(text.encode())
