"""Answers reads and administrative requests: any instance of a service does, owner or not, from Postgres.

Each query is an endpoint of the NATS micro protocol, so `nats micro ls|info|stats` show them with their counts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import asyncpg
import msgspec
import structlog
from nats.micro import add_service
from nats.micro.request import Request
from nats.micro.service import Service as MicroService

from hivewire import codec, limits
from hivewire.subjects import Subjects, is_reply_subject
from hivewire_service import metrics
from hivewire_service.bus import Bus
from hivewire_service.core import Refusal
from hivewire_service.fair_turns import FairTurns
from hivewire_service.intake import SERVICE, reply_envelope
from hivewire_service.intake import over_quota as refuse
from hivewire_service.quota import Quotas
from hivewire_service.store import CONNECTION_ERRORS, Store, is_passing

log = structlog.get_logger()

CONCURRENT_READS_MAX = 16
WAITING_READS_MAX = 1_000
"""Reads of one sender that wait for their turn; more are refused until later."""
WAITING_S = 1.0

Handler = Callable[[asyncpg.Connection, Any, str], Awaitable[Any]]
"""(connection, parameters, sender) -> the answer's body, or a `Refusal`."""


@dataclass(frozen=True, slots=True)
class Query:
    """One read: the struct of its parameters and what answers it."""

    parameters: type[msgspec.Struct]
    handler: Handler


class Answers:
    """The read side of one service."""

    def __init__(
        self,
        service: str,
        bus: Bus,
        store: Store,
        hive_subjects: Subjects,
        reads: Mapping[str, Query],
        admin: Mapping[str, Query] | None = None,
        reads_per_second: float = limits.READS_PER_SECOND,
    ) -> None:
        """`reads_per_second`: how many each sender may ask for long."""
        self._service = service
        self._bus = bus
        self._store = store
        self._subjects = hive_subjects
        self._reads = reads
        self._admin = admin or {}
        self._quotas = Quotas(reads_per_second)
        self._turns = FairTurns(CONCURRENT_READS_MAX)
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, version: str) -> MicroService:
        """Subscribe to everything that can be asked."""
        micro = await add_service(
            self._bus.client,
            name=f"{self._subjects.hive}-{self._service}",
            version=version,
            description=f"hivewire {self._service}",
        )
        for name, query in self._reads.items():
            subject = self._subjects.read(self._service, name, "*")
            await micro.add_endpoint(name=name, subject=subject, handler=self._endpoint(name, query))
        for name, query in self._admin.items():
            subject = self._subjects.admin(self._service, name, "*")
            await micro.add_endpoint(name=f"admin-{name}", subject=subject, handler=self._endpoint(name, query))
        return micro

    def _endpoint(self, name: str, query: Query) -> Callable[[Request], Awaitable[None]]:
        over_quota = metrics.OVER_QUOTA.labels(self._service, "read")

        async def handle(request: Request) -> None:
            sender = request.subject.rpartition(".")[2]
            wait_s = self._wait_s(sender)
            reply_to = request._msg.reply  # noqa: SLF001  # the request has no accessor for it
            if not is_reply_subject(reply_to, sender):
                metrics.READS.labels(self._service, name, "misdirected").inc()
            elif wait_s:
                over_quota.inc()
                refusal = refuse(sender, "reads", self._quotas.per_second, wait_s)
                await self._bus.publish(reply_to, reply_envelope(self._subjects, self._service, "", refusal)[2])
            else:
                task = asyncio.create_task(self._in_turn(name, query, request, reply_to))
                self._running.add(task)
                task.add_done_callback(self._done)

        return handle

    def _wait_s(self, sender: str) -> float:
        if sender == SERVICE:
            return 0.0
        crowded_s = WAITING_S if self._turns.waiting(sender) >= WAITING_READS_MAX else 0.0
        return crowded_s or self._quotas.take(sender, time.monotonic())

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception():
            log.error("read failed", service=self._service, exc_info=task.exception())

    async def _in_turn(self, name: str, query: Query, request: Request, reply_to: str) -> None:
        sender = request.subject.rpartition(".")[2]
        async with self._turns.turn(sender):
            await self._answer(name, query, request, reply_to)

    async def _answer(self, name: str, query: Query, request: Request, reply_to: str) -> None:
        sender = request.subject.rpartition(".")[2]
        started_s = time.perf_counter()
        command_id, answer = await self._find(name, query, request.data, sender)
        _, _, body = reply_envelope(self._subjects, self._service, command_id, answer)
        if len(body) > self._bus.max_payload_bytes:
            refusal = Refusal("the answer is larger than a message may be; ask for less with `limit`", 413)
            _, _, body = reply_envelope(self._subjects, self._service, command_id, refusal)
        await self._bus.publish(reply_to, body)
        outcome = "refused" if isinstance(answer, Refusal) else "ok"
        metrics.READS.labels(self._service, name, outcome).inc()
        metrics.READ_SECONDS.labels(self._service, name).observe(time.perf_counter() - started_s)

    async def _find(self, name: str, query: Query, body: bytes, sender: str) -> tuple[str, Any]:
        """The id of the request and its answer."""
        if not body:
            return "", await self._ask(name, query, codec.EMPTY, sender)
        envelope = codec.decode_envelope(body)
        if isinstance(envelope, codec.Malformed):
            return "", Refusal(envelope.reason, 400)
        return envelope.id, await self._ask(name, query, envelope.data, sender)

    async def _ask(self, name: str, query: Query, data: msgspec.Raw, sender: str) -> Any:
        parameters = codec.decode_as(data, query.parameters, name)
        if isinstance(parameters, codec.Malformed):
            return Refusal(parameters.reason, 400)
        try:
            async with self._store.pool.acquire(timeout=5) as connection:
                return await query.handler(cast(asyncpg.Connection, connection), parameters, sender)
        except CONNECTION_ERRORS as error:
            log.warning("read not answered", query=name, error=str(error) or type(error).__name__)
            if is_passing(error):
                return Refusal("Postgres does not answer at the moment; try again", 503)
            return Refusal(f"{name} can't be answered: {error}", 500)
