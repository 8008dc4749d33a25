"""The catalogue has the events that other services were promised, by name and field."""

import pytest

from hivewire.asyncapi import document
from hivewire.events import CATALOGUE, FOREIGN, SIMULATED, of_writer

PROMISED = {
    "agent": "spawned stopped crashed resumed account_switched deleted waiting output",
    "task": "queued assigned completed blocked pending_approval created started progress failed timeout retry"
    " dead_lettered reassigned unmatched cancelled approved rejected",
    "phase": "queued started completed blocked",
    "merge": "queued started completed conflicted",
    "page": "created updated deleted",
    "process": "spawned stopped crashed",
    "server": "started stopped",
    "worktree": "created removed merged conflict",
    "account": "credentials_refreshed credentials_expired credentials_validated",
    "preview": "building ready stopped failed",
    "conversation": "created delivered answered expired withdrawn undeliverable",
    "log": "entry",
    "tick": "advanced",
    "message": "sent delivered blocked_by_graph",
    "dispatch": "sent responded timed_out",
    "session": "created dispatched idle completed failed timed_out cancelled",
}
OF_OTHERS = ("merge", "page", "process", "server", "worktree", "account", "preview", "log")
FIELDS = {
    "agent.spawned": "agent_id name task_id worktree_id provider",
    "agent.stopped": "agent_id name task_id reason",
    "agent.waiting": "agent_id name task_id session_id questions",
    "agent.output": "agent_id stream data",
    "task.completed": "task_id agent_id success message",
    "task.queued": "task_id priority depends_on",
    "phase.started": "phase_id initiative_id",
    "merge.conflicted": "task_id agent_id worktree_id target_branch conflicting_files",
    "account.credentials_refreshed": "account_id expires_at previous_expires_at",
}


@pytest.mark.parametrize("entity", PROMISED)
def test_every_promised_event_has_a_struct(entity):
    missing = [f"{entity}.{name}" for name in PROMISED[entity].split() if f"{entity}.{name}" not in CATALOGUE]
    assert missing == []


@pytest.mark.parametrize("name", FIELDS)
def test_every_promised_field_is_there(name):
    assert set(FIELDS[name].split()) <= set(CATALOGUE[name].__struct_encode_fields__)


def test_a_dispatched_task_is_an_assigned_one():
    assert "task.dispatched" not in CATALOGUE


def test_events_of_other_services_come_from_outside():
    theirs = {f"{entity}.{name}" for entity in OF_OTHERS for name in PROMISED[entity].split()}
    assert FOREIGN.keys() == theirs | {"agent.output", "agent.account_switched"}


def test_every_type_is_described():
    text = str(document("hive"))
    assert [name for name in CATALOGUE if name not in text] == []


def test_messages_of_a_simulation_are_told_apart_by_their_writer():
    assert SIMULATED.keys() == {"message.sent", "message.delivered", "message.blocked_by_graph"}
    for name, simulated in SIMULATED.items():
        assert of_writer("tick-engine")[name] is simulated
        assert of_writer("conversation")[name] is CATALOGUE[name]
    text = document("hive")["components"]["messages"]
    assert {f"simulated.{name}" for name in SIMULATED} <= text.keys()
