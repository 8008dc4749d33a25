"""Deciding about questions: asked, answered, withdrawn, received."""

from datetime import datetime, timedelta

from hivewire import codec, limits
from hivewire.commands.conversation import Answer, Ask, Receive, Withdraw
from hivewire.events import Event
from hivewire.events.agent import Question
from hivewire.events.conversation import (
    ConversationAnswered,
    ConversationCreated,
    ConversationDelivered,
    ConversationReceived,
    ConversationWithdrawn,
    MessageBlockedByGraph,
    MessageDelivered,
)
from hivewire_conversation import deadlock, waits
from hivewire_conversation.conversation import Attempt, Conversation
from hivewire_conversation.seen import Seen
from hivewire_conversation.state import State
from hivewire_conversation.targets import Resolved, resolve
from hivewire_service.core import NOTHING, Command, Refusal, Step


def ask(state: State, seen: Seen, command: Command, now: datetime) -> Step | Refusal | tuple[Step, Refusal]:
    """A question. The same question again is the same conversation; a later attempt of its task may wait for it too."""
    data: Ask = command.data
    key = data.id or command.id
    attempt = _attempt(seen, command.sender, data)
    if isinstance(attempt, Refusal):
        return attempt
    if len(bytes(data.question)) > limits.QUESTION_BYTES_MAX:
        return too_large("question", len(bytes(data.question)))
    known = state.conversations.get(key)
    if known is not None:
        return _repeated(state, seen, command, known, attempt, now)
    return _first_time(state, seen, command, key, attempt, now)


def _first_time(
    state: State, seen: Seen, command: Command, key: str, attempt: Attempt | None, now: datetime
) -> Step | Refusal | tuple[Step, Refusal]:
    data: Ask = command.data
    thread = _thread(state, command.sender, key, data.thread)
    if isinstance(thread, Refusal):
        return thread
    resolved = resolve(seen, command.sender, data.target)
    if isinstance(resolved, Refusal):
        return resolved
    blocked = blocked_by_graph(state, key, command.sender, data.target, resolved)
    if blocked is not None:
        return blocked
    refusal = _obstacle(state, seen, command, thread, resolved.agent_id, attempt)
    if refusal is not None:
        return refusal
    return Step(_asked(state, seen, command, key, thread, resolved, attempt, now))


def _obstacle(
    state: State, seen: Seen, command: Command, thread: str, agent_id: str, attempt: Attempt | None
) -> Refusal | None:
    data: Ask = command.data
    sender = command.sender
    if agent_id == sender:
        return Refusal(f"{data.target} means the asker itself: nobody asks himself", 422)
    if len(state.asked_by.get(sender, ())) >= limits.OPEN_QUESTIONS_MAX:
        return Refusal(f"{sender} has {limits.OPEN_QUESTIONS_MAX} open questions: wait for answers first", 429)
    if attempt is None or waits.expects_follow_up(state, agent_id, sender, thread):
        return None
    return _deadlock(state, seen, sender, attempt, agent_id)


def _asked(
    state: State,
    seen: Seen,
    command: Command,
    key: str,
    thread: str,
    resolved: Resolved,
    attempt: Attempt | None,
    now: datetime,
) -> list[Event]:
    data: Ask = command.data
    expires_at = now + timedelta(seconds=data.timeout_seconds)
    created = ConversationCreated(
        conversation_id=key,
        thread=thread,
        asker=command.sender,
        target=data.target,
        agent_id=resolved.agent_id,
        resolution=resolved.resolution,
        question=data.question,
        asked_at=now,
        expires_at=expires_at,
        task_id=attempt[0] if attempt else None,
        attempt=attempt[1] if attempt else None,
    )
    if attempt is None:
        return [created]
    asked = Question(key, resolved.agent_id)
    return [created, waits.begins(state, seen, command.sender, attempt, asked, expires_at, now)]


def _attempt(seen: Seen, sender: str, data: Ask) -> Attempt | Refusal | None:
    """The attempt that waits, if the asker holds it."""
    if data.task_id is None and data.attempt is None:
        return None
    if data.task_id is None or data.attempt is None:
        return Refusal("task_id and attempt belong together: name both, or neither", 400)
    held = seen.attempts.get((data.task_id, data.attempt))
    if held is None or held.agent_id != sender:
        return Refusal(f"attempt {data.attempt} of task {data.task_id} is not {sender}'s", 403)
    if not held.open:
        return Refusal(f"attempt {data.attempt} of task {data.task_id} is over: stop working on it", 409)
    return data.task_id, data.attempt


def _repeated(
    state: State, seen: Seen, command: Command, known: Conversation, attempt: Attempt | None, now: datetime
) -> Step | Refusal:
    data: Ask = command.data
    same = (known.asker, known.target, known.question) == (command.sender, data.target, codec.text(data.question))
    if not same:
        return Refusal(f"conversation {known.conversation_id} is another question: take a new id", 409)
    if not known.open or attempt is None or attempt == known.waiting_attempt:
        return NOTHING
    if not waits.is_follow_up(state, known.conversation_id):
        refusal = _deadlock(state, seen, command.sender, attempt, known.agent_id)
        if refusal is not None:
            return refusal
    asked = Question(known.conversation_id, known.agent_id)
    waiting = waits.begins(state, seen, command.sender, attempt, asked, known.expires_at, now)
    return Step([*waits.after(state, seen, [known], now), waiting])


def _thread(state: State, sender: str, key: str, named: str | None) -> str | Refusal:
    """The first conversation of the thread that is followed up."""
    if named is None:
        return key
    earlier = state.conversations.get(named)
    if earlier is None:
        return Refusal(f"there is no conversation {named!r} to follow up", 404)
    if sender not in (earlier.asker, earlier.agent_id):
        return Refusal(f"conversation {named} is between others: {sender} can't follow it up", 403)
    return earlier.thread


def _deadlock(state: State, seen: Seen, asker: str, attempt: Attempt, target: str) -> Refusal | None:
    waiters = waits.waiters(state, seen, asker, attempt, target)
    found = deadlock.cycle(asker, target, waiters)
    if found is None:
        return None
    shown = " -> ".join(found if len(found) <= 21 else [*found[:10], "...", *found[-10:]])
    return Refusal(
        f"deadlock: {shown} would wait for one another, and none can answer while it waits", 409, {"cycle": found}
    )


def blocked_by_graph(
    state: State, key: str, sender: str, target: str, resolved: Resolved
) -> tuple[Step, Refusal] | None:
    """The refusal of what the communication graph does not allow, and the event that tells of it."""
    reason = state.graph.blocks(sender, resolved.agent_id) if state.graph else None
    if reason is None:
        return None
    event = MessageBlockedByGraph(
        message_id=key, sender=sender, target=target, agent_id=resolved.agent_id, reason=reason
    )
    return Step([event]), Refusal(f"{reason}: `hivewire graph show` tells who may talk to whom", 403)


def too_large(what: str, size: int) -> Refusal:
    """A question, an answer or a message beyond the limit."""
    hint = "put the content into a file or a result and name that"
    return Refusal(f"the {what} has {size} bytes, {limits.QUESTION_BYTES_MAX} are allowed: {hint}", 413)


def answer(state: State, seen: Seen, command: Command, now: datetime) -> Step | Refusal:
    """The agent that was asked answers, once."""
    data: Answer = command.data
    if len(bytes(data.answer)) > limits.QUESTION_BYTES_MAX:
        return too_large("answer", len(bytes(data.answer)))
    conversation = state.conversations.get(data.conversation_id)
    if conversation is None:
        return _unknown(data.conversation_id)
    if conversation.agent_id != command.sender:
        reason = f"it was put to {conversation.agent_id}"
        return Refusal(f"question {data.conversation_id} is not {command.sender}'s to answer: {reason}", 403)
    if conversation.state == "answered" and conversation.answer == codec.text(data.answer):
        return NOTHING
    if not conversation.open:
        return Refusal(f"question {data.conversation_id} can't be answered: it is {conversation.state} already", 409)
    answered = ConversationAnswered(
        conversation_id=conversation.conversation_id,
        agent_id=conversation.agent_id,
        asker=conversation.asker,
        answer=data.answer,
        answered_at=now,
    )
    return Step([answered, *waits.after(state, seen, [conversation], now)])


def withdraw(state: State, seen: Seen, command: Command, now: datetime) -> Step | Refusal:
    """The asker gives its question up."""
    data: Withdraw = command.data
    conversation = state.conversations.get(data.conversation_id)
    if conversation is None:
        return _unknown(data.conversation_id)
    if conversation.asker != command.sender:
        return Refusal(f"question {data.conversation_id} is {conversation.asker}'s, who alone can withdraw it", 403)
    if conversation.state == "withdrawn":
        return NOTHING
    if not conversation.open:
        return Refusal(f"question {data.conversation_id} can't be withdrawn: it is {conversation.state} already", 409)
    withdrawn = ConversationWithdrawn(
        conversation_id=conversation.conversation_id, by=command.sender, reason=data.reason, withdrawn_at=now
    )
    return Step([withdrawn, *waits.after(state, seen, [conversation], now)])


def receive(state: State, _seen: Seen, command: Command, now: datetime) -> Step | Refusal:
    """Receipts: of questions by those who are asked, of their ends by those who asked, of messages."""
    data: Receive = command.data
    events = (_receipt(state, command.sender, key, now) for key in dict.fromkeys(data.ids))
    return Step([event for event in events if event is not None])


def _receipt(state: State, sender: str, key: str, now: datetime) -> Event | None:
    message = state.messages.get(key)
    if message is not None:
        mine = message.agent_id == sender and message.state == "sent"
        return MessageDelivered(message_id=key, agent_id=sender, delivered_at=now) if mine else None
    conversation = state.conversations.get(key)
    if conversation is None:
        return None
    if conversation.asker == sender and conversation.tells_asker:
        return ConversationReceived(conversation_id=key, asker=sender, received_at=now)
    if conversation.agent_id == sender and conversation.state == "asked":
        return ConversationDelivered(conversation_id=key, agent_id=sender, delivered_at=now)
    return None


def _unknown(conversation_id: str) -> Refusal:
    return Refusal(f"there is no conversation {conversation_id!r}", 404)
