"""Random simulations: whatever comes, the state is what its events add up to, and a replay finds nothing."""

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hivewire.events.simulation import SimulationReset
from hivewire.graph import Graph
from hivewire.simulation import OUTSIDE, agent_graph
from hivewire_service.core import Refusal
from hivewire_tick_engine.evolve import evolve
from hivewire_tick_engine.recording import Replay
from hivewire_tick_engine.state import Simulation

from .conftest import Driver

NAMES = ["a", "b", "c", "d"]
BEHAVIOURS = [
    {"kind": "stub"},
    {"kind": "delegation"},
    {"kind": "delegation", "targets": ["a", "b"]},
    {"kind": "callable", "name": "double"},
    {
        "kind": "scripted",
        "replies": [
            {"pattern": "hello", "reply": "hello you", "after_ticks": 2, "failure_rate": 0.3},
            {"pattern": "x", "reply": ["x", 1], "to": "*"},
        ],
    },
]
AGENT = st.fixed_dictionaries(
    {"behaviour": st.sampled_from(BEHAVIOURS), "agent_type": st.sampled_from(["simulation", "simulation", "remote"])},
    optional={"role": st.just("orchestrator")},
)
EDGE = st.fixed_dictionaries(
    {"from": st.sampled_from(NAMES), "to": st.sampled_from(NAMES), "bidirectional": st.booleans()}
)
CONFIG = st.fixed_dictionaries(
    {
        "messages_per_tick": st.sampled_from([1, 2, "all"]),
        "history_depth": st.sampled_from([0, 2]),
        "seed": st.integers(0, 3),
        "graph": st.fixed_dictionaries({"edges": st.lists(EDGE, max_size=6)}),
    },
    optional={"dispatch_timeout_ticks": st.integers(1, 3), "tick_budget": st.just(25)},
)


class Rehearsal(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()

    @initialize(agents=st.lists(AGENT, min_size=4, max_size=4), config=CONFIG)
    def create(self, agents, config):
        named = [{"id": name, **agent} for name, agent in zip(NAMES, agents, strict=True)]
        self.driver.send("create", agents=named, **config)
        self.driver.send("start")

    @rule(
        sender=st.sampled_from([*NAMES, "user"]),
        to=st.sampled_from([*NAMES, "*", "user"]),
        content=st.sampled_from(["hello", "x", [1, 2, 3], {"x": None}]),
    )
    def message(self, sender, to, content):
        events = self.driver.send("message", from_=sender, to=to, content=content)
        if isinstance(events, Refusal):
            assert self.driver.simulation.status == "completed"

    @rule(count=st.integers(1, 4))
    def tick(self, count):
        before = self.driver.simulation.tick
        runs = self.driver.simulation.status == "running"
        events = self.driver.send("tick", count=count, expected_tick=before)
        assert isinstance(events, Refusal) != runs
        if runs:
            left = self.driver.simulation.budget_left
            assert self.driver.simulation.tick == before + count or left == 0

    @rule(number=st.integers(0, 3), failed=st.booleans())
    def respond(self, number, failed):
        for dispatch in list(self.driver.simulation.dispatches.values())[number : number + 1]:
            said = {"error": "no"} if failed else {"content": "hello back"}
            answered = dispatch.answered
            events = self.driver.send("respond", dispatch_id=dispatch.dispatch_id, **said)
            assert isinstance(events, Refusal) == answered

    @rule(verb=st.sampled_from(["pause", "start", "start", "reset"]))
    def live(self, verb):
        self.driver.send(verb)
        if verb == "reset":
            self.driver.send("start")

    @rule()
    def restart(self):
        """The state goes through a snapshot."""
        old = self.driver.simulation
        body = msgspec.json.encode(old.snapshot())
        new = Simulation(old.simulation_id, old.created_by, old.title)
        new.restore(msgspec.json.decode(body, type=type(old.snapshot())))
        assert msgspec.json.encode(new.snapshot()) == body
        self.driver.core.restore({"s": new})

    @rule(back=st.integers(0, 3))
    def fork(self, back):
        at = max(0, self.driver.simulation.tick - back)
        name = f"f{len(self.driver.history)}"
        assert not isinstance(self.driver.send("fork", fork_id=name, at=at), Refusal)
        fork = self.driver.core.simulations.pop(name)
        assert (fork.tick, fork.status) == (at, "paused")
        if back == 0 and self.driver.simulation.status != "completed":
            assert fork.state_hash == self.driver.simulation.state_hash

    @invariant()
    def events_add_up_to_the_state(self):
        simulations: dict[str, Simulation] = {}
        for event in self.driver.history:
            evolve(simulations, event)
        if simulations:
            assert plain(simulations["s"]) == plain(self.driver.simulation)

    @invariant()
    def a_snapshot_brings_back_what_is_counted(self):
        for simulation in self.driver.core.simulations.values():
            again = Simulation("s", "")
            again.restore(simulation.snapshot())
            assert (again.under_way_bytes, len(again.memory)) == (simulation.under_way_bytes, len(simulation.memory))
            assert again.size == simulation.size

    @invariant()
    def a_replay_finds_nothing(self):
        replay = Replay()
        for event in self.driver.record("s", 10_000):
            replay.add(event)
        replay.end()
        assert replay.difference is None

    @invariant()
    def nothing_passes_that_the_graph_blocks(self):
        if "s" not in self.driver.core.simulations:
            return
        graph = Graph.of(agent_graph(self.driver.simulation.config))
        for event in self.driver.record("s", 10_000):
            if event.type == "message.sent" and event.sender not in OUTSIDE and event.target != "user":
                assert graph.blocks(event.sender, event.target) is None

    @invariant()
    def what_is_sent_is_waiting_or_delivered_once(self):
        if "s" not in self.driver.core.simulations:
            return
        record = self.driver.record("s", 10_000)
        sent = [event.message_id for event in record if event.type == "message.sent"]
        delivered = [event.message_id for event in record if event.type == "message.delivered"]
        waiting = [message.message_id for message in self.driver.simulation.waiting]
        assert sorted(sent) == sorted(delivered + waiting)

    @invariant()
    def ticks_follow_one_another(self):
        ticks = 0
        for event in self.driver.history:
            if event.entity_id == "s" and isinstance(event, SimulationReset):
                ticks = 0
            elif event.entity_id == "s" and event.type == "tick.advanced":
                ticks += 1
                assert event.tick == ticks


def plain(simulation):
    snapshot = simulation.snapshot()
    found = msgspec.json.decode(msgspec.json.encode(snapshot))
    for dispatch in found["dispatches"]:
        dispatch["since"] = None
    return found


TestRehearsal = Rehearsal.TestCase
TestRehearsal.settings = settings(max_examples=60, stateful_step_count=25, deadline=None, derandomize=True)
