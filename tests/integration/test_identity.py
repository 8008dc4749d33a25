"""nats-server itself enforces who may say and hear what."""

import asyncio
from datetime import UTC, datetime, timedelta

import nats
import pytest
from nats.aio.client import Client

from hivewire.errors import BadUsage
from hivewire.subjects import AGENT_GATEWAY, BROKER, Subjects, reply_prefix
from hivewire_service.identity import HiveKeys, Issuer
from hivewire_service.roles import Role


class Refusals:
    """Collects what the server refuses, to be awaited one by one."""

    def __init__(self) -> None:
        self._texts: asyncio.Queue[str] = asyncio.Queue()

    async def collect(self, error: Exception) -> None:
        self._texts.put_nowait(str(error))

    async def next(self) -> str:
        return await asyncio.wait_for(self._texts.get(), 10)

    @property
    def waiting(self) -> bool:
        return not self._texts.empty()


async def settle(client: Client) -> None:
    """Everything sent before was handled: the server answers in order, refusals before the PONG."""
    await client.flush()


@pytest.fixture
async def alice(hive):
    refusals = Refusals()
    client = await hive.connect("agent", "alice", error_cb=refusals.collect)
    yield client, refusals
    await client.close()


async def test_an_agent_speaks_under_its_own_name_only(hive, alice):
    client, refusals = alice
    subjects = Subjects(hive.name)
    await client.publish(subjects.command(BROKER, "submit", "alice"), b"{}")
    await client.publish(subjects.beat("alice"), b"{}")
    await settle(client)
    assert not refusals.waiting
    for subject in (
        subjects.command(BROKER, "submit", "bob"),
        subjects.command(BROKER, "cancel", "alice"),
        subjects.beat("bob"),
        subjects.event("task.completed", "t1"),
        subjects.inbox("bob", "task"),
        f"{reply_prefix('bob')}.1",
        "$JS.API.INFO",
        "$SRV.PING",
    ):
        await client.publish(subject, b"{}")
        assert subject.lower() in (await refusals.next()).lower()


async def test_an_agent_hears_its_own_inbox_only(hive, alice):
    client, refusals = alice
    subjects = Subjects(hive.name)
    await client.subscribe(subjects.inboxes("alice"))
    await settle(client)
    assert not refusals.waiting
    for subject in (subjects.inboxes("bob"), f"{reply_prefix('bob')}.>", subjects.events(), subjects.beats(), ">"):
        await client.subscribe(subject)
        assert f'"{subject.lower()}"' in (await refusals.next()).lower()


async def test_a_publisher_hears_events_and_gives_no_reports(hive):
    refusals = Refusals()
    client = await hive.connect("publisher", "ci", error_cb=refusals.collect)
    subjects = Subjects(hive.name)
    await client.subscribe(subjects.events())
    await client.publish(subjects.command(BROKER, "cancel", "ci"), b"{}")
    await settle(client)
    assert not refusals.waiting
    await client.publish(subjects.command(BROKER, "start", "ci"), b"{}")
    assert "start" in await refusals.next()
    await client.close()


async def test_an_operator_reads_the_state_of_jetstream_and_changes_nothing(hive):
    service = await hive.connect("service")
    await service.jetstream().add_stream(name="S", subjects=[f"{hive.name}.evt.>"])
    refusals = Refusals()
    operator = await hive.connect("operator", error_cb=refusals.collect)
    assert (await operator.jetstream().stream_info("S")).config.name == "S"
    await operator.publish("$JS.API.STREAM.PURGE.S", b"")
    assert "$js.api.stream.purge.s" in (await refusals.next()).lower()
    await operator.close()
    await service.close()


async def test_only_operators_ask_for_what_is_secret(hive, alice):
    client, refusals = alice
    subjects = Subjects(hive.name)
    await client.publish(subjects.admin(AGENT_GATEWAY, "credentials", "alice"), b"{}")
    assert ".admin." in await refusals.next()
    operator_refusals = Refusals()
    operator = await hive.connect("operator", "carol", error_cb=operator_refusals.collect)
    await operator.publish(subjects.admin(AGENT_GATEWAY, "credentials", "carol"), b"{}")
    await settle(operator)
    assert not operator_refusals.waiting
    await operator.close()


async def test_hives_on_one_server_hear_nothing_of_one_another(hive, stack, tmp_path):
    stranger = stack.nats.add_hive(f"{hive.name}_other")
    file = tmp_path / "stranger.creds"
    file.write_text(stranger.issue("service", "service"))
    refusals = Refusals()
    other = await nats.connect(stack.nats.url, user_credentials=str(file), error_cb=refusals.collect)
    await other.subscribe(f"{hive.name}.>")
    assert f"{hive.name}.>" in await refusals.next()
    await other.close()


async def test_without_credentials_nobody_is_let_in(stack):
    with pytest.raises(nats.errors.Error, match="(?i)authorization violation"):
        await nats.connect(stack.nats.url, allow_reconnect=False, max_reconnect_attempts=0)


async def test_an_expired_credential_is_refused(hive, tmp_path):
    file = tmp_path / "late.creds"
    file.write_text(hive.issuer.issue("agent", "late", expires=datetime.now(UTC) - timedelta(minutes=1)))
    with pytest.raises(nats.errors.Error, match="(?i)expired|authorization"):
        await nats.connect(hive.nats_url, user_credentials=str(file), allow_reconnect=False, max_reconnect_attempts=0)


async def test_credentials_of_another_hives_keys_are_refused(hive, tmp_path):
    file = tmp_path / "forged.creds"
    file.write_text(Issuer(HiveKeys.new(hive.name)).issue(Role.AGENT, "mallory"))
    with pytest.raises(nats.errors.Error, match="(?i)authorization"):
        await nats.connect(hive.nats_url, user_credentials=str(file), allow_reconnect=False, max_reconnect_attempts=0)


def test_the_issuer_reads_the_keys_of_its_own_hive(hive):
    assert "BEGIN NATS USER JWT" in Issuer.from_file(hive.keys_file, hive.name).issue("agent", "a")
    with pytest.raises(BadUsage, match="holds the keys of hive"):
        Issuer.from_file(hive.keys_file, "another")
