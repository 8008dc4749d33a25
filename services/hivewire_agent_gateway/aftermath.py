"""What the owner of the gateway does beside the loop: it hears what the broker gives to remote agents, beats for those
that have no connection, tells the broker how task sessions went, runs completion actions and wakes agents.

All of it is repeated after a restart from what the core knows, and none of it changes state but by observations.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from nats.aio.subscription import Subscription

from hivewire import codec, inbox, limits
from hivewire.envelope import Envelope
from hivewire.errors import HivewireError
from hivewire.events import Event
from hivewire.events.agent import AgentDeleted, AgentSpawned, AgentUpdated
from hivewire.events.session import SessionIdle, SessionRunning
from hivewire.ids import new_id, session_id_for_attempt
from hivewire.inbox import BEAT_TYPE, Beat, CancelAttempt, DoorBeat, Held, TaskDispatch
from hivewire.subjects import AGENT_GATEWAY
from hivewire_agent_gateway.actions import Actions
from hivewire_agent_gateway.control import NotWoken, WakeUp
from hivewire_agent_gateway.core import AgentGateway
from hivewire_agent_gateway.outbound import Outbound
from hivewire_agent_gateway.reports import Reporter
from hivewire_agent_gateway.sessions.desk import is_http
from hivewire_agent_gateway.sessions.records import Act, Acted, GivenTask, Report, TakenBack, Unreached
from hivewire_agent_gateway.states import Presence
from hivewire_agent_gateway.waking import Waker
from hivewire_service.deputy import deputy
from hivewire_service.service import Service
from hivewire_service.settings import Settings
from hivewire_service.store import CONNECTION_ERRORS

log = structlog.get_logger()

ACTIONS_AT_ONCE_MAX: Final = 16
REPORTS_AT_ONCE_MAX: Final = 256
WAITING_MAX: Final = 10_000
"""What may wait to be done when a progress is still passed on: while the broker is away the next one tells more. All
else that waits is once of each session or wake-up, and of these the core has bounds."""


class Aftermath:
    """`committed` is called by the rows, `run` beside the loop as long as it owns the gateway."""

    def __init__(self, core: AgentGateway, settings: Settings) -> None:
        self._core = core
        self._settings = settings
        self._service: Service | None = None
        self._waker = Waker(settings)
        self._queue: asyncio.Queue[Report | Act | WakeUp] = asyncio.Queue()
        self._inboxes: dict[str, list[Subscription]] = {}
        self._unreached: set[str] = set()
        """Agents to whose endpoint the last dispatch could not connect."""

    def reset(self) -> None:
        """Forget what was to be done: the core is loaded anew, and says it again."""
        self._queue = asyncio.Queue()
        self._unreached.clear()

    async def committed(self, events: Sequence[Event], records: Sequence[Any]) -> None:
        """Listen for new remote agents before anybody learns of them, and take up what has to be done."""
        for event in events:
            match event:
                case (
                    AgentSpawned(agent_id=agent_id) | AgentUpdated(agent_id=agent_id) | AgentDeleted(agent_id=agent_id)
                ):
                    await self._follow_inbox(agent_id)
                case SessionRunning(session_id=session_id) | SessionIdle(session_id=session_id):
                    await self._reached(self._core.sessions.by_id[session_id].agent_id, True)
        for record in records:
            if isinstance(record, Unreached):
                await self._reached(record.agent_id, False)
            is_spare = isinstance(record, Report) and record.what == "progress" and self._queue.qsize() >= WAITING_MAX
            if isinstance(record, (Report, Act, WakeUp)) and not is_spare:
                self._queue.put_nowait(record)

    async def run(self, service: Service) -> None:
        """Work until cancelled."""
        self._service = service
        self._inboxes = {}
        outbound = Outbound.of(self._settings)
        subscription = await service.bus.client.hear(service.subjects.door("*", "beat"), self._hear_door)
        try:
            for agent_id in list(self._core.registry.agents):
                await self._follow_inbox(agent_id)
            async with await deputy(self._settings) as line, asyncio.TaskGroup() as group:
                group.create_task(self._beat())
                await self._work(group, Reporter(service, line), outbound)
        finally:
            self._service = None
            await outbound.close()
            await _end([subscription, *(one for pair in self._inboxes.values() for one in pair)], service)

    async def _work(self, group: asyncio.TaskGroup, reporter: Reporter, outbound: Outbound) -> None:
        assert self._service is not None
        runner = Actions(self._settings, outbound)
        reports, actions = asyncio.Semaphore(REPORTS_AT_ONCE_MAX), asyncio.Semaphore(ACTIONS_AT_ONCE_MAX)
        last: dict[str, asyncio.Task[None]] = {}

        def reported(session_id: str, done: asyncio.Task[None]) -> None:
            reports.release()
            if last.get(session_id) is done:
                del last[session_id]

        while True:
            record = await self._queue.get()
            if isinstance(record, Report):
                await reports.acquire()
                before = last.get(record.session_id)
                task = last[record.session_id] = group.create_task(_in_order(reporter, record, before))
                task.add_done_callback(partial(reported, record.session_id))
            elif isinstance(record, Act):
                group.create_task(self._act(self._service, record, runner, actions))
            else:
                group.create_task(self._wake(self._service, record.agent_id, outbound))

    async def _act(self, service: Service, record: Act, runner: Actions, slots: asyncio.Semaphore) -> None:
        async with slots:
            error = None
            try:
                await runner.run(service, record.session_id)
            except (HivewireError, *CONNECTION_ERRORS) as failure:
                error = (str(failure) or type(failure).__name__)[: limits.ERROR_CHARS_MAX]
                log.warning("completion action failed", session=record.session_id, error=error)
            except Exception as failure:
                error = f"{type(failure).__name__}: {failure}"[: limits.ERROR_CHARS_MAX]
                log.exception("completion action failed", session=record.session_id)
            service.observe(Acted(record.session_id, error))

    async def _wake(self, service: Service, agent_id: str, outbound: Outbound) -> None:
        agent = self._core.registry.get(agent_id)
        if agent is None or agent.card.wake is None:
            return
        try:
            await self._waker.wake(service, outbound, agent_id, agent.card.wake)
        except (HivewireError, *CONNECTION_ERRORS) as failure:
            reason = (str(failure) or type(failure).__name__)[: limits.ERROR_CHARS_MAX]
            log.warning("agent not woken", agent=agent_id, reason=reason)
            service.observe(NotWoken(agent_id, reason))

    # --- what remote agents are told by the broker --------------------------------------------------------
    async def _follow_inbox(self, agent_id: str) -> None:
        """Hear what the broker gives to the agent, as long as it is a remote one."""
        service = self._service
        agent = self._core.registry.get(agent_id)
        is_remote = agent is not None and agent.card.agent_type == "remote"
        if service is None or is_remote == (agent_id in self._inboxes):
            return
        if not is_remote:
            await _end(self._inboxes.pop(agent_id), service)
            return
        self._inboxes[agent_id] = [
            await service.bus.client.hear(service.subjects.inbox(agent_id, kind), self._hear_broker)
            for kind in (inbox.TASK, inbox.CANCEL)
        ]

    def _hear_broker(self, subject: str, body: bytes, *_: object) -> None:
        service = self._service
        envelope = codec.decode_envelope(body)
        place = service.subjects.parse_inbox(subject) if service else None
        if service is None or place is None or isinstance(envelope, codec.Malformed):
            return
        match codec.decode_data(envelope, inbox.KINDS):
            case TaskDispatch() as given:
                session_id = session_id_for_attempt(service.subjects.hive, given.task_id, given.attempt)
                service.observe(GivenTask(session_id, place[0], given))
            case CancelAttempt() as taken:
                session_id = session_id_for_attempt(service.subjects.hive, taken.task_id, taken.attempt)
                service.observe(TakenBack(session_id, taken.reason))

    def _hear_door(self, _: str, body: bytes, *__: object) -> None:
        envelope = codec.decode_envelope(body)
        if isinstance(envelope, codec.Malformed) or self._service is None:
            return
        beat = codec.decode_as(envelope.data, DoorBeat, envelope.type)
        if isinstance(beat, DoorBeat):
            self._service.observe(beat)

    # --- beats for HTTP agents ----------------------------------------------------------------------------
    async def _beat(self) -> None:
        """Nobody is connected for an HTTP agent, so the gateway beats for it: it is there as long as it is registered."""
        turns = 0
        while True:
            turns += 1
            for agent_id, agent in list(self._core.registry.agents.items()):
                if is_http(agent) and agent.presence is Presence.PRESENT:
                    await self._say_beat(agent_id, agent.instance, agent.card.slots, turns)
            await asyncio.sleep(limits.BEAT_INTERVAL_S)

    async def _reached(self, agent_id: str, reached: bool) -> None:
        """Whether the last dispatch to an HTTP agent could connect. The broker hears of a change at once."""
        agent = self._core.registry.get(agent_id)
        if agent is None or not is_http(agent) or reached is (agent_id not in self._unreached):
            return
        (self._unreached.discard if reached else self._unreached.add)(agent_id)
        if self._service is not None:
            await self._say_beat(agent_id, agent.instance, agent.card.slots, 0)

    async def _say_beat(self, agent_id: str, instance: str, slots: int, turns: int) -> None:
        assert self._service is not None
        held = [
            Held(session.task_id, session.task_attempt)
            for session in self._core.sessions.held.get(agent_id, {}).values()
            if session.task_id is not None
        ]
        degraded = agent_id in self._unreached
        beat = Beat(agent_id, instance, held, max(0, slots - len(held)), turns, degraded=degraded)
        subjects = self._service.subjects
        body = envelope_of(BEAT_TYPE, f"/{subjects.hive}/{AGENT_GATEWAY}", beat)
        await self._service.bus.publish(subjects.beat(agent_id), body)


async def _in_order(reporter: Reporter, report: Report, before: "asyncio.Task[None] | None") -> None:
    """Report what happened to a session after what happened to it before."""
    if before is not None:
        await asyncio.wait((before,))
    await reporter.report(report)


def envelope_of(kind: str, source: str, data: msgspec.Struct) -> bytes:
    """A message that needs no answer."""
    return codec.encode(Envelope(id=new_id(), type=kind, source=source, time=datetime.now(UTC), data=codec.raw(data)))


async def _end(subscriptions: Sequence[Subscription], service: Service) -> None:
    for subscription in subscriptions:
        if not service.bus.client.is_closed:
            with contextlib.suppress(ValueError):  # it was dropped with its connection
                await subscription.unsubscribe()
