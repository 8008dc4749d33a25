"""From a message of the stream to a command, or to a reject and its answer."""

import pytest

from hivewire import codec
from hivewire.commands.broker import VERBS, Cancel
from hivewire.envelope import Envelope
from hivewire.subjects import BROKER, REPLY_HEADER, Subjects
from hivewire_service.core import Kept
from hivewire_service.intake import Intake, Taken
from hivewire_service.stream_reader import Received

intake = Intake(Subjects("hive"), BROKER, VERBS)


def take(
    subject: str = "hive.cmd.broker.cancel.bob",
    kind: str = "broker.cancel",
    data: object = {"task_id": "t"},
    reply_to: str | None = "_INBOX.bob.1",
) -> Taken:
    body = codec.encode(Envelope(id="c1", type=kind, source="/", data=codec.raw(data), correlationid="k"))
    headers = {REPLY_HEADER: reply_to} if reply_to else None
    return intake.take(Received("then", 1, 1, 0, subject, body, headers))


def test_a_command_has_the_sender_that_the_server_proved() -> None:
    command = take().command
    assert command is not None
    assert (command.id, command.verb, command.sender, command.correlationid) == ("c1", "cancel", "bob", "k")
    assert command.data == Cancel("t")


def test_a_command_needs_no_reply_subject() -> None:
    assert take(reply_to=None).command is not None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"subject": "hive.cmd.broker.conquer.bob", "kind": "broker.conquer"}, "unknown command"),
        ({"kind": "broker.submit"}, "does not fit the subject's verb"),
        ({"data": {"task_id": 7}}, "task_id"),
        ({"data": {"task_id": "a.b"}}, "task_id"),
    ],
)
def test_rejects_are_answered(given: dict[str, object], reason: str) -> None:
    taken = take(**given)  # type: ignore[arg-type]
    assert taken.command is None
    assert taken.reject is not None
    assert taken.refusal is not None
    assert reason in taken.reject.reason
    assert taken.reply_to == "_INBOX.bob.1"


def test_a_misdirected_reply_is_answered_nowhere() -> None:
    taken = take(reply_to="_INBOX.eve.1")
    assert taken.reject is not None
    assert taken.reply_to is None


def test_what_is_over_the_quota_is_refused_unread() -> None:
    strict = Intake(Subjects("hive"), BROKER, VERBS, commands_per_second=1.0)
    headers = {REPLY_HEADER: "_INBOX.bob.1"}

    def send(sender: str, ns: int = 1, body: bytes = b"nonsense that is not looked at") -> Taken | None:
        return strict.over_quota(Received("then", 1, ns, 0, f"hive.cmd.broker.cancel.{sender}", body, headers))

    assert [send("bob") is None for _ in range(4)] == [True, True, True, False]
    refused = send("bob", body=codec.encode(Envelope(id="c8", type="broker.cancel", source="/")))
    assert refused is not None
    assert refused.refusal is not None
    assert refused.reject is not None
    assert (refused.refusal.status, refused.command_id, refused.reply_to) == (429, "c8", "_INBOX.bob.1")
    assert refused.refusal.detail["retry_after_s"] > 0
    assert (refused.reject.kind, refused.reject.sender) == (Kept.QUOTA, "bob")
    others = [send("ann") for _ in range(4)]  # bob's bucket is not hers, and his inbox neither
    assert others[:3] == [None] * 3
    assert others[3] is not None
    assert others[3].reply_to is None
    assert send("bob", ns=9 * 10**9) is None  # what counts is when the server stored it
    assert not any(send("service") for _ in range(9))


def test_a_command_that_failed_keeps_its_bytes() -> None:
    taken = take()
    failed = intake.failed(taken, ValueError("first line\nsecond"))
    assert failed.reject is not None
    assert failed.refusal is not None
    assert (failed.reject.body, failed.reject.reason) == (taken.received.body, "ValueError: first line")
    assert (failed.refusal.status, failed.reply_to, failed.command) == (500, "_INBOX.bob.1", None)
