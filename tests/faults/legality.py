"""Whether every entity's events are ones that its transition table allows, in the order of its writer's numbers.

This looks at the tables alone: what services make of the events is what `fold` compares.
"""

from collections.abc import Mapping
from typing import Any

import asyncpg
import msgspec

import hivewire_agent_gateway.sessions.states
import hivewire_agent_gateway.states
import hivewire_broker.states as broker
import hivewire_conversation.states as conversation
import hivewire_tick_engine.states
from hivewire.subjects import AGENT_GATEWAY, BROKER, CONVERSATION, TICK_ENGINE

Table = Mapping[Any, Mapping[str, Any]]

REMOVED = hivewire_agent_gateway.states.Presence.REMOVED
LIVES: dict[tuple[str, str], tuple[Table, Any]] = {
    (BROKER, "task"): (broker.TASK, None),
    (BROKER, "phase"): (broker.PHASE, None),
    (BROKER, "initiative"): (broker.INITIATIVE, None),
    (BROKER, "replay"): (broker.REPLAY, None),
    (AGENT_GATEWAY, "agent"): (hivewire_agent_gateway.states.TRANSITIONS, REMOVED),
    (AGENT_GATEWAY, "session"): (hivewire_agent_gateway.sessions.states.TRANSITIONS, None),
    (CONVERSATION, "conversation"): (conversation.CONVERSATION, None),
    (CONVERSATION, "message"): (conversation.MESSAGE, None),
    (TICK_ENGINE, "simulation"): (hivewire_tick_engine.states.TRANSITIONS, None),
}
"""By writer and entity: the table of a life, and the state in which it begins."""
OF_ATTEMPTS = frozenset(event for row in broker.ATTEMPT.values() for event in row)
_EVENTS = "SELECT writer, seq, type, entity_id, data FROM event ORDER BY writer, seq"


class Lives:
    """The states of all entities, each as its table follows from its events."""

    def __init__(self) -> None:
        self.found: list[str] = []
        """What no table allows, and numbers of events that are missing or doubled."""
        self.events = 0
        self._states: dict[tuple[Any, ...], Any] = {}
        self._last_seq: dict[str, int] = {}

    def add(self, writer: str, seq: int, kind: str, entity_id: str, data: str) -> None:
        """The next event of a writer."""
        self.events += 1
        expected = self._last_seq.get(writer, 0) + 1
        if seq != expected:
            self.found.append(f"{writer}: event {seq} follows {expected - 1}")
        self._last_seq[writer] = seq
        entity = kind.partition(".")[0]
        life = LIVES.get((writer, entity))
        if life is None:
            return
        table, beginning = life
        self._step(table, beginning, (entity, entity_id), kind, seq)
        if entity == "task" and kind in OF_ATTEMPTS:
            said = msgspec.json.decode(data)
            # A task that is given up while nobody works on it names an attempt that had ended before.
            if said.get("attempt") and (kind != "task.dead_lettered" or said.get("ended") is not None):
                self._step(broker.ATTEMPT, None, ("attempt", entity_id, said["attempt"]), kind, seq)

    def _step(self, table: Table, beginning: Any, entity: tuple[Any, ...], kind: str, seq: int) -> None:
        state = self._states.get(entity, beginning)
        try:
            self._states[entity] = table[state][kind]
        except KeyError:
            name = " ".join(map(str, entity))
            self.found.append(f"event {seq}: {kind} cannot happen to {name}, which is {state or 'not there'}")


async def violations(connection: asyncpg.Connection) -> list[str]:
    """What is not legal in the whole history, one line each."""
    lives = Lives()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for row in connection.cursor(_EVENTS, prefetch=1_000):
            lives.add(*row)
    return lives.found
