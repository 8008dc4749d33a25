"""A remote agent as the door's bridge speaks for it: it takes dispatches, beats, and responds until it is answered."""

import asyncio
import random
from typing import Any

from hivewire import codec, inbox, limits
from hivewire.commands.agent_gateway import AgentBrief, Register
from hivewire.commands.sessions import Respond
from hivewire.connection import Connection
from hivewire.envelope import Envelope
from hivewire.errors import RefusedError
from hivewire.ids import new_id
from hivewire.subjects import AGENT_GATEWAY
from hivewire.views import SessionBrief
from simulation.processes import URL, Process


class Remote:
    """One life of a remote agent."""

    def __init__(self, connection: Connection, slots: int, seed: int) -> None:
        self._connection = connection
        self._slots = slots
        self._seed = seed
        self._instance = new_id()
        self._held: dict[str, inbox.Held | None] = {}
        self._again = asyncio.Event()
        self._replaced = asyncio.Event()
        self._group = asyncio.TaskGroup()

    async def live(self, can: tuple[str, ...]) -> None:
        """Be the agent until somebody takes its place."""
        connection, subjects = self._connection, self._connection.subjects
        card = Register(instance=self._instance, agent_type="remote", capabilities=list(can), slots=self._slots)
        connection.on_reconnect.append(self._again.set)
        for kind in (inbox.DISPATCH, inbox.HALT, inbox.REPLACED, inbox.SYNC):
            await connection.listen(subjects.inbox(connection.sender, kind), self._hear)
        async with self._group:
            self._group.create_task(self._beat())
            while not self._replaced.is_set():
                self._again.clear()
                await connection.command(AGENT_GATEWAY, "register", card, AgentBrief, timeout_s=None)
                await self._again.wait()
            raise RefusedError("another process speaks for the agent")

    def _hear(self, _: str, body: bytes) -> None:
        envelope = codec.decode_envelope(body)
        match codec.decode_data(envelope, inbox.KINDS) if isinstance(envelope, Envelope) else None:
            case inbox.SessionDispatch() as dispatch if dispatch.instance == self._instance:
                if dispatch.message_id not in self._held:
                    held = inbox.Held(dispatch.task_id, dispatch.task_attempt) if dispatch.task_id else None
                    self._held[dispatch.message_id] = held
                    self._group.create_task(self._work(dispatch))
            case inbox.HaltSession(message_id=message_id):
                self._held.pop(message_id, None)
            case inbox.Replaced(instance) if instance != self._instance:
                self._replaced.set()
                self._again.set()
            case inbox.Sync(instance) if instance == self._instance:
                self._again.set()

    async def _work(self, dispatch: inbox.SessionDispatch) -> None:
        chance = random.Random(f"{self._seed} {dispatch.message_id}")
        await asyncio.sleep(chance.random() * 6)
        content: Any = {"by": dispatch.agent_id}
        error = "not this time" if chance.random() < 0.15 else None
        respond = Respond(dispatch.session_id, dispatch.attempt, codec.raw(content), error=error)
        if dispatch.message_id in self._held:
            try:
                await self._connection.command(AGENT_GATEWAY, "respond", respond, SessionBrief, timeout_s=None)
            except RefusedError as refused:
                if refused.status not in (403, 404, 409):
                    raise
            self._held.pop(dispatch.message_id, None)

    async def _beat(self) -> None:
        connection, turns = self._connection, 0
        while True:
            turns += 1
            tasks = [held for held in self._held.values() if held is not None]
            free = max(0, self._slots - len(self._held))
            beat = inbox.Beat(connection.sender, self._instance, tasks, free, turns, list(self._held))
            source = f"/{connection.subjects.hive}/{connection.sender}"
            envelope = Envelope(id=new_id(), type=inbox.BEAT_TYPE, source=source, data=codec.raw(beat))
            await connection.say(connection.subjects.beat(connection.sender), codec.encode(envelope))
            await asyncio.sleep(limits.BEAT_INTERVAL_S)


async def work_remotely(_: Process, agent_id: str, slots: int, can: tuple[str, ...], seed: int) -> None:
    """The program of a remote agent."""
    connection = await Connection.open(URL, name=agent_id)
    try:
        await Remote(connection, slots, seed).live(can)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
