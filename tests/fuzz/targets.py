"""What is fuzzed: each target takes bytes and raises when a promise does not hold for them."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final

import msgspec

from hivewire import codec, graph, limits
from hivewire.cli import parse
from hivewire.commands import TYPES, checked
from hivewire.envelope import Envelope
from hivewire.errors import BadUsage
from hivewire.exec_agent import progress_of
from hivewire.graph import GraphSpec
from hivewire.inbox import KINDS
from hivewire.simulation import SimulationConfig
from hivewire.subjects import Subjects, as_token, is_token
from hivewire_agent_gateway.door import frames

_ONE_LINE: Final = re.compile(r"[^\r\n]+")
SUBJECTS: Final = Subjects("hive")


def stable(value: Any, wanted: Any, what: str) -> None:
    """What was decoded is encoded, decoded again and the same; a refusal is one line."""
    if isinstance(value, codec.Malformed):
        assert _ONE_LINE.fullmatch(value.reason), value.reason
        return
    body = codec.encode(value)
    again = codec.decode_as(body, wanted, what)
    assert not isinstance(again, codec.Malformed), again.reason
    assert codec.encode(again) == body


def envelope(data: bytes) -> None:
    """A whole message, and the command in it."""
    found = codec.decode_envelope(data)
    stable(found, Envelope, "envelope")
    if isinstance(found, Envelope):
        told = checked(found)
        stable(told, type(told), "data")


def commands(data: bytes) -> None:
    """The data of a command; the first byte chooses which."""
    kind = list(TYPES.values())[data[0] % len(TYPES)] if data else Envelope
    stable(codec.decode_as(data[1:], kind, "data"), kind, "data")


def inboxes(data: bytes) -> None:
    """What reaches an agent; the first byte chooses the kind."""
    kind = list(KINDS.values())[data[0] % len(KINDS)] if data else Envelope
    stable(codec.decode_as(data[1:], kind, "data"), kind, "data")


def bridge_frames(data: bytes) -> None:
    """A message of a remote agent."""
    found = codec.decode_as(data, frames.FromAgent, "message")  # type: ignore[arg-type]
    stable(found, frames.FromAgent, "message")
    if isinstance(found, frames.Progress):
        done = frames.fraction(found.metadata)
        assert done is None or 0 <= done <= 1
        frames.attempt_of(found.message_id)


def subjects(data: bytes) -> None:
    """Subjects that services parse, and ids that become tokens."""
    text = data.decode(errors="surrogateescape")
    assert is_token(as_token(text))
    address = SUBJECTS.parse_command(text)
    if address is not None and all(map(is_token, text.split("."))):
        assert SUBJECTS.command(address.service, address.verb, address.sender) == text


def progress(data: bytes) -> None:
    """A line that a command writes to stderr."""
    told = progress_of(data.decode(errors="replace"))
    assert told is None or 0 <= told[0] <= 1


def graphs(data: bytes) -> None:
    """A graph or a simulation as a file holds it."""
    for kind in (GraphSpec, SimulationConfig):
        stable(codec.decode_as(data, kind, "file"), kind, "file")
    spec = codec.decode_as(data, GraphSpec, "file")
    if isinstance(spec, GraphSpec) and graph.problem(spec) is None:
        graph.Graph.of(spec).blocks("a", graph.ANYBODY)


def weights(data: bytes) -> None:
    """A file of weights."""
    file = Path(gettempdir()) / "hivewire-fuzzed-weights.json"
    file.write_bytes(data)
    try:
        found = parse.weights(file)
    except BadUsage:
        return
    assert all(isinstance(value, float) for value in found.values())


def moments(data: bytes) -> None:
    """A time span or a moment on the command line."""
    try:
        found = parse.moment(data.decode(errors="replace"))
    except BadUsage:
        return
    assert limits.YEAR_MIN <= found.year <= limits.YEAR_MAX


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (envelope, commands, inboxes, bridge_frames, subjects, progress, graphs, weights, moments)
}
SEEDS: Final[Mapping[str, list[bytes]]] = {
    "envelope": [
        codec.encode(Envelope(id="1", type=kind, source="/", data=msgspec.Raw(b'{"task_id":"t","title":"t"}')))
        for kind in TYPES
    ],
    "commands": [
        bytes([index]) + b'{"task_id":"t","title":"t","id":"x","target":"agent:a"}' for index in range(len(TYPES))
    ],
    "inboxes": [
        bytes([index]) + b'{"task_id":"t","attempt":1,"instance":"i","title":"t"}' for index in range(len(KINDS))
    ],
    "bridge_frames": [
        b'{"type":"registe\\f\\n","agent_id":"a"}',
        b'{"type":"register","agent_id":"a","metadata":{"x":["\\u0000"]}}',
        b'{"type":"progress","agent_id":"a","message_id":"s.1","metadata":{"progress":0.5}}',
        b'{"type":"ask","agent_id":"a","target":"agent:b","question":1}',
    ],
    "subjects": [b"hive.cmd.broker.submit.bob", b"hive.evt.task.t.completed"],
    "progress": [b"::progress 0.4 text", b"::progress 1", "::progress \u0664".encode()],
    "graphs": [
        b'{"\\nodes":[],"edges":[]}',
        b'{"nodes":[{"id":"a"},{"id":"b"}],"edges":[{"from":"a","to":"b"}]}',
        b'{"agents":[{"id":"a"}],"messages_per_tick":"all"}',
    ],
    "weights": [b'{"availability":0.5,"cost":0.5}', b'{"a":1e400}'],
    "moments": [b"7d", b"99999999999d", b"2026-05-01T12:00:00Z", b"0001-01-01"],
}
