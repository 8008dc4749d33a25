"""Subjects: what may stand in one, and who may be answered where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivewire.errors import BadUsage
from hivewire.subjects import Subjects, as_token, hive_name, is_reply_subject, is_token, token

hive = Subjects("hive")


@pytest.mark.parametrize(
    "text", ["", "a.b", "*", ">", "a b", "a\tb", "a\nb", "a\0b", "a\x7fb", "\u2028", "x" * 129, "é" * 65]
)
def test_what_is_no_token_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(BadUsage, match="can't be used"):
        token(text)


@pytest.mark.parametrize("text", ["a", "0192-ab_c", "größe", "x" * 128, "a:b", "a@b", "$x"])
def test_tokens(text: str) -> None:
    assert token(text) == text


@given(st.text())
def test_any_text_becomes_a_token_and_a_token_with_no_percent_stays(text: str) -> None:
    assert is_token(as_token(text))
    if is_token(text) and "%" not in text:
        assert as_token(text) == text


@pytest.mark.parametrize("name", ["", "Hive", "1hive", "hive-1", "a.b", "h" * 32])
def test_names_that_no_hive_can_have(name: str) -> None:
    with pytest.raises(BadUsage):
        Subjects(name)
    with pytest.raises(BadUsage):
        hive_name(name)


def test_commands_and_reads_round_trip() -> None:
    parsed = hive.parse_command(hive.command("agent-gateway", "register", "bob"))
    assert parsed is not None
    assert (parsed.service, parsed.verb, parsed.sender) == ("agent-gateway", "register", "bob")
    assert hive.parse_command(hive.read("broker", "task", "bob")) is None
    assert hive.parse_read(hive.command("broker", "submit", "bob")) is None
    assert hive.parse_command("other.cmd.broker.submit.bob") is None
    assert hive.parse_inbox(hive.inbox("bob", "task")) == ("bob", "task")


def test_stream_names() -> None:
    assert Subjects("team_1").command_stream("agent-gateway") == "TEAM_1_CMD_AGENT_GATEWAY"
    assert hive.event_stream == "HIVE_EVENTS"


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "_INBOX.bob",
        "_INBOX.bob.",
        "_INBOX.bobby.x",
        "_INBOX.bob.>",
        "_INBOX.bob.*",
        "_INBOX.bob.a..b",
        "hive.inbox.bob.task",
    ],
)
def test_replies_go_nowhere_but_under_the_senders_prefix(subject: str) -> None:
    assert not is_reply_subject(subject, "bob")


def test_reply_subject() -> None:
    assert is_reply_subject("_INBOX.bob.x.7", "bob")
