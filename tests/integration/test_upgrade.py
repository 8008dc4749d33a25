"""A hive of each released revision, frozen as it was, is brought up to date and goes on with what it was at.

`freeze.py` froze them. With a single revision there is nothing to bring up to date, and the rest holds all the same.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

import hivewire_agent_gateway.fold
import hivewire_broker.fold
import hivewire_conversation.fold
import hivewire_tick_engine.fold
from hivewire import Client
from hivewire.reads import ListEvents
from hivewire_service.backup import restore
from hivewire_service.migrations import VERSION_TABLE, known_revisions

from .freeze import RELEASED, callers, member, peers, respond, services, thawed
from .test_door import get, until

FOLDS = (hivewire_broker.fold, hivewire_agent_gateway.fold, hivewire_conversation.fold, hivewire_tick_engine.fold)
LASTING = ("agent", "task", "attempt", "session", "conversation", "simulation", "event")
"""Tables of which no upgrade may lose a row."""
EVER = "100000"
"""Days of retention: what was frozen ended long ago."""


@pytest.fixture(params=sorted(RELEASED.iterdir()), ids=lambda revision: revision.name)
async def upgraded(request, hive, tmp_path) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the hive that was frozen, brought up to date."""
    revision: Path = request.param
    thawed(revision, hive.name, tmp_path / "backup")
    # Makes the tables as that revision had them, fills them, and migrates.
    manifest = await restore(hive.postgres_dsn, tmp_path / "backup")
    assert manifest.revision == revision.name
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    assert await connection.fetchval(f"SELECT version_num FROM {VERSION_TABLE}") == known_revisions()[-1]
    counts = {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in LASTING}
    assert counts == {name: manifest.tables[name].rows for name in LASTING}
    yield connection
    await connection.close()


async def differences(connection: asyncpg.Connection) -> list[str]:
    return [found for fold in FOLDS for found in await fold.differences(connection)]


async def test_an_upgraded_hive_goes_on_with_what_it_was_at(hive, upgraded):
    assert await differences(upgraded) == []
    async with (
        services(hive, HIVEWIRE_HISTORY_DAYS=EVER, HIVEWIRE_ENDED_DAYS=EVER) as url,
        Client.connect(context=member(hive, "operator")) as boss,
        peers(hive, finish=True),
        callers(boss, url) as (pub, far),
    ):
        # what had ended
        done = await boss.task("done")
        assert (done.status, done.labels) == ("completed", {"a": "b"})
        assert await boss.result("done") == {"built": {"text": "a\tb\n\\N ü"}}
        assert (await boss.task("cancelled")).status == "cancelled"
        events = (await boss.events(ListEvents(entity_id="done"))).items
        assert [event.type for event in events][-1] == "task.completed"
        assert [one async for one in boss.rejects()]

        # what was under way, and what waited for it, for its time, for a phase, for approval, for a retry
        for task_id in ("running", "waiting", "later"):
            assert (await boss.ended(task_id, 30)).status == "completed"
        await boss.steer_phase("approve", "phase")
        await boss.steer_phase("queue", "phase")
        await boss.approve("approval")
        await boss.retry("dead")
        for task_id in ("phased", "approval", "dead", "blocked"):
            assert (await boss.ended(task_id, 30)).status == "completed"

        # what was open between agents, with a remote one, and in a rehearsal
        assert (await boss.ask("agent:bob", "Which one?", id="open")).value == "this one"
        given = await get(far, "dispatch")
        await respond(far, given)
        session = f"api/v1/sessions/{given['session_id']}"
        assert (await until(pub, session, lambda found: found["state"] == "completed"))["external_ref"] == "open"
        assert (await boss.simulations.tick("rehearsal", 2)).tick == 4
        assert (await boss.simulations.replay("rehearsal")).same
    assert await differences(upgraded) == []


def test_the_first_revision_was_released():
    assert min(revision.name for revision in RELEASED.iterdir()) == known_revisions()[0]
