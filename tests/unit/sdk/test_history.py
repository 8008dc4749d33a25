import asyncio

import pytest

from hivewire import Client, RefusedError, history, reads
from hivewire.connection import Connection
from hivewire.envelope import ErrorBody


class Recorded:
    """The history that the fake has, in Postgres as it were."""

    def __init__(self, fake):
        self._fake = fake
        self.events = []
        self.page = 2
        fake.answers["events"] = self._read
        fake.answers["task"] = lambda asked: {"task_id": asked.data["task_id"]}

    def _read(self, asked):
        start = int(asked.data.get("cursor") or 0)
        items = self.events[start : start + self.page]
        more = start + self.page < len(self.events)
        return {"items": items, "cursor": str(start + self.page) if more else None}

    def add(self, event_type, seq, writer="broker"):
        self.events.append(
            {
                "id": f"e{seq}",
                "seq": seq,
                "writer": writer,
                "type": event_type,
                "entity_id": "t1",
                "time": "2026-01-01T00:00:00Z",
                "data": {},
            }
        )

    async def happen(self, event_type, seq):
        self.add(event_type, seq)
        await self._fake.happen(event_type, "t1", seq, {})


@pytest.fixture
def recorded(fake):
    return Recorded(fake)


async def following(client, seen):
    async for event in client.watch("t1"):
        seen.append((event.type, event.seq))


async def test_history_and_live_events_are_joined_without_a_gap_or_a_repeat(fake, connection, recorded):
    for seq, kind in enumerate(("created", "queued", "assigned"), 1):
        recorded.add(f"task.{kind}", seq)
    seen = []
    watching = asyncio.create_task(following(Client(connection), seen))
    await fake.eventually(lambda: len(seen) == 3)
    await fake.happen("task.assigned", "t1", 3, {})
    await recorded.happen("task.started", 7)
    await recorded.happen("task.completed", 9)
    await asyncio.wait_for(watching, 10)
    assert [seq for _, seq in seen] == [1, 2, 3, 7, 9]


async def test_watching_a_task_that_has_ended_ends(connection, recorded):
    recorded.add("task.created", 1)
    recorded.add("task.cancelled", 2)
    seen = []
    await asyncio.wait_for(following(Client(connection), seen), 10)
    assert len(seen) == 2


async def test_a_reopened_task_goes_on(fake, connection, recorded):
    for seq, kind in enumerate(("created", "failed", "reopened"), 1):
        recorded.add(f"task.{kind}", seq)
    seen = []
    watching = asyncio.create_task(following(Client(connection), seen))
    await fake.eventually(lambda: len(seen) == 3)
    await recorded.happen("task.completed", 4)
    await asyncio.wait_for(watching, 10)
    assert seen[-1] == ("task.completed", 4)


async def test_what_was_missed_is_read_from_history(fake, connection, recorded, monkeypatch):
    monkeypatch.setattr(history, "REREAD_S", 0.02)
    recorded.add("task.created", 1)
    seen = []
    watching = asyncio.create_task(following(Client(connection), seen))
    await fake.eventually(lambda: len(seen) == 1)
    recorded.add("task.completed", 2)
    await asyncio.wait_for(watching, 10)
    assert [seq for _, seq in seen] == [1, 2]


async def test_after_a_lost_connection_live_events_wait_for_history(fake, connection, recorded):
    recorded.add("task.created", 1)
    seen = []
    watching = asyncio.create_task(following(Client(connection), seen))
    await fake.eventually(lambda: len(seen) == 1)
    recorded.add("task.assigned", 2)
    for call in connection.on_disconnect:
        call()
    await recorded.happen("task.completed", 3)
    await asyncio.wait_for(watching, 10)
    assert [seq for _, seq in seen] == [1, 2, 3]


async def test_two_writers_are_numbered_apart(connection, recorded):
    recorded.add("task.created", 5)
    recorded.add("agent.spawned", 1, writer="agent-gateway")
    stream = history.follow(connection, reads.ListEvents())
    found = [(await anext(stream)).writer for _ in range(2)]
    await stream.aclose()
    assert found == ["broker", "agent-gateway"]


async def test_a_watch_without_the_right_to_listen_reads_history(fake, server, recorded, monkeypatch):
    async def denied(*_):
        raise RefusedError("may not", status=403)

    monkeypatch.setattr(history, "POLL_S", 0.02)
    async with await Connection.open(server.url, name="bob") as connection:
        monkeypatch.setattr(connection, "listen", denied)
        recorded.add("task.created", 1)
        seen = []
        watching = asyncio.create_task(following(Client(connection), seen))
        await fake.eventually(lambda: len(seen) == 1)
        recorded.add("task.completed", 2)
        await asyncio.wait_for(watching, 10)


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_parts(fake, connection, recorded):
    recorded.page = 100
    for seq in range(1, 8):
        recorded.add("task.progress", seq)
    read = fake.answers["events"]
    fake.answers["events"] = lambda asked: (
        ErrorBody("too large", status=413) if asked.data.get("limit", 100) > 50 else read(asked)
    )
    found = [event.seq async for event in history.stored(connection, reads.ListEvents(limit=200), at_most=5)]
    assert found == [1, 2, 3, 4, 5]


async def test_a_reader_slower_than_the_events_goes_on_from_history(fake, connection, recorded, monkeypatch):
    monkeypatch.setattr(history, "HEARD_BYTES_MAX", 1_000)
    recorded.add("task.created", 1)
    read, asked = fake.answers["events"], []
    fake.answers["events"] = lambda query: asked.append(query) or read(query)
    stream = history.follow(connection, reads.ListEvents(type="task"))
    assert (await anext(stream)).seq == 1
    coming = asyncio.create_task(anext(stream))
    for seq in range(2, 40):
        await recorded.happen("task.progress", seq)
    found = [(await coming).seq, *[(await anext(stream)).seq for _ in range(37)]]
    await stream.aclose()
    assert found == list(range(2, 40))
    assert len(asked) > 1
