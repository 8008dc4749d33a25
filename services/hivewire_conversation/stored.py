"""Between questions, messages, waits and their rows."""

from typing import Any

import asyncpg
import msgspec

from hivewire import codec
from hivewire.events.agent import Question
from hivewire.events.conversation import MessageDelivered, MessageSent, MessageUndeliverable
from hivewire_conversation.conversation import Attempt, Conversation, Message, Wait
from hivewire_conversation.seen import AgentSeen, AttemptSeen

_questions = msgspec.json.Decoder(list[Question])
_CONVERSATION = tuple(name for name in Conversation.__struct_fields__ if name != "grace_s")


def conversation_row(conversation: Conversation) -> tuple[Any, ...]:
    """In the order of `write_conversations`."""
    return tuple(getattr(conversation, name) for name in _CONVERSATION)


def conversation_of(row: asyncpg.Record) -> Conversation:
    """A conversation as it was written."""
    return Conversation(**{name: row[name] for name in _CONVERSATION})


def sent_row(event: MessageSent) -> tuple[Any, ...]:
    """In the order of `insert_messages`."""
    return (
        event.message_id,
        event.sender,
        event.target,
        event.agent_id,
        event.resolution,
        codec.text(event.content),
        event.sent_at,
        event.expires_at,
    )


def message_end_row(event: MessageDelivered | MessageUndeliverable) -> tuple[Any, ...]:
    """Its id, state, reason and end."""
    if isinstance(event, MessageDelivered):
        return event.message_id, "delivered", None, event.delivered_at
    return event.message_id, "undeliverable", event.reason, event.ended_at


def message_of(row: asyncpg.Record) -> Message:
    """A message as it was written."""
    return Message(**{name: row[name] for name in Message.__struct_fields__})


def wait_row(attempt: Attempt, wait: Wait) -> tuple[Any, ...]:
    """In the order of `write_waits`."""
    questions = codec.encode(wait.questions).decode()
    return (*attempt, wait.agent_id, questions, wait.paused_s, wait.waiting_since, wait.pause_until)


def wait_of(row: asyncpg.Record) -> tuple[Attempt, Wait]:
    """A wait as it was written, with its attempt."""
    wait = Wait(
        agent_id=row["agent_id"],
        questions=_questions.decode(row["questions"]),
        paused_s=row["paused_s"],
        waiting_since=row["waiting_since"],
        pause_until=row["pause_until"],
    )
    return (row["task_id"], row["attempt"]), wait


def agent_of(row: asyncpg.Record) -> AgentSeen:
    """An agent as the gateway wrote it."""
    return AgentSeen(
        agent_id=row["agent_id"],
        name=row["name"],
        instance=row["instance"],
        present=row["state"] == "present",
        slots=row["slots"],
        answers_while_busy=row["answers_while_busy"],
    )


def attempt_of(row: asyncpg.Record) -> AttemptSeen:
    """An attempt as the broker wrote it."""
    return AttemptSeen(task_id=row["task_id"], attempt=row["attempt"], agent_id=row["agent_id"], open=row["open"])
