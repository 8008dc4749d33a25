"""The agent gateway on the real nats-server and the real Postgres."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import msgspec
import pytest

from hivewire import codec, inbox
from hivewire.admin import IssueCredentials
from hivewire.commands.agent_gateway import AgentBrief, Drain, Leave, Register, Remove
from hivewire.connection import Connection
from hivewire.credentials import Credentials
from hivewire.errors import RefusedError
from hivewire.inbox import BEAT_TYPE, Beat, Replaced, Sync
from hivewire.reads import Listing, OneAgent
from hivewire.subjects import AGENT_GATEWAY
from hivewire.views import AgentView, Page
from hivewire.views import Credentials as Issued
from hivewire_agent_gateway import fold

PROGRAM = """
from hivewire_agent_gateway.main import main
from hivewire_service.settings import Settings
main(Settings.load())
"""


@asynccontextmanager
async def running(hive) -> AsyncIterator[None]:
    """The gateway as a process of its own. Senders repeat until it takes commands, so nothing waits for it here."""
    settings = {
        "HIVEWIRE_HIVE": hive.name,
        "NATS_URL": hive.nats_url,
        "NATS_CREDS": str(hive.credentials("service")),
        "HIVEWIRE_POSTGRES_DSN": hive.postgres_dsn,
        "HIVEWIRE_KEYS_FILE": str(hive.keys_file),
        "HIVEWIRE_METRICS_PORT": "0",
        "HIVEWIRE_HTTP_PORT": "0",
    }
    gateway = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, env=os.environ | settings)
    try:
        yield
    finally:
        gateway.terminate()
        assert await gateway.wait() == 0


@pytest.fixture
async def gateway(hive) -> AsyncIterator[None]:
    async with running(hive):
        yield


@asynccontextmanager
async def connected(hive, role: str, name: str | None = None) -> AsyncIterator[Connection]:
    credentials = Credentials.load(hive.credentials(role, name))
    async with await Connection.open(hive.nats_url, credentials, hive=hive.name) as connection:
        yield connection


async def register(connection: Connection, instance: str, **card) -> AgentBrief:
    return await connection.command(AGENT_GATEWAY, "register", Register(instance=instance, **card), AgentBrief)


async def beat(connection: Connection, agent_id: str, instance: str) -> None:
    subject = connection.subjects.beat(connection.sender)
    await connection.say(subject, connection._encode(BEAT_TYPE, Beat(agent_id, instance), "1"))


async def agent(connection: Connection, agent_id: str) -> AgentView:
    return await connection.read(AGENT_GATEWAY, "agent", OneAgent(agent_id), AgentView)


@asynccontextmanager
async def messages(connection: Connection) -> AsyncIterator[asyncio.Queue]:
    """What arrives in the inbox of the connection's agent, decoded."""
    queue: asyncio.Queue = asyncio.Queue()

    def receive(_subject: str, body: bytes) -> None:
        queue.put_nowait(codec.decode_data(codec.decode_envelope(body), inbox.KINDS))

    listening = await connection.listen(connection.subjects.inboxes(connection.sender), receive)
    yield queue
    await listening.stop()


async def differences(hive) -> list[str]:
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    try:
        return await fold.differences(connection)
    finally:
        await connection.close()


@pytest.mark.usefixtures("gateway")
async def test_what_was_registered_is_read_back_equal(hive):
    metadata = msgspec.Raw(b'{"a": 1.0, "\\u0000": [1e400]}')
    async with connected(hive, "agent", "bob") as bob:
        brief = await register(
            bob,
            "i1",
            capabilities=[' Py"thon', "{a,b}", "\\", "null"],
            slots=3,
            owner="team",
            labels={"zone": "é\n"},
            metadata=metadata,
        )
        assert brief == AgentBrief("bob", "present", "i1", drained=False)
        view = await agent(bob, "bob")
    assert view.capabilities == sorted(['py"thon', "{a,b}", "\\", "null"])
    assert (view.name, view.slots, view.busy_slots, view.owner) == ("bob", 3, 0, "team")
    assert (view.state, view.instance, view.connection_status) == ("present", "i1", "connected")
    assert view.labels == {"zone": "é\n"}
    assert view.metadata == metadata
    assert await differences(hive) == []


@pytest.mark.usefixtures("gateway")
async def test_a_newer_instance_replaces_the_older_which_is_told_and_kept_out(hive):
    async with connected(hive, "agent", "bob") as bob, messages(bob) as told:
        await register(bob, "old")
        await register(bob, "new")
        assert await told.get() == Replaced("new")
        with pytest.raises(RefusedError, match="was replaced by new") as refused:
            await register(bob, "old")
        assert (refused.value.status, refused.value.detail) == (409, {"instance": "new"})
        await beat(bob, "bob", "old")
        assert await told.get() == Replaced("new")


@pytest.mark.usefixtures("gateway")
async def test_an_unknown_instance_that_beats_is_asked_to_register(hive):
    async with connected(hive, "agent", "bob") as bob, connected(hive, "operator") as operator, messages(bob) as told:
        await register(bob, "i1")
        await bob.command(AGENT_GATEWAY, "leave", Leave("i1"), AgentBrief)
        await beat(bob, "bob", "i2")
        assert await told.get() == Sync("i2")
        assert (await agent(operator, "bob")).state == "away"


@pytest.mark.usefixtures("gateway")
async def test_a_removed_agent_is_told_and_gone(hive):
    async with connected(hive, "agent", "bob") as bob, connected(hive, "operator") as operator, messages(bob) as told:
        await register(bob, "i1")
        await operator.command(AGENT_GATEWAY, "drain", Drain("bob"), AgentBrief)
        assert (await agent(operator, "bob")).drained
        await operator.command(AGENT_GATEWAY, "remove", Remove("bob"), AgentBrief)
        assert await told.get() == Replaced("")
        with pytest.raises(RefusedError, match="not registered") as refused:
            await agent(operator, "bob")
        assert refused.value.status == 404
    assert await differences(hive) == []


async def test_a_restarted_gateway_goes_on_where_it_was(hive):
    async with connected(hive, "agent", "bob") as bob:
        async with running(hive):
            await register(bob, "i1", capabilities=["x"])
            await register(bob, "i2", capabilities=["y"])
        async with running(hive):
            with pytest.raises(RefusedError, match="was replaced by i2"):
                await register(bob, "i1")
            view = await agent(bob, "bob")
    assert (view.instance, view.state, view.capabilities) == ("i2", "present", ["y"])
    assert await differences(hive) == []


@pytest.mark.usefixtures("gateway")
async def test_agents_are_listed_page_by_page(hive):
    names = ["ann", "bob", "eve"]
    for name in names:
        async with connected(hive, "agent", name) as connection:
            await register(connection, "i1")
    seen, cursor = [], None
    async with connected(hive, "operator") as operator:
        while True:
            page = await operator.read(AGENT_GATEWAY, "agents", Listing(limit=2, cursor=cursor), Page)
            seen += [item["agent_id"] for item in page.items]
            cursor = page.cursor
            if cursor is None:
                break
    assert seen == names


@pytest.mark.usefixtures("gateway")
async def test_issued_credentials_work_under_their_name_and_are_stored_nowhere(hive):
    async with connected(hive, "operator") as operator:
        issued = await operator.admin(AGENT_GATEWAY, "credentials", IssueCredentials(name="bob"), Issued)
        with pytest.raises(RefusedError, match="reserved"):
            await operator.admin(AGENT_GATEWAY, "credentials", IssueCredentials(name="service"), Issued)
    credentials = Credentials.parse(issued.creds)
    assert (issued.name, issued.role, credentials.name) == ("bob", "agent", "bob")
    async with await Connection.open(hive.nats_url, credentials, hive=hive.name) as bob:
        assert (await register(bob, "i1")).state == "present"
    seed = re.search(r"^SU\w+$", issued.creds, re.MULTILINE)[0]
    connection = await asyncpg.connect(hive.postgres_dsn)
    for table in ("outcome", "event", "reject"):
        rows = await connection.fetch(f"SELECT row_to_json(t)::text AS row FROM {hive.name}.{table} t")
        assert not any(seed in row["row"] for row in rows)
    await connection.close()


async def test_an_agent_may_not_ask_for_credentials(hive):
    async with connected(hive, "agent", "bob") as bob:
        with pytest.raises(RefusedError) as refused:
            await bob.admin(AGENT_GATEWAY, "credentials", IssueCredentials(name="eve"), Issued)
    assert refused.value.status == 403


async def test_the_fold_finds_what_was_changed_by_hand(hive):
    async with connected(hive, "agent", "bob") as bob, running(hive):
        await register(bob, "i1")
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    await connection.execute("UPDATE agent SET drained = true, state = 'lost'")
    assert await fold.differences(connection) == [
        "agent bob: presence is <Presence.LOST: 'lost'>, its events say <Presence.PRESENT: 'present'>",
        "agent bob: drained is True, its events say False",
    ]
    await connection.execute("DELETE FROM agent")
    assert await fold.differences(connection) == ["agent bob: no row"]
    await connection.close()
