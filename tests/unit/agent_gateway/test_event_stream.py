"""The response that streams events."""

import asyncio

from hivewire_agent_gateway import metrics
from hivewire_agent_gateway.door.handlers import events


def value(metric) -> float:
    (family,) = metric.collect()
    return next(sample.value for sample in family.samples if not sample.name.endswith("_created"))


async def test_a_reader_that_takes_nothing_is_let_go(monkeypatch):
    monkeypatch.setattr(events, "STUCK_S", 0.01)
    ended = asyncio.Event()

    async def frames():
        try:
            while True:
                yield b"data: x\n\n"
        finally:
            ended.set()

    async def send(message):
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    let_go = value(metrics.STREAMS_STUCK)
    stream = frames()
    await asyncio.wait_for(events.EventStream(stream).stream_response(send), 30)
    await stream.aclose()
    assert ended.is_set()
    assert (value(metrics.STREAMS), value(metrics.STREAMS_STUCK)) == (0.0, let_go + 1)
