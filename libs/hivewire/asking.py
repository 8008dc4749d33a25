"""Asking peers, and waiting for their answers.

The inbox brings answers at once. What it loses is made good by looking now and then, so no wait stays open for a lost
message, and an answer that came while nobody listened is found.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from hivewire import codec, inbox
from hivewire.commands.conversation import RECEIVED_MAX, Ask, Receive, Withdraw
from hivewire.connection import Connection
from hivewire.errors import NoAnswer, NotReachable, RefusedError
from hivewire.events.conversation import ConversationCreated, ConversationDelivered, ConversationReceived
from hivewire.inbox import ANSWER, QuestionEnded
from hivewire.reads import OneConversation
from hivewire.subjects import CONVERSATION, as_token
from hivewire.views import ConversationView

LOOK_S = 5.0
"""Pause between looks at a question of which nothing was heard."""
RECEIPTS_PAUSE_S = 0.02
"""So long receipts are collected, to be sent as one."""

OPEN = frozenset({"asked", "delivered"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer answered. `raw` is its JSON as it was sent."""

    conversation_id: str
    thread: str
    agent_id: str
    raw: msgspec.Raw

    @property
    def value(self) -> Any:
        """The answer, decoded."""
        return msgspec.json.decode(self.raw)

    @property
    def text(self) -> str:
        """The answer as text: a text as it is, all else as JSON."""
        value = self.value
        return value if isinstance(value, str) else codec.text(self.raw)


@dataclass(slots=True)
class Receipts:
    """Tells the conversation service what has arrived, several at a time."""

    send: Callable[[Receive], object]
    _ids: dict[str, None] = field(default_factory=dict)
    _timer: asyncio.TimerHandle | None = None

    def add(self, key: str) -> None:
        """This has arrived."""
        self._ids[key] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RECEIPTS_PAUSE_S, self._send)

    def close(self) -> None:
        """Send what is left."""
        if self._timer:
            self._timer.cancel()
            self._send()

    def _send(self) -> None:
        self._timer = None
        ids, self._ids = list(self._ids), {}
        with contextlib.suppress(NotReachable):  # without a receipt it comes again
            for start in range(0, len(ids), RECEIVED_MAX):
                self.send(Receive(ids[start : start + RECEIVED_MAX]))


def receipts_of(connection: Connection) -> Receipts:
    """What has arrived for the member whose connection it is."""
    return Receipts(lambda received: connection.post(CONVERSATION, "receive", received))


_GOES_ON = frozenset({ConversationCreated.type, ConversationDelivered.type, ConversationReceived.type})


class Asking:
    """The questions that a member waits for. An agent hands on what its inbox brings; others listen here."""

    def __init__(self, connection: Connection, receipts: Receipts | None = None) -> None:
        self._connection = connection
        self._receipts = receipts or receipts_of(connection)
        self._listens = receipts is not None
        self._may_listen = True
        self._waiting: dict[str, asyncio.Future[QuestionEnded]] = {}

    async def ask(self, ask: Ask, again: str | None = None) -> Answer:
        """Ask and wait. Where the question was asked before and ended without an answer, it is asked as `again`.

        Raises:
            NoAnswer: nobody answered in time, or nobody ever will.
            RefusedError: the question cannot be put: there is no such target, say, or all would wait for one another.
            NotReachable: the connection was closed meanwhile.
        """
        assert ask.id is not None
        async with self._hearing(ask.id) as heard:
            view = await self._connection.command(CONVERSATION, "ask", ask, ConversationView)
            try:
                ended = await self._ended(view, heard)
            except asyncio.CancelledError:
                self._withdraw(ask.id)
                raise
        self._receipts.add(ask.id)
        if again is not None and ended.state != "answered" and view.state not in OPEN:
            return await self.ask(msgspec.structs.replace(ask, id=again))
        return _outcome(ended)

    def hear(self, ended: QuestionEnded) -> None:
        """The inbox brought the end of a question."""
        waiting = self._waiting.get(ended.conversation_id)
        if waiting is None:
            self._receipts.add(ended.conversation_id)  # nobody waits any more; whoever asks again looks it up
        elif not waiting.done():
            waiting.set_result(ended)

    def close(self) -> None:
        """Send the last receipts."""
        self._receipts.close()

    @contextlib.asynccontextmanager
    async def _hearing(self, key: str) -> AsyncIterator["asyncio.Future[QuestionEnded]"]:
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        listening = None
        try:
            await self._listen()
            if not self._listens:
                subjects = self._connection.subjects
                subject = subjects.events("conversation.*", as_token(key))
                listening = await self._connection.listen(subject, lambda _, body: self._stir(key, body))
            yield waiting
        finally:
            del self._waiting[key]
            if listening:
                await listening.stop()

    async def _listen(self) -> None:
        """Listen to the own inbox, once. Who has none hears the events of its questions."""
        if self._listens or not self._may_listen:
            return
        try:
            subject = self._connection.subjects.inbox(self._connection.sender, ANSWER)
            await self._connection.listen(subject, self._take)
        except RefusedError:
            self._may_listen = False
        else:
            self._listens = True

    def _take(self, _subject: str, body: bytes) -> None:
        envelope = codec.decode_envelope(body)
        message = envelope if isinstance(envelope, codec.Malformed) else codec.decode_data(envelope, inbox.KINDS)
        if isinstance(message, QuestionEnded):
            self.hear(message)

    def _stir(self, key: str, body: bytes) -> None:
        """Something happened to the question: if it may have ended, it is worth to look."""
        envelope = codec.decode_envelope(body)
        goes_on = isinstance(envelope, codec.Malformed) or envelope.type in _GOES_ON
        waiting = self._waiting.get(key)
        if waiting is not None and not waiting.done() and not goes_on:
            waiting.cancel()

    async def _ended(self, view: ConversationView, heard: "asyncio.Future[QuestionEnded]") -> QuestionEnded:
        while view.state in OPEN:
            either: set[asyncio.Future[Any]] = {heard, self._connection.closed}
            await asyncio.wait(either, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if heard.done() and not heard.cancelled():
                return heard.result()
            if heard.cancelled():
                heard = self._waiting[view.conversation_id] = asyncio.get_running_loop().create_future()
            query = OneConversation(view.conversation_id)
            try:
                view = await self._connection.read(CONVERSATION, "conversation", query, ConversationView)
            except NotReachable:
                if self._connection.closed.done():
                    raise  # nobody will answer here; else the next look is as good
        return QuestionEnded(
            conversation_id=view.conversation_id,
            thread=view.thread,
            state=view.state,
            agent_id=view.agent_id,
            answer=view.answer,
            reason=view.reason,
        )

    def _withdraw(self, key: str) -> None:
        with contextlib.suppress(NotReachable):
            self._connection.post(CONVERSATION, "withdraw", Withdraw(key, "the asker waits no more"))


def _outcome(ended: QuestionEnded) -> Answer:
    if ended.state == "answered":
        return Answer(ended.conversation_id, ended.thread, ended.agent_id, ended.answer)
    reason = f": {ended.reason}" if ended.reason else ""
    raise NoAnswer(f"{ended.agent_id} did not answer; the question is {ended.state}{reason}")
