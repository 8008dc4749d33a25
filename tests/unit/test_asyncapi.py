import json
import re

import msgspec
import pytest

from hivewire.asyncapi import document
from hivewire.commands import CATALOGUE as COMMANDS
from hivewire.events import CATALOGUE as EVENTS
from hivewire.events import FOREIGN, OWN_ENTITIES

NAMED = [
    "agent.spawned",
    "agent.stopped",
    "agent.crashed",
    "agent.resumed",
    "agent.account_switched",
    "agent.deleted",
    "agent.waiting",
    "agent.output",
    "merge.queued",
    "merge.started",
    "merge.completed",
    "merge.conflicted",
    "page.created",
    "page.updated",
    "page.deleted",
    "process.spawned",
    "process.stopped",
    "process.crashed",
    "server.started",
    "server.stopped",
    "worktree.created",
    "worktree.removed",
    "worktree.merged",
    "worktree.conflict",
    "account.credentials_refreshed",
    "account.credentials_expired",
    "account.credentials_validated",
    "preview.building",
    "preview.ready",
    "preview.stopped",
    "preview.failed",
    "conversation.created",
    "conversation.answered",
    "log.entry",
    "task.queued",
    "task.assigned",
    "task.completed",
    "task.blocked",
]


@pytest.mark.parametrize("name", NAMED)
def test_every_event_that_others_name_has_a_struct(name):
    event = EVENTS[name]
    assert event.type == name
    assert event.key in event.__struct_fields__


def test_their_fields_are_there():
    fields = {
        "agent.spawned": "agent_id name task_id worktree_id provider",
        "agent.stopped": "agent_id name task_id reason",
        "agent.waiting": "agent_id name task_id session_id questions",
        "agent.output": "agent_id stream data",
        "task.completed": "task_id agent_id success message",
        "task.queued": "task_id priority depends_on",
        "merge.conflicted": "task_id agent_id worktree_id target_branch conflicting_files",
        "account.credentials_refreshed": "account_id expires_at previous_expires_at",
    }
    for name, wanted in fields.items():
        assert set(wanted.split()) <= set(EVENTS[name].__struct_fields__), name


def test_what_comes_from_outside_and_what_does_not():
    assert {name for name in FOREIGN if name.startswith("agent.")} == {"agent.output", "agent.account_switched"}
    assert {"task", "agent", "conversation", "message", "graph"} <= OWN_ENTITIES
    assert "merge" not in OWN_ENTITIES


def test_the_document_has_every_message_and_no_loose_end():
    made = document("other")
    assert made["asyncapi"] == "3.0.0"
    messages = made["components"]["messages"]
    assert {f"event.{name}" for name in EVENTS} <= messages.keys()
    assert {f"command.{s}.{v}" for s, verbs in COMMANDS.items() for v in verbs} <= messages.keys()
    text = json.dumps(made)
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        place = made
        for part in reference.split("/"):
            place = place[part]
    assert made["channels"]["event.merge.conflicted"]["address"] == "other.evt.merge.conflicted.{entity_id}"
    assert made["operations"]["command.broker.submit"]["action"] == "receive"


def test_the_schemas_say_what_the_structs_take():
    schemas = document()["components"]["schemas"]
    assert schemas["Ask"]["required"] == ["target", "question"]
    assert schemas["Ask"]["properties"]["question"] == {}
    assert schemas["Edge"]["properties"].keys() == {"from", "to", "label", "bidirectional"}
    assert msgspec.json.encode(schemas)
