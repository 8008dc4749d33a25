"""Sessions on the real nats-server and the real Postgres, with agents that speak NATS themselves."""

import msgspec
import pytest

from hivewire.commands.agent_gateway import AgentBrief
from hivewire.commands.sessions import Dispatch, DispatchBatch, Respond, TakeResponse
from hivewire.inbox import SessionDispatch
from hivewire.paging import PageOf
from hivewire.reads import ListSessions, OneSession
from hivewire.subjects import AGENT_GATEWAY
from hivewire.views import Page, SessionBatch, SessionBrief, SessionView

from .test_agent_gateway import connected, differences, messages, register, running


async def view(connection, session_id: str) -> SessionView:
    return await connection.read(AGENT_GATEWAY, "session", OneSession(session_id), SessionView)


async def ask(connection, **data) -> SessionBrief:
    return await connection.command(AGENT_GATEWAY, "dispatch", Dispatch(agent_id="bob", **data), SessionBrief)


async def answer(connection, given: SessionDispatch, content: bytes = b'"done"') -> SessionBrief:
    respond = Respond(given.session_id, given.attempt, msgspec.Raw(content))
    return await connection.command(AGENT_GATEWAY, "respond", respond, SessionBrief)


async def test_a_session_survives_restarts_and_its_response_is_buffered(hive):
    content = msgspec.Raw(b'{"text": "\\u0000", "n": 1.0}')
    async with connected(hive, "agent", "bob") as bob, connected(hive, "publisher", "pub") as pub:
        async with messages(bob) as told:
            async with running(hive):
                await register(bob, "i1", agent_type="remote")
                brief = await ask(pub, id="s1", content=content, external_ref="42")
                assert (brief.session_id, brief.created) == ("s1", True)
                given = await told.get()
                assert (given.message_id, given.content, given.instance) == ("s1.1", content, "i1")
            async with running(hive):
                assert await told.get() == given
                assert (await answer(bob, given)).state == "completed"
        async with running(hive):
            page = await pub.read(AGENT_GATEWAY, "sessions", ListSessions(external_ref="42"), PageOf[SessionView])
            assert [item.session_id for item in page.items] == ["s1"]
            taken = await pub.command(AGENT_GATEWAY, "take", TakeResponse("s1"), SessionBrief)
            assert taken.state == "completed"
            found = await view(pub, "s1")
            assert (found.response, found.taken, found.content) == (msgspec.Raw(b'"done"'), True, content)
            assert await differences(hive) == []


async def test_a_batch_of_a_thousand_is_taken_in_one_command_and_done(hive):
    async with connected(hive, "agent", "bob") as bob, connected(hive, "publisher", "pub") as pub, running(hive):
        await register(bob, "i1", agent_type="remote")
        one = Dispatch(agent_id="bob", content=msgspec.Raw(b"1"))
        batch = DispatchBatch([one] * 1000, 10)
        reply = await pub.command(AGENT_GATEWAY, "dispatch_batch", batch, SessionBatch)
        assert all(item.created for item in reply.items)
        page = await pub.read(AGENT_GATEWAY, "sessions", ListSessions(state=["created"], limit=1000), Page)
        assert len(page.items) == 990
        assert await differences(hive) == []


@pytest.mark.parametrize("role", ["agent", "publisher"])
async def test_only_the_session_s_agent_answers(hive, role):
    async with connected(hive, "agent", "bob") as bob, connected(hive, "publisher", "pub") as pub, running(hive):
        brief = await register(bob, "i1", agent_type="remote")
        assert isinstance(brief, AgentBrief)
        await ask(pub, id="s1", content=msgspec.Raw(b"1"))
        async with connected(hive, role, "eve") as eve:
            with pytest.raises(Exception, match="eve"):
                await eve.command(AGENT_GATEWAY, "respond", Respond("s1", 1), SessionBrief)
        assert (await view(pub, "s1")).state == "dispatched"
