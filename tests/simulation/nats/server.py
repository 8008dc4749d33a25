"""nats-server in memory: subjects, JetStream's streams, and consumers that are pulled from without acks.

It knows nothing of delays and losses: those are the network's (`network.py`), which hands over what arrives.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

Headers = dict[str, str] | None
Deliver = Callable[["Message"], None]
NANOSECONDS = 1_000_000_000

NO_STREAM = {"code": 404, "err_code": 10059, "description": "stream not found"}
NO_MESSAGE = {"code": 404, "err_code": 10037, "description": "no message found"}
NO_CONSUMER = {"code": 404, "err_code": 10014, "description": "consumer not found"}


@dataclass(frozen=True, slots=True)
class Message:
    """What is on its way. `to` is the subject that a subscription must match, where that is not the message's own."""

    subject: str
    body: bytes = b""
    reply: str = ""
    headers: Headers = None
    to: str = ""


@lru_cache(maxsize=100_000)
def matches(pattern: str, subject: str) -> bool:
    """Whether a subject fits a pattern with wildcards."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        return len(tokens) >= len(wanted) and all(map(_fits, wanted[:-1], tokens))
    return len(tokens) == len(wanted) and all(map(_fits, wanted, tokens))


def _fits(wanted: str, token: str) -> bool:
    return wanted in ("*", token)


@dataclass(frozen=True, slots=True)
class Stored:
    """A message of a stream."""

    seq: int
    ns: int
    message: Message


@dataclass(slots=True)
class Stream:
    """A stream. `created` tells it from others of its name."""

    config: dict[str, Any]
    created: str
    messages: dict[int, Stored] = field(default_factory=dict)
    last_seq: int = 0
    first_seq: int = 1
    consumers: dict[str, "Consumer"] = field(default_factory=dict)

    def refuses(self, message: Message) -> bool:
        """Whether a bound of the stream keeps a message out. Bytes are those of bodies."""
        config = self.config
        if len(message.body) > config.get("max_msg_size", len(message.body)):
            return True
        if not config.get("discard_new_per_subject"):
            return False
        same = sum(one.message.subject == message.subject for one in self.messages.values())
        return same >= config["max_msgs_per_subject"]

    def stored_subject(self, subject: str) -> str:
        transform = self.config.get("subject_transform")
        if not transform:
            return subject
        stars = [
            token for token, part in zip(subject.split("."), transform["src"].split("."), strict=True) if part == "*"
        ]
        return re.sub(r"\{\{wildcard\((\d+)\)\}\}", lambda one: stars[int(one[1]) - 1], transform["dest"])

    def keep_from(self, seq: int) -> None:
        """Remove what is before `seq`."""
        self.messages = {number: one for number, one in self.messages.items() if number >= seq}
        self.first_seq = max(self.first_seq, min(seq, self.last_seq + 1))


@dataclass(slots=True)
class Pull:
    """A request for messages that waits at a consumer."""

    reply: str
    left: int
    heartbeat: asyncio.TimerHandle | None = None
    end: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        for timer in (self.heartbeat, self.end):
            if timer:
                timer.cancel()


@dataclass(slots=True)
class Consumer:
    """Where a reader of a stream stands."""

    name: str
    filter: str
    next_seq: int
    delivered: int = 0
    pulls: deque[Pull] = field(default_factory=deque)


class NatsServer:
    """The server. `deliver` is called with everything that somebody may have subscribed to."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, now: Callable[[], float], max_payload: int = 1024 * 1024
    ) -> None:
        self._loop = loop
        self._now = now
        self.max_payload = max_payload
        self.streams: dict[str, Stream] = {}
        self.leaderless: set[str] = set()
        """Streams that take, bring and answer nothing, as while a cluster elects a leader."""
        self.deliver: Deliver = lambda _: None
        self.is_heard: Callable[[str], bool] = lambda _: False
        self.on_stored: Callable[[Stream, Stored], None] = lambda *_: None
        self._last_ns = 0

    # what arrives -----------------------------------------------------------------------------------
    def receive(self, message: Message) -> None:
        """A client published."""
        if message.subject.startswith("$JS.API."):
            self._api(message)
            return
        found = [
            one
            for name, one in self.streams.items()
            if name not in self.leaderless and any(matches(s, message.subject) for s in one.config["subjects"])
        ]
        for stream in found:
            if (message.headers or {}).get("Nats-Expected-Stream", stream.config["name"]) == stream.config["name"]:
                self._store(stream, message)
        self.deliver(message)
        if message.reply and not found and not self.is_heard(message.subject):
            self.deliver(Message(message.reply, headers={"Status": "503"}))

    def _store(self, stream: Stream, message: Message) -> None:
        acked = message.reply and not stream.config.get("no_ack")
        if stream.refuses(message):
            if acked:
                self._answer(message.reply, {"error": {"code": 503, "err_code": 10077, "description": "refused"}})
            return
        stream.last_seq += 1
        subject = stream.stored_subject(message.subject)
        stored = Stored(stream.last_seq, self._ns(), Message(subject, message.body, headers=message.headers))
        stream.messages[stored.seq] = stored
        self.on_stored(stream, stored)
        if acked:
            self._answer(message.reply, {"stream": stream.config["name"], "seq": stored.seq})
        for consumer in stream.consumers.values():
            self._feed(stream, consumer)

    def _ns(self) -> int:
        """The time in nanoseconds, never twice the same."""
        self._last_ns = max(int(self._now() * 1_000_000) * 1_000, self._last_ns + 1)
        return self._last_ns

    def _answer(self, reply: str, body: object) -> None:
        self.deliver(Message(reply, msgspec.json.encode(body)))

    # JetStream's API --------------------------------------------------------------------------------
    def _api(self, message: Message) -> None:
        _, _, kind, action, *rest = message.subject.split(".")
        if not self.leaderless.isdisjoint(rest):
            return
        request = msgspec.json.decode(message.body) if message.body else {}
        if (kind, action) == ("CONSUMER", "MSG"):
            self._pull(rest[1], rest[2], message.reply, request)
            return
        answer = getattr(self, f"_{kind.lower()}_{action.lower()}")(rest, request)
        if message.reply:
            self._answer(message.reply, answer)

    def _stream_info(self, rest: list[str], _: Any) -> Any:
        stream = self.streams.get(rest[0])
        return _info(stream) if stream else {"error": NO_STREAM}

    def _stream_create(self, rest: list[str], config: dict[str, Any]) -> Any:
        stream = self.streams.get(rest[0])
        if stream is None:
            stream = self.streams[rest[0]] = Stream(config, _moment(self._ns()))
        return _info(stream)

    def _stream_update(self, rest: list[str], config: dict[str, Any]) -> Any:
        stream = self.streams[rest[0]]
        stream.config = config
        return _info(stream)

    def _stream_msg(self, rest: list[str], request: dict[str, Any]) -> Any:
        stream = self.streams.get(rest[1])
        stored = stream.messages.get(request["seq"]) if stream else None
        if stored is None:
            return {"error": NO_MESSAGE if stream else NO_STREAM}
        return {"message": {"seq": stored.seq, "time": _moment(stored.ns)}}

    def _stream_purge(self, rest: list[str], request: dict[str, Any]) -> Any:
        stream = self.streams.get(rest[0])
        if stream is None:
            return {"error": NO_STREAM}
        stream.keep_from(request["seq"])
        return {"success": True}

    def _stream_delete(self, rest: list[str], _: Any) -> Any:
        self.delete_stream(rest[0])
        return {"success": True}

    def _consumer_create(self, rest: list[str], request: dict[str, Any]) -> Any:
        stream = self.streams.get(rest[0])
        if stream is None:
            return {"error": NO_STREAM}
        config = request["config"]
        consumer = Consumer(config["name"], config["filter_subject"], config["opt_start_seq"])
        stream.consumers[consumer.name] = consumer
        return {"name": consumer.name}

    def _consumer_delete(self, rest: list[str], _: Any) -> Any:
        stream = self.streams.get(rest[0])
        consumer = stream.consumers.pop(rest[1], None) if stream else None
        for pull in consumer.pulls if consumer else ():
            pull.cancel()
        return {"success": True} if consumer else {"error": NO_CONSUMER}

    # pulling ----------------------------------------------------------------------------------------
    def _pull(self, stream_name: str, name: str, reply: str, request: dict[str, Any]) -> None:
        stream = self.streams.get(stream_name)
        consumer = stream.consumers.get(name) if stream else None
        if stream is None or consumer is None:
            self.deliver(Message(reply, headers={"Status": "503"}))
            return
        pull = Pull(reply, request["batch"])
        consumer.pulls.append(pull)
        self._feed(stream, consumer)
        if pull.left:
            pull.end = self._loop.call_later(request["expires"] / NANOSECONDS, self._expire, consumer, pull)
            self._beat(pull, request["idle_heartbeat"] / NANOSECONDS)

    def _beat(self, pull: Pull, interval_s: float) -> None:
        def beat() -> None:
            self.deliver(Message(pull.reply, headers={"Status": "100", "Description": "Idle Heartbeat"}))
            pull.heartbeat = self._loop.call_later(interval_s, beat)

        pull.heartbeat = self._loop.call_later(interval_s, beat)

    def _expire(self, consumer: Consumer, pull: Pull) -> None:
        pull.cancel()
        if pull in consumer.pulls:
            consumer.pulls.remove(pull)
        self.deliver(Message(pull.reply, headers={"Status": "408", "Description": "Request Timeout"}))

    def _feed(self, stream: Stream, consumer: Consumer) -> None:
        while consumer.pulls and (stored := self._next(stream, consumer)) is not None:
            pull = consumer.pulls[0]
            consumer.next_seq = stored.seq + 1
            consumer.delivered += 1
            waiting = stream.last_seq - stored.seq
            place = f"{consumer.delivered}.{stored.seq}.{consumer.delivered}.{stored.ns}.{waiting}"
            ack = f"$JS.ACK.{stream.config['name']}.{consumer.name}.{place}"
            message = stored.message
            self.deliver(Message(message.subject, message.body, ack, message.headers, to=pull.reply))
            pull.left -= 1
            if not pull.left:
                pull.cancel()
                consumer.pulls.popleft()

    def _next(self, stream: Stream, consumer: Consumer) -> Stored | None:
        consumer.next_seq = max(consumer.next_seq, stream.first_seq)
        while consumer.next_seq <= stream.last_seq:
            stored = stream.messages.get(consumer.next_seq)
            if stored is not None and matches(consumer.filter, stored.message.subject):
                return stored
            consumer.next_seq += 1
        return None

    # what goes wrong --------------------------------------------------------------------------------
    def delete_stream(self, name: str) -> None:
        """The stream is gone, and its readers are told."""
        stream = self.streams.pop(name, None)
        for consumer in stream.consumers.values() if stream else ():
            for pull in consumer.pulls:
                pull.cancel()
                self.deliver(Message(pull.reply, headers={"Status": "409", "Description": "Consumer Deleted"}))

    def lose_tail(self, name: str, count: int) -> None:
        """The disk lost the last messages, and all that is kept in memory: who reads, and who waits."""
        stream = self.streams.get(name)
        if stream is None:
            return
        stream.last_seq = max(stream.first_seq - 1, stream.last_seq - count)
        stream.messages = {seq: one for seq, one in stream.messages.items() if seq <= stream.last_seq}
        self._forget_readers(stream)

    def lose_leader(self, name: str) -> None:
        """A node was killed, and with it those who read; until `leaderless` says otherwise nobody leads the stream."""
        self.leaderless.add(name)
        if name in self.streams:
            self._forget_readers(self.streams[name])

    def _forget_readers(self, stream: Stream) -> None:
        for consumer in stream.consumers.values():
            for pull in consumer.pulls:
                pull.cancel()
        stream.consumers.clear()


def _info(stream: Stream) -> dict[str, Any]:
    state = {"first_seq": stream.first_seq, "last_seq": stream.last_seq}
    return {"config": stream.config, "created": stream.created, "state": state}


def _moment(ns: int) -> str:
    whole = datetime.fromtimestamp(ns // NANOSECONDS, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{ns % NANOSECONDS:09d}Z"
