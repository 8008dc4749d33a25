"""The AsyncAPI 3 document of everything on the bus, made from the structs that encode and decode it.

Source of the format: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import msgspec

from hivewire import inbox
from hivewire.commands import CATALOGUE as COMMANDS
from hivewire.commands import command_type
from hivewire.described import described
from hivewire.envelope import Envelope
from hivewire.events import CATALOGUE as EVENTS
from hivewire.events import SIMULATED
from hivewire.subjects import REPLY_HEADER, Subjects

SCHEMAS = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class _Channel:
    """A subject with the one message that it carries, as the hive's services send or receive it."""

    key: str
    address: str
    action: str
    kind: str
    data: type[msgspec.Struct]
    parameters: Mapping[str, str]


def document(hive: str = "hive") -> dict[str, Any]:
    """The whole document, for one hive."""
    channels = [*_events(Subjects(hive)), *_commands(Subjects(hive)), *_inboxes(Subjects(hive))]
    structs = list(dict.fromkeys((Envelope, *(channel.data for channel in channels))))
    twins = [described(struct) for struct in structs]
    references, schemas = msgspec.json.schema_components(twins, ref_template=SCHEMAS + "{name}")
    schema_of = dict(zip(structs, references, strict=True))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "hivewire",
            "version": version("hivewire"),
            "description": "Every message is a CloudEvents 1.0 envelope; `data` holds what its type says.",
        },
        "defaultContentType": "application/cloudevents+json",
        "servers": {"nats": {"host": "127.0.0.1:4222", "protocol": "nats"}},
        "channels": {channel.key: _channel(channel) for channel in channels},
        "operations": {channel.key: _operation(channel) for channel in channels},
        "components": {
            "messages": {channel.key: _message(channel, schema_of[channel.data]) for channel in channels},
            "schemas": {name: _portable(schema) for name, schema in schemas.items()},
        },
    }


def _events(subjects: Subjects) -> Iterable[_Channel]:
    for name, event in EVENTS.items():
        address = subjects.events(name, "{entity_id}")
        yield _Channel(f"event.{name}", address, "send", name, event, {"entity_id": f"The {event.key} of the event."})
    for name, event in SIMULATED.items():
        address = subjects.events(name, "{entity_id}")
        about = {"entity_id": f"The {event.key} of the event, whose source is the tick engine."}
        yield _Channel(f"simulated.{name}", address, "send", name, event, about)


def _commands(subjects: Subjects) -> Iterable[_Channel]:
    for service, verbs in COMMANDS.items():
        for verb, data in verbs.items():
            address = subjects.command(service, verb, "{sender}")
            kind = command_type(service, verb)
            about = {"sender": f"Who commands. The header {REPLY_HEADER} names the inbox for the outcome."}
            yield _Channel(f"command.{kind}", address, "receive", kind, data, about)


def _inboxes(subjects: Subjects) -> Iterable[_Channel]:
    for kind, data in inbox.KINDS.items():
        address = subjects.inbox("{agent_id}", kind.partition(".")[2])
        yield _Channel(kind, address, "send", kind, data, {"agent_id": "Whose inbox it is."})
    about = {"agent_id": "Who lives."}
    yield _Channel("beat", subjects.beat("{agent_id}"), "receive", inbox.BEAT_TYPE, inbox.Beat, about)


def _channel(channel: _Channel) -> dict[str, Any]:
    return {
        "address": channel.address,
        "messages": {channel.key: {"$ref": f"#/components/messages/{channel.key}"}},
        "parameters": {name: {"description": text} for name, text in channel.parameters.items()},
    }


def _operation(channel: _Channel) -> dict[str, Any]:
    reference = f"#/channels/{channel.key}"
    return {
        "action": channel.action,
        "channel": {"$ref": reference},
        "messages": [{"$ref": f"{reference}/messages/{channel.key}"}],
    }


def _message(channel: _Channel, schema: dict[str, Any]) -> dict[str, Any]:
    envelope = {"properties": {"type": {"const": channel.kind}, "data": schema}}
    message: dict[str, Any] = {
        "name": channel.kind,
        "summary": summary(channel.data),
        "payload": {"allOf": [{"$ref": f"{SCHEMAS}Envelope"}, envelope]},
    }
    if channel.kind in EVENTS:
        message["x-version"] = EVENTS[channel.kind].version
    return message


def summary(struct: type[msgspec.Struct]) -> str:
    """What a message says, in one line."""
    return _first_paragraph(struct.__doc__ or "")


def _first_paragraph(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def _portable(schema: Any) -> Any:
    """The schema with its first paragraph alone as description, which is written for the code's readers otherwise."""
    if isinstance(schema, dict):
        return {
            key: _first_paragraph(value) if key == "description" and isinstance(value, str) else _portable(value)
            for key, value in schema.items()
        }
    return [_portable(item) for item in schema] if isinstance(schema, list) else schema
