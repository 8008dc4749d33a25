"""Agents with credentials that misuse them: what they may not say or hear is denied, and nobody says it for them."""

import asyncio
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from nats.aio.msg import Msg
from tests.conftest import Hive, new_hive
from tests.integration import forged, hostile
from tests.integration.test_bad_input import World, environment, serve

from hivewire.commands import CATALOGUE
from hivewire.subjects import AGENT_GATEWAY, BROKER, Subjects
from hivewire_service.bus import Bus
from hivewire_service.embedded import Embedded
from ports import free_port


@dataclass(frozen=True)
class Running(World):
    """A hive whose services can be killed."""

    hive: Hive
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    metrics_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)

    def start(self, service: str) -> None:
        own = {"HIVEWIRE_METRICS_PORT": str(self.metrics_port)} if service == BROKER else {}
        if service == AGENT_GATEWAY:
            own = {"HIVEWIRE_HTTP_PORT": str(self.http_port), "HIVEWIRE_REQUESTS_PER_MINUTE": "1000000"}
        self.processes[service] = subprocess.Popen(serve(service), env=environment(self.hive) | own)

    def restart_broker(self) -> None:
        self.processes[BROKER].kill()
        self.processes[BROKER].wait()
        self.start(BROKER)

    def metric(self, name: str) -> float:
        """A counter of the broker."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))


@contextmanager
def running(stack: Embedded, folder: Path) -> Iterator[Running]:
    """A hive with all services."""
    world = Running(new_hive(stack, folder))
    for service in CATALOGUE:
        world.start(service)
    try:
        asyncio.run(world.listens())
        yield world
    finally:
        for process in world.processes.values():
            process.terminate()
        ended = {process.wait(20) for process in world.processes.values()}
    assert ended == {0}


@pytest.fixture(scope="module")
def world(stack, tmp_path_factory) -> Iterator[Running]:
    with running(stack, tmp_path_factory.mktemp("hostile") / "hive") as world:
        yield world


@asynccontextmanager
async def database(hive: Hive) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(hive.postgres_dsn, server_settings={"search_path": hive.name})
    yield connection
    await connection.close()


async def test_nobody_is_made_to_say_what_an_agent_may_not(world: Running):
    await probe(world, agents=4, probes_each=100)


async def test_forged_reports_change_nothing_and_are_counted(world: Running):
    entries = await forge(world, 800)
    assert entries < 400
    assert world.metric("hivewire_rejects_total") >= 800
    async with world.operator() as client:
        listed = [reject async for reject in client.rejects() if "report" in reject.subject or reject.count > 1]
        whole = await client.rejected_message(listed[0].reject_id)
    flood = max(listed, key=lambda reject: reject.count)
    assert flood.count > 1
    assert flood.last_at >= flood.rejected_at
    assert whole == listed[0]


async def forge(world: Running, count: int, midway: Callable[[], None] = lambda: None) -> int:
    """Send so many forged reports while an agent holds tasks; the number of entries that tell of them."""
    async with database(world.hive) as rows, forged.held(world) as held:
        await forged.settled(rows)
        before, (refused, entries) = await forged.state(rows), await forged.kept(rows)
        began_s = time.monotonic()
        await forged.send(world, held, count, midway)
        async with asyncio.timeout(60):
            while (await forged.kept(rows))[0] < refused + count:
                await asyncio.sleep(0.05)
        await world.listens()
        took_s = time.monotonic() - began_s
        assert await forged.state(rows) == before
        refused, entries = (now - then for now, then in zip(await forged.kept(rows), (refused, entries), strict=True))
        assert refused == count
        assert entries <= 2 * forged.ENTRIES_MAX_PER_SECOND * (1 + took_s)
        return entries


async def probe(world: Running, *, agents: int, probes_each: int) -> hostile.Report:
    """Attack; nothing may arrive anywhere, and services go on."""
    monitor = hostile.Monitor(world.hive)
    async with monitor.listening() as service, hostile.attackers(world.hive, agents) as found:
        before = await hostile.stream_state(service)
        report = await hostile.attack(world.hive, found, probes_each)
        await world.listens()  # every service came past what was sent before
        after = await hostile.stream_state(service)
        heard = [message for message in monitor.messages if not message.subject.endswith(".operator")]
        heard = [message for message in heard if not message.subject.startswith("_INBOX.operator.")]
        assert hostile.injected(world.hive.name, heard) == []
        assert {name: state[0] for name, state in after.items()} == {name: state[0] for name, state in before.items()}
        events = world.subjects.event_stream
        assert after[events] == before[events]
        await hostile.canaries(service, world.hive.name, found)
    await world.does_work()
    return report


HEADERS = (
    b"X",
    b"NATS/1.0",
    b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    b"NATS/1.0 404 \xff\xfe\r\n\r\n",
    b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 5\r\n\r\n",
    b"\r\n\r\n",
    b"\xff" * 30,
    b"NATS/1.0\r\nHive-Reply: \xff\r\nHive-Reply\r\n: x\r\n\xff: y\r\n\r\n",
)
"""Header blocks as no client sends them. nats-server passes them on."""


REPLIES = (b"\xff\xfe", b"_INBOX.eve.\xff", b"a\x0bb", b"a\x0cb", b"a\x00b", b"a\x85b", b"_INBOX.eve.\x1f")


def lines(subject: str) -> Iterator[bytes]:
    """What an agent may send of it on the wire."""
    for block in HEADERS:
        yield b"HPUB %s %d %d\r\n%s{}\r\n" % (subject.encode(), len(block), len(block) + 2, block)
    for reply in REPLIES:
        yield b"PUB %s %s 2\r\n{}\r\n" % (subject.encode(), reply)
        yield b"HPUB %s %s 12 14\r\nNATS/1.0\r\n\r\n{}\r\n" % (subject.encode(), reply)


async def test_words_of_any_bytes_neither_stop_nor_disconnect_who_hears_them(hive):
    subjects = Subjects(hive.name)
    bus = Bus(hive.nats_url, str(hive.credentials("service")), "service", "test")
    await bus.connect()
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(message: Msg) -> None:
        heard.put_nowait(message.data)

    await bus.client.subscribe(subjects.beats(), cb=receive)
    await bus.client.flush()
    await bus.client.flush()
    eve = await hive.connect("agent", "eve")
    sent = list(lines(subjects.beat("eve")))
    for line in sent:
        await eve._send_command(line)
    await eve.publish(subjects.beat("eve"), b"the last")
    await eve.flush()
    said = [await asyncio.wait_for(heard.get(), 10) for _ in range(len(sent) + 1)]
    assert said == [b"{}"] * len(sent) + [b"the last"]
    assert bus.client.stats["reconnects"] == 0
    await eve.close()
    await bus.close()


async def test_words_of_any_bytes_make_no_service_deaf(world: Running):
    client = await world.hive.connect("agent", "eve")
    own = (world.subjects.command(BROKER, "submit", "eve"), world.subjects.beat("eve"))
    reads = [world.subjects.read(service, "rejects", "eve") for service in CATALOGUE]
    for subject in (*own, *reads):
        for line in lines(subject):
            await client._send_command(line)
    await client.flush()
    await client.flush()
    await client.close()
    await world.listens()
