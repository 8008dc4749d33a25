"""Messages that nobody should send: each is answered in one clear line, and after each a normal task still completes."""

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client as Nats
from tests.conftest import Hive

from hivewire import Agent, Client, Permanent, codec, ids, reads
from hivewire.admin import AGENT_GATEWAY as ADMIN
from hivewire.commands import CATALOGUE
from hivewire.commands.broker import Backoff, Complete, Fail, Start, Submit, SubmitBatch
from hivewire.connection import HEADER_BYTES, Connection
from hivewire.context import Context
from hivewire.credentials import Credentials
from hivewire.envelope import Envelope, ErrorBody
from hivewire.errors import BadUsage, HivewireError, RefusedError
from hivewire.inbox import BEAT_TYPE, Beat
from hivewire.subjects import AGENT_GATEWAY, BROKER, REPLY_HEADER, Subjects
from hivewire.views import Batch, RejectView, TaskBrief

DEEP = b"[" * 100_000 + b"]" * 100_000
NOT_ENVELOPES = {
    "nothing": b"",
    "text": b"hello",
    "half": b'{"specversion": "1.0", "id": "1"',
    "list": b"[]",
    "number": b"1e999",
    "not-utf-8": b'{"id": "\xff\xfe"}',
    "nul-byte": b"\x00",
    "deep": DEEP,
    "unclosed": b"[" * 100_000,
    "another-version": b'{"specversion": "9", "id": "1", "type": "t", "source": "s"}',
    "nul-id": b'{"specversion": "1.0", "id": "a\\u0000", "type": "t", "source": "s"}',
    "surrogate-id": b'{"specversion": "1.0", "id": "\\ud800", "type": "t", "source": "s"}',
}
NOT_DATA = {
    "list": b"[]",
    "text": b'"data"',
    "wrong-types": b'{"task_id": 1, "instance": [], "agent_id": {}, "title": 3, "tasks": 4, "name": 5}',
    "deep": b'{"title": ' + DEEP + b', "task_id": ' + DEEP + b"}",
    "empty-names": b'{"task_id": "", "instance": "", "agent_id": "", "title": "", "tasks": [], "name": ""}',
    "wild-names": b'{"task_id": "a.*", "instance": ">", "agent_id": "a b", "title": "", "tasks": [], "name": "*"}',
    "nul": b'{"task_id": "a\\u0000", "instance": "\\u0000", "agent_id": "\\u0000", "title": "\\u0000", "tasks": []}',
}
COMMANDS = [(service, verb) for service, verbs in CATALOGUE.items() for verb in verbs]
READS = [(service, query) for service, queries in reads.CATALOGUE.items() for query in queries]


@dataclass(frozen=True)
class World:
    """A hive with its services as processes."""

    hive: Hive

    @property
    def subjects(self) -> Subjects:
        return Subjects(self.hive.name)

    def context(self, role: str, name: str | None = None) -> Context:
        creds = str(self.hive.credentials(role, name))
        return Context(nats_url=self.hive.nats_url, hive=self.hive.name, nats_creds=creds)

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[Client]:
        async with Client.connect(context=self.context("operator")) as client:
            yield client

    @asynccontextmanager
    async def wire(self, role: str = "operator", name: str | None = None) -> AsyncIterator["Wire"]:
        client = await self.hive.connect(role, name)
        wire = Wire(self.subjects, client, name or role)
        await wire.listen()
        yield wire
        await client.close()

    def agent(self, name: str = "worker") -> Agent:
        """An agent that returns its payload, or waits for `release`."""
        return Agent(name, can=["work"], slots=4, context=self.context("agent", name))

    async def listens(self) -> None:
        """Wait until every service takes commands: from then on raw messages find their streams."""
        async with self.operator() as client:
            for service in CATALOGUE:
                with pytest.raises(RefusedError, match="unknown command"):
                    await client.connection.command(service, "conquer", {}, msgspec.Raw, timeout_s=90)

    async def does_work(self) -> None:
        agent = self.agent()

        @agent.task
        async def echo(task, context) -> Any:
            return task.payload

        async with agent, self.operator() as client:
            task = await client.submit("normal", needs=["work"], payload=42)
            assert await task.result(20) == 42


class Wire:
    """Raw messages under one name, and the answers to them."""

    def __init__(self, subjects: Subjects, client: Nats, name: str) -> None:
        self.subjects = subjects
        self.client = client
        self.name = name
        self._replies: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(self) -> None:
        async def receive(message: Any) -> None:
            self._replies.put_nowait(message.data)

        await self.client.subscribe(f"_INBOX.{self.name}.replies", cb=receive)

    async def command(self, service: str, verb: str, body: bytes) -> ErrorBody:
        """The refusal of a command."""
        headers = {REPLY_HEADER: f"_INBOX.{self.name}.replies"}
        await self.client.publish(self.subjects.command(service, verb, self.name), body, headers=headers)
        return refusal(await asyncio.wait_for(self._replies.get(), 20))

    async def request(self, subject: str, body: bytes) -> ErrorBody:
        """The refusal of a read or of an administrative request."""
        return refusal((await self.client.request(subject, body, timeout=20)).data)


def refusal(body: bytes) -> ErrorBody:
    """A refusal whose error people can read: one line of a reasonable length."""
    envelope = codec.decode_envelope(body)
    assert isinstance(envelope, Envelope)
    assert envelope.type == "reply.refused", bytes(envelope.data)
    error = msgspec.json.decode(envelope.data, type=ErrorBody)
    assert error.error
    assert error.error.isprintable()
    assert len(error.error) < 500
    return error


def command_envelope(kind: str, data: bytes) -> bytes:
    return codec.encode(Envelope(id=ids.new_id(), type=kind, source="/test", data=msgspec.Raw(data)))


@pytest.fixture(scope="module")
def world(stack, tmp_path_factory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("credentials")
    name = "badinput"
    issuer = stack.nats.add_hive(name)
    hive = Hive(name, stack.nats.url, stack.postgres.dsn, stack.nats.keys_file(name), issuer, folder)
    services = [subprocess.Popen(serve(service), env=environment(hive)) for service in CATALOGUE]
    running = World(hive)
    try:
        asyncio.run(running.listens())
        yield running
    finally:
        for service in services:
            service.terminate()
        ended = {service.wait(10) for service in services}
    assert ended == {0}


def serve(service: str) -> list[str]:
    return [sys.executable, "-m", "hivewire", "serve", service]


def environment(hive: Hive) -> dict[str, str]:
    return os.environ | {
        "HIVEWIRE_HIVE": hive.name,
        "NATS_URL": hive.nats_url,
        "NATS_CREDS": str(hive.credentials("service")),
        "HIVEWIRE_POSTGRES_DSN": hive.postgres_dsn,
        "HIVEWIRE_KEYS_FILE": str(hive.keys_file),
        "HIVEWIRE_METRICS_PORT": "0",
        "HIVEWIRE_HTTP_PORT": "0",
    }


@pytest.fixture(autouse=True)
async def a_normal_task_still_completes(world: World) -> AsyncIterator[None]:
    yield
    await world.does_work()


def wrong_for(parameters: type[msgspec.Struct]) -> list[bytes]:
    """The data that is wrong for these parameters: unknown fields are no fault, so what names none of theirs is left out."""
    if msgspec.json.decode(NOT_DATA["wrong-types"]).keys() & set(parameters.__struct_fields__):
        return list(NOT_DATA.values())
    return [NOT_DATA[name] for name in ("list", "text", "deep")]


# --- malformed on every subject ---------------------------------------------------------------------
@pytest.mark.parametrize(("service", "verb"), COMMANDS)
async def test_a_malformed_command_is_refused_and_kept_whole(world: World, service: str, verb: str):
    wrong = wrong_for(CATALOGUE[service][verb])
    bodies = [*NOT_ENVELOPES.values(), *(command_envelope(f"{service}.{verb}", data) for data in wrong)]
    async with world.wire() as wire, world.operator() as client:
        errors = [await wire.command(service, verb, body) for body in bodies]
        assert {error.status for error in errors} == {400}
        newest_first = [reject async for reject in client.rejects(len(bodies))]
    kept = newest_first[::-1]
    assert [reject.reason for reject in kept] == [error.error for error in errors]
    assert {reject.subject for reject in kept} == {world.subjects.command(service, verb, "operator")}
    assert [whole(reject) for reject in kept] == bodies


def whole(reject: RejectView) -> bytes:
    return reject.body.encode() if reject.encoding == "utf-8" else base64.b64decode(reject.body)


@pytest.mark.parametrize(("service", "query"), READS)
async def test_a_malformed_read_is_refused(world: World, service: str, query: str):
    parameters = reads.CATALOGUE[service][query]
    bodies = [body for name, body in NOT_ENVELOPES.items() if name != "nothing"]
    bodies += [command_envelope(query, data) for name, data in NOT_DATA.items() if name in ("list", "text")]
    if parameters.__struct_fields__:
        wrong = codec.encode({name: {"no": "such"} for name in parameters.__struct_fields__})
        bodies.append(command_envelope(query, wrong))
    async with world.wire() as wire:
        for body in bodies:
            error = await wire.request(world.subjects.read(service, query, "operator"), body)
            assert error.status == 400


@pytest.mark.parametrize("action", ADMIN)
async def test_a_malformed_administrative_request_is_refused(world: World, action: str):
    # Where no parameter is needed an empty body says all there is to say.
    needed = any(field.required for field in msgspec.structs.fields(ADMIN[action]))
    bodies = [body for body in NOT_ENVELOPES.values() if body or needed]
    bodies += [command_envelope(action, data) for data in wrong_for(ADMIN[action])]
    async with world.wire() as wire:
        for body in bodies:
            error = await wire.request(world.subjects.admin(AGENT_GATEWAY, action, "operator"), body)
            assert error.status in (400, 422)


async def test_malformed_beats_are_passed_over(world: World):
    async with world.agent("beating"), world.wire("agent", "beating") as wire, world.operator() as client:
        foreign = codec.encode(Beat("another", "instance"))
        flood = codec.encode({"agent_id": "beating", "instance": "i", "held": [{"task_id": "a.b", "attempt": 0}]})
        bodies = [*NOT_ENVELOPES.values(), *(command_envelope(BEAT_TYPE, data) for data in NOT_DATA.values())]
        for body in [*bodies, command_envelope(BEAT_TYPE, foreign), command_envelope(BEAT_TYPE, flood)]:
            await wire.client.publish(world.subjects.beat("beating"), body)
        await wire.client.flush()
        assert (await client.agent("beating")).state == "present"
        with pytest.raises(RefusedError, match="not registered"):
            await client.agent("another")


@pytest.mark.parametrize("kind", ["task", "cancel", "replaced", "sync", "conquest", "a.b"])
async def test_an_agent_passes_over_malformed_messages_in_its_inbox(world: World, kind: str):
    agent = world.agent("reader")

    @agent.task
    async def echo(task, context) -> Any:
        return task.payload

    async with agent, world.wire("service") as wire, world.operator() as client:
        data = [NOT_DATA[name] for name in ("list", "text", "wrong-types", "deep", "nul")]
        for body in [*NOT_ENVELOPES.values(), *(command_envelope(f"inbox.{kind}", datum) for datum in data)]:
            await wire.client.publish(world.subjects.inbox("reader", kind), body)
        await wire.client.flush()
        task = await client.submit("read", needs=["work"], payload="still here")
        assert await task.result(20) == "still here"


async def test_an_unknown_command_is_refused(world: World):
    async with world.wire() as wire:
        for service in CATALOGUE:
            error = await wire.command(service, "conquer", command_envelope(f"{service}.conquer", b"{}"))
            assert (error.status, error.error) == (404, "unknown command 'conquer'")
        error = await wire.command(BROKER, "cancel", command_envelope("broker.submit", b'{"title": "t"}'))
        assert error.status == 400


# --- too large, too deep, not to be stored -----------------------------------------------------------
def submission(**fields: Any) -> Submit:
    return Submit(title="bad", required_capabilities=["nobody"], **fields)


async def test_a_payload_over_the_limit_is_refused_before_it_is_sent(world: World):
    async with world.operator() as client:
        for size in (1_000_000, 2_000_000, 50_000_000):
            with pytest.raises(RefusedError, match="too large") as refused:
                await client.submit_one(submission(payload=codec.raw("x" * size)))
            assert refused.value.status == 413
        (refused_in_batch,) = await client.submit_many([submission(payload=codec.raw("x" * 2_000_000))])
        assert isinstance(refused_in_batch, RefusedError)


async def test_a_payload_that_fits_only_without_headers_is_refused_and_the_largest_that_fits_is_done(world: World):
    agent = world.agent()

    @agent.task
    async def measure(task, context) -> int:
        return len(task.payload)

    async with agent, world.operator() as client:
        connection = client.connection
        task = Submit(title="large", required_capabilities=["work"], payload=codec.raw(""))
        frame_bytes = len(connection._encode("broker.submit", task, ids.new_id()))
        header_bytes = HEADER_BYTES + len(f"{connection._replies}.{ids.new_id()}")
        for spare_bytes in (0, header_bytes - 1):
            task.payload = codec.raw("x" * (connection.message_bytes_max - frame_bytes - spare_bytes))
            with pytest.raises(RefusedError, match="too large"):
                await client.submit_one(task)
        largest = connection.message_bytes_max - frame_bytes - header_bytes - 8  # a time may have more digits
        task.payload = codec.raw("x" * largest)
        done = await client.submit_one(task)
        assert await done.result(20) == largest
        assert (await done.view()).payload == task.payload


async def test_a_message_that_the_stream_does_not_take_harms_nobody(world: World):
    body = command_envelope("broker.submit", codec.encode({"title": "t", "payload": "x" * 1_000_000}))
    async with world.wire("agent", "greedy") as wire:
        await wire.client.publish(world.subjects.command(BROKER, "submit", "greedy"), body)
        await wire.client.flush()


async def test_a_result_over_the_limit_fails_the_task_for_good(world: World):
    agent = world.agent()

    @agent.task
    async def explode(task, context) -> str:
        return "x" * 2_000_000

    async with agent, world.operator() as client:
        task = await client.submit("explode", needs=["work"])
        with pytest.raises(HivewireError, match="result"):
            await task.result(20)
        view = await task.view()
        assert (view.status, view.attempt) == ("failed", 1)


@pytest.mark.parametrize("field", ["payload", "metadata", "labels", "title"])
async def test_deep_json_is_refused_wherever_it_stands(world: World, field: str):
    body = command_envelope("broker.submit", b'{"title": "t", "' + field.encode() + b'": ' + DEEP + b"}")
    async with world.wire() as wire:
        error = await wire.command(BROKER, "submit", body)
    assert error.status == 400


async def test_nul_and_lone_surrogates_are_refused_in_texts(world: World):
    async with world.operator() as client, world.wire() as wire:
        for field in ("title", "description", "source", "owner"):
            with pytest.raises(RefusedError, match="NUL") as refused:
                await client.submit_one(msgspec.structs.replace(submission(), **{field: "a\0b"}))
            assert refused.value.status == 400
            data = b'{"title": "t", "%s": "\\ud800"}' % field.encode()
            assert (await wire.command(BROKER, "submit", command_envelope("broker.submit", data))).status == 400
        with pytest.raises(BadUsage):
            await client.submit("surrogate \ud800")


@pytest.mark.parametrize("payload", [b'"\\u0000"', b'{"\\u0000": "a\\u0000b"}', b'"\\ud83d\\ude00"', b"1e131071"])
async def test_what_postgres_would_not_take_as_json_is_read_back_equal(world: World, payload: bytes):
    async with world.operator() as client:
        task = await client.submit_one(submission(payload=msgspec.Raw(payload)))
        assert bytes((await task.view()).payload) == payload


async def test_a_lone_surrogate_in_a_payload_is_refused_or_read_back_equal(world: World):
    data = b'{"title": "t", "required_capabilities": ["nobody"], "id": "surrogate", "payload": "\\ud800"}'
    async with world.operator() as client, world.wire() as wire:
        assert (await wire.command(BROKER, "submit", command_envelope("broker.submit", data))).status == 400
        with pytest.raises(RefusedError):
            await client.task("surrogate")


# --- names, dependencies, reports --------------------------------------------------------------------
@pytest.mark.parametrize("name", ["a.b", "a*", "*", ">", "a b", "", "a\tb", "x" * 129, "a\0"])
async def test_what_cannot_stand_in_a_subject_is_refused_as_a_name(world: World, name: str):
    async with world.operator() as client, world.wire() as wire:
        with pytest.raises(BadUsage, match="can't be used"):
            await client.task(name)
        with pytest.raises(BadUsage, match="can't be used"):
            Agent(name)
        with pytest.raises(BadUsage):
            await client.submit("t", id=name)
        data = codec.encode({"title": "t", "id": name})
        assert (await wire.command(BROKER, "submit", command_envelope("broker.submit", data))).status == 400


async def test_a_task_that_depends_on_itself_is_refused(world: World):
    async with world.operator() as client:
        itself = ids.new_id()
        for task in (
            submission(id=itself, depends_on=[itself]),
            submission(idempotency_key="mine", depends_on=["mine"]),
        ):
            with pytest.raises(RefusedError, match="depends on itself"):
                await client.submit_one(task)
        with pytest.raises(RefusedError, match="unknown task"):
            await client.submit_one(submission(depends_on=["no-such-task"]))
        circle = [
            submission(id=f"{itself}-a", depends_on=[f"{itself}-b"]),
            submission(id=f"{itself}-b", depends_on=[f"{itself}-a"]),
        ]
        assert all(isinstance(refused, HivewireError) for refused in await client.submit_many(circle))
        batch = SubmitBatch([codec.raw(task) for task in circle])
        verdict = await client.connection.command(BROKER, "submit_batch", batch, Batch)
        assert [item.task_id for item in verdict.items] == [None, None]
        assert all("cycle" in (item.error or "") for item in verdict.items)


@asynccontextmanager
async def connected(world: World, role: str, name: str) -> AsyncIterator[Connection]:
    credentials = Credentials.load(world.hive.credentials(role, name))
    async with await Connection.open(world.hive.nats_url, credentials, hive=world.hive.name) as connection:
        yield connection


async def test_a_report_that_is_not_the_holders_is_refused(world: World):
    agent, release, running = world.agent("holder"), asyncio.Event(), asyncio.Event()

    @agent.task
    async def hold(task, context) -> str:
        running.set()
        await release.wait()
        return "mine"

    async with agent, world.operator() as client, connected(world, "agent", "thief") as thief:
        task = await client.submit("hold", needs=["work"])
        await running.wait()
        stolen = Complete(task.id, 1, agent.instance, result=codec.raw("stolen"))
        async with connected(world, "agent", "holder") as holder:
            for connection, report, status in (
                (thief, stolen, 403),
                (client.connection, stolen, 403),
                (thief, Fail(task.id, 1, agent.instance, error="stolen", retry=False), 403),
                (holder, Complete(task.id, 1, "another-instance"), 409),
                (holder, Complete(task.id, 2, agent.instance), 409),
                (holder, Start("no-such-task", 1, agent.instance), 404),
            ):
                verb = type(report).__name__.lower()
                with pytest.raises(RefusedError) as refused:
                    await connection.command(BROKER, verb, report, TaskBrief)
                assert refused.value.status == status, refused.value
        release.set()
        assert await task.result(20) == "mine"


async def test_a_report_of_an_old_attempt_is_refused(world: World):
    agent = world.agent("holder")

    @agent.task
    async def at_second(task, context) -> int:
        if task.attempt == 1:
            raise ValueError("not yet")
        return task.attempt

    async with agent, world.operator() as client, connected(world, "agent", "holder") as holder:
        task = await client.submit("twice", needs=["work"], backoff=Backoff(base_s=0.0))
        assert await task.result(20) == 2
        with pytest.raises(RefusedError, match="attempt 1 is over") as refused:
            await holder.command(BROKER, "complete", Complete(task.id, 1, agent.instance), TaskBrief)
        assert refused.value.status == 409
        assert await task.result(20) == 2


async def test_a_handler_that_raises_nonsense_fails_its_task_and_no_more(world: World):
    agent = world.agent("raiser")

    @agent.task
    async def raise_nonsense(task, context) -> None:
        raise Permanent("\0\ud800 " + "x" * 100_000)

    async with agent, world.operator() as client:
        task = await client.submit("nonsense", needs=["work"])
        with pytest.raises(HivewireError):
            await task.result(20)
        assert (await task.view()).status == "failed"
