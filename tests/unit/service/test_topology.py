"""Streams as data."""

import pytest

from hivewire.subjects import Subjects
from hivewire_service.topology import TopologyError, check_server_version, command_stream, differences, event_stream

hive = Subjects("hive")


@pytest.mark.parametrize("version", ["2.14.0", "2.15.1", "3.0.0", "2.14.0-beta.1"])
def test_new_enough(version: str) -> None:
    check_server_version(version)


@pytest.mark.parametrize("version", ["2.10.4", "2.9", "1.99.0", "2.13.9-RC.1", ""])
def test_too_old_is_said(version: str) -> None:
    with pytest.raises(TopologyError, match=r"too old: hivewire needs 2\.14"):
        check_server_version(version)


def test_no_difference_to_itself() -> None:
    wanted = command_stream(hive, "broker", 1)
    assert differences(wanted, wanted | {"allow_direct": True}) == ()


def test_differences_are_named() -> None:
    wanted = command_stream(hive, "broker", 3)
    found = wanted | {"num_replicas": 1}
    del found["no_ack"]
    assert differences(wanted, found) == ("no_ack is False, should be True", "num_replicas is 1, should be 3")


def test_commands_are_refused_rather_than_pushed_out() -> None:
    config = command_stream(hive, "agent-gateway", 1)
    assert (config["name"], config["discard"], config["no_ack"]) == ("HIVE_CMD_AGENT_GATEWAY", "new", True)


def test_event_stream_keeps_no_ids() -> None:
    config = event_stream(hive, 1)
    assert config["subject_transform"] == {"src": "hive.evt.*.*.*", "dest": "hive.evt.{{wildcard(1)}}.{{wildcard(2)}}"}
