"""The agent SDK: a process that takes tasks and says what became of them."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Self, TypeVar, overload

from hivewire import codec, exit_codes, inbox, limits
from hivewire.answering import PeerHandlers, Peers
from hivewire.commands.agent_gateway import AgentBrief, Leave, Register
from hivewire.connection import Connection
from hivewire.context import Context, find_context
from hivewire.envelope import Envelope
from hivewire.errors import HivewireError, NotReachable, RefusedError
from hivewire.handlers import Handler, Handlers, normal
from hivewire.ids import new_id
from hivewire.membership import join
from hivewire.subjects import AGENT_GATEWAY, token
from hivewire.workbench import Workbench

F = TypeVar("F", bound=Handler)

RETURNED_BEATS = 3
RETURNED_BEAT_S = 1.0
"""After a reconnection so many beats, so far apart, say so: the broker may be connecting again as well."""
GRACE_S = 10.0
LEAVE_S = 3.0
REPLACED_STATUS = 409

logger = logging.getLogger("hivewire")


class Agent:
    """An agent of the hive.

    Tasks whose needs are among its capabilities reach its handlers, up to `slots` at a time. Only one process can be
    the agent: a newer one with the same id replaces the older, which stops.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the name of the field
        *,
        can: Iterable[str] = (),
        slots: int = 1,
        name: str | None = None,
        owner: str | None = None,
        on_demand: bool = False,
        wake: str | None = None,
        labels: Mapping[str, str] | None = None,
        metadata: Any = None,
        grace_s: float = GRACE_S,
        nats_url: str | None = None,
        creds: str | None = None,
        nats_ca: str | None = None,
        nats_cert: str | None = None,
        nats_key: str | None = None,
        hive: str | None = None,
        context: Context | None = None,
    ) -> None:
        """Describe the agent. Nothing is connected yet.

        Args:
            id: its name in the hive and on the bus.
            can: its capabilities, in any case; those that handlers name are added.
            slots: how many tasks it works on at a time.
            name: what people call it; by default the id.
            owner: it gets only this owner's tasks.
            on_demand: it is not always there: others that can do a task as well are preferred, and with `wake` it is
                started for a task while it is away.
            wake: what starts it while it is away: an http(s) URL that gets a signed POST, or the name of a command that
                the operator of a local hive has configured.
            labels: facts about it, as texts.
            metadata: more facts, as any JSON.
            grace_s: when it is told to stop, how long its handlers may go on, in seconds.
            nats_url: one or more server URLs; see `Client.connect` for what is taken otherwise.
            creds: path of the agent's credentials file. Where the local operator's are found instead, credentials are
                made for the agent.
            nats_ca: path of the CA of the servers' certificates; without it the system's are trusted.
            nats_cert: path of a certificate to show to a server that wants one.
            nats_key: path of its key.
            hive: the hive's name.
            context: all of that, found before.

        Raises:
            BadUsage: the id cannot stand in a subject.
        """
        self.id = token(id, "agent id")
        self.instance = new_id()
        """Names this process among all that were ever the agent."""
        self._can = normal(can)
        self._slots = slots
        self._name, self._owner, self._labels, self._metadata = name, owner, dict(labels or {}), metadata
        self._on_demand, self._wake = on_demand, wake
        self._grace_s = grace_s
        self._context = context
        self._where: dict[str, str | None] = {
            "nats_url": nats_url,
            "nats_creds": creds,
            "nats_ca": nats_ca,
            "nats_cert": nats_cert,
            "nats_key": nats_key,
            "hive": hive,
        }
        self._handlers = Handlers()
        self._peer_handlers = PeerHandlers()
        self._session: _Session | None = None

    @overload
    def task(self, function: F, /) -> F: ...
    @overload
    def task(self, /, *, needs: str | Iterable[str] = ()) -> Callable[[F], F]: ...
    def task(self, function: F | None = None, /, *, needs: str | Iterable[str] = ()) -> F | Callable[[F], F]:
        """Decorate the handler of tasks, `handler(task, context) -> result`; async, or run in a thread.

        What it returns is the result, as JSON. `Permanent` fails the task without another attempt, any other
        exception with. Of several handlers the one with the most needs among the task's is called.

        Raises:
            BadUsage: there is a handler for the same needs.
        """
        if function is not None:
            self._handlers.add(function)
            return function

        def register(function: F) -> F:
            self._handlers.add(function, needs)
            return function

        return register

    def question(self, function: F, /) -> F:
        """Decorate the handler of peers' questions, `handler(question, context) -> answer`; async, or run in a thread.

        It answers beside the tasks, also while every slot is taken. What it returns is the answer, as JSON.

        Raises:
            BadUsage: there is one.
        """
        self._peer_handlers.add("question", function)
        return function

    def message(self, function: F, /) -> F:
        """Decorate the handler of peers' messages, `handler(message, context)`.

        Raises:
            BadUsage: there is one.
        """
        self._peer_handlers.add("message", function)
        return function

    @property
    def capabilities(self) -> list[str]:
        """What the agent can, sorted."""
        return sorted(self._can | self._handlers.capabilities)

    @property
    def card(self) -> Register:
        """What it says of itself when it registers."""
        return Register(
            instance=self.instance,
            name=self._name,
            capabilities=self.capabilities,
            slots=self._slots,
            owner=self._owner,
            policy="on-demand" if self._on_demand else "always-on",
            wake=self._wake,
            labels=self._labels,
            metadata=codec.raw({} if self._metadata is None else self._metadata),
            answers_while_busy=self._peer_handlers.question is not None,
        )

    # --- life -----------------------------------------------------------------------------------------
    def run(self) -> None:
        """Be the agent until SIGINT or SIGTERM, which let it finish what it holds; a second one cancels that.

        Raises:
            SystemExit: it had to stop, because a newer process replaced it (1), say, or could not begin.
        """
        if not logging.getLogger().hasHandlers():
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
        status = 0
        try:
            asyncio.run(self.live())
        except HivewireError as error:
            status = exit_codes.of(error)
            print(f"agent {self.id}: {error}", file=sys.stderr)  # noqa: T201 - it is the program's last word
        if self._session and self._session.workbench.threads_busy:
            # Python would wait for these threads at exit, for ever if need be.
            logger.warning("handlers still run in threads and are ended with the process")
            logging.shutdown()
            os._exit(status)
        if status:
            raise SystemExit(status)

    async def live(self) -> None:
        """The same within a running event loop.

        Raises:
            HivewireError: it had to stop, or could not begin.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def told() -> None:
            if stop.is_set() and self._session:
                self._session.workbench.abandon()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, told)
        life = asyncio.create_task(self._live())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((life, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if stop.is_set():
            await self._end_early(life)
        else:
            await life

    async def _end_early(self, life: "asyncio.Task[None]") -> None:
        if self._session is None:
            life.cancel()
        else:
            await self.stop()
        await asyncio.wait((life,))
        if not life.cancelled() and life.exception():
            logger.debug("agent %s was stopped before it was ready: %s", self.id, life.exception())

    async def _live(self) -> None:
        await self.start()
        # What there is by now lives as long as the process: no later collection has to look at it, which would hold up all
        # handlers for a tenth of a second.
        gc.collect()
        gc.freeze()
        await self.wait()

    async def start(self) -> None:
        """Connect and register. NATS and the gateway are waited for as long as it takes.

        Raises:
            RefusedError: the hive does not take the agent.
            NotReachable: no hive is named and none runs here, or TLS says not to talk to it.
            BadUsage: the credentials, a file of TLS or the card cannot be used.
        """
        found = self._context or find_context(**self._where)
        connection = await join(found, self.id, "agent", patience_s=None)
        peers = Peers(connection, self._peer_handlers)
        workbench = Workbench(connection, self._handlers, self._slots, self.instance, peers.asking)
        self._session = _Session(self, connection, workbench, peers)
        try:
            await self._session.begin()
        except BaseException:
            await self._session.end(0.0)
            raise

    async def wait(self) -> None:
        """Wait until the agent has stopped.

        Raises:
            HivewireError: it had to.
        """
        if self._session:
            await self._session.over()

    async def stop(self) -> None:
        """Take nothing more, let the handlers end within the grace, and leave."""
        if self._session:
            await self._session.end(self._grace_s)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


class _Session:
    """An agent's time in the hive, from its registration to its leaving."""

    def __init__(self, agent: Agent, connection: Connection, workbench: Workbench, peers: Peers) -> None:
        self.workbench = workbench
        self._peers = peers
        self._agent = agent
        self._connection = connection
        self._over: asyncio.Future[HivewireError | None] = asyncio.get_running_loop().create_future()
        self._register_again = asyncio.Event()
        self._returned = asyncio.Event()
        self._duties: list[asyncio.Task[None]] = []
        self._turns = 0
        self._ending = False

    async def begin(self) -> None:
        """Listen, register, and keep it up."""
        self._connection.on_reconnect += [self._register_again.set, self._returned.set]
        self._connection.closed.add_done_callback(self._lost)
        await self._connection.listen(self._connection.subjects.inboxes(self._agent.id), self._hear)
        await self._register()
        logger.info(
            "agent %s is ready for %s", self._agent.id, ", ".join(self._agent.capabilities) or "tasks that need nothing"
        )
        self._duties = [asyncio.create_task(duty()) for duty in (self._beat, self._stay_registered)]

    async def over(self) -> None:
        """Wait for the end, and raise why it came too early."""
        error = await asyncio.shield(self._over)
        if error is not None:
            await self.end(0.0)
            raise error

    async def end(self, grace_s: float) -> None:
        """Stop; unless it is over already, others get at once what was not finished."""
        if self._ending:
            await asyncio.wait((self._over,))
            return
        self._ending = True
        if self._over.done():
            self.workbench.abandon()
        await self.workbench.finish(grace_s)
        await self._peers.close()
        for duty in self._duties:
            duty.cancel()
        if not self._over.done():
            await self._leave()
        self.workbench.close()
        await self._connection.close()
        if not self._over.done():
            self._over.set_result(None)

    async def _leave(self) -> None:
        leave = Leave(self._agent.instance, "stopped")
        try:
            await self._connection.command(AGENT_GATEWAY, "leave", leave, AgentBrief, timeout_s=LEAVE_S)
        except (NotReachable, RefusedError) as error:
            logger.warning("agent %s could not say that it leaves: %s", self._agent.id, error)
        else:
            logger.info("agent %s has left", self._agent.id)

    def _stop_because(self, error: HivewireError) -> None:
        if not self._over.done() and not self._ending:
            self._over.set_result(error)
            self.workbench.abandon()

    def _lost(self, reason: asyncio.Future[str]) -> None:
        self._stop_because(NotReachable(reason.result()))

    # --- registration and beats -----------------------------------------------------------------------
    async def _register(self) -> None:
        await self._connection.command(AGENT_GATEWAY, "register", self._agent.card, AgentBrief, timeout_s=None)

    async def _stay_registered(self) -> None:
        """After a lost connection messages are missing; whoever registers is sent what is open for him."""
        while True:
            await self._register_again.wait()
            self._register_again.clear()
            try:
                await self._register()
            except HivewireError as error:
                self._stop_because(error)
                return

    async def _beat(self) -> None:
        connection, subject = self._connection, self._connection.subjects.beat(self._agent.id)
        returned = 0
        while True:
            if self._returned.is_set():
                self._returned.clear()
                returned = RETURNED_BEATS
            self._turns += 1
            workbench = self.workbench
            beat = inbox.Beat(
                self._agent.id,
                self._agent.instance,
                workbench.held,
                workbench.free_slots,
                self._turns,
                workbench.sessions,
                returned=returned > 0,
            )
            envelope = Envelope(
                id=new_id(),
                type=inbox.BEAT_TYPE,
                source=f"/{connection.subjects.hive}/{self._agent.id}",
                time=datetime.now(UTC),
                data=codec.raw(beat),
            )
            await connection.say(subject, codec.encode(envelope))
            returned = max(0, returned - 1)
            # Not `wait_for`, which on Python 3.11 can lose a cancellation.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETURNED_BEAT_S if returned else limits.BEAT_INTERVAL_S):
                    await self._returned.wait()

    # --- the inbox ------------------------------------------------------------------------------------
    def _hear(self, subject: str, body: bytes) -> None:
        self._turns += 1
        envelope = codec.decode_envelope(body)
        message = envelope if isinstance(envelope, codec.Malformed) else codec.decode_data(envelope, inbox.KINDS)
        match message:
            case inbox.TaskDispatch() | inbox.CancelAttempt() | inbox.SessionDispatch() | inbox.HaltSession():
                self.workbench.hear(message)
            case inbox.QuestionAsked():
                self._peers.asked(message)
            case inbox.QuestionEnded():
                self._peers.asking.hear(message)
            case inbox.MessageReceived():
                self._peers.told(message)
            case inbox.Replaced(instance) if instance != self._agent.instance:
                self._stop_because(replaced(self._agent.id, instance))
            case inbox.Sync(instance) if instance == self._agent.instance:
                self._register_again.set()
            case codec.Malformed(reason):
                logger.warning("a message on %s could not be read: %s", subject, reason)
            case _:
                logger.debug("a message for another instance of %s", self._agent.id)


def replaced(agent_id: str, instance: str) -> HivewireError:
    """Why an agent stops when another process speaks for it."""
    return HivewireError(
        f"another process registered as {agent_id!r} (instance {instance}), so this one stops; "
        "give each process an id of its own"
    )
