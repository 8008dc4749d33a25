"""Attempts that wait for answers: what the broker is told of them, and whether they wait for one another."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from hivewire import limits
from hivewire.events.agent import AgentWaiting, Question
from hivewire_conversation.conversation import Attempt, Conversation
from hivewire_conversation.deadlock import Waiter
from hivewire_conversation.seen import Seen
from hivewire_conversation.state import State

_PAUSE_MAX = timedelta(seconds=limits.PAUSE_S_MAX)


def begins(
    state: State, seen: Seen, agent_id: str, attempt: Attempt, asked: Question, expires_at: datetime, now: datetime
) -> AgentWaiting:
    """The attempt waits for one more answer."""
    wait = state.waits.get(attempt)
    since = wait.waiting_since if wait and wait.waiting_since else now
    until = max(expires_at, wait.pause_until) if wait and wait.pause_until else expires_at
    return AgentWaiting(
        agent_id=agent_id,
        name=_name(seen, agent_id),
        task_id=attempt[0],
        attempt=attempt[1],
        questions=[*(wait.questions if wait else ()), asked],
        paused_s=wait.paused_s if wait else seen.paused_s.get(attempt, 0.0),
        waiting_since=since,
        pause_until=min(until, since + _PAUSE_MAX),
    )


def after(state: State, seen: Seen, ended: Iterable[Conversation], now: datetime) -> list[AgentWaiting]:
    """How the attempts stand that waited for these conversations, once they have ended."""
    gone = {conversation.conversation_id for conversation in ended}
    attempts = {c.waiting_attempt: None for c in ended if c.waiting_attempt in state.waits}
    return [_without(state, seen, attempt, gone, now) for attempt in attempts if attempt is not None]


def _without(state: State, seen: Seen, attempt: Attempt, gone: set[str], now: datetime) -> AgentWaiting:
    wait = state.waits[attempt]
    left = [question for question in wait.questions if question.conversation_id not in gone]
    paused_s, since, until = wait.paused_s, wait.waiting_since, wait.pause_until
    if not left and since is not None and until is not None:
        paused_s += max(0.0, (min(now, until) - since).total_seconds())
        since = until = None
    return AgentWaiting(
        agent_id=wait.agent_id,
        name=_name(seen, wait.agent_id),
        task_id=attempt[0],
        attempt=attempt[1],
        questions=left,
        paused_s=paused_s,
        waiting_since=since,
        pause_until=until,
    )


def waiters(state: State, seen: Seen, asker: str, attempt: Attempt, target: str) -> dict[str, Waiter]:
    """Who waits for whom, once `asker` waits for `target` in `attempt`. Waits end with their attempts."""
    waiting: dict[str, dict[Attempt, set[str]]] = {asker: {attempt: {target}}}
    for key, wait in state.waits.items():
        if key != attempt and not seen.is_open(key):
            continue
        waited_for = waiting.setdefault(wait.agent_id, {}).setdefault(key, set())
        waited_for |= {q.agent_id for q in wait.questions if not is_follow_up(state, q.conversation_id)}
    return {
        agent_id: Waiter(_can_answer(seen, agent_id, len(attempts)), [frozenset(ids) for ids in attempts.values()])
        for agent_id, attempts in waiting.items()
    }


def is_follow_up(state: State, conversation_id: str) -> bool:
    """Whether a question is put to somebody who waits for the asker in the same thread, and expects such questions."""
    conversation = state.conversations[conversation_id]
    return conversation.thread != conversation_id and expects_follow_up(
        state, conversation.agent_id, conversation.asker, conversation.thread
    )


def expects_follow_up(state: State, agent_id: str, asker: str, thread: str) -> bool:
    """Whether `agent_id` waits for an answer of `asker` in this thread."""
    return any(
        (question := state.conversations[key]).agent_id == asker and question.thread == thread
        for key in state.asked_by.get(agent_id, ())
    )


def _can_answer(seen: Seen, agent_id: str, attempts: int) -> bool:
    agent = seen.agents.get(agent_id)
    return agent is None or agent.answers_while_busy or attempts < agent.slots


def _name(seen: Seen, agent_id: str) -> str:
    agent = seen.agents.get(agent_id)
    return agent.name if agent else ""
