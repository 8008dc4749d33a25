"""What peers ask and tell an agent, and its handlers for it."""

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from hivewire import codec
from hivewire.asking import Asking, receipts_of
from hivewire.client import Client
from hivewire.commands.conversation import Answer
from hivewire.connection import Connection
from hivewire.errors import BadUsage, HivewireError, RefusedError
from hivewire.handlers import Handler, error_text
from hivewire.inbox import MessageReceived, QuestionAsked
from hivewire.subjects import CONVERSATION

REMEMBERED_MAX = 10_000
"""Questions and messages that were taken: what comes again is not handled twice."""
THREADS_MAX = 8

logger = logging.getLogger("hivewire")


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a peer. `target` is whom the peer named; `thread` the conversation that it follows up."""

    conversation_id: str
    thread: str
    asker: str
    target: str
    raw: msgspec.Raw
    asked_at: datetime
    expires_at: datetime

    @property
    def value(self) -> Any:
        """The question, decoded."""
        return msgspec.json.decode(self.raw)

    @property
    def text(self) -> str:
        """The question as text: a text as it is, all else as JSON."""
        value = self.value
        return value if isinstance(value, str) else codec.text(self.raw)


@dataclass(frozen=True, slots=True)
class Message:
    """What a peer says without expecting an answer."""

    message_id: str
    sender: str
    raw: msgspec.Raw
    sent_at: datetime

    @property
    def value(self) -> Any:
        """The content, decoded."""
        return msgspec.json.decode(self.raw)


@dataclass(frozen=True, slots=True)
class PeerContext:
    """The hive, as a handler of questions or messages reaches it. `hive` is a client under the agent's name."""

    hive: Client


class PeerHandlers:
    """An agent's functions for questions and messages."""

    def __init__(self) -> None:
        self.question: Handler | None = None
        self.message: Handler | None = None

    def add(self, kind: str, function: Handler) -> None:
        """Let `function` deal with one kind.

        Raises:
            BadUsage: the agent has such a handler.
        """
        if getattr(self, kind) is not None:
            raise BadUsage(f"the agent has two {kind} handlers: one deals with all")
        setattr(self, kind, function)


class Peers:
    """Runs an agent's handlers for what its peers ask and tell, beside its tasks."""

    def __init__(self, connection: Connection, handlers: PeerHandlers) -> None:
        self._connection = connection
        self._handlers = handlers
        self._receipts = receipts_of(connection)
        self.asking = Asking(connection, self._receipts)
        self._context = PeerContext(Client(connection, asking=self.asking))
        self._taken: OrderedDict[str, None] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(max_workers=THREADS_MAX, thread_name_prefix="hivewire-peer")

    def asked(self, asked: QuestionAsked) -> None:
        """Answer a question. An agent without a handler leaves it to whoever listens under the same name."""
        if self._handlers.question is None:
            logger.debug("question %s is left to others: the agent has no handler", asked.conversation_id)
            return
        self._receipts.add(asked.conversation_id)
        question = Question(
            conversation_id=asked.conversation_id,
            thread=asked.thread,
            asker=asked.asker,
            target=asked.target,
            raw=asked.question,
            asked_at=asked.asked_at,
            expires_at=asked.expires_at,
        )
        self._begin(asked.conversation_id, lambda: self._answer(question))

    def told(self, told: MessageReceived) -> None:
        """Take a message. An agent without a handler leaves it to whoever listens under the same name."""
        if self._handlers.message is None:
            return
        self._receipts.add(told.message_id)
        message = Message(told.message_id, told.sender, told.content, told.sent_at)
        self._begin(told.message_id, lambda: self._take(message))

    async def close(self) -> None:
        """End the handlers, and send the last receipts."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        self._receipts.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, key: str, run: Callable[[], Any]) -> None:
        if key in self._taken:
            return
        self._taken[key] = None
        while len(self._taken) > REMEMBERED_MAX:
            self._taken.popitem(last=False)
        task = asyncio.create_task(self._run(key, run), name=f"peer {key}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, key: str, run: Callable[[], Any]) -> None:
        try:
            await run()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a handler raises ends it alone
            self._taken.pop(key, None)  # should it come again, it is tried again
            logger.warning("%s was not dealt with: %s", key, error_text(error))

    async def _answer(self, question: Question) -> None:
        value = await self._call(self._handlers.question, question)
        answer = Answer(question.conversation_id, _encoded(value))
        try:
            await self._connection.command(CONVERSATION, "answer", answer, msgspec.Raw, timeout_s=None)
        except RefusedError as error:  # it was withdrawn or expired meanwhile, say
            logger.info("the answer to question %s was not taken: %s", question.conversation_id, error)

    async def _take(self, message: Message) -> None:
        await self._call(self._handlers.message, message)

    async def _call(self, handler: Handler | None, what: Question | Message) -> Any:
        assert handler is not None
        if inspect.iscoroutinefunction(handler):
            return await handler(what, self._context)
        return await asyncio.get_running_loop().run_in_executor(self._threads, handler, what, self._context)


def _encoded(value: Any) -> msgspec.Raw:
    try:
        return codec.raw(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise HivewireError(f"the handler's answer cannot be written as JSON: {error}") from error
