"""A member's line to its hive: commands and reads under its own name, repeated until they are answered.

A command is published without a NATS reply subject, because JetStream would answer there with an ack that proves
nothing. Its outcome comes to the inbox that the header `Hive-Reply` names, after the commit. Until then the command is
sent again with the same id, which can never do a thing twice.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

import nats.errors
from nats.aio.client import RawCredentials
from nats.aio.subscription import Subscription

from hivewire import codec, correlation, limits, tracing
from hivewire.commands import TYPES, checked, command_type
from hivewire.credentials import Credentials
from hivewire.envelope import REPLY_REFUSED, Envelope, ErrorBody
from hivewire.errors import BadUsage, HivewireError, NotReachable, RefusedError
from hivewire.ids import new_id
from hivewire.nats_client import Headers
from hivewire.nats_tls import NatsClient, tls_trouble
from hivewire.replies import outcome, passing_obstacle
from hivewire.servers import next_server, server_urls
from hivewire.subjects import REPLY_HEADER, Subjects, reply_prefix, token
from hivewire.tls import Tls
from hivewire.unanswered import Request, Target, Unanswered

T = TypeVar("T")
Listener = Callable[[str, bytes], None]

IN_FLIGHT_MAX = 4_096
"""Awaited requests of one connection; more wait for their turn, so that a flood of them stays in its sender."""
CONNECT_TIMEOUT_S = 2.0
PING_INTERVAL_S = 3
PINGS_OUTSTANDING_MAX = 2
"""A connection on which the third ping is due and none was answered is left: before whoever hears nothing of an agent
takes it for lost, even if its last beat was an interval ago."""
JETSTREAM_S_MAX = 2.0
HEADER_BYTES = 64
"""More than the fixed part of the headers of any command."""

_PASSWORD = re.compile(r"//[^/@,]+@")

logger = logging.getLogger("hivewire")


@dataclass(slots=True)
class Listening:
    """A subscription. It survives reconnects."""

    subject: str
    _subscription: Subscription

    async def stop(self) -> None:
        """Hear nothing more."""
        try:
            await self._subscription.unsubscribe()
        except nats.errors.Error:
            logger.debug("the subscription to %s had ended before", self.subject)


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """An answer of the server: its version, and how long it took."""

    version: str
    seconds: float


class Connection:
    """A connection to NATS under one name, which reconnects for ever.

    `sender` is the name that nats-server proves to the services; `subjects` builds the hive's subjects. What is in
    `on_disconnect` and `on_reconnect` is called whenever that happens.
    """

    def __init__(self, url: str, hive: str, sender: str, tls: Tls | None = None) -> None:
        self.url = _PASSWORD.sub("//***@", url)
        """What to call the server in messages, without secrets."""
        self.subjects = Subjects(hive)
        self.sender = token(sender, "name")
        self._source = f"/{hive}/{sender}"
        self.on_disconnect: list[Callable[[], None]] = []
        self.on_reconnect: list[Callable[[], None]] = []
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when the connection is gone for good, with the reason."""
        self.too_large = 0
        """How many messages were too large to be sent."""
        self._nats = NatsClient(tls or Tls())
        self._replies = f"{reply_prefix(self.sender)}.{new_id()}"
        self._unanswered = Unanswered(self._publish, lambda: self._nats.is_connected)
        self._window = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._denied: set[str] = set()
        self._last_error = ""
        self._servers = 1
        self._begun = False
        self._untrusted = 0
        """How often TLS failed."""
        self._hopeless: asyncio.Future[HivewireError] = asyncio.get_running_loop().create_future()
        """Why it is of no use to try for longer to connect for the first time."""
        self._back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done at the next reconnection."""

    # --- life -----------------------------------------------------------------------------------------
    @classmethod
    async def open(
        cls,
        url: str,
        credentials: Credentials | None = None,
        *,
        hive: str = "hive",
        name: str | None = None,
        patience_s: float | None = 5.0,
        tls: Tls | None = None,
    ) -> Self:
        """Connect.

        Args:
            url: one or more server URLs, separated by commas.
            credentials: who to speak as. None: the server asks for none, and `name` is the sender.
            hive: the hive's name.
            name: the sender where there are no credentials.
            patience_s: how long to try to reach a server; None is for ever.
            tls: whom to trust and what to show, where the server speaks TLS.

        Raises:
            NotReachable: no server answered in time, or each is one that TLS says not to talk to.
            RefusedError: the server does not take the credentials.
            BadUsage: the URL is none, or a file of `tls` cannot be used.
        """
        sender = credentials.name if credentials else (name or "anonymous")
        servers = server_urls(url)
        tls = tls or Tls()
        tls.check()
        connection = cls(url, hive, sender, tls)
        try:
            await connection._connect(servers, credentials, patience_s)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _connect(self, servers: list[str], credentials: Credentials | None, patience_s: float | None) -> None:
        self._servers = len(servers)
        attempt = asyncio.ensure_future(
            self._nats.connect(
                servers=servers,
                name=f"hivewire {self.sender}",
                user_credentials=_nats_credentials(credentials),
                inbox_prefix=reply_prefix(self.sender),
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                reconnect_to_server_handler=next_server,
                connect_timeout=CONNECT_TIMEOUT_S,  # type: ignore[arg-type]
                ping_interval=PING_INTERVAL_S,
                max_outstanding_pings=PINGS_OUTSTANDING_MAX,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_reconnected,
                closed_cb=self._on_closed,
            )
        )
        try:
            either: set[asyncio.Future[Any]] = {attempt, self._hopeless}
            await asyncio.wait(either, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if not attempt.done():
                raise self._unreachable()
            attempt.result()
        finally:
            attempt.cancel()
        self._begun = True
        await self._nats.hear(f"{self._replies}.*", self._on_reply)
        self._unanswered.start()

    def _unreachable(self) -> HivewireError:
        if self._hopeless.done():
            return self._hopeless.result()
        reason = f" ({self._last_error})" if self._last_error else ""
        return NotReachable(f"cannot reach NATS at {self.url}{reason}: is the hive running? `hivewire up` starts one")

    async def close(self) -> None:
        """Send what waits to be sent, and disconnect. Requests without an answer fail."""
        await self._unanswered.close()
        self._end("the connection was closed")
        await self._nats.close()

    def _end(self, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_result(reason)
        self._unanswered.fail(NotReachable(f"no answer: {reason}"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_connected(self) -> bool:
        """Whether a server is connected now."""
        return self._nats.is_connected

    @property
    def message_bytes_max(self) -> int:
        """The largest command, headers and body."""
        return min(limits.MESSAGE_BYTES_MAX, self._nats.max_payload - limits.MESSAGE_HEADROOM_BYTES)

    # --- requests -------------------------------------------------------------------------------------
    def post(self, service: str, verb: str, data: object, *, id: str | None = None) -> asyncio.Future[Envelope]:  # noqa: A002 - the name of the field
        """Send a command, and again until it is answered. Nothing waits: the future holds the answer.

        Commands posted one after the other are sent in this order. `outcome` reads the answer.

        Raises:
            RefusedError: the command is too large (413), or no service takes such data (400).
            BadUsage: `data` is no JSON.
        """
        return self._send(self._command(service, verb), data, id or new_id()).reply

    async def command(
        self,
        service: str,
        verb: str,
        data: object,
        wanted: type[T],
        *,
        id: str | None = None,  # noqa: A002 - the name of the field
        timeout_s: float | None = limits.REQUEST_TIMEOUT_S,
    ) -> T:
        """Send a command and wait for its outcome.

        Args:
            service: who is asked.
            verb: what is asked for.
            data: the verb's struct.
            wanted: the type of the outcome.
            id: the command's id; the same id again can do nothing twice.
            timeout_s: None waits for ever.

        Raises:
            RefusedError: the service said no, or the command is too large.
            NotReachable: no answer came in time. Whether the command was taken is then unknown.
            BadUsage: `data` is no JSON.
        """
        key = id or new_id()
        with tracing.span(
            "send", command_type(service, verb), correlation.current().traceparent, messaging_message_id=key
        ):
            return outcome(await self._ask(self._command(service, verb), data, key, timeout_s), wanted)

    async def read(
        self,
        service: str,
        query: str,
        params: object,
        wanted: type[T],
        *,
        timeout_s: float | None = limits.REQUEST_TIMEOUT_S,
    ) -> T:
        """Ask a service to read something. Raises what `command` raises."""
        subject = self.subjects.read(service, query, self.sender)
        target = Target(service, subject, command_type(service, query), stored=False)
        return outcome(await self._ask(target, params, new_id(), timeout_s), wanted)

    async def admin(
        self,
        service: str,
        verb: str,
        params: object,
        wanted: type[T],
        *,
        timeout_s: float | None = limits.REQUEST_TIMEOUT_S,
    ) -> T:
        """Ask for what only operators may have and no stream may keep. Raises what `command` raises."""
        subject = self.subjects.admin(service, verb, self.sender)
        target = Target(service, subject, command_type(service, verb), stored=False)
        return outcome(await self._ask(target, params, new_id(), timeout_s), wanted)

    def _command(self, service: str, verb: str) -> Target:
        subject = self.subjects.command(service, verb, self.sender)
        return Target(service, subject, command_type(service, verb), stored=True)

    async def _ask(self, target: Target, data: object, key: str, timeout_s: float | None) -> Envelope:
        request = None
        try:
            async with asyncio.timeout(timeout_s), self._window:
                request = self._send(target, data, key)
                return await request.reply
        except TimeoutError:
            raise self._silence(target.service, timeout_s, request.obstacle if request else "") from None
        finally:
            self._unanswered.forget(key)

    def _silence(self, service: str, timeout_s: float | None, obstacle: str) -> NotReachable:
        if not self.is_connected:
            return NotReachable(f"the connection to NATS at {self.url} is lost: is the hive still running?")
        reason = obstacle or "is it running?"
        return NotReachable(f"no answer from the {service} in {timeout_s:g} s: {reason} `hivewire doctor` tells more")

    def _send(self, target: Target, data: object, key: str) -> Request:
        if self.closed.done():
            raise NotReachable(f"no answer: {self.closed.result()}")
        reply_subject = f"{target.replies or self._replies}.{key}"
        body = self._encode(target.kind, data, key)
        size = len(body) + len(reply_subject) + HEADER_BYTES
        if size > self.message_bytes_max:
            self.count_too_large(target.kind)
            raise RefusedError(
                f"{target.kind} is too large: {size} bytes, {self.message_bytes_max} are allowed", status=413
            )
        return self._unanswered.add(key, target, body, reply_subject)

    def count_too_large(self, kind: str) -> None:  # noqa: ARG002  # for those who count by it
        """A message of this type was too large to be sent."""
        self.too_large += 1

    def _encode(self, kind: str, data: object, key: str) -> bytes:
        try:
            envelope = Envelope(
                id=key,
                type=kind,
                source=self._source,
                time=datetime.now(UTC),
                **correlation.current()._asdict(),
                data=codec.raw(data),
            )
            body = codec.encode(envelope)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadUsage(f"{kind} cannot be written as JSON: {error}") from error
        if isinstance(data, TYPES.get(kind, ())):
            problem = checked(envelope)
            if isinstance(problem, codec.Malformed):
                raise RefusedError(problem.reason, 400)
        return body

    async def _publish(self, request: Request) -> None:
        try:
            if request.target.stored:
                headers = {REPLY_HEADER: request.reply_subject}
                await self._nats.publish(request.target.subject, request.body, headers=headers)
            else:
                await self._nats.publish(request.target.subject, request.body, reply=request.reply_subject)
        except (OSError, nats.errors.Error) as error:
            logger.debug("not sent, will be repeated: %s", error)

    def _on_reply(self, subject: str, body: bytes, _: str, headers: Headers) -> None:
        key = subject.rpartition(".")[2]
        request = self._unanswered.get(key)
        if request is None or (headers and "Status" in headers):
            return  # a repeat of an answer, or word that nobody listens: the request is repeated
        if subject != request.reply_subject:
            return  # whoever guesses the key of another's request has the answer to its own sent under its own name
        envelope = codec.decode_envelope(body)
        if isinstance(envelope, codec.Malformed):
            logger.warning("an answer could not be read: %s", envelope.reason)
            return
        obstacle = passing_obstacle(envelope)
        if obstacle is None:
            self._unanswered.answer(key, envelope)
            return
        request.obstacle = f"{obstacle.error}."
        retry_after_s = obstacle.detail.get(limits.RETRY_AFTER)
        if retry_after_s is not None:
            self._unanswered.put_off(key, retry_after_s)

    # --- what is heard and said without an answer -----------------------------------------------------
    async def listen(self, subject: str, listener: Listener) -> Listening:
        """Call `listener` with the subject and the body of every message, in order.

        When this returns, the server has taken the subscription.

        Raises:
            RefusedError: our credentials may not listen there (403).
            NotReachable: the server did not answer.
        """

        def deliver(subject: str, body: bytes, *_: object) -> None:
            listener(subject, body)

        self._denied.discard(subject.lower())
        try:
            listening = Listening(subject, await self._nats.hear(subject, deliver))
            await self._taken()
        except (OSError, TimeoutError, nats.errors.Error) as error:
            raise NotReachable(f"NATS at {self.url} did not answer: {error or 'timeout'}") from error
        if subject.lower() in self._denied:
            await listening.stop()
            raise RefusedError(f"{self.sender!r} may not listen to {subject}", status=403)
        return listening

    async def _taken(self) -> None:
        """Return once the server has taken what was sent. A connection that breaks takes the answer along, so another is
        asked again; and the asking is never cut short: nats-py reads nothing more after an answer nobody waits for."""
        # nats-py writes the first PING ahead of the SUB that still waits in its buffer.
        answers = 0
        while answers < 2:
            asking = asyncio.ensure_future(self._nats.flush())
            asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
            either: set[asyncio.Future[Any]] = {asking, self._back}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                asking.result()
                answers += 1

    async def say(self, subject: str, body: bytes) -> None:
        """Publish what needs no answer; while disconnected it is dropped."""
        if not self._nats.is_connected:
            return
        try:
            await self._nats.publish(subject, body)
        except (OSError, nats.errors.Error) as error:
            logger.debug("not sent: %s", error)

    async def round_trip(self) -> RoundTrip:
        """Ask the server for a sign of life.

        Raises:
            NotReachable: it gave none.
        """
        try:
            seconds = await self._nats.rtt()
        except (OSError, TimeoutError, nats.errors.Error) as error:
            raise NotReachable(f"NATS at {self.url} did not answer: {error or 'timeout'}") from error
        return RoundTrip(_version(self._nats), seconds)

    async def ask_jetstream(self, request: str) -> bytes:
        """What JetStream's API says of itself, such as to `STREAM.LIST`.

        Raises:
            NotReachable: it said nothing.
        """
        try:
            answer: bytes = (await self._nats.request(f"$JS.API.{request}", timeout=JETSTREAM_S_MAX)).data
        except (OSError, TimeoutError, nats.errors.Error) as error:
            raise NotReachable(f"JetStream did not answer: {error or 'timeout'}") from error
        return answer

    # --- what NATS tells ------------------------------------------------------------------------------
    async def _on_error(self, error: Exception) -> None:
        text = str(error).removeprefix("nats: ") or type(error).__name__
        lowered = text.lower()
        if "permissions violation" in lowered:
            self._on_violation(lowered)
        elif "authorization violation" in lowered or "authentication" in lowered:
            said = text.strip("'\r\n")
            self._give_up(
                RefusedError(f"NATS at {self.url} refuses the credentials of {self.sender!r}: {said}", status=403)
            )
        elif (untrusted := tls_trouble(error)) is not None:
            text = self._on_tls_trouble(untrusted)
        if text != self._last_error:
            logger.debug("NATS: %s", text)
        self._last_error = text

    def _on_tls_trouble(self, text: str) -> str:
        """Several servers may have certificates of their own: there is hope until each was tried. Once connected there
        always is: files are replaced."""
        self._untrusted += 1
        told = f"cannot talk to NATS at {self.url}: {text}"
        if self._untrusted >= self._servers and not self._begun:
            self._give_up(NotReachable(told))
        elif text != self._last_error:
            logger.warning("%s", told)
        return text

    def _give_up(self, error: HivewireError) -> None:
        if not self._hopeless.done():
            self._hopeless.set_result(error)

    def _on_violation(self, text: str) -> None:
        """The server names the subject in quotes, and nats-py hands it over in lower case."""
        _, _, rest = text.partition('"')
        subject = rest.partition('"')[0]
        if "subscription" in text:
            self._denied.add(subject)
            return
        for key in self._unanswered.asking(subject):
            request = self._unanswered.get(key)
            kind = request.target.kind if request else subject
            refusal = ErrorBody(f"{self.sender!r} may not ask for {kind}: take credentials of another role", status=403)
            answer = Envelope(id=key, type=REPLY_REFUSED, source=self._source, data=codec.raw(refusal))
            self._unanswered.answer(key, answer)

    async def _on_disconnected(self) -> None:
        if not self.closed.done():
            logger.warning("the connection to NATS at %s is lost, trying again", self.url)
        for call in self.on_disconnect:
            call()

    async def _on_reconnected(self) -> None:
        logger.info("connected to NATS at %s again", self.url)
        self._last_error = ""
        self._unanswered.send_again()
        self._back.set_result(None)
        self._back = asyncio.get_running_loop().create_future()
        for call in self.on_reconnect:
            call()

    async def _on_closed(self) -> None:
        reason = self._last_error or str(self._nats.last_error or "no reason given").removeprefix("nats: ")
        self._end(f"NATS at {self.url} closed the connection ({reason})")


def _version(client: NatsClient) -> str:
    version = client.connected_server_version
    return f"{version.major}.{version.minor}.{version.patch}"


def _nats_credentials(credentials: Credentials | None) -> Any:
    if credentials is None:
        return None
    return str(credentials.file) if credentials.file else RawCredentials(credentials.text)
