"""Keeps the state in its tables, reads what commands name, and says what inboxes are sent."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

from hivewire import codec
from hivewire.commands.conversation import Answer, Ask, Receive, SendMessage, Withdraw
from hivewire.envelope import Envelope
from hivewire.events import Event
from hivewire.events import conversation as events
from hivewire.events.agent import AgentWaiting
from hivewire.events.kept import ConversationRemoved
from hivewire.graph import GraphSpec
from hivewire.inbox import ANSWER, MESSAGE, QUESTION, MessageReceived, QuestionAsked, QuestionEnded, inbox_type
from hivewire.subjects import CONVERSATION, Subjects
from hivewire_conversation.conversation import Attempt, Wait
from hivewire_conversation.core import Conversations
from hivewire_conversation.delivery import UNRECEIVED_KEPT, Send
from hivewire_conversation.messages import GRAPH_ID
from hivewire_conversation.seen import AgentSeen
from hivewire_conversation.shown import message_received, question_asked, question_ended
from hivewire_conversation.state import State
from hivewire_conversation.stored import (
    agent_of,
    attempt_of,
    conversation_of,
    conversation_row,
    message_end_row,
    message_of,
    sent_row,
    wait_of,
    wait_row,
)
from hivewire_service.core import Command, Message, Write
from hivewire_service.queries import load_queries

SQL = load_queries("hivewire_conversation", "queries.sql")

_graphs = msgspec.json.Decoder(GraphSpec)
_TOLD = (
    events.ConversationCreated,
    events.ConversationAnswered,
    events.ConversationExpired,
    events.ConversationUndeliverable,
    events.MessageSent,
)
_KINDS: Final = {QuestionAsked: QUESTION, QuestionEnded: ANSWER, MessageReceived: MESSAGE}


class ConversationRows:
    """Keeps the service's state in Postgres. Implements `Rows`."""

    def __init__(self, core: Conversations, subjects: Subjects) -> None:
        self._core = core
        self._subjects = subjects
        self._source = f"/{subjects.hive}/{CONVERSATION}"

    async def load(self, connection: asyncpg.Connection, now: datetime) -> None:
        """Replace the core's state by what Postgres holds."""
        state = await read_state(connection, now - UNRECEIVED_KEPT)
        self._core.restore(state, await read_agents(connection), now)

    async def load_for(self, connection: asyncpg.Connection, commands: Sequence[Command], now: datetime) -> None:
        """Bring the conversations, agents, tasks, phases and attempts that these commands name."""
        del now
        named = Named(commands)
        state, seen = self._core.state, self._core.seen
        cold = sorted(named.conversations - state.conversations.keys())
        for row in await connection.fetch(SQL.find_conversations, cold) if cold else ():
            state.put(conversation_of(row))
        if not named.targets:
            return
        if named.tasks:
            rows = await connection.fetch(SQL.last_attempts, sorted(named.tasks))
            seen.tasks = {row["task_id"]: attempt_of(row) if row["attempt"] else None for row in rows}
        if named.phases:
            found = defaultdict(list)
            for row in await connection.fetch(SQL.attempts_in_phases, sorted(named.phases)):
                found[row["phase_id"]].append(attempt_of(row))
            seen.phases = found
        if named.messages:
            rows = await connection.fetch(SQL.find_messages, sorted(named.messages))
            seen.messages = {row["message_id"] for row in rows}
        if named.attempts:
            waiting = sorted(named.attempts | state.waits.keys())
            rows = await connection.fetch(SQL.find_attempts, *columns(waiting))
            seen.attempts = {(row["task_id"], row["attempt"]): attempt_of(row) for row in rows}
            rows = await connection.fetch(SQL.paused, *columns(sorted(named.attempts)))
            seen.paused_s = {(row["task_id"], row["attempt"]): row["paused_s"] for row in rows}
        await self._load_agents(connection, named)

    async def _load_agents(self, connection: asyncpg.Connection, named: "Named") -> None:
        seen = self._core.seen
        """Agents that are known are kept up with by their events; one that registered a moment ago is looked up."""
        wanted = set(named.agents)
        wanted.update(last.agent_id for name in named.tasks if (last := seen.tasks.get(name)))
        wanted.update(attempt.agent_id for name in named.phases for attempt in seen.phases.get(name, ()))
        unknown = sorted(wanted - seen.agents.keys())
        for row in await connection.fetch(SQL.find_agents, unknown) if unknown else ():
            seen.agents[row["agent_id"]] = agent_of(row)

    def writes(self, committed: Sequence[Event], records: Sequence[Any], now: datetime) -> Iterable[Write]:
        """The statements that make the tables equal to the state after `committed`."""
        del records, now
        yield from self._conversations(committed)
        yield from _messages(committed)
        removed = [e.conversation_id for e in committed if isinstance(e, ConversationRemoved)]
        if removed:
            yield Write(SQL.delete_conversations, (removed,))
        waits = {(e.task_id, e.attempt): _wait(e) for e in committed if isinstance(e, AgentWaiting)}
        if waits:
            yield Write(SQL.write_waits, columns([wait_row(attempt, wait) for attempt, wait in waits.items()]))
        graphs = [e for e in committed if isinstance(e, events.GraphEvent)]
        if graphs:
            yield _graph(graphs[-1])

    def _conversations(self, committed: Sequence[Event]) -> Iterable[Write]:
        changed = {e.conversation_id: None for e in committed if isinstance(e, events.ConversationEvent)}
        for event in committed:
            if isinstance(event, AgentWaiting):
                changed.update((question.conversation_id, None) for question in event.questions)
        if changed:
            known = self._core.state.conversations
            yield Write(SQL.write_conversations, columns([conversation_row(known[key]) for key in changed]))

    async def messages(
        self, connection: asyncpg.Pool, committed: Sequence[Event], records: Sequence[Any]
    ) -> Iterable[Message]:
        """Questions, their ends and messages, to the inboxes of those whom they concern."""
        del connection
        keys = [event.entity_id for event in committed if isinstance(event, _TOLD)]
        keys += [record.key for record in records if isinstance(record, Send)]
        made = [message for key in dict.fromkeys(keys) if (message := self._message(key)) is not None]
        self._core.state.forget_old()
        return made

    def _message(self, key: str) -> Message | None:
        message = self._core.state.messages.get(key)
        if message is not None:
            return self._inbox(message.agent_id, key, message_received(message))
        conversation = self._core.state.conversations.get(key)
        if conversation is None:
            return None
        if conversation.open:
            return self._inbox(conversation.agent_id, key, question_asked(conversation))
        return self._inbox(conversation.asker, key, question_ended(conversation)) if conversation.tells_asker else None

    def _inbox(self, agent_id: str, key: str, data: QuestionAsked | QuestionEnded | MessageReceived) -> Message:
        kind = _KINDS[type(data)]
        envelope = Envelope(id=f"{key}.{kind}", type=inbox_type(kind), source=self._source, data=codec.raw(data))
        return Message(self._subjects.inbox(agent_id, kind), codec.encode(envelope))


class Named:
    """What the commands of a turn name."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self.conversations: set[str] = set()
        self.messages: set[str] = set()
        self.agents: set[str] = set()
        self.tasks: set[str] = set()
        self.phases: set[str] = set()
        self.attempts: set[Attempt] = set()
        for command in commands:
            self._add(command)

    @property
    def targets(self) -> bool:
        """Whether anybody is asked or told anything."""
        return bool(self.agents)

    def _add(self, command: Command) -> None:
        match command.data:
            case Ask() as ask:
                self._target(command.sender, ask.target)
                self.conversations.add(ask.id or command.id)
                if ask.thread is not None:
                    self.conversations.add(ask.thread)
                if ask.task_id is not None and ask.attempt is not None:
                    self.attempts.add((ask.task_id, ask.attempt))
            case SendMessage() as message:
                self._target(command.sender, message.target)
                self.messages.add(message.id or command.id)
            case Answer(conversation_id=key) | Withdraw(conversation_id=key):
                self.conversations.add(key)
            case Receive(ids=ids):
                self.conversations.update(ids)

    def _target(self, sender: str, target: str) -> None:
        kind, _, name = target.partition(":")
        self.agents.add(sender)
        {"agent": self.agents, "task": self.tasks, "phase": self.phases}[kind].add(name)


def columns(rows: Sequence[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    """Rows as columns, to be unnested."""
    return tuple(zip(*rows, strict=True))


def _messages(committed: Sequence[Event]) -> Iterable[Write]:
    sent = {e.message_id: e for e in committed if isinstance(e, events.MessageSent)}
    ended = {
        e.message_id: message_end_row(e)
        for e in committed
        if isinstance(e, (events.MessageDelivered, events.MessageUndeliverable))
    }
    if sent:
        rows = [(*sent_row(event), *ended.pop(key, (key, "sent", None, None))[1:]) for key, event in sent.items()]
        yield Write(SQL.insert_messages, columns(rows))
    if ended:
        yield Write(SQL.end_messages, columns(list(ended.values())))


def _wait(event: AgentWaiting) -> Wait:
    return Wait(
        agent_id=event.agent_id,
        questions=event.questions,
        paused_s=event.paused_s,
        waiting_since=event.waiting_since,
        pause_until=event.pause_until,
    )


def _graph(event: events.GraphEvent) -> Write:
    if isinstance(event, events.GraphSet):
        spec = GraphSpec(nodes=event.nodes, edges=event.edges)
        return Write(SQL.write_graph, (GRAPH_ID, codec.encode(spec).decode()))
    return Write(SQL.delete_graph, (GRAPH_ID,))


async def read_state(connection: asyncpg.Connection, unreceived_since: datetime) -> State:
    """Open questions, those of whose end the asker has to learn, messages on their way, waits and the graph."""
    state = State()
    for row in await connection.fetch(SQL.load_conversations, unreceived_since):
        state.put(conversation_of(row))
    for row in await connection.fetch(SQL.load_messages):
        state.put_message(message_of(row))
    state.waits = dict(wait_of(row) for row in await connection.fetch(SQL.load_waits))
    state.set_graph(await read_graph(connection))
    return state


async def read_graph(connection: asyncpg.Connection) -> GraphSpec | None:
    """The communication graph, if there is one."""
    text = await connection.fetchval(SQL.load_graph, GRAPH_ID)
    return None if text is None else _graphs.decode(text)


async def read_agents(connection: asyncpg.Connection) -> list[AgentSeen]:
    """All agents of the gateway's registry."""
    return [agent_of(row) for row in await connection.fetch(SQL.load_agents)]
