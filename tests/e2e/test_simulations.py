"""`hivewire sim` against a running hive: what it prints, in both forms, and what it ends with."""

import json
from xml.etree import ElementTree as ET

import pytest

from e2e.up import Up

FLEET = {
    "agents": [
        {"id": "lead", "role": "orchestrator"},
        {"id": "dev", "display_name": "Dev", "model_id": "m-1"},
        {"id": "ops", "agent_type": "remote", "endpoint_url": "https://ops.example"},
    ],
    "graph": {"edges": [{"from": "lead", "to": "dev", "bidirectional": True}, {"from": "dev", "to": "ops"}]},
    "messages_per_tick": "all",
    "dispatch_timeout_ticks": 3,
}


@pytest.fixture
def simulation(up: Up, tmp_path) -> str:
    """A simulation that runs."""
    file = tmp_path / "fleet.json"
    file.write_text(json.dumps(FLEET))
    simulation_id = up.run("sim", "create", str(file)).stdout.strip()
    up.run("sim", "start", simulation_id)
    return simulation_id


def test_a_message_on_its_way_through_the_graph(up: Up, simulation):
    assert up.run("sim", "send", simulation, "plan", "--from", "lead", "--to", "*").stdout.splitlines() == [
        "m1 to dev: waits",
        "m2 to ops: waits",
    ]
    blocked = up.run("sim", "send", simulation, "psst", "--from", "ops", "--to", "lead", exits=4)
    assert blocked.stdout == "m3 to lead: blocked, the graph has no edge from ops to lead\n"
    assert "3 done" in up.run("sim", "tick", "3", simulation).stdout
    brief = up.json("sim", "tick", simulation)
    assert (brief["tick"], brief["ticks"], brief["status"]) == (4, 1, "running")
    statuses = [message["status"] for message in up.json("sim", "messages", simulation)]
    assert statuses == ["delivered", "timed_out", "blocked", "delivered", "delivered"]
    assert [message["message_id"] for message in up.json("sim", "messages", simulation, "--agent", "ops")] == [
        "m2",
        "m3",
    ]
    [event] = up.json("sim", "events", simulation, "--type", "message.blocked_by_graph")
    assert event["data"]["reason"] == "the graph has no edge from ops to lead"
    types = [event["type"] for event in up.json("sim", "events", simulation, "--tick", "4")]
    assert types == ["dispatch.timed_out", "message.sent", "message.delivered", "tick.advanced"]


def test_a_remote_agent_is_answered_for(up: Up, simulation):
    up.run("sim", "send", simulation, "deploy", "--from", "dev", "--to", "ops")
    up.run("sim", "tick", simulation)
    state = up.json("sim", "state", simulation)
    assert [(a["id"], a["status"], a.get("dispatches")) for a in state["agents"]] == [
        ("lead", "idle", None),
        ("dev", "idle", None),
        ("ops", "waiting", ["d1"]),
    ]
    up.run("sim", "respond", simulation, "d1", "no such host", "--error")
    up.run("sim", "tick", simulation)
    assert "ops failed: no such host" in up.run("sim", "messages", simulation).stdout


def test_runs_are_replayed_forked_compared_and_drawn(up: Up, simulation, tmp_path):
    up.run("sim", "send", simulation, "plan", "--to", "lead")
    up.run("sim", "tick", simulation, "4")
    assert up.run("sim", "replay", simulation).stdout.startswith("The same: 4 ticks")
    edit = tmp_path / "edit.yaml"
    edit.write_text("add_edges: [{from: ops, to: lead}]\n")
    fork = up.run("sim", "fork", simulation, "--at", "2", "--edit", str(edit)).stdout.strip()
    assert up.json("sim", "state", fork)["forked_from"] == simulation
    differs = up.run("sim", "diff", simulation, fork, exits=1).stdout
    assert differs.startswith("Tick 2 differs")
    assert "simulation.edited" in differs
    assert "ops\n  └──▶ lead" in up.run("sim", "graph", fork).stdout
    picture = tmp_path / "fleet.svg"
    up.run("sim", "graph", fork, "--svg", str(picture))
    assert ET.parse(picture).getroot().tag.endswith("svg")
    assert {simulation, fork} <= {found["simulation_id"] for found in up.json("sim", "list")}


def test_a_run_rests_and_begins_again(up: Up, simulation):
    up.run("sim", "tick", simulation, "2")
    assert "is paused at tick 2" in up.run("sim", "pause", simulation).stdout
    assert "the simulation is paused: start it first" in up.error("sim", "tick", simulation, exits=4)
    assert up.json("sim", "reset", simulation)["status"] == "configured"
    assert up.json("sim", "reset", simulation, "--drop-workflow")["status"] == "created"


@pytest.mark.parametrize(
    ("changed", "reason", "exits"),
    [
        ({"tick_budget": 0}, "Expected `int` >= 1 - at `$.tick_budget`", 2),
        ({"graph": {"edges": [{"from": "dev", "to": "nobody"}]}}, "ends at 'nobody', which is no node", 4),
        ({"agents": "none"}, "Expected `array`, got `str` - at `$.agents`", 2),
    ],
)
def test_a_file_that_is_no_simulation_is_refused_in_one_line(up: Up, tmp_path, changed, reason, exits):
    file = tmp_path / "fleet.json"
    file.write_text(json.dumps(FLEET | changed))
    assert reason in up.error("sim", "create", str(file), exits=exits)
    file.write_text("no json")
    assert "cannot be read" in up.error("sim", "create", str(file), exits=2)
