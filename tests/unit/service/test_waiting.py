"""What waits for a turn of the loop."""

from hivewire_service import waiting
from hivewire_service.intake import Taken
from hivewire_service.stream_reader import Received
from hivewire_service.waiting import BATCH_COMMANDS_MAX, Waiting


def message(seq: int, body: bytes = b"x") -> Received:
    return Received("then", seq, 1, 0, "s", body, None)


def refused(seq: int, body: bytes = b"x") -> Taken:
    return Taken(message(seq, body), None)


def read(received: Received) -> Taken:
    return Taken(received, None)


def test_what_is_refused_is_no_reason_for_a_turn_and_takes_no_place_in_one() -> None:
    queue = Waiting()
    for seq in range(1, 701):
        queue.put(refused(seq))
    assert not queue.is_urgent
    assert not queue.is_much
    for seq in range(701, 701 + BATCH_COMMANDS_MAX + 1):
        queue.put(message(seq))
    assert queue.is_urgent
    assert len(queue.take(read, 0)) == 700 + BATCH_COMMANDS_MAX
    assert len(queue.take(read, 0)) == 1
    assert not queue


def test_a_queue_full_of_what_is_refused_is_taken() -> None:
    queue = Waiting()
    queue.put(refused(1, b"x" * waiting.WAITING_BYTES_MAX))
    assert not queue.has_room
    assert queue.is_urgent
    assert len(queue.take(read, 0)) == 1
    assert queue.has_room


def test_one_by_one_is_so_for_what_is_refused_too() -> None:
    queue = Waiting()
    for each in (refused(1), message(2), refused(3), message(4), message(5)):
        queue.put(each)
    assert [len(queue.take(read, alone_until=3)) for _ in range(4)] == [1, 1, 1, 2]
