"""What can be asked of the agent gateway."""

from typing import Annotated, Final, Literal

import msgspec

from hivewire import fields, limits
from hivewire.commands import sessions

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
    answers_while_busy: bool = False
    """Whether it answers questions although every slot is taken."""
    wake: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.URL_CHARS_MAX)] | None = None
    """How it is woken while it is away: an http(s) URL that gets a signed POST, or the name of a command that the
    operator of a local hive has configured. None: not at all."""


class Leave(msgspec.Struct):
    """The instance stops on purpose: what it holds is given to others at once."""

    instance: fields.Token
    reason: fields.Text = ""


class Disconnected(msgspec.Struct):
    """The agent's connection to a door ended. Doors alone say so, in the agent's name."""

    instance: fields.Token
    code: Annotated[int, msgspec.Meta(ge=0, le=65_535)]
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


class Wake(msgspec.Struct, omit_defaults=True):
    """Have an agent that is away start, in the way that its card says. It is awake once it registers."""

    agent_id: fields.Token
    reason: fields.Text = ""


class Publish(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An event of another service or of an agent: `data` is the struct of its type.

    It is in history once per publisher and `id`, which is the command's where there is none. `entity_id` names what an
    event of a type that the catalogue does not have is about.
    """

    type: fields.Name
    data: msgspec.Raw = fields.EMPTY_OBJECT
    id: fields.Name | None = None
    entity_id: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.LABEL_CHARS_MAX)] | None = None


class Published(msgspec.Struct):
    """The reply to an event from outside. `recorded` false: the same publisher's event of this id was there before."""

    event_id: str
    recorded: bool


class AgentBrief(msgspec.Struct):
    """The reply to each of these commands: how the agent stands after the commit."""

    agent_id: str
    state: Literal["present", "lost", "away", "removed"]
    instance: str | None = None
    drained: bool = False


VERBS: dict[str, type[msgspec.Struct]] = {
    "register": Register,
    "leave": Leave,
    "disconnected": Disconnected,
    "drain": Drain,
    "undrain": Undrain,
    "remove": Remove,
    "wake": Wake,
    "publish": Publish,
    **sessions.VERBS,
}
