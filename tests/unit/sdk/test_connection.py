import asyncio
from itertools import pairwise

import msgspec
import pytest

from hivewire import limits
from hivewire.connection import Connection
from hivewire.credentials import Credentials
from hivewire.envelope import ErrorBody
from hivewire.errors import BadUsage, NotReachable, RefusedError


class Body(msgspec.Struct):
    n: int


async def test_a_command_gets_its_outcome(fake, connection):
    fake.answers["submit"] = lambda asked: Body(asked.data["n"] + 1)
    assert await connection.command("broker", "submit", Body(1), Body) == Body(2)
    (asked,) = fake.of("submit")
    assert asked.sender == "bob"


async def test_a_refusal_raises_with_its_status(fake, connection):
    fake.answers["submit"] = lambda _: ErrorBody("no such thing", status=404, detail={"id": "x"})
    with pytest.raises(RefusedError, match="no such thing") as caught:
        await connection.command("broker", "submit", Body(1), Body)
    assert (caught.value.status, caught.value.detail) == (404, {"id": "x"})


async def test_a_command_is_repeated_with_the_same_id_until_it_is_answered(fake, connection, monkeypatch):
    monkeypatch.setattr("hivewire.unanswered.SWEEP_S", 0.01)
    monkeypatch.setattr(limits, "REPEAT_FIRST_S", 0.01)
    asking = asyncio.create_task(connection.command("broker", "submit", Body(1), Body))
    await fake.heard("submit", 2)
    fake.answers["submit"] = lambda _: Body(7)
    assert await asking == Body(7)
    assert len({asked.id for asked in fake.of("submit")}) == 1


async def test_who_is_told_to_slow_down_waits_so_long_and_repeats_itself(fake, connection):
    asked_at: list[float] = []
    clock = asyncio.get_running_loop().time

    def answer(_: object) -> object:
        asked_at.append(clock())
        too_many = ErrorBody("too many commands", status=429, detail={"retry_after_s": 0.2})
        return too_many if len(asked_at) < 3 else Body(7)

    fake.answers["submit"] = answer
    assert await connection.command("broker", "submit", Body(1), Body) == Body(7)
    assert len({asked.id for asked in fake.of("submit")}) == 1
    assert all(later - earlier >= 0.19 for earlier, later in pairwise(asked_at))


async def test_another_too_many_is_an_answer(fake, connection):
    fake.answers["submit"] = lambda _: ErrorBody("a thousand open questions", status=429)
    with pytest.raises(RefusedError, match="a thousand") as caught:
        await connection.command("broker", "submit", Body(1), Body)
    assert caught.value.status == 429


async def test_who_is_told_to_slow_down_for_too_long_is_told_why(fake, connection):
    fake.answers["submit"] = lambda _: ErrorBody("too many commands", status=429, detail={"retry_after_s": 9})
    with pytest.raises(NotReachable, match="too many commands"):
        await connection.command("broker", "submit", Body(1), Body, timeout_s=3)


async def test_no_answer_says_what_to_do(fake, connection):
    with pytest.raises(NotReachable, match=r"no answer from the broker in 0\.05 s: .*doctor"):
        await connection.command("broker", "submit", Body(1), Body, timeout_s=0.05)


async def test_a_read_waits_for_a_service_to_appear(server, connection, monkeypatch):
    monkeypatch.setattr("hivewire.unanswered.SWEEP_S", 0.01)
    monkeypatch.setattr(limits, "REPEAT_FIRST_S", 0.01)
    with pytest.raises(NotReachable):
        await connection.read("nobody", "task", {}, Body, timeout_s=0.1)


async def test_an_oversized_command_is_refused_before_it_reaches_the_server(fake, connection):
    with pytest.raises(RefusedError, match="too large") as caught:
        await connection.command("broker", "submit", {"x": "y" * limits.MESSAGE_BYTES_MAX}, Body)
    assert caught.value.status == 413
    fake.answers["submit"] = lambda _: Body(1)
    assert await connection.command("broker", "submit", {}, Body) == Body(1)


@pytest.mark.parametrize("data", [object(), {"a": "\ud800"}, {1.5j: 1}])
async def test_what_is_no_json_is_bad_usage(connection, data):
    with pytest.raises(BadUsage, match="JSON"):
        await connection.command("broker", "submit", data, Body)


async def test_posted_commands_keep_their_order(fake, connection):
    fake.answers["start"] = fake.answers["complete"] = lambda _: {}
    answers = [connection.post("broker", verb, {}) for _ in range(50) for verb in ("start", "complete")]
    await asyncio.gather(*answers)
    assert [asked.verb for asked in fake.asked] == ["start", "complete"] * 50


async def test_waiting_commands_survive_a_restart_of_the_server(start_server, monkeypatch):
    monkeypatch.setattr("hivewire.servers.RECONNECT_MAX_S", 0.05)
    server = start_server()
    async with await Connection.open(server.url, name="bob") as connection:
        reconnected = asyncio.Event()
        connection.on_reconnect.append(reconnected.set)
        listened: asyncio.Queue[bytes] = asyncio.Queue()
        await connection.listen("hive.evt.>", lambda _, body: listened.put_nowait(body))
        server.stop()
        waiting = connection.post("broker", "submit", {})
        start_server(server.port)
        await asyncio.wait_for(reconnected.wait(), 20)
        await connection.say("hive.evt.task.created.x", b"heard")
        assert await asyncio.wait_for(listened.get(), 20) == b"heard"
        assert not waiting.done()


async def test_no_server_is_not_reachable():
    with pytest.raises(NotReachable, match="cannot reach NATS at nats://127.0.0.1:1"):
        await Connection.open("nats://127.0.0.1:1", name="bob", patience_s=0.3)


@pytest.mark.parametrize("url", ["", "::::", "nats://", "http://x", "nats://x:port", "nats://127.0.0.1:4222,"])
async def test_what_is_no_url_is_bad_usage(url):
    with pytest.raises(BadUsage, match="no URL of a NATS server"):
        await Connection.open(url, name="bob")


async def test_a_closed_connection_ends_its_requests(server):
    connection = await Connection.open(server.url, name="bob")
    waiting = connection.post("broker", "submit", {})
    await connection.close()
    with pytest.raises(NotReachable, match="closed"):
        await waiting
    with pytest.raises(NotReachable, match="closed"):
        connection.post("broker", "submit", {})


CONFIG = """
authorization {
  users: [{user: bob, password: pw, permissions: {
    publish: ["hive.cmd.broker.submit.bob"], subscribe: ["_INBOX.bob.>"]}}]
}
"""


async def test_what_the_role_does_not_allow_is_refused_at_once(start_server, tmp_path):
    config = tmp_path / "nats.conf"
    config.write_text(CONFIG)
    server = start_server(config=config)
    url = f"nats://bob:pw@127.0.0.1:{server.port}"
    async with await Connection.open(url, name="bob") as connection:
        with pytest.raises(RefusedError, match="may not ask for broker.cancel") as caught:
            await connection.command("broker", "cancel", {}, Body, timeout_s=10)
        assert caught.value.status == 403
        with pytest.raises(RefusedError, match="may not listen"):
            await connection.listen("hive.evt.task.*.X", lambda *_: None)
    with pytest.raises(RefusedError, match=r"//\*\*\*@.* refuses the credentials"):
        await Connection.open(f"nats://bob:wrong@127.0.0.1:{server.port}", name="bob")


@pytest.mark.parametrize("text", ["", "-----BEGIN NATS USER JWT-----\nx.y.z\n------END NATS USER JWT------\n"])
def test_a_file_without_credentials_is_bad_usage(tmp_path, text):
    file = tmp_path / "x.creds"
    file.write_text(text)
    with pytest.raises(BadUsage, match="holds no NATS credentials"):
        Credentials.load(file)


def test_a_missing_file_is_bad_usage(tmp_path):
    with pytest.raises(BadUsage, match="No such file"):
        Credentials.load(tmp_path / "missing")


async def test_listening_outlives_a_connection_that_breaks_meanwhile(fake, connection, monkeypatch):
    flush, lost = connection._nats.flush, asyncio.Event()

    async def lose_the_answer():
        monkeypatch.setattr(connection._nats, "flush", flush)
        lost.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(connection._nats, "flush", lose_the_answer)
    listening = asyncio.create_task(connection.listen("_INBOX.bob.news", lambda *_: None))
    await lost.wait()
    await connection._nats.force_reconnect()
    await asyncio.wait_for(listening, 5)


async def test_who_gives_up_listening_leaves_the_connection_alive(fake, connection, monkeypatch):
    ping, asked = connection._nats._send_ping, asyncio.Event()

    async def tell(*arguments):
        await ping(*arguments)
        asked.set()

    monkeypatch.setattr(connection._nats, "_send_ping", tell)
    listening = asyncio.create_task(connection.listen("_INBOX.bob.news", lambda *_: None))
    await asked.wait()
    listening.cancel()
    await asyncio.wait((listening,))
    fake.answers["submit"] = lambda _: Body(1)
    assert await connection.command("broker", "submit", Body(1), Body, timeout_s=5) == Body(1)
