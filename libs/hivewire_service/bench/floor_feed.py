"""The floor's client and fleet in one process: submits tasks, and answers each dispatch with a start and a completion,
all those of a turn of the event loop in one command, as agents do.

Run as `python -m hivewire_service.bench.floor_feed NATS_URL CREDENTIALS HIVE TASKS`, until it is stopped.
"""

import asyncio
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

from hivewire import codec, limits
from hivewire.commands.broker import CompleteReport, ReportBatch, StartReport, Submit, SubmitBatch
from hivewire.envelope import Envelope
from hivewire.ids import new_id
from hivewire.subjects import REPLY_HEADER
from hivewire_service.bench.noop import CAPABILITY, PAYLOAD, RESULT
from hivewire_service.bus import Bus
from hivewire_service.run import SENDER
from hivewire_service.topology import StreamConfig

SUBMITS = 1_000
"""Tasks in one submit."""
AT_ONCE = limits.REPORTS_MAX // 2
"""Tasks of which one command reports the start and the completion, at most."""


@dataclass(frozen=True, slots=True)
class FloorSubjects:
    """Subjects that no service of the hive listens to."""

    hive: str

    @property
    def command_stream(self) -> StreamConfig:
        """What differs from the stream of a service's commands."""
        return {"name": f"{self.hive.upper()}_FLOOR_CMD", "subjects": [self.commands]}

    @property
    def event_stream(self) -> StreamConfig:
        """What differs from the stream of events."""
        destination = self.event("{{wildcard(1)}}", "{{wildcard(2)}}")
        return {
            "name": f"{self.hive.upper()}_FLOOR_EVENTS",
            "subjects": [self.event("*.*", "*")],
            "subject_transform": {"src": self.event("*.*", "*"), "dest": destination},
        }

    def command(self, verb: str, tasks: int) -> str:
        """A command about so many tasks."""
        return f"{self.hive}.floor.cmd.{verb}.{tasks}"

    @property
    def commands(self) -> str:
        return f"{self.hive}.floor.cmd.*.*"

    def event(self, event_type: str, task_id: str) -> str:
        return f"{self.hive}.floor.evt.{event_type}.{task_id}"

    @property
    def dispatches(self) -> str:
        return f"{self.hive}.floor.dispatch"

    @property
    def replies(self) -> str:
        return f"{self.hive}.floor.reply"


def message(kind: str, data: object) -> bytes:
    """An envelope as the SDK sends it."""
    envelope = Envelope(id=new_id(), type=kind, source="/hive/no-op-1", time=datetime.now(UTC), data=codec.raw(data))
    return codec.encode(envelope)


async def feed(url: str, credentials: str, hive: str, tasks: int) -> None:
    """Feed the floor."""
    subjects = FloorSubjects(hive)
    bus = Bus(url, credentials, SENDER, "hivewire bench floor feed")
    await bus.connect()
    headers = {REPLY_HEADER: f"{subjects.replies}.{new_id()}"}
    start = StartReport(new_id(), 1, new_id())
    complete = CompleteReport(new_id(), 1, new_id(), result=codec.raw(RESULT))
    bodies = [message("broker.report_batch", ReportBatch([start, complete] * count)) for count in range(1, AT_ONCE + 1)]
    dispatched = 0
    news = asyncio.Event()

    def work(*_: object) -> None:
        nonlocal dispatched
        dispatched += 1
        news.set()

    async def report() -> None:
        nonlocal dispatched
        while True:
            await news.wait()
            news.clear()
            while dispatched:
                count = min(dispatched, AT_ONCE)
                dispatched -= count
                await bus.publish(subjects.command("report", count), bodies[count - 1], headers=headers)

    def hear(*_: object) -> None:
        pass

    await bus.client.hear(subjects.dispatches, work)
    await bus.client.hear(subjects.replies, hear)
    submit = Submit(id=new_id(), title="no-op", required_capabilities=[CAPABILITY], payload=codec.raw(PAYLOAD))
    batch = message("broker.submit_batch", SubmitBatch([codec.raw(submit)] * SUBMITS))
    for _ in range(tasks // SUBMITS):
        await bus.publish(subjects.command("submit", SUBMITS), batch, headers=headers)
    await report()


if __name__ == "__main__":
    nats_url, credentials_file, hive_name, count = sys.argv[1:]
    asyncio.run(feed(nats_url, credentials_file, hive_name, int(count)))
