"""The conversation service on the real nats-server and the real Postgres, beside the gateway and the broker."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import msgspec
import pytest

from hivewire import codec, inbox
from hivewire.commands.agent_gateway import AgentBrief, Register
from hivewire.commands.conversation import Answer, Ask, Done, Receive, SendMessage, SetGraph, Withdraw
from hivewire.connection import Connection
from hivewire.credentials import Credentials
from hivewire.errors import RefusedError
from hivewire.graph import Edge, Node
from hivewire.inbox import MessageReceived, QuestionAsked, QuestionEnded
from hivewire.reads import ListConversations, Nothing, OneConversation
from hivewire.subjects import AGENT_GATEWAY, CONVERSATION
from hivewire.views import ConversationView, GraphView, MessageBrief, Page
from hivewire_conversation import fold


def raw(value) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


@asynccontextmanager
async def running(hive, *services: str) -> AsyncIterator[None]:
    """Services as processes of their own. Senders repeat until they take commands, so nothing waits for them here."""
    settings = {
        "HIVEWIRE_HIVE": hive.name,
        "NATS_URL": hive.nats_url,
        "NATS_CREDS": str(hive.credentials("service")),
        "HIVEWIRE_POSTGRES_DSN": hive.postgres_dsn,
        "HIVEWIRE_KEYS_FILE": str(hive.keys_file),
        "HIVEWIRE_METRICS_PORT": "0",
        "HIVEWIRE_HTTP_PORT": "0",
    }
    program = [sys.executable, "-m", "hivewire", "serve"]
    processes = [await asyncio.create_subprocess_exec(*program, name, env=os.environ | settings) for name in services]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        assert [await process.wait() for process in processes] == [0] * len(processes)


@pytest.fixture
async def services(hive) -> AsyncIterator[None]:
    async with running(hive, "agent-gateway", "conversation"):
        yield


@asynccontextmanager
async def connected(hive, role: str, name: str | None = None) -> AsyncIterator[Connection]:
    credentials = Credentials.load(hive.credentials(role, name))
    async with await Connection.open(hive.nats_url, credentials, hive=hive.name) as connection:
        yield connection


class Peer:
    """A registered agent and what its inbox brought."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.inbox: asyncio.Queue = asyncio.Queue()

    def hear(self, _subject: str, body: bytes) -> None:
        self.inbox.put_nowait(codec.decode_data(codec.decode_envelope(body), inbox.KINDS))

    async def register(self, instance: str = "i1", **card) -> None:
        await self.connection.command(AGENT_GATEWAY, "register", Register(instance=instance, **card), AgentBrief)

    async def command(self, verb: str, data, wanted=ConversationView):
        return await self.connection.command(CONVERSATION, verb, data, wanted)

    async def ask(self, target: str, question="?", **options) -> ConversationView:
        return await self.command("ask", Ask(target=target, question=raw(question), **options))

    async def answer(self, conversation_id: str, answer="!") -> ConversationView:
        return await self.command("answer", Answer(conversation_id, raw(answer)))

    async def receive(self, *ids: str) -> None:
        await self.command("receive", Receive(list(ids)), Done)

    async def view(self, conversation_id: str) -> ConversationView:
        return await self.connection.read(
            CONVERSATION, "conversation", OneConversation(conversation_id), ConversationView
        )


@asynccontextmanager
async def peers(hive, *names: str) -> AsyncIterator[list[Peer]]:
    async with AsyncExitStack() as stack:
        found = []
        for name in names:
            peer = Peer(await stack.enter_async_context(connected(hive, "agent", name)))
            await peer.connection.listen(peer.connection.subjects.inboxes(name), peer.hear)
            await peer.register()
            found.append(peer)
        yield found


async def differences(hive) -> list[str]:
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    try:
        return await fold.differences(connection)
    finally:
        await connection.close()


@pytest.mark.usefixtures("services")
async def test_a_question_its_delivery_and_its_answer(hive):
    async with peers(hive, "ann", "bob") as (ann, bob):
        asked = await ann.ask("agent:bob", {"which": ["é", 1.0]})
        assert (asked.state, asked.agent_id, asked.resolution) == ("asked", "bob", "named")
        question = await bob.inbox.get()
        assert isinstance(question, QuestionAsked)
        assert question.question == raw({"which": ["é", 1.0]})
        await bob.receive(question.conversation_id)
        assert (await ann.view(asked.conversation_id)).state == "delivered"
        await bob.answer(question.conversation_id, "v2")
        ended = await ann.inbox.get()
        assert isinstance(ended, QuestionEnded)
        assert (ended.state, ended.answer, ended.conversation_id) == ("answered", raw("v2"), asked.conversation_id)
        await ann.receive(asked.conversation_id)
    assert await differences(hive) == []


async def test_what_is_open_survives_a_restart_and_is_delivered_when_the_agent_registers(hive):
    async with running(hive, "agent-gateway"), peers(hive, "ann", "bob") as (ann, bob):
        async with running(hive, "conversation"):
            first = await ann.ask("agent:bob", "1")
            await ann.command("message", SendMessage(target="agent:bob", content=raw("hello")), MessageBrief)
            assert {type(await bob.inbox.get()) for _ in range(2)} == {QuestionAsked, MessageReceived}
        async with running(hive, "conversation"):
            await bob.answer(first.conversation_id)  # the service is up again
            second = await ann.ask("agent:bob", "2")
            seen = [await bob.inbox.get()]
            await bob.register("i2")
            while len(seen) < 3:
                seen.append(await bob.inbox.get())
                if isinstance(seen[-1], inbox.Replaced):
                    seen.pop()
        ids = [getattr(message, "conversation_id", "message") for message in seen]
        assert ids.count(second.conversation_id) >= 1
        assert "message" in ids
        assert (await ann.inbox.get()).conversation_id == first.conversation_id
    assert await differences(hive) == []


@pytest.mark.usefixtures("services")
async def test_bad_input_is_refused_with_a_reason(hive):
    async with peers(hive, "ann", "bob", "eve") as (ann, bob, eve):
        asked = await ann.ask("agent:bob")
        for status, text, attempt in (
            (403, "put to bob", eve.answer(asked.conversation_id)),
            (404, "no agent 'nobody'", ann.ask("agent:nobody")),
            (404, "no task 't9'", ann.ask("task:t9")),
            (422, "nobody asks himself", ann.ask("agent:ann")),
            (400, "target", ann.ask("bob")),
            (403, "is not ann's", ann.ask("agent:bob", task_id="t1", attempt=1)),
            (403, "may not ask for", ann.command("set_graph", SetGraph(), Done)),
            (413, "allowed", ann.ask("agent:bob", "x" * 70_000)),
        ):
            with pytest.raises(RefusedError, match=text) as refused:
                await attempt
            assert refused.value.status == status
        await bob.answer(asked.conversation_id, 1)
        with pytest.raises(RefusedError, match="answered already"):
            await bob.answer(asked.conversation_id, 2)
    assert await differences(hive) == []


@pytest.mark.usefixtures("services")
async def test_the_graph_is_kept_and_what_it_blocks_is_told_once(hive):
    async with peers(hive, "ann", "bob") as (ann, bob), connected(hive, "operator") as operator:
        spec = SetGraph(nodes=[Node("ann"), Node("bob")], edges=[Edge(source="ann", target="bob")])
        await operator.command(CONVERSATION, "set_graph", spec, Done)
        await ann.ask("agent:bob")
        blocked = Ask(target="agent:ann", question=raw("?"))
        for _ in range(2):
            with pytest.raises(RefusedError, match="no edge from bob to ann") as refused:
                await bob.connection.command(CONVERSATION, "ask", blocked, ConversationView, id="x1")
            assert refused.value.status == 403
        view = await ann.connection.read(CONVERSATION, "graph", Nothing(), GraphView)
        assert (view.set, view.edges) == (True, spec.edges)
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    assert await connection.fetchval("SELECT count(*) FROM event WHERE type = 'message.blocked_by_graph'") == 1
    await connection.close()
    assert await differences(hive) == []


@pytest.mark.usefixtures("services")
async def test_conversations_are_listed_page_by_page(hive):
    async with peers(hive, "ann", "bob", "eve") as (ann, _, eve):
        ids = [(await ann.ask("agent:bob", n)).conversation_id for n in range(3)]
        await eve.ask("agent:bob")
        await ann.command("withdraw", Withdraw(ids[1]))
        first = await ann.connection.read(CONVERSATION, "conversations", ListConversations(asker="ann", limit=2), Page)
        query = ListConversations(asker="ann", limit=2, cursor=first.cursor)
        second = await ann.connection.read(CONVERSATION, "conversations", query, Page)
        assert [item["conversation_id"] for item in (*first.items, *second.items)] == ids[::-1]
        query = ListConversations(agent="bob", state=["withdrawn"])
        found = await ann.connection.read(CONVERSATION, "conversations", query, Page)
        assert [item["conversation_id"] for item in found.items] == [ids[1]]
