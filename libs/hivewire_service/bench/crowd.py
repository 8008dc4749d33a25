"""Thousands of agents in one process, that register, beat, hold what they are given and complete it when told to.

They speak with the services' credentials, which may speak under any name: so one connection serves them all.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Self

import msgspec
from nats.aio.msg import Msg

from hivewire import codec, limits
from hivewire.commands.agent_gateway import Register
from hivewire.commands.broker import Complete
from hivewire.envelope import Envelope
from hivewire.errors import HivewireError
from hivewire.ids import new_id
from hivewire.inbox import BEAT_TYPE, TASK, Beat, Held, TaskDispatch
from hivewire.subjects import AGENT_GATEWAY, BROKER, REPLY_HEADER, Subjects, reply_prefix
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.noop import CAPABILITY, RESULT
from hivewire_service.bus import Bus
from hivewire_service.run import SENDER

REGISTERED_AT_ONCE = 200
STEPS_PER_INTERVAL = 100
"""Beats go out in so many portions, evenly spread."""
SILENCE_S_MAX = 30.0
_REPLIES = "crowd"


class Crowd:
    """The agents. Each has one slot."""

    def __init__(self, bus: Bus, hive: str, agents: int) -> None:
        self.instance = new_id()
        self._bus = bus
        self._subjects = Subjects(hive)
        self._names = [f"agent-{number:05}" for number in range(agents)]
        self._replied: set[str] = set()
        self._held: dict[str, TaskDispatch] = {}
        self._seen: set[str] = set()
        self._news = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def running(cls, hive: BenchHive, agents: int) -> AsyncIterator[Self]:
        """So many registered agents that beat as agents do.

        Raises:
            HivewireError: the hive did not register all of them.
        """
        context = hive.context
        bus = Bus(context.nats_url, str(hive.service_credentials), SENDER, "hivewire bench crowd")
        await bus.connect()
        crowd = cls(bus, context.hive, agents)
        beating = asyncio.create_task(crowd._beat())
        try:
            await crowd._register()
            yield crowd
        finally:
            beating.cancel()
            await bus.close()

    @property
    def held(self) -> int:
        """How many tasks the agents have."""
        return len(self._held)

    @property
    def dispatches(self) -> int:
        """How many tasks the agents were given so far."""
        return len(self._seen)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that dispatches bring about.

        Raises:
            HivewireError: nothing comes any more.
        """
        while not holds():
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), SILENCE_S_MAX)
            except TimeoutError:
                raise HivewireError(f"the hive stood still: {self.held} tasks are with agents") from None

    async def complete(self, count: int) -> None:
        """Let so many agents complete what they hold."""
        for agent in list(self._held)[:count]:
            await self._complete(agent, self._held.pop(agent))

    async def _complete(self, agent: str, held: TaskDispatch) -> None:
        report = Complete(held.task_id, held.attempt, held.instance, result=codec.raw(RESULT))
        await self._command(BROKER, "complete", agent, report)

    async def _register(self) -> None:
        client = self._bus.client
        await client.subscribe(f"{reply_prefix('*')}.{_REPLIES}", cb=self._reply)
        await client.subscribe(self._subjects.inbox("*", TASK), cb=self._take)
        for first in range(0, len(self._names), REGISTERED_AT_ONCE):
            some = self._names[first : first + REGISTERED_AT_ONCE]
            for agent in some:
                card = Register(instance=self.instance, capabilities=[CAPABILITY], slots=1)
                await self._command(AGENT_GATEWAY, "register", agent, card)
            await self.until(lambda some=some: self._replied.issuperset(some))  # type: ignore[misc]

    async def _command(self, service: str, verb: str, agent: str, data: msgspec.Struct) -> None:
        headers = {REPLY_HEADER: f"{reply_prefix(agent)}.{_REPLIES}"}
        subject = self._subjects.command(service, verb, agent)
        await self._bus.publish(subject, self._envelope(f"{service}.{verb}", agent, data), headers=headers)

    def _envelope(self, kind: str, agent: str, data: msgspec.Struct) -> bytes:
        source = f"/{self._subjects.hive}/{agent}"
        return codec.encode(
            Envelope(id=new_id(), type=kind, source=source, time=datetime.now(UTC), data=codec.raw(data))
        )

    async def _reply(self, message: Msg) -> None:
        self._replied.add(message.subject.split(".")[1])
        self._news.set()

    async def _take(self, message: Msg) -> None:
        envelope = codec.decode_envelope(message.data)
        assert isinstance(envelope, Envelope)
        agent = message.subject.split(".")[2]
        given = msgspec.json.decode(envelope.data, type=TaskDispatch)
        if given.task_id not in self._seen:
            self._seen.add(given.task_id)
            self._held[agent] = given
            self._news.set()
        elif agent not in self._held or self._held[agent].task_id != given.task_id:
            await self._complete(agent, given)  # it was completed before; this dispatch crossed the report

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        due, step, turns = loop.time(), 0, 0
        while True:
            for agent in self._names[step::STEPS_PER_INTERVAL]:
                if agent in self._replied:
                    held = self._held.get(agent)
                    listed = [Held(held.task_id, held.attempt)] if held else []
                    beat = Beat(agent, self.instance, listed, 0 if held else 1, turns)
                    await self._bus.publish(self._subjects.beat(agent), self._envelope(BEAT_TYPE, agent, beat))
            step = (step + 1) % STEPS_PER_INTERVAL
            turns += step == 0
            due += limits.BEAT_INTERVAL_S / STEPS_PER_INTERVAL
            await asyncio.sleep(max(0.0, due - loop.time()))
