"""The tick engine on the real nats-server and the real Postgres.

Who may talk to whom: edge, reverse edge, bidirectional, orchestrator to one and to all, self, no graph, system messages,
unknown sources and targets. Ticks: one, several, first in first out, at most one of each sender, at most so many. Remote
agents: dispatch, buffered response, timeout in ticks and in seconds. An event that cannot be written. Bad input. Runs:
reset, fork, replay. Real agents are in `test_rehearsals.py`.
"""

import asyncpg
import msgspec
import pytest

from hivewire.errors import BadUsage, RefusedError
from hivewire.reads import ListMessages, ListSimulationEvents
from hivewire.simulation import Sent
from integration.tick_engine import differences, engine, operator, topology


@pytest.fixture
async def sims(hive):
    async with engine(hive), operator(hive) as client:
        yield client.simulations
        assert await differences(hive) == []


async def started(sims, *arguments, **config) -> str:
    brief = await sims.create(topology(*arguments, **config))
    assert brief.status == "configured"
    assert (await sims.start(brief.simulation_id)).status == "running"
    return brief.simulation_id


async def told(sims, simulation_id: str, **query) -> list[str]:
    """Events in short."""
    found = []
    async for event in sims.events(ListSimulationEvents(simulation_id=simulation_id, **query)):
        data = msgspec.json.decode(event.data)
        ends = (
            f" {data['from']}>{data['to']}" if "from" in data else f" {data['agent_id']}" if "agent_id" in data else ""
        )
        found.append(f"{data['tick']} {event.type.partition('.')[2]}{ends}")
    return found


# --- who may talk to whom ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("edges", "sender", "target", "allowed", "reason"),
    [
        ("a>b", "a", "b", True, ""),
        ("a>b", "b", "a", False, "the graph has no edge from b to a"),
        ("a=b", "b", "a", True, ""),
        ("a>b", "o", "c", True, ""),
        ("a>b", "c", "o", False, "the graph has no edge from c to o"),
        ("a>b", "c", "c", True, ""),
        ("", "c", "a", True, ""),
    ],
    ids=["edge", "reverse edge", "bidirectional", "orchestrator", "to the orchestrator", "self", "no graph"],
)
async def test_the_graph_gates_messages(sims, edges, sender, target, allowed, reason):
    simulation = await started(sims, "o! a b c", edges)
    brief = await sims.send(simulation, target, "hello", sender)
    assert brief.sent == [Sent("m1", target, allowed, reason)]
    kind = "sent" if allowed else "blocked_by_graph"
    assert (await told(sims, simulation))[-1] == f"0 {kind} {sender}>{target}"
    [message] = [m async for m in sims.messages(ListMessages(simulation_id=simulation))]
    assert (message.status, message.reason) == ("waiting", None) if allowed else ("blocked", reason)


async def test_an_orchestrator_speaks_to_everybody_in_the_order_of_ids(sims):
    simulation = await started(sims, "c o! b a", "a>b")
    brief = await sims.send(simulation, "*", {"to": "all"}, "o")
    assert [sent.target for sent in brief.sent] == ["a", "b", "c"]
    brief = await sims.send(simulation, "*", "all", "a")
    assert [(sent.target, sent.allowed) for sent in brief.sent] == [("*", False)]
    assert "only an orchestrator" in brief.sent[0].reason


async def test_system_messages_need_no_edge(sims):
    simulation = await started(sims, "a b r@", "a>r b>a", dispatch_timeout_ticks=1)
    await sims.send(simulation, "r", "?", "a")
    await sims.tick(simulation, 2)
    assert await told(sims, simulation, tick_index=2) == [
        "2 timed_out r",
        "2 sent system>a",
        "2 delivered system>a",
        "2 advanced",
    ]


async def test_unknown_sources_and_targets_are_refused(sims):
    simulation = await started(sims, "a b")
    for sender, target in (("ghost", "a"), ("a", "ghost")):
        with pytest.raises(RefusedError, match="'ghost' is no agent of the simulation"):
            await sims.send(simulation, target, "hello", sender)


# --- ticks ------------------------------------------------------------------------------------------
async def test_one_tick_delivers_and_answers(sims):
    simulation = await started(sims, "a b", "a=b")
    await sims.send(simulation, "b", "hello", "a")
    brief = await sims.tick(simulation)
    assert (brief.tick, brief.ticks, brief.events, brief.messages, brief.waiting) == (1, 1, 3, 1, 1)
    assert await told(sims, simulation, tick_index=1) == ["1 delivered a>b", "1 sent b>a", "1 advanced"]


async def test_several_ticks(sims):
    simulation = await started(sims, "a b", "a=b")
    await sims.send(simulation, "b", "hello", "a")
    brief = await sims.tick(simulation, 5)
    assert (brief.tick, brief.ticks, brief.waiting) == (5, 5, 0)
    assert await told(sims, simulation, event_type="message.delivered") == ["1 delivered a>b", "2 delivered b>a"]
    assert await told(sims, simulation, tick_min=2, tick_max=3) == ["2 delivered b>a", "2 advanced", "3 advanced"]
    assert await told(sims, simulation, agent_id="b", tick_min=2) == ["2 delivered b>a"]


async def test_first_in_first_out_one_of_each_sender(sims):
    simulation = await started(sims, "a b c d", "a>d b>d c>d", messages_per_tick=2)
    for sender in "aabc":
        await sims.send(simulation, "d", "x", sender)
    await sims.tick(simulation, 3)
    delivered = await told(sims, simulation, event_type="message.delivered")
    assert delivered == ["1 delivered a>d", "1 delivered b>d", "2 delivered a>d", "2 delivered c>d"]


async def test_at_most_so_many_messages_a_tick_and_one_by_default(sims):
    config = topology("a b c", "a>c b>c")
    del config["messages_per_tick"]
    simulation = (await sims.create(config)).simulation_id
    await sims.start(simulation)
    await sims.send(simulation, "c", "1", "a")
    await sims.send(simulation, "c", "2", "b")
    assert (await sims.tick(simulation)).messages == 1
    assert (await sims.tick(simulation)).messages == 1


# --- remote agents ----------------------------------------------------------------------------------
async def test_a_remote_agent_is_dispatched_to_and_its_response_taken_up_later(sims):
    simulation = await started(sims, "a r@", "a=r")
    await sims.send(simulation, "r", {"do": 1}, "a")
    await sims.tick(simulation, 2)
    view = await sims.state(simulation)
    assert [(agent.id, agent.status, agent.dispatches) for agent in view.agents] == [
        ("a", "idle", []),
        ("r", "waiting", ["d1"]),
    ]
    await sims.respond(simulation, "d1", {"done": 1})
    assert (await told(sims, simulation))[-1] == "2 buffered r"
    await sims.tick(simulation)
    assert await told(sims, simulation, tick_index=3) == [
        "3 responded r",
        "3 sent r>a",
        "3 delivered r>a",
        "3 advanced",
    ]
    with pytest.raises(RefusedError, match="no dispatch 'd1' is open"):
        await sims.respond(simulation, "d1", "again")


async def test_a_dispatch_that_takes_too_many_ticks_is_an_error_to_the_one_who_asked(sims):
    simulation = await started(sims, "a r@", "a=r", dispatch_timeout_ticks=2)
    await sims.send(simulation, "r", "?", "a")
    await sims.tick(simulation, 4)
    assert await told(sims, simulation, tick_min=3) == [
        "3 timed_out r",
        "3 sent system>a",
        "3 delivered system>a",
        "3 advanced",
        "4 advanced",
    ]
    messages = [m async for m in sims.messages(ListMessages(simulation_id=simulation))]
    assert [m.status for m in messages] == ["timed_out", "delivered"]


async def test_seconds_that_ran_out_are_recorded_with_their_tick(sims):
    simulation = await started(sims, "a r@", "a=r", dispatch_timeout_s=0.2)
    await sims.send(simulation, "r", "?", "a")
    while not await told(sims, simulation, event_type="dispatch.timed_out"):
        await sims.tick(simulation)
    assert (await sims.replay(simulation)).same


@pytest.mark.parametrize(
    ("name", "timeout_s", "outcome"),
    [
        ("double", 30, {"value": 42}),
        ("raises", 30, {"error": "a failed: ValueError: no"}),
        ("never", 0.5, {"error": "a failed: it did not return within 0.5 s"}),
        ("floods", 30, {"error": "a failed: its answer cannot be taken: it is larger than 65536 bytes"}),
    ],
)
async def test_a_registered_callable_answers_or_is_contained(sims, name, timeout_s, outcome):
    behaviour = {"kind": "callable", "name": name, "timeout_s": timeout_s}
    brief = await sims.create({"agents": [{"id": "a", "behaviour": behaviour}]})
    simulation = brief.simulation_id
    await sims.start(simulation)
    await sims.send(simulation, "a", {"value": 21})
    while not await told(sims, simulation, event_type="message.delivered", agent_id="user", tick_min=2):
        await sims.tick(simulation)
    messages = [m async for m in sims.messages(ListMessages(simulation_id=simulation))]
    assert msgspec.json.decode(messages[-1].content) == outcome
    assert (await sims.replay(simulation)).same


# --- bad input --------------------------------------------------------------------------------------
async def test_what_cannot_be_is_refused_with_a_reason(sims):
    with pytest.raises(RefusedError, match="the edge from 'a' to 'ghost' ends at 'ghost', which is no node"):
        await sims.create(topology("a b", "a>ghost"))
    with pytest.raises(BadUsage, match="tick_budget"):
        await sims.create(topology("a b", tick_budget=0))
    with pytest.raises(RefusedError, match="the operator did not register"):
        await sims.create({"agents": [{"id": "a", "behaviour": {"kind": "callable", "name": "evil"}}]})
    simulation = await started(sims, "a b", tick_budget=3)
    with pytest.raises(RefusedError, match="locked while the simulation is running"):
        await sims.configure(simulation, topology("a b c"))
    await sims.pause(simulation)
    with pytest.raises(RefusedError, match="the simulation is paused: start it first"):
        await sims.tick(simulation)
    await sims.start(simulation)
    with pytest.raises(RefusedError, match="at tick 0, not at 7"):
        await sims.tick(simulation, expected_tick=7)
    assert (await sims.tick(simulation, 10)).status == "completed"
    with pytest.raises(RefusedError, match="completed"):
        await sims.tick(simulation)
    with pytest.raises(RefusedError, match="there is no simulation 'ghost'"):
        await sims.state("ghost")
    with pytest.raises(BadUsage, match="`str` of length <= 100"):
        await sims.create(topology("a"), simulation_id="x" * 101)


# --- runs -------------------------------------------------------------------------------------------
async def test_a_reset_run_gives_the_same_events(sims):
    simulation = await started(sims, "o! a b", "o=a o=b", messages=[{"from": "o", "to": "*", "content": "go"}])
    await sims.tick(simulation, 4)
    first = [e.data async for e in sims.events(ListSimulationEvents(simulation_id=simulation, tick_min=1))]
    assert (await sims.reset(simulation)).status == "configured"
    await sims.start(simulation)
    await sims.tick(simulation, 4)
    again = [e.data async for e in sims.events(ListSimulationEvents(simulation_id=simulation, tick_min=1))]
    assert first == again
    assert (await sims.reset(simulation, keep_workflow=False)).status == "created"
    assert (await sims.configure(simulation, topology("x y"))).status == "configured"


async def test_a_fork_goes_on_with_another_reply(sims):
    simulation = await started(sims, "a r@", "a=r")
    await sims.send(simulation, "r", "?", "a")
    await sims.tick(simulation, 2)
    await sims.respond(simulation, "d1", "yes")
    await sims.tick(simulation, 2)
    same = (await sims.fork(simulation, 2)).simulation_id
    other = (await sims.fork(simulation, 2, {"reply": {"dispatch_id": "d1", "content": "no"}})).simulation_id
    for fork in (same, other):
        assert (await sims.state(fork)).status == "paused"
        await sims.start(fork)
        await sims.tick(fork, 2)
        assert (await sims.replay(fork)).same
    assert (await sims.diff(simulation, same)).same
    comparison = await sims.diff(simulation, other)
    assert not comparison.same
    assert comparison.difference.tick == 2
    with pytest.raises(RefusedError, match="ended in tick 3"):
        await sims.fork(simulation, 4, {"reply": {"dispatch_id": "d1", "content": "no"}})


async def test_a_fork_goes_on_with_another_edge(sims):
    simulation = await started(sims, "a b", "a>b")
    await sims.tick(simulation, 2)
    edit = {"add_edges": [{"from": "b", "to": "a"}], "remove_edges": [{"from": "a", "to": "b"}]}
    fork = (await sims.fork(simulation, 1, edit)).simulation_id
    assert [(e.source, e.target) for e in (await sims.topology(fork)).graph.edges] == [("b", "a")]
    assert (await sims.send(fork, "b", "x", "a")).sent[0].allowed is False


async def test_a_replay_names_the_tick_that_was_tampered_with(hive, sims):
    simulation = await started(sims, "a b", "a=b")
    await sims.send(simulation, "b", "hello", "a")
    await sims.tick(simulation, 5)
    assert (await sims.replay(simulation)).same
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    changed = "UPDATE event SET data = replace(data, $1, $2) WHERE type = 'message.sent' AND entity_id = $3"
    await connection.execute(changed, "b got m1", "b got it", simulation)
    comparison = await sims.replay(simulation)
    assert (comparison.same, comparison.difference.tick, comparison.difference.position) == (False, 1, 1)
    await connection.execute(changed, "b got it", "b got m1", simulation)
    await connection.close()


# --- what breaks -----------------------------------------------------------------------------------------
async def test_an_event_that_cannot_be_written_leaves_no_half_tick(hive, sims):
    """Postgres refuses one event once: the tick is repeated whole."""
    simulation = await started(sims, "a b", "a=b")
    await sims.send(simulation, "b", "hello", "a")
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    await connection.execute(
        """
        CREATE SEQUENCE refused;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('refused') = 1 THEN RAISE 'disk full' USING ERRCODE = '53100'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON event FOR EACH ROW WHEN (NEW.type = 'tick.advanced')
            EXECUTE FUNCTION refuse();
        """
    )
    brief = await sims.tick(simulation)
    await connection.execute("DROP TRIGGER refuse ON event")
    await connection.close()
    assert brief.tick == 1
    assert await told(sims, simulation, tick_index=1) == ["1 delivered a>b", "1 sent b>a", "1 advanced"]
