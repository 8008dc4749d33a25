"""A real nats-server without services; a scripted hive answers in their place."""

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from hivewire import codec, inbox
from hivewire.connection import Connection
from hivewire.envelope import REPLY_OK, REPLY_REFUSED, Envelope, ErrorBody
from hivewire.ids import new_id
from hivewire.subjects import REPLY_HEADER, Subjects
from hivewire_service.embedded import binaries
from ports import free_port

SUBJECTS = Subjects()


@dataclass
class Server:
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @classmethod
    def start(cls, port: int | None = None, *arguments: str) -> "Server":
        port = port or free_port()
        binary = str(binaries.nats_server())
        process = subprocess.Popen([binary, "-a", "127.0.0.1", "-p", str(port), *arguments], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return cls(port, process)
        raise AssertionError("nats-server did not start")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server.start()
    yield server
    server.stop()


@dataclass
class Asked:
    """A command or read that reached the fake."""

    verb: str
    sender: str
    id: str
    data: Any
    correlationid: str | None = None


Answer = Callable[[Asked], Any]


@dataclass
class FakeHive:
    """Answers commands and reads by verb. A verb without an answer is heard and left unanswered."""

    nats: Nats
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    beats: list[inbox.Beat] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def start(self) -> None:
        for subject in ("hive.cmd.>", "hive.get.>", "hive.admin.>"):
            await self.nats.subscribe(subject, cb=self._answer)
        await self.nats.subscribe("hive.beat.*", cb=self._beat)
        await self.nats.flush()

    async def _beat(self, message: Msg) -> None:
        envelope = codec.decode_envelope(message.data)
        assert isinstance(envelope, Envelope)
        self.beats.append(msgspec.json.decode(envelope.data, type=inbox.Beat))
        async with self.changed:
            self.changed.notify_all()

    async def _answer(self, message: Msg) -> None:
        envelope = codec.decode_envelope(message.data)
        assert isinstance(envelope, Envelope)
        *_, verb, sender = message.subject.split(".")
        asked = Asked(verb, sender, envelope.id, msgspec.json.decode(envelope.data), envelope.correlationid)
        reply = message.reply or (message.headers or {})[REPLY_HEADER]
        body = self._taken(asked) if verb == "report_batch" else self._answered(asked)
        if body is not None:
            kind = REPLY_REFUSED if isinstance(body, ErrorBody) else REPLY_OK
            answer = Envelope(id=new_id(), type=kind, source="/hive/fake", data=codec.raw(body))
            await self.nats.publish(reply, codec.encode(answer))
        async with self.changed:
            self.changed.notify_all()

    def _answered(self, asked: Asked) -> Any:
        self.asked.append(asked)
        return self.answers[asked.verb](asked) if asked.verb in self.answers else None

    def _taken(self, batch: Asked) -> Any:
        """Reports are heard and answered one by one, each under its own verb, unless the batch itself is refused."""
        refusal = self.answers.get("report_batch", lambda _: None)(batch)
        if refusal is not None:
            return refusal
        reports = [Asked(each.pop("verb"), batch.sender, batch.id, each) for each in batch.data["reports"]]
        answers = [self._answered(report) for report in reports]
        if None in answers:
            return None
        refused = [(index, answer) for index, answer in enumerate(answers) if isinstance(answer, ErrorBody)]
        return {"refused": [{"index": index, "error": no.error, "status": no.status} for index, no in refused]}

    def of(self, verb: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.verb == verb]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(condition)

    async def eventually(self, condition: Callable[[], bool]) -> None:
        """For conditions of the client, whose changes nothing announces."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.002)

    async def heard(self, verb: str, times: int = 1) -> list[Asked]:
        await self.until(lambda: len(self.of(verb)) >= times)
        return self.of(verb)

    async def tell(self, agent_id: str, kind: str, data: object) -> None:
        envelope = Envelope(id=new_id(), type=inbox.inbox_type(kind), source="/hive/fake", data=codec.raw(data))
        await self.nats.publish(SUBJECTS.inbox(agent_id, kind), codec.encode(envelope))
        await self.nats.flush()

    async def happen(self, event_type: str, entity_id: str, seq: int, data: object) -> None:
        envelope = Envelope(
            id=new_id(),
            type=event_type,
            source="/hive/broker",
            subject=entity_id,
            time=datetime.now(UTC),
            seq=seq,
            data=codec.raw(data),
        )
        await self.nats.publish(SUBJECTS.event(event_type, entity_id), codec.encode(envelope))
        await self.nats.flush()


@pytest.fixture
async def fake(server: Server) -> AsyncIterator[FakeHive]:
    nats = Nats()
    await nats.connect(server.url)
    fake = FakeHive(nats)
    await fake.start()
    yield fake
    await nats.close()


@pytest.fixture
async def connection(server: Server, fake: FakeHive) -> AsyncIterator[Connection]:
    async with await Connection.open(server.url, name="bob") as connection:
        yield connection


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Starts servers that a test may stop; ends what is left."""
    started: list[Server] = []

    def start(port: int | None = None, config: Path | None = None) -> Server:
        started.append(Server.start(port, *(("-c", str(config)) if config else ())))
        return started[-1]

    yield start
    for server in started:
        server.stop()
