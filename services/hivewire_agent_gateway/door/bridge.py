"""The WebSocket bridge: a remote agent's connection, which is its presence, its inbox and its voice."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from hivewire import codec, inbox, limits
from hivewire.commands import agent_gateway as commands
from hivewire.connection import Listening
from hivewire.errors import HivewireError, RefusedError
from hivewire.handlers import storable
from hivewire.ids import new_id
from hivewire.inbox import (
    BEAT_TYPE,
    Beat,
    HaltSession,
    Held,
    MessageReceived,
    QuestionAsked,
    QuestionEnded,
    SessionDispatch,
    Sync,
)
from hivewire.subjects import AGENT_GATEWAY, is_token
from hivewire_agent_gateway import metrics
from hivewire_agent_gateway.aftermath import envelope_of
from hivewire_agent_gateway.door import frames
from hivewire_agent_gateway.door.answers import Answers
from hivewire_agent_gateway.door.peers import Peers
from hivewire_agent_gateway.door.place import Place
from hivewire_agent_gateway.rows import SQL
from hivewire_service.store import CONNECTION_ERRORS

log = structlog.get_logger()

HEARTBEATS_MISSED_MAX: Final = 3
WAITING_BYTES_MAX: Final = 4 * 1024 * 1024
"""What waits for a slow reader; beyond it the connection is closed, and what is open is sent to the next one."""
CLOSE_S_MAX: Final = 5.0
"""For so long a slow reader is waited for to tell it why its connection is closed."""
REASON_BYTES_MAX: Final = 123
BY_PEER: Final = "peer"
BRIDGED: Final = "bridged"


class Closed(Exception):
    """The connection has to be closed with this code."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason

    @property
    def told(self) -> str:
        """As much of the reason as a close frame holds."""
        return self.reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")


class Bridged(msgspec.Struct):
    """Told to all doors: an agent has a new connection, so every older one is closed."""

    agent_id: str
    connection: str


class Bridges:
    """All bridges of a door."""

    def __init__(self, place: Place, answers: Answers) -> None:
        self._place = place
        self._answers = answers
        self._open: dict[str, Bridge] = {}
        """One for each agent, as long as it is connected: there are no more than there may be connections."""

    async def begin(self) -> Listening:
        """Hear of connections at other doors."""
        return await self._place.line.listen(self._place.subjects.door("all", BRIDGED), self._hear_bridged)

    def _hear_bridged(self, _subject: str, body: bytes) -> None:
        envelope = codec.decode_envelope(body)
        if isinstance(envelope, codec.Malformed):
            return
        told = codec.decode_as(envelope.data, Bridged, BRIDGED)
        if isinstance(told, Bridged):
            known = self._open.get(told.agent_id)
            if known is not None and known.id != told.connection:
                known.close(Closed(frames.REPLACED, "replaced by a newer connection"))

    async def serve(self, websocket: WebSocket) -> None:
        """One connection, from its opening to its end."""
        await websocket.accept()
        bridge: Bridge | None = None
        closed = gone = None
        try:
            bridge = await self._prove(websocket, await _first(websocket))
            await self._enter(bridge)
            await bridge.run()
        except Closed as error:
            closed = error
        except WebSocketDisconnect as error:
            gone = error
        except (HivewireError, *CONNECTION_ERRORS) as error:
            closed = Closed(frames.TRY_LATER, str(error) or type(error).__name__)
        finally:
            if bridge is not None:
                await self._end(bridge, closed or gone)
        metrics.BRIDGES_ENDED.labels(_told_code(closed or gone)).inc()
        if closed is None:
            return
        log.info("bridge closed", agent=bridge and bridge.agent_id, code=closed.code, reason=closed.reason)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(CLOSE_S_MAX):
                await websocket.close(closed.code, closed.told)

    async def _prove(self, websocket: WebSocket, register: frames.Register) -> "Bridge":
        place = self._place
        try:
            caller = await place.callers.prove(register.agent_id, register.auth_token)
        except RefusedError as error:
            raise Closed(frames.UNPROVEN, error.error) from None
        if caller.role == "publisher":
            raise Closed(frames.UNPROVEN, "a publisher's token is not for agents")
        return Bridge(websocket, place, self._answers, register, await self._instance(register))

    async def _enter(self, bridge: "Bridge") -> None:
        """Be the agent's only connection."""
        place = self._place
        older = self._open.get(bridge.agent_id)
        self._open[bridge.agent_id] = bridge
        metrics.BRIDGES.set(len(self._open))
        if older is not None:
            older.close(Closed(frames.REPLACED, "replaced by a newer connection"))
        told = envelope_of(BRIDGED, f"/{place.subjects.hive}/{AGENT_GATEWAY}", Bridged(bridge.agent_id, bridge.id))
        await place.line.say(place.subjects.door("all", BRIDGED), told)

    async def _instance(self, register: frames.Register) -> str:
        """The instance that the agent names, else the one that it had before, as long as it was not lost."""
        named = register.metadata.get("instance")
        if isinstance(named, str) and is_token(named):
            return named
        return await self._place.pool.fetchval(SQL.present_instance, register.agent_id) or new_id()

    async def _end(self, bridge: "Bridge", why: "Closed | WebSocketDisconnect | None") -> None:
        if self._open.get(bridge.agent_id) is bridge:
            del self._open[bridge.agent_id]
        metrics.BRIDGES.set(len(self._open))
        await bridge.end()
        if why is not None:
            self._answers.run(bridge.tell_end(why.code, why.reason or ""))


def _told_code(why: Closed | WebSocketDisconnect | None) -> str:
    """Our close codes, of which there are few; those of peers are all the same to us."""
    is_ours = isinstance(why, Closed) or (why is not None and why.code == frames.TOO_LARGE)
    return str(why.code) if why is not None and is_ours else BY_PEER


async def _first(websocket: WebSocket) -> frames.Register:
    try:
        frame = await asyncio.wait_for(_receive(websocket), limits.REGISTER_S_MAX)
    except TimeoutError:
        raise Closed(frames.NOT_REGISTERED, "the first message must be register") from None
    if not isinstance(frame, frames.Register):
        raise Closed(frames.NOT_REGISTERED, "the first message must be register")
    return frame


async def _receive(websocket: WebSocket) -> frames.FromAgent:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if text is None:
        raise Closed(frames.MALFORMED, "messages are JSON texts")
    found: Any = codec.decode_as(text.encode(errors="replace"), frames.FromAgent, "message")  # type: ignore[arg-type]
    if isinstance(found, codec.Malformed):
        raise Closed(frames.MALFORMED, found.reason)
    frame: frames.FromAgent = found
    return frame


class Bridge:
    """One connection of one agent."""

    def __init__(
        self, websocket: WebSocket, place: Place, answers: Answers, register: frames.Register, instance: str
    ) -> None:
        self.id = new_id()
        self.agent_id = register.agent_id
        self._websocket = websocket
        self._place = place
        self._answers = answers
        self._instance = instance
        self._token = register.auth_token
        self._card = _card(register, instance)
        self._held: dict[str, Held | None] = {}
        self._peers = Peers(place, self.agent_id, self._send, self._held)
        self._waiting: deque[tuple[bytes, Callable[[], None] | None]] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._register_again = asyncio.Event()
        self._said = answers.turns_of(self.agent_id)
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listening: Listening | None = None
        self._heard_s = 0.0
        self._turns = 0

    def close(self, closed: Closed) -> None:
        """End the connection."""
        if not self._over.done():
            self._over.set_exception(closed)

    async def run(self) -> None:
        """Be the agent's connection until it ends.

        Raises:
            Closed: it has to be closed.
        """
        place = self._place
        self._listening = await place.line.listen(place.subjects.inboxes(self.agent_id), self._hear)
        await self._unless_over(self._register())
        self._send(codec.encode(frames.Registered(self.id, self.agent_id, "registered")))
        self._waiting.rotate()  # before whatever the inbox has brought meanwhile
        duties = (
            self._read,
            self._write,
            self._beat,
            self._heartbeat,
            self._stay_registered,
            self._watch_closing,
            self._watch_token,
        )
        tasks: list[asyncio.Future[None]] = [asyncio.create_task(duty()) for duty in duties]
        place.line.on_reconnect.append(self._register_again.set)
        try:
            await asyncio.wait((*tasks, self._over), return_when=asyncio.FIRST_COMPLETED)
            for ended in (self._over, *tasks):
                if ended.done():
                    ended.result()
        finally:
            place.line.on_reconnect.remove(self._register_again.set)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _unless_over(self, waiting: Coroutine[Any, Any, None]) -> None:
        """Wait, until the connection is to be closed: while the core is away, those that were replaced don't pile up."""
        task = asyncio.create_task(waiting)
        try:
            await asyncio.wait((task, self._over), return_when=asyncio.FIRST_COMPLETED)
            (task if task.done() else self._over).result()
        finally:
            task.cancel()

    async def end(self) -> None:
        """Hear nothing more. The agent stays present for some seconds: it may come back."""
        if self._listening is not None:
            await self._listening.stop()
        if self._over.done() and not self._over.cancelled():
            self._over.exception()
        self._over.cancel()
        self._waiting.clear()
        self._peers.close()

    async def tell_end(self, code: int, reason: str) -> None:
        """Have it recorded how the connection ended."""
        ended = commands.Disconnected(self._instance, code, storable(reason)[: limits.LABEL_CHARS_MAX])
        try:
            await self._place.line.command_as(self.agent_id, AGENT_GATEWAY, "disconnected", ended, commands.AgentBrief)
        except HivewireError as error:
            log.warning("end of a bridge not recorded", agent=self.agent_id, code=code, error=str(error))

    # --- presence -----------------------------------------------------------------------------------------
    async def _register(self) -> None:
        try:
            await self._place.line.command_as(
                self.agent_id, AGENT_GATEWAY, "register", self._card, commands.AgentBrief, timeout_s=None
            )
        except RefusedError as error:
            code = frames.REPLACED if error.status == 409 else frames.MALFORMED
            raise Closed(code, error.error) from None
        except HivewireError as error:
            raise Closed(frames.TRY_LATER, str(error)) from None

    async def _stay_registered(self) -> None:
        while True:
            await self._register_again.wait()
            self._register_again.clear()
            await self._register()

    async def _beat(self) -> None:
        subjects = self._place.subjects
        while True:
            self._turns += 1
            tasks = [held for held in self._held.values() if held is not None]
            free_slots = max(0, self._card.slots - len(tasks))
            beat = Beat(self.agent_id, self._instance, tasks, free_slots, self._turns, list(self._held))
            body = envelope_of(BEAT_TYPE, f"/{subjects.hive}/{self.agent_id}", beat)
            await self._place.line.say(subjects.beat(self.agent_id), body)
            await asyncio.sleep(limits.BEAT_INTERVAL_S)

    async def _heartbeat(self) -> None:
        interval_s = self._place.heartbeat_s
        self._heard_s = begun_s = time.monotonic()
        while True:
            await asyncio.sleep(interval_s)
            self._heard_s += time.monotonic() - begun_s - interval_s  # while we overslept, nothing could be heard
            begun_s = time.monotonic()
            silence_s = begun_s - self._heard_s
            if silence_s >= HEARTBEATS_MISSED_MAX * interval_s:
                raise Closed(frames.SILENT, f"nothing heard for {silence_s:.3g} s")
            self._send(frames.heartbeat(datetime.now(UTC)))
            await self._check_token()

    async def _check_token(self) -> None:
        """It may have expired, or been revoked while this door could not hear of it."""
        with contextlib.suppress(*CONNECTION_ERRORS):
            try:
                await self._place.callers.prove(self.agent_id, self._token)
            except RefusedError as error:
                raise Closed(frames.UNPROVEN, error.error) from None

    async def _watch_closing(self) -> None:
        await self._place.closing.wait()
        raise Closed(frames.GOING_AWAY, "the door shuts down: connect again")

    async def _watch_token(self) -> None:
        await self._place.callers.until_revoked(self.agent_id)
        raise Closed(frames.UNPROVEN, "the token was revoked")

    # --- to the agent -------------------------------------------------------------------------------------
    def _hear(self, _subject: str, body: bytes) -> None:
        envelope = codec.decode_envelope(body)
        message = envelope if isinstance(envelope, codec.Malformed) else codec.decode_data(envelope, inbox.KINDS)
        match message:
            case SessionDispatch(instance=instance) if instance == self._instance:
                self._take(message)
            case HaltSession() if self._held.pop(message.message_id, self) is not self:
                cancel = frames.Cancel(message.message_id, self.agent_id, message.session_id, message.reason)
                self._send(codec.encode(cancel))
            case inbox.Replaced(instance) if instance != self._instance:
                self.close(Closed(frames.REPLACED, "replaced by a newer instance"))
            case Sync(instance) if instance == self._instance:
                self._register_again.set()
            case QuestionAsked() | QuestionEnded() | MessageReceived():
                self._peers.hear(message)

    def _take(self, given: SessionDispatch) -> None:
        if given.message_id in self._held:
            return
        self._held[given.message_id] = Held(given.task_id, given.task_attempt) if given.task_id else None
        if len(self._held) > limits.HELD_MAX:  # a beat names no more; of what it doesn't name the agent is told again
            del self._held[next(iter(self._held))]
        frame = frames.Dispatch(given.message_id, self.agent_id, given.content, given.context, given.session_id)
        self._send(codec.encode(frame))

    def _send(self, frame: bytes, written: Callable[[], None] | None = None) -> None:
        if self._over.done():
            return
        self._waiting.append((frame, written))
        self._waiting_bytes += len(frame)
        self._wake.set()
        if self._waiting_bytes > WAITING_BYTES_MAX:
            self.close(Closed(frames.TRY_LATER, "you read too slowly: connect again"))

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                frame, written = self._waiting.popleft()
                await self._websocket.send_text(frame.decode())
                self._waiting_bytes -= len(frame)
                if written is not None:
                    written()

    # --- from the agent -----------------------------------------------------------------------------------
    async def _read(self) -> None:
        while True:
            frame = await _receive(self._websocket)
            self._heard_s = time.monotonic()
            if isinstance(frame, frames.Register):
                raise Closed(frames.MALFORMED, "register comes once, as the first message")
            if frame.agent_id not in (None, self.agent_id):
                raise Closed(frames.MALFORMED, f"this connection is {self.agent_id}'s")
            if not isinstance(frame, frames.Heartbeat):
                await self._said.acquire()
                self._answers.run(self._say(frame)).add_done_callback(lambda _: self._said.release())

    async def _say(self, frame: frames.Progress | frames.Response | frames.ToPeer) -> None:
        if not isinstance(frame, (frames.Progress, frames.Response)):
            await self._peers.say(frame)
            return
        try:
            if isinstance(frame, frames.Progress):
                text, done = frame.progress_text or "", frames.fraction(frame.metadata)
                await self._answers.progress(self.agent_id, frame.message_id, frame.status, text, done)
                return
            await self._answers.respond(self.agent_id, frame.message_id, frame.content, frame.usage, frame.error)
        except RefusedError as error:
            self._send(codec.encode(frames.Error(frame.message_id, error.status, error.error)))
        except HivewireError as error:
            log.warning("answer not passed on", agent=self.agent_id, message=frame.message_id, error=str(error))
            return
        if isinstance(frame, frames.Response):
            self._held.pop(frame.message_id, None)


def _card(register: frames.Register, instance: str) -> commands.Register:
    """The agent's card, as the hive has it."""
    slots = register.metadata.get("slots")
    is_count = isinstance(slots, int) and not isinstance(slots, bool) and 1 <= slots <= limits.SLOTS_MAX
    metadata = register.metadata | ({"workdir": register.workdir} if register.workdir else {})
    return commands.Register(
        instance=instance,
        agent_type="remote",
        capabilities=register.capabilities,
        slots=slots if is_count else 1,  # type: ignore[arg-type]
        metadata=codec.raw(metadata),
        answers_while_busy=register.metadata.get("answers_while_busy") is True,
    )
