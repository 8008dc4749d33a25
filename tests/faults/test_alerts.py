"""Each alert fires when its trouble comes and resolves when it goes, on a whole hive with a real Prometheus."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import nats
import pytest

from e2e.up import HIVEWIRE, Up, eventually
from faults.prometheus import Prometheus
from hivewire.subjects import SERVICES, Subjects, reply_prefix

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

if shutil.which("prometheus") is None:
    pytest.skip("prometheus is missing: install Debian's package prometheus", allow_module_level=True)

HUGE_BYTES = 1_000_000_000
FLOOD_BYTES = 4_000_000
MESSAGE_BYTES = 40_000


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("home"))
    running.start()
    yield running
    running.process.send_signal(signal.SIGINT)  # how quickly it stops on a busy machine is asked elsewhere
    running.process.wait(60)


@pytest.fixture(scope="module")
def prometheus(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    targets = dict(zip(SERVICES, up.addresses[3].split(","), strict=True))
    folder = tmp_path_factory.mktemp("prometheus")
    thresholds = {"queue_age_seconds": 3.0, "publish_backlog_events": 0.0}
    with Prometheus(folder, targets, **thresholds) as running:
        yield running


@asynccontextmanager
async def services_bus(up: Up):
    """A connection with the services' credentials."""
    credentials = str(up.data / "credentials" / "service.creds")
    bus = await nats.connect(up.context.nats_url, user_credentials=credentials, inbox_prefix=reply_prefix("service"))
    try:
        yield bus
    finally:
        await bus.close()


def test_nothing_is_wrong_at_first(prometheus):
    prometheus.expect(data_used_ratio=1.0)
    eventually(lambda: prometheus.value("sum(hivewire:owners)") == len(SERVICES))
    assert prometheus.value("hivewire:data_used_ratio") < 1
    eventually(lambda: prometheus.firing() == set())


def test_a_broker_that_stands_still(up, prometheus):
    broker = up.service("broker")
    broker.suspend()
    try:
        prometheus.fires("HivewireServiceDown broker", "HivewireNoOwner broker")
        assert prometheus.firing() == {"HivewireServiceDown broker", "HivewireNoOwner broker"}
    finally:
        broker.resume()
    prometheus.resolves("HivewireServiceDown broker", "HivewireNoOwner broker")


def test_nobody_owns_anything_while_postgres_stands_still(up, prometheus):
    postmaster = up.service("postgres")
    postgres = [postmaster, *postmaster.children(recursive=True)]
    owners = {f"HivewireNoOwner {service}" for service in SERVICES}
    try:
        for process in postgres:
            process.suspend()
        prometheus.fires(*owners)
    finally:
        for process in postgres:
            process.resume()
    prometheus.resolves(*owners)


def test_a_task_that_nobody_can_take(up, prometheus):
    task_id = up.submit("nobody", "--needs", "nothing-has-it")
    prometheus.fires("HivewireQueueOld")
    up.run("cancel", task_id)
    prometheus.resolves("HivewireQueueOld")


def test_dead_letters_and_an_agent_that_is_lost(up, prometheus):
    agent = up.spawn([*HIVEWIRE, "agent", "exec", "--id", "failing", "--can", "fail", "--", "false"])
    try:
        task_id = up.submit("fails", "--needs", "fail", "--retries", "0")
        prometheus.fires("HivewireDeadLetters")
        assert up.task(task_id)["status"] == "dead_lettered"
        prometheus.resolves("HivewireDeadLetters")
    finally:
        agent.kill()
        agent.wait()
    prometheus.fires("HivewireAgentsLost")
    up.run("agent", "remove", "failing")
    prometheus.resolves("HivewireAgentsLost")


async def test_events_that_cannot_be_published(up, prometheus):
    """Deadlines that pass while NATS stands still become events, until the broker knows that it hears nothing."""
    async with up.client() as client:
        soon = [datetime.now(UTC) + timedelta(seconds=2 + number / 4) for number in range(40)]
        for moment in soon:
            await client.submit("late", needs=["nothing-has-it"], deadline=moment)
    server = up.service("nats-server")
    server.suspend()
    try:
        await asyncio.to_thread(prometheus.fires, "HivewirePublishBacklog broker")
    finally:
        server.resume()
    await asyncio.to_thread(prometheus.resolves, "HivewirePublishBacklog broker")


async def test_a_stream_of_commands_that_fills(up, prometheus):
    limit = prometheus.value('max(hivewire_stream_limit_bytes{stream="broker"})')
    prometheus.expect(store_used_ratio=FLOOD_BYTES / 2 / limit)
    broker = up.service("broker")
    broker.suspend()
    try:
        async with services_bus(up) as bus:
            for number in range(FLOOD_BYTES // MESSAGE_BYTES):
                subject = Subjects(up.context.hive).command("broker", "submit", f"flood{number % 5}")
                await bus.publish(subject, b"x" * MESSAGE_BYTES)
            await bus.flush()
        await asyncio.to_thread(prometheus.fires, "HivewireStoreFull")
    finally:
        broker.resume()
    await asyncio.to_thread(prometheus.resolves, "HivewireStoreFull")


def test_a_disk_that_fills(up, prometheus):
    used, size = prometheus.value("hivewire:data_used_ratio"), prometheus.value("max(hivewire_data_size_bytes)")
    prometheus.expect(data_used_ratio=used + HUGE_BYTES / 2 / size)
    assert "HivewireDiskFull" not in prometheus.firing()
    huge = up.data / "huge"
    with huge.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, HUGE_BYTES)
    prometheus.fires("HivewireDiskFull")
    huge.unlink()
    prometheus.resolves("HivewireDiskFull")
