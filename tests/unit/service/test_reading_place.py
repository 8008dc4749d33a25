"""Where a reader goes on: it may read a message again, and never leaves one out."""

import pytest

from hivewire_service.bus import nanoseconds
from hivewire_service.stream_reader import Place, next_seq
from hivewire_service.topology import StreamState


class Messages:
    """A stream's messages: number -> time."""

    def __init__(self, **times: int) -> None:
        self._times = {int(name[1:]): ns for name, ns in times.items()}

    async def message_ns(self, stream: str, seq: int) -> int | None:
        return self._times.get(seq)


def stream(first: int, last: int, created: str = "then") -> StreamState:
    return StreamState("S", created, first, last)


@pytest.mark.parametrize(
    ("state", "last", "first"),
    [
        pytest.param(stream(1, 9), Place(), 1, id="nothing dealt with yet"),
        pytest.param(stream(0, 0), Place(), 1, id="empty stream"),
        pytest.param(stream(3, 9), Place("then", 5, 50), 6, id="behind the kept message"),
        pytest.param(stream(3, 5), Place("then", 5, 50), 6, id="nothing new"),
        pytest.param(stream(1, 4), Place("then", 5, 50), 1, id="the tail is lost"),
        pytest.param(stream(1, 9), Place("then", 5, 51), 1, id="the tail is lost and was written again"),
        pytest.param(stream(1, 9, "later"), Place("then", 5, 50), 1, id="another stream of that name"),
        pytest.param(stream(8, 9), Place("then", 5, 50), 8, id="purged beyond the place"),
    ],
)
async def test_next_seq(state: StreamState, last: Place, first: int) -> None:
    assert await next_seq(Messages(_5=50), state, last) == first  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("2026-11-22T18:14:18.123456789Z", 1_795_371_258_123_456_789),
    ],
)
def test_server_times_are_exact(text: str, ns: int) -> None:
    assert nanoseconds(text) == ns


def test_what_is_no_time() -> None:
    with pytest.raises(ValueError, match="not a time"):
        nanoseconds("yesterday")
