"""The tick engine's core: what the loop drives. Holds every simulation that is not completed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from hivewire import fields
from hivewire.commands.tick_engine import VERBS, Fork, Message, Respond, Tick
from hivewire.events import Event
from hivewire.events.session import SessionEvent
from hivewire.events.simulation import (
    DispatchBuffered,
    DispatchEvent,
    MessageBlocked,
    MessageDropped,
    MessageSent,
    SimulatedMessage,
    SimulationEvent,
)
from hivewire.graph import ANYBODY
from hivewire.rehearsal import session_of
from hivewire.simulation import USER, Sent, SimulationBrief, content_problem
from hivewire_service.core import NOTHING, Command, Refusal, Step
from hivewire_tick_engine import control, recording
from hivewire_tick_engine.evolve import evolve
from hivewire_tick_engine.remote import Answer, GiveUp, LiveSession, SessionsSeen, answer_in, answered
from hivewire_tick_engine.sending import TOO_MANY, Post, send
from hivewire_tick_engine.state import Dispatch, Place, Simulation, Totals
from hivewire_tick_engine.ticking import overdue, tick

EVENTS_PER_TURN: Final = 2_000
"""About so many events of a simulation that ticks by itself go into one commit; a tick that has begun is finished."""
EVENTS_PER_COMMAND: Final = 50_000
"""The same for a tick command. It does fewer ticks than it was asked for rather than hold up everybody else."""
BYTES_PER_COMMIT: Final = 16 * 1024 * 1024
"""The same for what the events hold: a commit is one statement, which is held in memory several times over."""
ENDED_KEPT: Final = 100
"""Completed simulations that stay in memory."""

Decided = Iterator[SimulationEvent] | Refusal
Timed = Callable[[], AbstractContextManager[object]]
"""Makes what a tick is done within, by those who have a clock."""


class TickEngine:
    """The simulations of one hive. Implements `Core`."""

    verbs: Mapping[str, type[msgspec.Struct]] = VERBS
    naturally_idempotent: frozenset[str] = frozenset({"create"})
    decided_ahead: frozenset[str] = frozenset()

    def __init__(self, callables: AbstractSet[str] = frozenset(), timed: Timed = nullcontext) -> None:
        self._callables = callables
        self._timed = timed
        self.restore({})

    def restore(self, simulations: dict[str, Simulation]) -> None:
        """Start over from what is stored."""
        self.simulations = simulations
        self.records: dict[tuple[str, int], Sequence[SimulationEvent]] = {}
        """(simulation, tick) -> its record up to there, for the forks that are about to be decided."""
        self._next_at: dict[str, datetime] = {}
        self._unwatched: dict[str, Simulation] = dict(simulations)
        self._before = (0, Totals())
        self._sent: list[Sent] = []

    def add(self, simulation: Simulation) -> None:
        """A simulation that was not in memory."""
        self.simulations[simulation.simulation_id] = simulation
        self._unwatched[simulation.simulation_id] = simulation

    def forget_ended(self) -> None:
        """Let go of completed simulations that nobody asked for lately."""
        ended = [name for name, simulation in self.simulations.items() if simulation.status == "completed"]
        for simulation_id in ended[:-ENDED_KEPT]:
            del self.simulations[simulation_id]

    # --- commands -------------------------------------------------------------------------------------
    def decide(self, command: Command, now: datetime) -> Step | Refusal:
        """What should happen, or why not. Changes nothing but what `reply` tells of this command."""
        simulation = self.simulations.get(command.data.simulation_id)
        self._sent = []
        known = simulation if command.verb != "fork" else None
        self._before = (known.tick, msgspec.structs.replace(known.totals)) if known else (0, Totals())
        if command.verb == "create":
            decided = control.create(self.simulations, command, self._callables)
        elif simulation is None:
            return _unknown(command.data.simulation_id)
        else:
            decided = self._decide(simulation, command, now)
        return decided if isinstance(decided, Refusal) else Step(decided, self._given_up(command.data))

    def _given_up(self, data: object) -> list[GiveUp]:
        """The session of a dispatch that is answered in its agent's place."""
        if not isinstance(data, Respond):
            return []
        place = Place(data.simulation_id, self.simulations[data.simulation_id].run, data.dispatch_id)
        found = self.open_dispatch(place)
        return [GiveUp(session_of(*place))] if found and found[1].callable is None else []

    def _decide(self, simulation: Simulation, command: Command, now: datetime) -> Decided:
        match command.verb:
            case "configure":
                return control.configure(simulation, command.data, self._callables)
            case "tick":
                return self._tick(simulation, command.data, now)
            case "message":
                return self._message(simulation, command.data)
            case "respond":
                return _respond(simulation, command.data)
            case "fork":
                return self._fork(simulation, command)
            case _:
                return _LIFE[command.verb](simulation, command.data)

    def _tick(self, simulation: Simulation, data: Tick, now: datetime) -> Decided:
        if simulation.status != "running":
            hint = "start it first" if simulation.status in {"configured", "paused"} else "it cannot tick"
            return Refusal(f"the simulation is {simulation.status}: {hint}", 409, {"tick": simulation.tick})
        if data.expected_tick is not None and data.expected_tick != simulation.tick:
            text = f"the simulation is at tick {simulation.tick}, not at {data.expected_tick}"
            return Refusal(text, 409, {"tick": simulation.tick})
        return self._ticks(simulation, now, data.count, EVENTS_PER_COMMAND)

    def _ticks(
        self, simulation: Simulation, now: datetime, count: int | None, events_max: int
    ) -> Iterator[SimulationEvent]:
        """Whole ticks, until `count` are done, the simulation is completed, or the commit is large enough."""
        first = simulation.tick
        enough = simulation.totals.events + events_max
        enough_bytes = simulation.noted_bytes + BYTES_PER_COMMIT
        while (
            simulation.status == "running"
            and (count is None or simulation.tick - first < count)
            and simulation.totals.events < enough
            and simulation.noted_bytes < enough_bytes
        ):
            with self._timed():
                yield from tick(simulation, overdue(simulation, now))

    def _message(self, simulation: Simulation, data: Message) -> Decided:
        if simulation.status in {"created", "completed"}:
            return Refusal(f"the simulation is {simulation.status}: it takes no messages", 409)
        for end, outside in ((data.sender, {USER}), (data.target, {USER, ANYBODY})):
            if end not in simulation.agents and end not in outside:
                return Refusal(f"{end!r} is no agent of the simulation", 422)
        if wrong := content_problem(data.content):
            return Refusal(f"the message cannot be taken: {wrong}", 413)
        if simulation.waiting.full:
            return Refusal(f"{TOO_MANY}: let it tick first", 429)
        post = Post(
            sender=data.sender,
            target=data.target,
            content=data.content,
            tick=simulation.tick,
            due=simulation.tick + 1,
        )
        return self._noted(send(simulation, post))

    def _noted(self, events: Iterator[SimulationEvent]) -> Iterator[SimulationEvent]:
        """Keep what became of the message, for the reply."""
        for event in events:
            if isinstance(event, SimulatedMessage):
                reason = event.reason if isinstance(event, (MessageBlocked, MessageDropped)) else ""
                self._sent.append(Sent(event.message_id, event.target, isinstance(event, MessageSent), reason))
            yield event

    def _fork(self, source: Simulation, command: Command) -> Decided:
        data: Fork = command.data
        if data.fork_id in self.simulations:
            return Refusal(f"simulation {data.fork_id!r} exists already", 409)
        record = self.records.pop((data.simulation_id, data.at), ())
        refusal = recording.fork_refused(source, record, data)
        return refusal or recording.fork(self.simulations, source, record, data, command.sender)

    def reply(self, command: Command) -> SimulationBrief:
        """How the simulation stands now, and what the command brought about."""
        data = command.data
        simulation = self.simulations[data.fork_id if isinstance(data, Fork) else data.simulation_id]
        tick_before, before = self._before
        totals = simulation.totals
        new_run = totals.events < before.events
        return SimulationBrief(
            simulation_id=simulation.simulation_id,
            status=simulation.status,
            tick=simulation.tick,
            run=simulation.run,
            waiting=len(simulation.waiting),
            state_hash=simulation.state_hash,
            ticks=max(0, simulation.tick - tick_before),
            events=totals.events if new_run else totals.events - before.events,
            messages=totals.delivered if new_run else totals.delivered - before.delivered,
            sent=self._sent,
        )

    # --- facts ----------------------------------------------------------------------------------------
    def evolve(self, event: Event) -> None:
        """What did happen."""
        assert isinstance(event, SimulationEvent)
        evolve(self.simulations, event)
        if event.type in _TO_WATCH:
            self._unwatched[event.simulation_id] = self.simulations[event.simulation_id]

    def observe(self, observation: Any, now: datetime) -> Step:  # noqa: ARG002
        """An answer of a registered callable or, from the gateway, of a remote agent."""
        match observation:
            case Answer():
                return Step(self._answered([observation]))
            case SessionEvent():
                answer = answer_in(observation)
                return Step(self._answered([answer])) if answer else NOTHING
            case SessionsSeen(live=live, ended=ended):
                return Step(self._answered(ended), [GiveUp(one.session_id) for one in live if self._is_unwanted(one)])
        return NOTHING

    def _answered(self, answers: Sequence[Answer]) -> Iterator[SimulationEvent]:
        """Take what is waited for. Seconds are counted by the simulation itself, and strike in a tick."""
        for answer in answers:
            found = self.open_dispatch(Place(answer.simulation_id, answer.run, answer.dispatch_id))
            if found is None or (answer.timed_out and found[0].config.dispatch_timeout_ticks is None):
                continue
            if wrong := content_problem(answer.content):
                yield _buffered(*found, fields.NULL, f"its answer cannot be taken: {wrong}")
            else:
                yield _buffered(*found, answer.content, answer.error)

    def _is_unwanted(self, session: LiveSession) -> bool:
        """Whether nobody waits for a session. Of a simulation that went on elsewhere we know nothing."""
        if session.over:
            return True
        answer = answered(session.session_id)
        if answer is None or self.open_dispatch(Place(answer.simulation_id, answer.run, answer.dispatch_id)):
            return False
        simulation = self.simulations.get(answer.simulation_id)
        return simulation is not None and (session.run, session.tick) <= (simulation.run, simulation.tick)

    # --- dispatches that are waited for ---------------------------------------------------------------
    def open_dispatch(self, place: Place) -> tuple[Simulation, Dispatch] | None:
        """A dispatch, as long as somebody waits for its answer."""
        simulation = self.simulations.get(place.simulation_id)
        if simulation is None or simulation.run != place.run or simulation.status == "completed":
            return None
        dispatch = simulation.dispatches.get(place.dispatch_id)
        return None if dispatch is None or dispatch.answered else (simulation, dispatch)

    def open_places(self) -> Iterator[tuple[Place, Dispatch]]:
        """All dispatches that are waited for."""
        for simulation in self.simulations.values():
            for dispatch_id in simulation.dispatches:
                place = Place(simulation.simulation_id, simulation.run, dispatch_id)
                if found := self.open_dispatch(place):
                    yield place, found[1]

    def place_of(self, event: DispatchEvent) -> Place:
        """Names the dispatch that an event tells of."""
        return Place(event.simulation_id, self.simulations[event.simulation_id].run, event.dispatch_id)

    # --- time -----------------------------------------------------------------------------------------
    def advance(self, now: datetime) -> Step:
        """Simulations in mode auto tick when their time has come."""
        self._watch(now)
        due = [simulation_id for simulation_id, at in self._next_at.items() if at <= now]
        return Step(events=self._advance(due, now)) if due else NOTHING

    def _advance(self, due: list[str], now: datetime) -> Iterator[SimulationEvent]:
        for simulation_id in due:
            simulation = self.simulations[simulation_id]
            delay_s = simulation.config.delay_s
            yield from self._ticks(simulation, now, 1 if delay_s else None, EVENTS_PER_TURN)
            self._next_at[simulation_id] = now + timedelta(seconds=delay_s)
            self._unwatched[simulation_id] = simulation
        self._watch(now)

    def next_due(self) -> datetime | None:
        """When the next simulation ticks by itself."""
        return AT_ONCE if self._unwatched else min(self._next_at.values(), default=None)

    def extend(self, silence_s: float, now: datetime) -> None:  # noqa: ARG002
        """Answers could not be heard: dispatches get as much more time."""
        silence = timedelta(seconds=silence_s)
        for simulation in self.simulations.values():
            for dispatch in simulation.dispatches.values():
                if dispatch.since is not None:
                    dispatch.since += silence

    def _watch(self, now: datetime) -> None:
        """Set the clocks of simulations that changed."""
        for simulation_id, simulation in self._unwatched.items():
            if simulation.status == "running" and simulation.config.mode == "auto":
                self._next_at.setdefault(simulation_id, now + timedelta(seconds=simulation.config.delay_s))
            else:
                self._next_at.pop(simulation_id, None)
            for dispatch in simulation.dispatches.values():
                dispatch.since = dispatch.since or now
        self._unwatched.clear()


AT_ONCE: Final = datetime.min.replace(tzinfo=UTC)

_LIFE: Final[Mapping[str, Callable[[Simulation, Any], Decided]]] = {
    "start": control.start,
    "pause": control.pause,
    "reset": control.reset,
}
_TO_WATCH: Final = frozenset(
    {
        "simulation.configured",
        "simulation.started",
        "simulation.paused",
        "simulation.completed",
        "simulation.reset",
        "dispatch.sent",
    }
)


def _respond(simulation: Simulation, data: Respond) -> Decided:
    if data.run is not None and data.run != simulation.run:
        return Refusal(f"run {data.run} is over: the simulation was reset", 409)
    dispatch = simulation.dispatches.get(data.dispatch_id)
    if dispatch is None:
        return Refusal(f"no dispatch {data.dispatch_id!r} is open: it was answered, ran out of time or never was", 409)
    if dispatch.answered:
        return Refusal(f"dispatch {data.dispatch_id!r} is answered already", 409)
    if wrong := content_problem(data.content):
        return Refusal(f"the answer cannot be taken: {wrong}", 413)
    return iter((_buffered(simulation, dispatch, data.content, data.error),))


def _buffered(simulation: Simulation, dispatch: Dispatch, content: msgspec.Raw, error: str | None) -> DispatchBuffered:
    return DispatchBuffered(
        simulation_id=simulation.simulation_id,
        tick=simulation.tick,
        dispatch_id=dispatch.dispatch_id,
        agent_id=dispatch.agent_id,
        message_id=dispatch.message_id,
        content=content,
        error=error,
    )


def _unknown(simulation_id: str) -> Refusal:
    return Refusal(f"there is no simulation {simulation_id!r}: `hivewire sim list` shows those there are", 404)
