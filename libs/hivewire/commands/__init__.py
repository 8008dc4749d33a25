"""The commands that services take: one module a service, and the catalogue of them all."""

from collections.abc import Mapping

import msgspec

from hivewire.commands import agent_gateway, broker, conversation, tick_engine
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
