"""The commands that services take: one module a service, and the catalogue of them all."""

from collections.abc import Mapping

import msgspec

from hivewire import codec, limits
from hivewire.commands import agent_gateway, broker, conversation, tick_engine
from hivewire.envelope import Envelope
from hivewire.subjects import AGENT_GATEWAY, BROKER, CONVERSATION, TICK_ENGINE

CATALOGUE: Mapping[str, Mapping[str, type[msgspec.Struct]]] = {
    BROKER: broker.VERBS,
    AGENT_GATEWAY: agent_gateway.VERBS,
    TICK_ENGINE: tick_engine.VERBS,
    CONVERSATION: conversation.VERBS,
}
"""service -> verb -> the struct that the command's `data` holds."""


def command_type(service: str, verb: str) -> str:
    """The envelope's `type` of a command."""
    return f"{service}.{verb}"


TYPES: Mapping[str, type[msgspec.Struct]] = {
    command_type(service, verb): data for service, verbs in CATALOGUE.items() for verb, data in verbs.items()
}
"""The envelope's `type` of each command -> its struct."""


def checked(envelope: Envelope, types: Mapping[str, type[msgspec.Struct]] = TYPES) -> msgspec.Struct | codec.Malformed:
    """The data of a command, or why no service takes it. Senders ask the same before they send."""
    for name, at_most in _TEXTS.items():
        if len(getattr(envelope, name) or "") > at_most:
            return codec.Malformed(f"{name} is longer than {at_most} characters", envelope)
    return codec.decode_data(envelope, types)


_TEXTS: Mapping[str, int] = {
    "id": limits.COMMAND_ID_CHARS_MAX,
    "correlationid": limits.LABEL_CHARS_MAX,
    "traceparent": limits.LABEL_CHARS_MAX,
}
