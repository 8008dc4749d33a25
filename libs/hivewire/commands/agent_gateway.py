"""What can be asked of the agent gateway."""

from typing import Final, Literal

import msgspec

from hivewire import fields

AgentType = Literal["native", "remote", "simulation"]

METADATA_BYTES_MAX: Final = 16 * 1024
"""The owner of the registry keeps every agent's card in memory."""


class Register(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An agent's card. The agent is the command's sender; `instance` names the process that speaks for it.

    A new instance replaces the older one, which is told and stops. The same instance may register again at any time:
    it is sent whatever is open for it.
    """

    instance: fields.Token
    name: fields.Name | None = None
    agent_type: AgentType = "native"
    endpoint_url: fields.Text | None = None
    capabilities: fields.Capabilities = []
    slots: fields.Slots = 1
    owner: fields.Name | None = None
    policy: Literal["always-on", "on-demand"] = "always-on"
    labels: fields.Labels = {}
    metadata: msgspec.Raw = fields.EMPTY_OBJECT


class Leave(msgspec.Struct):
    """The instance stops on purpose: what it holds is given to others at once."""

    instance: fields.Token
    reason: fields.Text = ""


class Drain(msgspec.Struct):
    """The agent finishes what it holds and gets nothing new, until it is undrained."""

    agent_id: fields.Token


class Undrain(msgspec.Struct):
    """The agent may be given work again."""

    agent_id: fields.Token


class Remove(msgspec.Struct):
    """Forget an agent. What it holds is given to others."""

    agent_id: fields.Token


class AgentBrief(msgspec.Struct):
    """The reply to each of these commands: how the agent stands after the commit."""

    agent_id: str
    state: Literal["present", "lost", "away", "removed"]
    instance: str | None = None
    drained: bool = False


VERBS: dict[str, type[msgspec.Struct]] = {
    "register": Register,
    "leave": Leave,
    "drain": Drain,
    "undrain": Undrain,
    "remove": Remove,
}
