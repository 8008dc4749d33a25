"""Payloads that are meant to break whoever reads them, and all the entrances to throw them into.

Every entrance says no, or takes what is valid; nothing answers with a fault of its own. Who throws counts.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import msgspec
import psutil
from tests.integration.test_bad_input import Wire, World, command_envelope
from tests.integration.test_door import Door, create_token
from tests.integration.test_hostile_agents import Running, database
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode

from hivewire import codec, ids, reads
from hivewire.admin import AGENT_GATEWAY as ADMIN
from hivewire.commands import CATALOGUE, checked
from hivewire.envelope import Envelope, ErrorBody
from hivewire.inbox import BEAT_TYPE
from hivewire.subjects import AGENT_GATEWAY, BROKER, REPLY_HEADER
from hivewire_agent_gateway.door.frames import FRAME_BYTES_MAX
from hivewire_agent_gateway.door.routes import ROUTES
from hivewire_agent_gateway.door.table import API
from hivewire_service.core import Kept

GROWTH_BYTES_MAX = 128 * 1024 * 1024
"""No service grows by as much, whatever is thrown: three times what it was seen to."""
ANSWER_S_MAX = 60
MiB = 2**20

Bombs = Mapping[str, bytes]

VALUES: Bombs = {
    "deep": b"[" * 50_000 + b"]" * 50_000,
    "deep-object": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "unclosed": b"[" * 50_000,
    "integer": b"9" * 4_000,
    "integer-of-64-bits": b"18446744073709551616",
    "fraction": b"0." + b"9" * 4_000,
    "exponent": b"1e131071",
    "exponent-of-nines": b"1e999999999999",
    "tiny": b"-1e-400",
    "nan": b"NaN",
    "infinity": b"-Infinity",
    "nul": b'"a\\u0000"',
    "nul-byte": b'"a\x00"',
    "surrogate": b'"\\ud800"',
    "surrogates-the-wrong-way": b'"\\udc00\\ud800"',
    "not-utf-8": b'"\xff\xfe"',
    "overlong-utf-8": b'"\xc0\xaf"',
    "long": b'"' + b"x" * 500_000 + b'"',
    "long-key": b'{"' + b"k" * 300_000 + b'":1}',
    "array": b"[" + b"0," * 200_000 + b"0]",
    "array-of-arrays": b"[" + b"[]," * 100_000 + b"[]]",
    "many-keys": b"{" + b",".join(b'"%d":0' % number for number in range(50_000)) + b"}",
    "same-key-twice": b'{"a":1,"a":[2]}',
    "negative": b"-1",
    "minus-nothing": b"-0",
    "true": b"true",
    "null": b"null",
    "sql": b'"\' OR 1=1; --\\n"',
    "path": b'"../../etc/passwd\\n"',
    "wildcards": b'["*",">","a.>"]',
    "year-1": b'"0001-01-01T00:00:00+14:00"',
    "year-9999": b'"9999-12-31T23:59:59-14:00"',
    "leap-second": b'"2016-12-31T23:59:60Z"',
    "right-to-left": '"\u202e\ufeff\u0000"'.encode().replace(b"\x00", b"\\u0000"),
}
"""JSON values, and what is none, for a field or a whole body."""
WHOLES: Bombs = {
    "empty": b"",
    "blanks": b" \n\t " * 1_000,
    "bom": b"\xef\xbb\xbf{}",
    "trailing": b'{"specversion":"1.0","id":"1","type":"t","source":"s"} {}',
    "long-id": codec.encode(Envelope(id="x" * 10_000, type="t", source="s")),
    "same-id-twice": b'{"specversion":"1.0","id":"1","id":["2"],"type":"t","source":"s"}',
    "time-without-end": b'{"specversion":"1.0","id":"1","type":"t","source":"s","time":"9999-12-31T23:59:60-24:00"}',
    "other-encoding": '{"specversion":"1.0"}'.encode("utf-16"),
}
"""Whole messages."""
HEADS: Bombs = {
    "no-http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "nul": b"GET / HTTP/1.1\r\nHost: x\r\nX-Agent-ID: a\x00b\r\n\r\n",
    "not-utf-8": b"GET /api/v1/tasks HTTP/1.1\r\nHost: x\r\nX-Agent-ID: \xff\xfe\r\nAuthorization: Bearer \xff\r\n\r\n",
    "long-token": b"GET /api/v1/tasks HTTP/1.1\r\nHost: x\r\nX-Agent-ID: a\r\nAuthorization: Bearer %s\r\n\r\n"
    % (b"x" * 200_000),
    "long-header": b"GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"x" * 600_000),
    "many-headers": b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % (b"a: b\r\n" * 20_000),
    "length-negative": b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "length-of-4000-digits": b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n" % (b"9" * 4_000),
    "two-lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length-and-chunks": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk-without-end": b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n"
    % (b"f" * 40),
    "chunk-of-no-size": b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "path-nul": b"GET /api/v1/tasks/%00%ff%c0%af HTTP/1.1\r\nHost: x\r\n\r\n",
    "path-up": b"GET /../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "path-long": b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 200_000),
    "path-not-ascii": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "bare-newlines": b"GET / HTTP/1.1\nHost: x\n\n",
    "folded": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "smuggled": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rGET /docs HTTP/1.1\r\n\r\n",
    "upgrade-to-nothing": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "websocket-of-no-version": b"GET /ws/agent-bridge HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
}
"""Heads of HTTP requests."""
QUERIES = (
    "%00",
    "%ff%fe",
    "9" * 4_000,
    "1e999",
    "NaN",
    "-1",
    "a" * 60_000,
    "%ED%A0%80",
    "&&&==",
    "0001-01-01",
    "[[[[",
)
FRAME_FIELDS = {
    "register": ("metadata", "capabilities", "workdir"),
    "progress": ("message_id", "progress_text", "metadata"),
    "response": ("message_id", "content", "usage", "error"),
    "heartbeat": ("timestamp", "agent_id"),
    "ask": ("target", "question", "timeout_seconds"),
    "answer": ("conversation_id", "answer"),
    "withdraw": ("conversation_id", "reason"),
    "message": ("target", "content"),
}
"""Messages of the bridge, with the fields to fill."""


def data_of(struct: type[msgspec.Struct], values: Bombs) -> Iterator[bytes]:
    """Each value as the first field of the data, and as the whole of it."""
    names = [field.encode_name.encode() for field in msgspec.structs.fields(struct)]
    for value in values.values():
        yield value if not names else b'{"%s":%s}' % (names[0], value)


def messages(kind: str, struct: type[msgspec.Struct], values: Bombs) -> list[bytes]:
    """What is no message at all, and messages around the values."""
    return [*WHOLES.values(), *(command_envelope(kind, data) for data in data_of(struct, values))]


def is_malformed(body: bytes) -> bool:
    envelope = codec.decode_envelope(body)
    return isinstance(envelope, codec.Malformed) or isinstance(checked(envelope), codec.Malformed)


def is_clean(body: bytes) -> bool:
    """Whether it is an answer that is no fault of the service."""
    envelope = codec.decode_envelope(body)
    assert isinstance(envelope, Envelope)
    if envelope.type != "reply.refused":
        return True
    error = msgspec.json.decode(envelope.data, type=ErrorBody)
    return error.status < 500 and error.error.isprintable() and len(error.error) < 500


# --- over NATS --------------------------------------------------------------------------------------
async def at_commands(world: World, values: Bombs, one_in: int) -> int:
    """Every verb of every service. What is malformed is among the rejects, whole, with a reason."""
    thrown = 0
    async with database(world.hive) as rows:
        for service, verbs in CATALOGUE.items():
            for verb, struct in list(verbs.items())[::one_in]:
                # So many of one sender are kept whole; each verb has a sender of its own.
                async with world.wire("operator", f"bomber-{verb}") as wire:
                    bodies = messages(f"{service}.{verb}", struct, values)
                    await _throw_commands(wire, world.subjects.command(service, verb, wire.name), bodies, rows)
                thrown += len(bodies)
    return thrown


async def _throw_commands(wire: Wire, subject: str, bodies: list[bytes], rows: asyncpg.Connection) -> None:
    for body in bodies:
        await wire.client.publish(subject, body, headers={REPLY_HEADER: f"_INBOX.{wire.name}.replies"})
    answers = [await asyncio.wait_for(wire._replies.get(), ANSWER_S_MAX) for _ in bodies]
    assert [answer[:500] for answer in answers if not is_clean(answer)] == []
    kept = await rows.fetch("SELECT kind, body, reason, count FROM reject WHERE subject = $1", subject)
    assert all(row["reason"] for row in kept)
    # A report that is understood, about what the sender was never given, may be in a common entry.
    assert {row["kind"] for row in kept} <= {Kept.MESSAGE, Kept.REPORT}
    whole = Counter(row["body"] for row in kept if row["kind"] == Kept.MESSAGE and row["count"] == 1)
    malformed = Counter(body for body in bodies if is_malformed(body))
    assert malformed.total() >= len(WHOLES)
    assert [(subject, body[:200]) for body in malformed - whole] == []


async def at_requests(world: World, values: Bombs, one_in: int) -> int:
    """Every read, and every administrative request."""
    of_reads = [
        (world.subjects.read(service, query, "operator"), query, struct)
        for service, queries in reads.CATALOGUE.items()
        for query, struct in queries.items()
    ]
    of_admin = [
        (world.subjects.admin(AGENT_GATEWAY, action, "operator"), action, struct) for action, struct in ADMIN.items()
    ]
    thrown = 0
    async with world.wire() as wire:
        for subject, kind, struct in [*of_reads, *of_admin][::one_in]:
            for body in messages(kind, struct, values):
                answer = await wire.client.request(subject, body, timeout=ANSWER_S_MAX)
                assert is_clean(answer.data), (subject, body[:200], answer.data[:500])
                thrown += 1
    return thrown


async def at_beats(world: World, values: Bombs) -> int:
    """An agent's beats, by its own hand; it stays what it is."""
    fields = (b"agent_id", b"instance", b"held", b"free_slots", b"turns", b"sessions")
    data = [
        b'{"agent_id":"beater","instance":"i","%s":%s}' % (name, value) for name in fields for value in values.values()
    ]
    bodies = [*WHOLES.values(), *values.values(), *(command_envelope(BEAT_TYPE, one) for one in data)]
    async with world.agent("beater"), world.wire("agent", "beater") as wire, world.operator() as client:
        for body in bodies:
            await wire.client.publish(world.subjects.beat("beater"), body)
        await wire.client.flush()
        assert (await client.agent("beater")).state == "present"
    return len(bodies)


async def at_payloads(world: World, values: Bombs) -> int:
    """What a service only carries: refused, or read back as the bytes that were sent."""
    taken = 0
    async with world.operator() as client, world.wire() as wire:
        for value in values.values():
            task_id = ids.new_id()
            data = b'{"id":"%s","title":"t","required_capabilities":["nobody"],"payload":%s}' % (
                task_id.encode(),
                value,
            )
            headers = {REPLY_HEADER: f"_INBOX.{wire.name}.replies"}
            subject = world.subjects.command(BROKER, "submit", wire.name)
            await wire.client.publish(subject, command_envelope("broker.submit", data), headers=headers)
            answer = await asyncio.wait_for(wire._replies.get(), ANSWER_S_MAX)
            assert is_clean(answer), answer[:500]
            envelope = codec.decode_envelope(answer)
            assert isinstance(envelope, Envelope)
            if envelope.type != "reply.refused":
                taken += 1
                assert bytes((await client.task(task_id)).payload) == value
    assert taken
    return len(values)


# --- at the door ------------------------------------------------------------------------------------
@asynccontextmanager
async def door_of(world: Running) -> AsyncIterator[Door]:
    """The door, with the tokens of an operator and of an agent."""
    named = {"boss": "operator", "remote": "agent"}
    yield Door(world.http_port, {name: await create_token(world.hive, name, role) for name, role in named.items()})


async def at_http(door: Door, values: Bombs, one_in: int) -> int:
    """The body and the query string of every route."""
    thrown = 0
    async with door.http("boss") as boss:
        for route in ROUTES[::one_in]:
            path = API + route.path.replace("{", "").replace("}", "")
            if route.action.body is not None:
                for body in (*WHOLES.values(), *values.values(), *data_of(route.action.body, values)):
                    answer = await boss.request(route.method, path, content=body)
                    assert answer.status_code < 500, (path, body[:200], answer.text)
                    thrown += 1
            if route.action.parameters is not None:
                for field in msgspec.structs.fields(route.action.parameters):
                    for value in QUERIES[::one_in]:
                        async with boss.stream(route.method, f"{path}?{field.encode_name}={value}") as answer:
                            assert answer.status_code < 500, (path, value[:200])  # a stream of events has no end
                        thrown += 1
    return thrown


async def at_events(door: Door, values: Bombs) -> int:
    """Events from outside: refused, or in history with the data that was sent."""
    async with door.http("boss") as boss:
        for name, value in values.items():
            body = b'{"type":"bomb.%s","data":%s}' % (name.encode(), value)
            answer = await boss.post(f"{API}/events", content=body)
            assert answer.status_code < 500, answer.text
            if answer.is_success:
                event_id = answer.json()["event_id"]
                found = await boss.get(f"{API}/events", params={"type": json.loads(body)["type"]})
                assert event_id in found.text or value in found.content, (name, found.text[:300])
    return len(values)


async def at_heads(door: Door) -> int:
    """Heads of requests: answered with a refusal, or cut off."""
    for name, head in HEADS.items():
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        try:
            writer.write(head)
            writer.write_eof()
            status = await asyncio.wait_for(reader.readline(), ANSWER_S_MAX)
            if status:
                assert status.split()[1] < b"500", (name, status)
        except ConnectionError:
            pass  # cut off while it was still talking
        finally:
            writer.close()
    return len(HEADS)


async def at_bridge(door: Door, values: Bombs, one_in: int) -> int:
    """The messages of a bridge, as the first one and after it."""
    thrown = 0
    for kind, names in FRAME_FIELDS.items():
        for name in names[::one_in]:
            for value in values.values():
                mine = b'"auth_token":"%s"' % door.tokens["remote"].encode()
                text = b'{"type":"%s","agent_id":"remote",%s,"%s":%s}' % (kind.encode(), mine, name.encode(), value)
                async with _bridge(door, register=kind != "register") as bridge:
                    await _goes_on_or_is_closed(bridge, Frame(Opcode.TEXT, text))
                thrown += 1
    for frames in _hostile_frames():
        for register in (False, True):
            async with _bridge(door, register=register) as bridge:
                await _goes_on_or_is_closed(bridge, *frames)
            thrown += 1
    for reserved in (0x40, 0x20, 0x10, 0x03):
        async with _bridge(door, register=True) as bridge:
            await _goes_on_or_is_closed(bridge, Frame(Opcode.TEXT, b"{}"), reserved=reserved)
        thrown += 1
    return thrown + await _deflated(door)


def _hostile_frames() -> Iterator[list[Frame]]:
    """Fragments, control frames and what the protocol forbids."""
    heartbeat = b'{"type":"heartbeat"}'
    yield [Frame(Opcode.TEXT, heartbeat[:5], fin=False), *(Frame(Opcode.CONT, b"", fin=False) for _ in range(20_000))]
    yield [Frame(Opcode.TEXT, b"", fin=False), *(Frame(Opcode.CONT, b"x" * 60_000, fin=False) for _ in range(40))]
    yield [Frame(Opcode.TEXT, heartbeat[:5], fin=False), Frame(Opcode.TEXT, heartbeat)]
    yield [Frame(Opcode.CONT, heartbeat)]
    yield [Frame(Opcode.BINARY, b"\x00\xff" * 1_000)]
    yield [Frame(Opcode.TEXT, b"\xff\xfe")]
    yield [Frame(Opcode.TEXT, b"x" * (FRAME_BYTES_MAX + 1))]
    yield [Frame(Opcode.PING, b"x" * 125) for _ in range(5_000)]
    yield [Frame(Opcode.PONG, b"x") for _ in range(5_000)]
    yield [Frame(Opcode.CLOSE, b"\x00\x01")]
    yield [Frame(Opcode.CLOSE, b"\x03\xe8\xff\xff")]


@asynccontextmanager
async def _bridge(door: Door, *, register: bool, **options: Any) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{door.port}/ws/agent-bridge"
    async with connect(url, max_size=None, close_timeout=5, **{"compression": None} | options) as bridge:
        if register:
            first = {"type": "register", "agent_id": "remote", "auth_token": door.tokens["remote"]}
            await bridge.send(json.dumps(first))
            while json.loads(await bridge.recv())["type"] != "registered":
                pass
        yield bridge


async def _goes_on_or_is_closed(bridge: ClientConnection, *frames: Frame, reserved: int = 0) -> None:
    """Send frames as they are; the bridge answers, or closes with a code that is no fault of its own."""
    for frame in frames:
        first, *rest = frame.serialize(mask=True)
        bridge.transport.write(bytes([first | reserved, *rest]))
    bridge.transport.write(Frame(Opcode.PING, b"last").serialize(mask=True))
    bridge.transport.write(Frame(Opcode.TEXT, b"no JSON").serialize(mask=True))  # whatever went on ends here
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            while True:
                await bridge.recv()
    except ConnectionClosed:
        assert bridge.close_code not in (1011, 1012), frames[0].opcode  # 1006: cut off


async def _deflated(door: Door) -> int:
    """Messages that are small on the wire, and large where they are read."""
    factory = ClientPerMessageDeflateFactory()
    sizes = (FRAME_BYTES_MAX + 1, 50 * MiB)
    for size in sizes:
        for register in (False, True):
            async with _bridge(door, register=register, compression=None, extensions=[factory]) as bridge:
                assert bridge.protocol.extensions
                try:
                    await bridge.send("x" * size)
                    while True:
                        await asyncio.wait_for(bridge.recv(), ANSWER_S_MAX)
                except ConnectionClosed:
                    assert bridge.close_code == 1009
    return 2 * len(sizes)


# --- all of it --------------------------------------------------------------------------------------
async def throw(world: Running, values: Bombs, one_in: int = 1) -> dict[str, int]:
    """Throw the values into every entrance, or one verb, route and field in so many; how many each got. Then the services work as before and are not much larger."""
    before = {name: _resident_bytes(process.pid) for name, process in world.processes.items()}
    async with door_of(world) as door:
        thrown = {
            "commands": await at_commands(world, values, one_in),
            "requests": await at_requests(world, values, one_in),
            "beats": await at_beats(world, values),
            "payloads": await at_payloads(world, values),
            "HTTP": await at_http(door, values, one_in),
            "events": await at_events(door, values),
            "heads": await at_heads(door),
            "bridge": await at_bridge(door, values, one_in),
        }
        async with httpx.AsyncClient(base_url=door.url) as anybody:
            assert (await anybody.get("/ready")).status_code == 200
    await world.listens()
    await world.does_work()
    assert {process.poll() for process in world.processes.values()} == {None}
    grown = {name: _resident_bytes(process.pid) - before[name] for name, process in world.processes.items()}
    print(f"{thrown}; grown by MiB: { {name: round(size / MiB) for name, size in grown.items()} }")
    assert max(grown.values()) < GROWTH_BYTES_MAX
    return thrown


def _resident_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)
