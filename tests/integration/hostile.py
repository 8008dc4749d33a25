"""Agents that try to speak as others, to hear them, and to make servers and services speak for them."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from tests.conftest import Hive

from hivewire import reads
from hivewire.commands import CATALOGUE
from hivewire.subjects import REPLY_HEADER, SERVICES, Subjects, reply_prefix
from hivewire_service.roles import AGENT_VERBS

FOREIGN_HEADERS = {
    "Nats-Trace-Dest": "",
    "Nats-Schedule-Target": "",
    "Nats-Reply": "",
    "reply": "",
    "Reply-To": "",
}
"""Headers that name a subject, which is filled in."""
STREAM_HEADERS = (
    {"Nats-Rollup": "all"},
    {"Nats-Rollup": "sub"},
    {"Nats-TTL": "1s"},
    {"Nats-Incr": "+1"},
    {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
    {"Nats-Expected-Last-Sequence": "999999"},
    {"Nats-Marker-Reason": "Purge"},
    {"Nats-Stream-Source": "HIVE_EVENTS 1 > >"},
    {"Nats-Subject": "hive.evt.task.completed"},
)
"""Headers that tell JetStream to do something."""


@dataclass(frozen=True)
class Publish:
    """One message that a hostile agent sends."""

    subject: str
    reply: str = ""
    headers: dict[str, str] | None = None


@dataclass
class Attacker:
    """An agent with credentials of its own, and what the server and others said to it."""

    name: str
    client: Client
    violations: list[str] = field(default_factory=list)
    heard: list[Msg] = field(default_factory=list)


class Targets:
    """What an attacker may want to reach of another member."""

    def __init__(self, hive: str) -> None:
        self.hive = hive
        self.subjects = Subjects(hive)
        self.streams = [*map(self.subjects.command_stream, SERVICES), self.subjects.event_stream]

    def of(self, victim: str) -> Iterator[str]:
        """Where nobody but a service, or the victim itself, may publish."""
        subjects = self.subjects
        yield from (subjects.inbox(victim, kind) for kind in ("task", "cancel", "answer", "replaced", "drain"))
        yield f"{reply_prefix(victim)}.1"
        yield subjects.beat(victim)
        yield from (
            subjects.command(service, verb, victim) for service, verbs in AGENT_VERBS.items() for verb in verbs[:3]
        )
        yield from (subjects.read(service, "rejects", victim) for service in SERVICES)
        yield subjects.event("task.completed", victim)
        yield subjects.event("agent.deleted", victim)
        yield subjects.door(victim, "dispatch")
        yield subjects.door(victim, "beat")

    def servers(self, own: str) -> Iterator[str]:
        """Parts of the servers that no agent may speak to."""
        subjects = self.subjects
        for stream in self.streams:
            yield from (
                f"$JS.API.{request}.{stream}"
                for request in ("STREAM.PURGE", "STREAM.DELETE", "STREAM.UPDATE", "STREAM.INFO", "STREAM.MSG.GET")
            )
            yield f"$JS.API.STREAM.MSG.DELETE.{stream}"
            yield f"$JS.API.STREAM.SNAPSHOT.{stream}"
            yield f"$JS.API.DIRECT.GET.{stream}"
            yield f"$JS.API.CONSUMER.CREATE.{stream}.spy"
            yield f"$JS.API.CONSUMER.CREATE.{stream}.spy.{self.hive}.cmd.>"
            yield f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.spy"
            yield f"$JS.API.CONSUMER.MSG.NEXT.{stream}.spy"
            yield f"$JS.API.CONSUMER.DELETE.{stream}.spy"
            yield f"$JS.ACK.{stream}.spy.1.1.1.1.0"
            yield f"$JS.FC.{stream}.spy.1"
        yield from ("$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.CREATE.SPY", "$JS.API.META.LEADER.STEPDOWN")
        yield from ("$SRV.PING", "$SRV.INFO", f"$SRV.STATS.{self.hive}-broker", "$SRV.PING.x.y")
        yield from ("$SYS.REQ.USER.INFO", "$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.SERVER.PING", "$SYS.ACCOUNT.x.CONNECT")
        yield from ("$KV.bucket.key", "$O.bucket.C.x", "$G.x", "_R_.x.y", "_GR_.x.y.z", f"{self.hive}", "x")
        yield from (subjects.admin(service, "credentials", own) for service in SERVICES)
        yield from (
            subjects.command(service, verb, own)
            for service, verbs in CATALOGUE.items()
            for verb in verbs
            if verb not in AGENT_VERBS.get(service, ())
        )

    def subscriptions(self, own: str, victim: str) -> Iterator[str]:
        """What an agent may not hear."""
        subjects, hive = self.subjects, self.hive
        yield from (">", "*", "*.>", "*.*.*.*", f"{hive}.>", f"*.inbox.{own}.>", f"{hive}.*.{own}.>", f"{hive}.inbox.>")
        yield from (f"{hive}.inbox.*.task", f"{hive}.inbox.*.>", f"{hive}.*.*.task", subjects.inboxes(victim))
        yield from (f"{hive}.evt.>", subjects.events(), subjects.event("task.completed", victim), subjects.beats())
        yield from (f"{hive}.cmd.>", f"{hive}.get.>", f"{hive}.admin.>", f"{hive}.door.>", subjects.beat(victim))
        yield from (f"{reply_prefix(victim)}.>", "_INBOX.>", "_INBOX.*.>", "_INBOX.*", f"{reply_prefix('service')}.>")
        yield from ("$SRV.>", "$SYS.>", "$JS.>", "$JS.EVENT.ADVISORY.>", "$JS.API.>", "$JS.ACK.>", "_R_.>", "$KV.>")

    def detours(self, own: str, victim: str, number: int) -> Iterator[Publish]:
        """What an agent may publish, with a word that could make somebody else publish on where it may not."""
        subjects = self.subjects
        targets = [*self.of(victim), f"$JS.API.STREAM.PURGE.{subjects.event_stream}", f"$SRV.PING.{victim}"]
        targets += [f"{reply_prefix(own)}x.1", reply_prefix(own), f"{reply_prefix(own)}.>", f"{reply_prefix(own)}.*"]
        command, read = subjects.command("broker", "submit", own), subjects.read("broker", "rejects", own)
        for place, target in enumerate(targets):
            yield Publish(command, reply=target)
            yield Publish(command, headers={REPLY_HEADER: target})
            yield Publish(read, reply=target)
            yield Publish(read, reply=target, headers={REPLY_HEADER: target})
            header = list(FOREIGN_HEADERS)[(place + number) % len(FOREIGN_HEADERS)]
            yield Publish(command, headers={header: target, "Nats-Schedule": "@at 2020-01-01T00:00:00Z"})
            yield Publish(subjects.beat(own), reply=target, headers={header: target})
        query = list(reads.CATALOGUE["broker"])[number % len(reads.CATALOGUE["broker"])]
        yield Publish(subjects.read("broker", query, own), reply=f"{reply_prefix(victim)}.2")
        yield Publish(subjects.read("broker", "unknown", own), reply=f"{reply_prefix(victim)}.3")
        for headers in STREAM_HEADERS:
            yield Publish(command, reply=f"{reply_prefix(victim)}.4", headers=headers)
        yield Publish(command, reply=f"{reply_prefix(victim)}.b.1.fail.1.2.$FI")
        yield Publish(command, headers={REPLY_HEADER: f"{reply_prefix(own)}.x\r\nNats-Trace-Dest: {targets[0]}"})


class Monitor:
    """Hears with a service's rights whatever is said in the hive."""

    def __init__(self, hive: Hive) -> None:
        self.hive = hive
        self.messages: list[Msg] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Client]:
        client = await self.hive.connect("service", reconnected_cb=None)

        async def receive(message: Msg) -> None:
            self.messages.append(message)

        for pattern in (f"{self.hive.name}.>", "_INBOX.*.>", "$SRV.>"):
            await client.subscribe(pattern, cb=receive)
        await client.flush()
        try:
            yield client
        finally:
            await client.close()


async def stream_state(client: Client) -> dict[str, Any]:
    """Of each stream: its birth, its last number, its consumers; of the events also the messages of each subject."""
    state = {}
    for stream in (await _api(client, "STREAM.LIST"))["streams"]:
        name = stream["config"]["name"]
        info = await _api(client, f"STREAM.INFO.{name}", {"subjects_filter": ">"})
        counts = info["state"].get("subjects") if name.endswith("_EVENTS") else None
        state[name] = (info["created"], info["state"]["last_seq"], info["state"]["consumer_count"], counts)
    return state


async def _api(client: Client, request: str, body: object = None) -> dict[str, Any]:
    data = json.dumps(body).encode() if body else b""
    return json.loads((await client.request(f"$JS.API.{request}", data, timeout=5)).data)


@asynccontextmanager
async def attackers(hive: Hive, count: int) -> AsyncIterator[list[Attacker]]:
    """Agents that hear what they may."""
    async with AsyncExitStack() as stack:
        found = [await _attacker(hive, f"agent-{number}") for number in range(count)]
        for attacker in found:
            stack.push_async_callback(attacker.client.close)
        yield found


async def _attacker(hive: Hive, name: str) -> Attacker:
    violations: list[str] = []
    heard: list[Msg] = []

    async def refused(error: Exception) -> None:
        violations.append(str(error))

    async def receive(message: Msg) -> None:
        heard.append(message)

    client = await hive.connect("agent", name, error_cb=refused)
    for subject in (Subjects(hive.name).inboxes(name), f"{reply_prefix(name)}.>"):
        await client.subscribe(subject, cb=receive)
    await settled(client)
    assert violations == []
    return Attacker(name, client, violations, heard)


async def settled(client: Client) -> None:
    """The server handled all that was sent before: it answers in order. nats-py may put the first PING ahead."""
    await client.flush()
    await client.flush()


@dataclass
class Report:
    """What became of an attack."""

    probes: int = 0
    denied: int = 0
    detours: int = 0
    stored: Counter[str] = field(default_factory=Counter)
    """Detours that are ordinary messages of their sender, by the stream that keeps them."""


async def attack(hive: Hive, found: list[Attacker], probes_each: int) -> Report:
    """Let each agent try its share of everything; what the server has to deny it must have denied."""
    targets, report = Targets(hive.name), Report()
    for number, attacker in enumerate(found):
        victim = found[(number + 1) % len(found)].name
        await _forbidden(targets, attacker, victim, number, probes_each, report)
        await _detours(targets, attacker, victim, number, probes_each, report)
    return report


def share(everything: Iterator[Any], number: int, count: int) -> list[Any]:
    """So many of a list, from another place for each agent."""
    listed = list(everything)
    return [listed[(number * count + place) % len(listed)] for place in range(min(count, len(listed)))]


async def _forbidden(
    targets: Targets, attacker: Attacker, victim: str, number: int, probes_each: int, report: Report
) -> None:
    third = max(1, probes_each // 4)
    publishes = [*share(targets.of(victim), number, third), *share(targets.servers(attacker.name), number, third)]
    subscriptions = share(targets.subscriptions(attacker.name, victim), number, third)
    for subject in publishes:
        await attacker.client.publish(subject, _body(attacker), reply=f"{reply_prefix(attacker.name)}.9")
    for place, subject in enumerate(subscriptions):
        await attacker.client.subscribe(subject, queue="q" if place % 2 else "", cb=_eavesdrop(attacker))
    await settled(attacker.client)
    expected = Counter(subject.lower() for subject in (*publishes, *subscriptions))
    denied = Counter(text.lower().partition('"')[2].partition('"')[0] for text in attacker.violations)
    assert denied == expected, f"{attacker.name}: not denied {expected - denied}, denied {denied - expected}"
    report.probes += expected.total()
    report.denied += denied.total()


async def _detours(
    targets: Targets, attacker: Attacker, victim: str, number: int, probes_each: int, report: Report
) -> None:
    for each in share(targets.detours(attacker.name, victim, number), number, probes_each - 3 * (probes_each // 4)):
        headers = {name: value or "x" for name, value in (each.headers or {}).items()}
        await attacker.client.publish(each.subject, _body(attacker), reply=each.reply, headers=headers or None)
        report.probes += 1
        report.detours += 1
    await settled(attacker.client)


def _eavesdrop(attacker: Attacker) -> Any:
    async def receive(message: Msg) -> None:
        attacker.heard.append(message)

    return receive


def _body(attacker: Attacker) -> bytes:
    return json.dumps({"attacker": attacker.name}).encode()


def injected(hive: str, messages: list[Msg]) -> list[str]:
    """Of what was heard: whatever is not a member's own word, and no service's talk with JetStream or with a door."""
    wrong = []
    for message in messages:
        parts = message.subject.split(".")
        own = parts[:2] in ([hive, "cmd"], [hive, "get"], [hive, "beat"])
        if own and message.data == json.dumps({"attacker": parts[-1]}).encode():
            continue
        if message.subject.startswith(f"{reply_prefix('service')}.") and b"attacker" not in message.data:
            continue
        if parts[:2] == [hive, "door"] and parts[-1] == "beat" and b"attacker" not in message.data:
            continue
        wrong.append(f"{message.subject}: {message.data[:200]!r}")
    return wrong


async def canaries(client: Client, hive: str, found: list[Attacker]) -> None:
    """Say something to everybody with a service's rights: each hears its own alone."""
    subjects = Subjects(hive)
    before = {attacker.name: len(attacker.heard) for attacker in found}
    assert before == dict.fromkeys(before, 0)
    for attacker in found:
        await client.publish(subjects.inbox(attacker.name, "message"), b"canary")
        await client.publish(subjects.event("made.up", attacker.name), b"canary")
        await client.publish(f"{reply_prefix(attacker.name)}.canary", b"canary")
    await settled(client)
    for attacker in found:
        async with asyncio.timeout(10):
            while len(attacker.heard) < 2:
                await asyncio.sleep(0.01)
        await settled(attacker.client)
        heard = {message.subject for message in attacker.heard}
        assert heard == {subjects.inbox(attacker.name, "message"), f"{reply_prefix(attacker.name)}.canary"}
