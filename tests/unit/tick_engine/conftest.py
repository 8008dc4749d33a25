from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec
import pytest

from hivewire import codec
from hivewire.commands.tick_engine import VERBS
from hivewire.events import Event
from hivewire.simulation import SimulationBrief
from hivewire_service.core import Command, Refusal, Step
from hivewire_tick_engine.core import TickEngine
from hivewire_tick_engine.remote import Answer

START = datetime(2026, 1, 1, tzinfo=UTC)


class Driver:
    """Drives a core as the loop does, without a bus or a database."""

    def __init__(self, callables: frozenset[str] = frozenset({"double"})) -> None:
        self.core = TickEngine(callables)
        self.now = START
        self.history: list[Event] = []
        self.outcome: SimulationBrief | Refusal | None = None
        self._ids = count()

    def send(self, verb: str, simulation_id: str = "s", **data: Any) -> list[Event] | Refusal:
        body = {"simulation_id": simulation_id, **{name.rstrip("_"): value for name, value in data.items()}}
        command = Command(str(next(self._ids)), verb, "operator", wire(body, VERBS[verb]))
        if verb == "fork":
            self.core.records[simulation_id, data["at"]] = self.record(simulation_id, data["at"])
        step = self.core.decide(command, self.now)
        if isinstance(step, Refusal):
            self.outcome = step
            return step
        events = self._evolve(step)
        self.outcome = self.core.reply(command)
        return events + self._evolve(self.core.advance(self.now))

    def create(self, agents: str | list[dict[str, Any]], edges: str = "", **config: Any) -> list[Event] | Refusal:
        """`a b!` are agents, one an orchestrator; `a>b a=b` are edges, one of them bidirectional."""
        if isinstance(agents, str):
            agents = [
                {"id": name.rstrip("!"), **({"role": "orchestrator"} if name.endswith("!") else {})}
                for name in agents.split()
            ]
        graph = {"edges": [edge_of(text) for text in edges.split()]}
        return self.send("create", agents=agents, graph=graph, **config)

    def run(self, *arguments: Any, **config: Any) -> None:
        """Create and start."""
        created = self.create(*arguments, **config)
        assert not isinstance(created, Refusal), created
        self.send("start")

    def tick(self, count: int = 1, simulation_id: str = "s") -> list[Event]:
        events = self.send("tick", simulation_id, count=count)
        assert not isinstance(events, Refusal), events
        return events

    def answer(self, dispatch_id: str, content: Any, error: str | None = None) -> list[Event]:
        seen = Answer(simulation_id="s", run=1, dispatch_id=dispatch_id, content=codec.raw(content), error=error)
        return self._evolve(self.core.observe(seen, self.now))

    def after(self, seconds: float) -> list[Event]:
        self.now += timedelta(seconds=seconds)
        return self._evolve(self.core.advance(self.now))

    def record(self, simulation_id: str, until: int) -> list[Event]:
        """What Postgres would give of the present run."""
        found: list[Event] = []
        for event in self.history:
            if event.entity_id == simulation_id:
                found = [event] if event.type in {"simulation.created", "simulation.reset"} else [*found, event]
        return [event for event in found if event.tick <= until]

    @property
    def simulation(self):
        return self.core.simulations["s"]

    def _evolve(self, step: Step) -> list[Event]:
        events = []
        for event in step.events:
            self.core.evolve(event)
            events.append(event)
        self.history += events
        return events


def wire(body: Any, kind: type) -> Any:
    return msgspec.json.decode(msgspec.json.encode(body), type=kind)


def edge_of(text: str) -> dict[str, Any]:
    sign = "=" if "=" in text else ">"
    source, target = text.split(sign)
    return {"from": source, "to": target, "bidirectional": sign == "="}


def told(events: list[Event]) -> list[str]:
    """Events in short: `sent a>b`, `tick 1`."""
    return [_told(event) for event in events]


def _told(event: Event) -> str:
    name = event.type.partition(".")[2]
    if event.type.startswith("message."):
        return f"{name} {event.sender}>{event.target}"
    if event.type.startswith("dispatch."):
        return f"{name} {event.agent_id}"
    return f"{name} {event.tick}"


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def types() -> Callable[[Any], list[str]]:
    return lambda events: [event.type for event in events]
