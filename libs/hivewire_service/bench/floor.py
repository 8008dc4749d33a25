"""The floor: what the same messages and rows cost without any logic.

One process stands in for client and fleet (`floor_feed`), this one for the broker: it reads the commands from their
stream, and for each batch writes the rows that the services wrote, in one transaction, then publishes the replies, the
dispatches and the events, whose acks it counts. Nothing is decoded, decided or encoded.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

import msgspec

from hivewire.errors import HivewireError
from hivewire.ids import new_id
from hivewire.inbox import TaskDispatch
from hivewire.subjects import BROKER, Subjects
from hivewire.views import TaskBrief
from hivewire_service.bench import floor_feed
from hivewire_service.bench.floor_feed import FloorSubjects, message
from hivewire_service.bench.floor_rows import Rows
from hivewire_service.bench.hive import BenchHive
from hivewire_service.bench.noop import CAPABILITY, PAYLOAD
from hivewire_service.bench.spending import Spending
from hivewire_service.bus import Bus
from hivewire_service.run import SENDER
from hivewire_service.stream_reader import Received, StreamReader
from hivewire_service.topology import StreamState, command_stream, event_stream
from hivewire_service.waiting import BATCH_COMMANDS_MAX, WAITING_COMMANDS_MAX

EVENTS_OF_SUBMIT = ("task.created", "task.queued", "task.assigned")
EVENTS_OF_REPORT = ("task.started", "task.completed")
SILENCE_S_MAX = 10.0


async def measure(hive: BenchHive, tasks: int) -> tuple[float, dict[str, float]]:
    """How many seconds so many tasks take, on servers and tables that have seen such tasks before, and what processor
    time each takes, by what spends it.

    Args:
        hive: where no-op tasks were done.
        tasks: a multiple of `floor_feed.SUBMITS`.

    Raises:
        HivewireError: a server cannot be reached, or something got lost.
    """
    context = hive.context
    bus = Bus(context.nats_url, str(hive.service_credentials), SENDER, "hivewire bench floor")
    await bus.connect()
    try:
        async with hive.postgres() as connection:
            floor = Floor(bus, await Rows.like_those_of(connection, context.hive), context.hive)
            await floor.prepare()
            arguments = (context.nats_url, str(hive.service_credentials), context.hive, str(tasks))
            async with hive.helper(floor_feed.__name__, *arguments):
                spending = Spending(hive)
                return await floor.run(tasks), spending.us_per(tasks)
    finally:
        await bus.close()


class Floor:
    """The stand-in for the broker."""

    def __init__(self, bus: Bus, rows: Rows, hive: str) -> None:
        self._bus = bus
        self._rows = rows
        self._subjects = FloorSubjects(hive)
        self._commands = command_stream(Subjects(hive), BROKER, 1) | self._subjects.command_stream
        self._events = event_stream(Subjects(hive), 1) | self._subjects.event_stream
        self._inbox = bus.client.new_inbox()
        self._waiting: deque[Received] = deque()
        self._news = asyncio.Event()
        self._done: Counter[str] = Counter()
        self._acks_missing = 0
        self._begun = 0.0
        self._reader = StreamReader(
            bus,
            stream=lambda: bus.ensure_stream(self._commands),
            filter_subject=self._subjects.commands,
            start=self._first,
            deliver=self._deliver,
            room=lambda: len(self._waiting) < WAITING_COMMANDS_MAX,
        )
        self._reply = message("reply.ok", TaskBrief(new_id(), "completed", 1, "no-op-1"))
        self._dispatch = message(
            "inbox.task",
            TaskDispatch(
                task_id=new_id(),
                attempt=1,
                instance=new_id(),
                title="no-op",
                owner="operator",
                required_capabilities=[CAPABILITY],
                payload=msgspec.Raw(msgspec.json.encode(PAYLOAD)),
            ),
        )
        self._event_bodies = {kind: message(kind, msgspec.Raw(data.encode())) for kind, data in rows.event_data.items()}

    async def prepare(self) -> None:
        """Make the streams."""
        await self._bus.ensure_stream(self._commands)
        await self._bus.ensure_stream(self._events)
        await self._bus.client.hear(self._inbox, self._acknowledged)

    async def run(self, tasks: int) -> float:
        """Take so many tasks to their end; the seconds from the first command to the last ack."""
        reading = asyncio.create_task(self._reader.run())
        try:
            while self._done["report"] < tasks:
                await self._something(lambda: bool(self._waiting))
                await self._turn()
            await self._something(lambda: not self._acks_missing)
        except TimeoutError:
            raise HivewireError(f"the floor stood still after {self._done['report']} tasks") from None
        finally:
            reading.cancel()
        return asyncio.get_running_loop().time() - self._begun

    async def _something(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), SILENCE_S_MAX)

    async def _first(self, _: StreamState) -> int:
        return 1

    def _deliver(self, received: Received) -> None:
        self._begun = self._begun or asyncio.get_running_loop().time()
        self._waiting.append(received)
        self._news.set()

    def _acknowledged(self, *_: object) -> None:
        self._acks_missing -= 1
        self._news.set()

    async def _turn(self) -> None:
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_COMMANDS_MAX))]
        await self._reader.resume()
        tasks: Counter[str] = Counter()
        for received in taken:
            verb, count = received.subject.split(".")[-2:]
            tasks[verb] += int(count)
        begun = self._tasks_of("submit", tasks["submit"])
        ended = self._tasks_of("report", tasks["report"])
        events = [
            *((kind, task_id) for task_id in begun for kind in EVENTS_OF_SUBMIT),
            *((kind, task_id) for task_id in ended for kind in EVENTS_OF_REPORT),
        ]
        await self._rows.commit(begun, ended, events)
        await self._publish(len(taken), len(begun), events)

    def _tasks_of(self, verb: str, count: int) -> list[str]:
        """The ids of the next tasks that have this done to them."""
        first = self._done[verb]
        self._done[verb] += count
        return [f"{number:036}" for number in range(first, first + count)]

    async def _publish(self, replies: int, dispatches: int, events: list[tuple[str, str]]) -> None:
        for _ in range(replies):
            await self._bus.publish(self._subjects.replies, self._reply)
        for _ in range(dispatches):
            await self._bus.publish(self._subjects.dispatches, self._dispatch)
        self._acks_missing += len(events)
        for kind, task_id in events:
            await self._bus.publish(self._subjects.event(kind, task_id), self._event_bodies[kind], reply=self._inbox)
