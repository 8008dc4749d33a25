"""A connection to the server in memory, like that of nats-py, over a network that a seed disturbs."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import nats.errors
from nats.aio.msg import Msg

from hivewire.nats_client import Hear
from simulation.nats.server import Headers, Message, NatsServer, matches

Callback = Callable[[Msg], Awaitable[None]]
SERVER_VERSION = SimpleNamespace(major=2, minor=15, patch=1)


@dataclass(slots=True)
class Weather:
    """How bad the network is: chances that a message is lost, doubled, or overtaken by later ones."""

    lost: float = 0.0
    doubled: float = 0.0
    overtaken: float = 0.0
    delay_s: float = 0.002


class Network:
    """Between the clients and the server. Messages of one connection arrive in order, unless the weather is bad."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: NatsServer, chance: random.Random) -> None:
        self.loop = loop
        self.server = server
        self.weather = Weather()
        self.clients_ever = 0
        self.heard = Heard()
        self._chance = chance
        server.deliver = self._deliver
        server.is_heard = self._is_heard

    def to_server(self, client: "Client", message: Message) -> None:
        """A client publishes."""
        self._carry(client, client.outgoing, lambda: self.server.receive(message))

    def _deliver(self, message: Message) -> None:
        for subscription in self.heard.of(message.to or message.subject):
            client = subscription.client
            self._carry(client, client.incoming, lambda one=subscription: one.receive(message))

    def _is_heard(self, subject: str) -> bool:
        return next(self.heard.of(subject), None) is not None

    def _carry(self, client: "Client", line: "Line", arrive: Callable[[], None]) -> None:
        weather, chance = self.weather, self._chance
        if weather.lost and chance.random() < weather.lost:
            return
        copies = 2 if weather.doubled and chance.random() < weather.doubled else 1
        connection = client.connection
        for _ in range(copies):
            at = self.loop.time() + chance.random() * weather.delay_s
            if weather.overtaken and chance.random() < weather.overtaken:
                at += chance.random() * 0.5
            else:
                at = line.last_s = max(at, line.last_s)
            self.loop.call_at(at, self._arrive, client, connection, arrive)

    def _arrive(self, client: "Client", connection: int, arrive: Callable[[], None]) -> None:
        if client.is_connected and client.connection == connection:  # else it was cut in between
            arrive()


class Heard:
    """All subscriptions, in the order of their making, to be found by a subject."""

    def __init__(self) -> None:
        self._plain: dict[str, dict[Subscription, None]] = {}
        """By pattern; a pattern with one wildcard at its end counts as plain."""
        self._others: dict[Subscription, None] = {}

    def _place(self, subscription: "Subscription") -> "dict[Subscription, None]":
        pattern = subscription.pattern
        if "*" in pattern.removesuffix(".*") or ">" in pattern:
            return self._others
        return self._plain.setdefault(pattern, {})

    def add(self, subscription: "Subscription") -> None:
        self._place(subscription)[subscription] = None

    def remove(self, subscription: "Subscription") -> None:
        place = self._place(subscription)
        place.pop(subscription, None)
        if not place:
            self._plain.pop(subscription.pattern, None)

    def of(self, subject: str) -> Iterator["Subscription"]:
        """Those who hear a subject now."""
        found = [*self._plain.get(subject, ()), *self._plain.get(f"{subject.rpartition('.')[0]}.*", ())]
        found += [one for one in self._others if matches(one.pattern, subject)]
        return (one for one in found if one.client.is_connected)


@dataclass(slots=True)
class Line:
    """One direction of a connection: when its last message arrives."""

    last_s: float = 0.0


@dataclass(eq=False)
class Subscription:
    """Calls back with one message after the other."""

    client: "Client"
    pattern: str
    callback: Callback
    _queue: "asyncio.Queue[Msg]" = field(default_factory=asyncio.Queue)
    _task: "asyncio.Task[None] | None" = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"subscription {self.pattern}")

    def receive(self, message: Message) -> None:
        if self in self.client.subscriptions:
            msg = Msg(None, message.subject, message.reply, message.body, message.headers)  # type: ignore[arg-type]
            self._queue.put_nowait(msg)

    async def _run(self) -> None:
        while True:
            message = await self._queue.get()
            try:
                await self.callback(message)
            except Exception as error:  # noqa: BLE001  # as nats-py does
                await self.client.report(error)

    async def unsubscribe(self) -> None:
        await self.client.point("unsubscribe")
        self.client.forget(self)
        if self._task and self._task is not asyncio.current_task():
            self._task.cancel()


async def _no_point(_: str) -> None:
    """Nothing happens here."""


class Client:
    """What the project uses of `nats.aio.client.Client`. `point` is awaited at each step: whoever made the client may
    stop it there."""

    def __init__(self, network: Network, point: Callable[[str], Awaitable[None]] = _no_point) -> None:
        self._network = network
        self.point = point
        self.subscriptions: list[Subscription] = []
        self.outgoing, self.incoming = Line(), Line()
        self.connection = 0
        self.is_connected = False
        self.is_closed = False
        self.last_error: Exception | None = None
        self._callbacks: dict[str, Any] = {}
        self._inboxes = 0
        self._number = 0
        self._prefix = "_INBOX"

    @property
    def max_payload(self) -> int:
        return self._network.server.max_payload

    @property
    def connected_server_version(self) -> SimpleNamespace:
        return SERVER_VERSION

    async def connect(self, *_: object, inbox_prefix: bytes | str = "_INBOX", **options: Any) -> None:
        await self.point("connect")
        self._prefix = inbox_prefix.decode() if isinstance(inbox_prefix, bytes) else inbox_prefix
        self._callbacks = {name: value for name, value in options.items() if name.endswith("_cb")}
        self._network.clients_ever += 1
        self._number = self._network.clients_ever
        self.is_connected = True

    def new_inbox(self) -> str:
        self._inboxes += 1
        return f"{self._prefix}.c{self._number}n{self._inboxes}"

    async def subscribe(self, subject: str, cb: Callback) -> Subscription:
        await self.point(f"subscribe {subject}")
        subscription = Subscription(self, subject, cb)
        self.subscriptions.append(subscription)
        self._network.heard.add(subscription)
        subscription.start()
        return subscription

    async def hear(self, subject: str, call: Hear) -> Subscription:
        async def receive(message: Msg) -> None:
            call(message.subject, message.data, message.reply, message.headers)

        return await self.subscribe(subject, receive)

    async def publish(self, subject: str, body: bytes = b"", reply: str = "", headers: Headers = None) -> None:
        await self.point(f"publish {subject}")
        if self.is_closed:
            raise nats.errors.ConnectionClosedError
        if self.is_connected:
            self._network.to_server(self, Message(subject, body, reply, headers))

    async def request(self, subject: str, body: bytes = b"", timeout: float = 0.5) -> Msg:  # noqa: ASYNC109
        answered: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

        async def receive(message: Msg) -> None:
            if not answered.done():
                answered.set_result(message)

        inbox = self.new_inbox()
        subscription = await self.subscribe(inbox, receive)
        try:
            await self.publish(subject, body, reply=inbox)
            async with asyncio.timeout(timeout):
                answer = await answered
        except TimeoutError:
            raise nats.errors.TimeoutError from None
        finally:
            await subscription.unsubscribe()
        if (answer.headers or {}).get("Status") == "503":
            raise nats.errors.NoRespondersError
        return answer

    async def flush(self) -> None:
        await self.point("flush")

    async def close(self) -> None:
        self.is_connected, self.is_closed = False, True
        self._forget()
        await self._tell("closed_cb")

    def forget(self, subscription: Subscription) -> None:
        """Hear nothing more of it."""
        self._network.heard.remove(subscription)
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)

    def _forget(self) -> None:
        for subscription in list(self.subscriptions):
            self.forget(subscription)

    async def report(self, error: Exception) -> None:
        await self._tell("error_cb", error)

    async def cut(self) -> None:
        """The connection breaks; what is on its way is lost."""
        if self.is_connected:
            self.is_connected = False
            self.connection += 1
            await self._tell("disconnected_cb")

    async def restore(self) -> None:
        """The connection is there again, with all subscriptions."""
        if not self.is_closed and not self.is_connected:
            self.is_connected = True
            await self._tell("reconnected_cb")

    def die(self) -> None:
        """The process is gone."""
        self.is_connected, self.is_closed = False, True
        self._forget()

    async def _tell(self, callback: str, *arguments: object) -> None:
        if callback in self._callbacks:
            await self._callbacks[callback](*arguments)
