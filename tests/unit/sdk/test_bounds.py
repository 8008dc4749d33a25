"""What waits in a member's memory has bounds, whoever sends and whoever does not answer."""

import asyncio
from datetime import UTC, datetime

import pytest

from hivewire import codec, listening
from hivewire.inbox import MessageReceived
from hivewire.listening import SEEN_MAX, WAITING_MAX, Line
from hivewire.unanswered import Request, Target, Unanswered


def message(number: int) -> MessageReceived:
    return MessageReceived(
        message_id=str(number),
        sender="ann",
        content=codec.raw(1),
        sent_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


async def test_what_nobody_takes_waits_up_to_a_bound_and_in_order():
    line = Line()
    for number in range(2 * WAITING_MAX):
        line.put(message(number))
    taken = [(await line.take()).message_id for _ in range(WAITING_MAX)]
    assert taken == [str(number) for number in range(WAITING_MAX)]
    line.put(message(-1))  # there is room again, and nothing is left of what was beyond it
    assert (await line.take()).message_id == "-1"


async def test_of_what_was_taken_the_latest_are_known(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listening, "SEEN_MAX", 3)
    line = Line()
    assert [line.is_new(key) for key in "abcad"] == [True, True, True, False, True]
    assert [line.is_new(key) for key in "dcba"] == [False, False, False, True]
    assert len(line._seen) == 3
    assert SEEN_MAX > 3


async def test_a_request_that_is_due_again_and_again_waits_once_to_be_sent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hivewire.limits.REPEAT_FIRST_S", 0.0)
    monkeypatch.setattr("hivewire.limits.REPEAT_MAX_S", 0.0)
    blocked, sent = asyncio.Event(), []

    async def send(request: Request) -> None:
        await blocked.wait()
        sent.append(request.reply_subject)

    unanswered = Unanswered(send, lambda: True)
    unanswered.start()
    target = Target("broker", "s", "k", stored=True)
    for number in range(10):
        unanswered.add(str(number), target, b"", str(number))
    await asyncio.sleep(0)  # the first is being sent
    for _ in range(50):
        unanswered._sweep()
        unanswered.send_again()
    assert len(unanswered._outbox) <= 10
    blocked.set()
    while len(sent) < 11:
        await asyncio.sleep(0)
    assert set(sent) == {str(number) for number in range(10)}
    unanswered.fail(ConnectionError())  # type: ignore[arg-type]
    await unanswered.close()
