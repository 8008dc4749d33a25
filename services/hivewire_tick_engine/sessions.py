"""Asks remote agents through the agent gateway: each dispatch is a session there, whose end comes back as an event.

Nothing of it is stored here. The session's name follows from the dispatch, so asking again after a crash is asking
once; at each beginning, and every minute, the gateway's rows say what was missed, and which sessions are waited for by
nobody.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from hivewire import codec, limits, rehearsal
from hivewire.commands.sessions import CancelSession, Dispatch
from hivewire.errors import HivewireError, NotReachable, RefusedError
from hivewire.events import Event
from hivewire.events.simulation import DispatchSent, DispatchTimedOut, SimulationCompleted, SimulationReset
from hivewire.simulation import DISPATCH_TIMEOUT_S, SimulationConfig
from hivewire.subjects import AGENT_GATEWAY
from hivewire.views import SessionBrief
from hivewire_service.deputy import Deputy, deputy
from hivewire_service.follow import Follower
from hivewire_service.queries import load_queries
from hivewire_service.service import Service
from hivewire_service.settings import Settings
from hivewire_service.store import CONNECTION_ERRORS
from hivewire_tick_engine.core import TickEngine
from hivewire_tick_engine.questions import surroundings
from hivewire_tick_engine.remote import Answer, GiveUp, LiveSession, SessionsSeen, answered
from hivewire_tick_engine.state import Place

log = structlog.get_logger()

SQL = load_queries("hivewire_tick_engine", "queries.sql")

AT_ONCE_MAX: Final = 64
"""Commands to the gateway without a reply."""
KNOWN_STATUS: Final = 409
"""The session is there already, asked with an older memory of the agent's."""
UNWANTED: Final = "its simulation does not wait for it any more"


class Sessions:
    """Keeps the gateway's sessions as the core's simulations want them, as long as this process owns the service."""

    def __init__(self, core: TickEngine, settings: Settings) -> None:
        self._core = core
        self._settings = settings
        self._orders: dict[Place | GiveUp, None] = {}
        """What the gateway is to be told, oldest first: whom to ask, and what to give up."""
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()

    def committed(self, events: Sequence[Event], records: Sequence[Any]) -> None:
        """Take note of what a commit made true."""
        for event in events:
            if isinstance(event, DispatchSent) and event.callable is None:
                self._orders[self._core.place_of(event)] = None
            elif isinstance(event, DispatchTimedOut):
                self._orders.pop(self._core.place_of(event), None)
                self._ended.set()
            elif isinstance(event, (SimulationReset, SimulationCompleted)):
                self._ended.set()
        self._orders.update(dict.fromkeys(record for record in records if isinstance(record, GiveUp)))
        self._wake.set()

    async def run(self, service: Service) -> None:
        """Ask until cancelled, that first which an earlier owner left."""
        self._orders = dict.fromkeys(self._waited_for())
        follower = Follower(service, AGENT_GATEWAY, "session.*", self._seen)
        async with await deputy(self._settings) as line, asyncio.TaskGroup() as group:
            group.create_task(follower.run())
            group.create_task(self._look_after_endings(service))
            slots = asyncio.Semaphore(AT_ONCE_MAX)
            while True:
                await slots.acquire()
                order = await self._next_order()
                saying = _give_up(line, order) if isinstance(order, GiveUp) else self._ask(service, line, order)
                group.create_task(saying).add_done_callback(lambda _: slots.release())

    async def _next_order(self) -> Place | GiveUp:
        while not self._orders:
            self._wake.clear()
            await self._wake.wait()
        order = next(iter(self._orders))
        del self._orders[order]
        return order

    # --- asking ---------------------------------------------------------------------------------------
    async def _ask(self, service: Service, line: Deputy, place: Place) -> None:
        order = self._order(place)
        if order is None:
            return
        try:
            await line.command(AGENT_GATEWAY, "dispatch", order, SessionBrief, timeout_s=None)
        except NotReachable:
            return
        except HivewireError as error:
            if isinstance(error, RefusedError) and error.status == KNOWN_STATUS:
                return
            log.warning("a remote agent cannot be asked", session=order.id, reason=str(error))
            service.observe(Answer(**place._asdict(), error=f"it cannot be asked: {error}"))

    def _order(self, place: Place) -> Dispatch | None:
        """The session that asks; None: nobody waits for it any more."""
        found = self._core.open_dispatch(place)
        if found is None:
            return None
        simulation, dispatch = found
        return Dispatch(
            id=rehearsal.session_of(*place),
            agent_id=dispatch.agent_id,
            content=dispatch.content,
            context=codec.raw({"simulation": surroundings(simulation, dispatch)}),
            timeout_seconds=_timeout_s(simulation.config),
            simulation_id=simulation.simulation_id,
        )

    # --- what the gateway's rows say ------------------------------------------------------------------
    async def _look_after_endings(self, service: Service) -> None:
        """Sessions are given up soon after their dispatches were."""
        while True:
            await self._ended.wait()
            self._ended.clear()
            try:
                async with service.store.pool.acquire() as connection:
                    seen = await self._seen(connection)  # type: ignore[arg-type]
            except CONNECTION_ERRORS as error:
                log.warning("sessions not read, they are within a minute", error=str(error))
            else:
                service.observe(seen)

    async def _seen(self, connection: asyncpg.Connection) -> SessionsSeen:
        """The sessions of simulations, as an observation."""
        live = [LiveSession(**row) for row in await connection.fetch(SQL.live_sessions)]
        waited_for = [rehearsal.session_of(*place) for place in self._waited_for()]
        ended = [_answer(row) for row in await connection.fetch(SQL.ended_sessions, waited_for)]
        return SessionsSeen(live, [answer for answer in ended if answer is not None])

    def _waited_for(self) -> list[Place]:
        return [place for place, dispatch in self._core.open_places() if dispatch.callable is None]


def _answer(row: asyncpg.Record) -> Answer | None:
    """What an ended session gave."""
    if row["response"] is not None:
        return answered(row["session_id"], content=msgspec.Raw(row["response"].encode()))
    error = row["error"] or f"its session was {row['state']}"
    return answered(row["session_id"], error=error, timed_out=row["state"] == "timed_out")


def _timeout_s(config: SimulationConfig) -> float:
    """How long the agent has. Ticks are counted by the simulation, so the session's clock leaves it all the time."""
    if config.dispatch_timeout_ticks is not None:
        return limits.TIMEOUT_S_MAX
    return config.dispatch_timeout_s or DISPATCH_TIMEOUT_S


async def _give_up(line: Deputy, order: GiveUp) -> None:
    """End a session. If that fails, it is found again within a minute."""
    cancel = CancelSession(order.session_id, UNWANTED)
    with contextlib.suppress(HivewireError):
        await line.command(AGENT_GATEWAY, "cancel", cancel, SessionBrief)
